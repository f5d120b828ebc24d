"""The card of an artifact, filled with what the stages found; graph and card as one file."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgeport import Accuracy, Calibration, ModelCard, Quantization, Requirements
from edgeport.artifact import golden
from edgeport.artifact.card import card_json
from edgeport.artifact.golden import Array
from edgeport_converter.artifact import stamping
from edgeport_converter.artifact.macs import count_multiply_accumulates
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.options import DeviceOptions
from edgeport_converter.quantization.evaluation.held_out import Part
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.quantization.qdq.pixel_inputs import find_pixel_inputs
from edgeport_converter.quantization.search.candidates import Candidate
from edgeport_converter.targets import require_readable
from edgeport_converter.verification.runners import Run, Runner

# An int8 kernel of another CPU may round a tie the other way: that stays within this share of an
# output's range. A kernel that saturates moves outputs by far more. Chosen, not measured.
_INT8_TOLERANCE = 0.02
_WIDEST_INT8_TOLERANCE = 0.1
_TYPICAL_DIFFERENCES = 3.0
_FLOAT_TOLERANCE = 1e-4
_SMALLEST_RANGE = 1e-3  # of an output that is zero on every sample
_TOGETHER = 4  # samples in a golden sample of a model whose answers depend on the whole batch

_PACKAGES = ("edgeport-converter", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")


@dataclass(frozen=True, eq=False)
class ArtifactWriter:
    """Writes the artifacts of one conversion, which share all of this.

    Attributes:
        card: without quantization, accuracy and self-test.
        device: what the artifacts are for.
        samples: the user's samples by input name, for golden samples; None without data.
        tried: trial inputs that the model took: golden samples of a model with free axes, if there
            is no data.
        layers: the Keras layers by the names of a graph's nodes.
        judged_on: which samples a candidate's loss was measured on, in words.
    """

    card: ModelCard
    device: DeviceOptions
    samples: Mapping[str, Array] | None
    tried: Mapping[str, Array]
    layers: KerasLayers
    judged_on: str = ""

    def write(
        self,
        graph: onnx.ModelProto,
        candidate: Candidate | None,
        accuracy: Accuracy | None,
        output: Path,
    ) -> tuple[ModelCard, int]:
        """Stamp a graph and write it; return the card as a device reads it, and the size.

        Args:
            graph: the finished graph.
            candidate: how it was quantized, None for the float graph.
            accuracy: with Keras and the float graph; the artifact's own is the candidate's.
            output: where to write.
        """
        card = replace(
            self.card,
            quantization=self._quantization(candidate),
            accuracy=_own(accuracy, candidate),
        )
        kind = candidate.recipe.kind if candidate else "none"
        runner = Runner(self.card, kind, self.device.cpu)
        with runner.open(graph) as run:
            # Golden outputs are as ONNX defines them. Loading the file runs the self-test, so that
            # this machine's kernels are held to the definition, too. Once they are made, the
            # session, which holds all weights once more, is gone.
            golden_samples = self._golden_samples(
                run if runner.judges_as_defined else runner.as_defined(graph), card
            )
            card = replace(
                card,
                requires=self._requires(graph),
                tolerance=self._tolerance(run, card, candidate, golden_samples),
            )
            text = card_json(card, golden_samples)
            artifact = stamping.stamp(graph, text)
            samples = ModelCard.from_json(text).golden_samples
            stamping.write(artifact, output, run, samples, runner)
        return stamping.read_card(output), len(artifact)

    def _quantization(self, candidate: Candidate | None) -> Quantization | None:
        """Return the card's part on quantization, None for a float graph."""
        if candidate is None or candidate.recipe.kind == "none":
            return None
        return Quantization(
            candidate.recipe.kind,
            candidate.weights,
            candidate.activations,
            self.device.target,
            self._float_layers(candidate.float_layers),
            f"{candidate.measured.agreement.describe()} {self.judged_on}",
        )

    def _float_layers(self, nodes: Mapping[str, str]) -> dict[str, str]:
        """Return the reasons by Keras layer; a node that belongs to no layer is left out."""
        reasons: dict[str, str] = {}
        for node, reason in nodes.items():
            for layer in self.layers.path(node)[-1:]:
                reasons.setdefault(layer, reason)
        return reasons

    def _golden_samples(self, defined: Run, card: ModelCard) -> list[dict[str, Any]]:
        if any(spec.dtype.kind == "O" for spec in (*card.inputs, *card.outputs)):
            return []  # a card stores arrays as numbers, so a model with text has no self-test
        # A model may refuse some sizes and some integers, but not those that were tried.
        chosen = any(
            isinstance(size, str) or (spec.dtype.kind in "iu" and spec.dtype != np.uint8)
            for spec in card.inputs
            for size in (*spec.shape[1:], 0)
        )
        together = _TOGETHER if card.samples_interact else 1  # alone, x less its mean is zero
        given = self.samples or (self.tried if chosen else None)
        try:
            return stamping.make_golden_samples(defined, card.inputs, given, together)
        except Exception:  # of onnxruntime, such as for a division by 0
            if given is not None:
                raise
        return stamping.make_golden_samples(defined, card.inputs, self.tried, together)

    def _requires(self, graph: onnx.ModelProto) -> Requirements:
        opsets = {entry.domain: entry.version for entry in graph.opset_import}
        require_readable(self.device.engine, opsets, graph.ir_version)
        return Requirements(graph.ir_version, opsets[""], self.device.engine.version)

    def _tolerance(
        self,
        run: Run,
        card: ModelCard,
        candidate: Candidate | None,
        golden_samples: list[dict[str, Any]],
    ) -> dict[str, float]:
        """Return what a golden output may be off by, a share of the output's largest value.

        1. The largest value is taken over the samples and over the golden samples themselves. The
           golden sample of a large input is coarse or a ramp, and its answers may be far larger.
        2. Where quantizing moves an output by more than that share, a tie that is rounded the other
           way may do so, too: three times the typical error is allowed.
        3. Ten per cent is the most, so that a kernel that saturates is still found.
        """
        given = [
            {name: golden.decode_array(array) for name, array in sample["inputs"].items()}
            for sample in golden_samples
        ]
        answers = [run(batch) for batch in (self.samples or self.tried, *given)]
        share = _FLOAT_TOLERANCE if card.quantization is None else _INT8_TOLERANCE
        lost = candidate.measured.agreement.typical_difference if candidate else {}
        allowed = {}
        for name, array in answers[0].items():
            values = np.concatenate([each[name].astype(np.float64).ravel() for each in answers])
            size = np.max(np.abs(values[np.isfinite(values)]), initial=_SMALLEST_RANGE)
            wanted = _TYPICAL_DIFFERENCES * lost.get(name, 0.0)
            widest = share if card.quantization is None else _WIDEST_INT8_TOLERANCE
            allowed[name] = (
                float(np.clip(wanted, share * size, widest * size))
                if array.dtype.kind == "f"
                else 0.0
            )
        return allowed


def _own(accuracy: Accuracy | None, candidate: Candidate | None) -> Accuracy | None:
    """Return the accuracy with the candidate's own metric as the artifact's."""
    if accuracy is None or candidate is None or candidate.measured.metric is None:
        return accuracy
    return replace(accuracy, artifact=candidate.measured.metric)


def describe(
    base: ModelCard,
    source: Mapping[str, str],
    float_graph: onnx.ModelProto,
    calibration: Dataset | Part | None,
) -> ModelCard:
    """Return the card with what holds for every artifact of this conversion.

    Args:
        base: name, inputs, outputs and labels.
        source: where the model came from.
        float_graph: the optimized graph.
        calibration: the data that the inputs' ranges are taken from.
    """
    inputs, digest = base.inputs, None
    if calibration is not None:
        # Scaled pixels have a code for each of their values, whatever the data holds.
        graph = ir.from_proto(float_graph).graph
        whole = {found.source.name for found in find_pixel_inputs(graph)}
        inputs = tuple(
            replace(
                spec,
                value_range=(0.0, 255.0)
                if spec.name in whole
                else calibration.value_ranges.get(spec.name),
            )
            for spec in inputs
        )
        digest = Calibration(len(calibration), calibration.sha256)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return replace(
        base,
        inputs=inputs,
        calibration=digest,
        multiply_accumulates=count_multiply_accumulates(float_graph),
        provenance={**source, **versions},
    )
