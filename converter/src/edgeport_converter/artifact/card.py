"""The card of an artifact, filled with what the stages found; graph and card as one file."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgeport import Accuracy, Calibration, ModelCard, Quantization, Requirements
from edgeport.artifact.card import card_json
from edgeport.artifact.golden import Array, GoldenOutput
from edgeport_converter.artifact import stamping
from edgeport_converter.artifact.golden_samples import Allowed, GoldenChoice, Runs, choose
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.options import DeviceOptions
from edgeport_converter.quantization.evaluation.held_out import Part
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.quantization.qdq.pixel_inputs import find_pixel_inputs
from edgeport_converter.quantization.search.candidates import Candidate
from edgeport_converter.sensors.frame_inputs import (
    FrameInput,
    make_small,
    put_before,
    put_in_card,
)
from edgeport_converter.targets import require_readable
from edgeport_converter.verification.differences import (
    ABSOLUTE_TOLERANCE,
    RELATIVE_TOLERANCE,
)
from edgeport_converter.verification.macs import count_multiply_accumulates
from edgeport_converter.verification.runners import Run, Runner
from edgeport_converter.verification.spoiling import STRONG, has_weights, spoil

# An int8 kernel of another CPU may round a tie the other way: that stays within this share of an
# output's range. A kernel that saturates moves outputs by far more. Chosen, not measured.
_INT8_TOLERANCE = 0.02
_WIDEST_INT8_TOLERANCE = 0.1
_TYPICAL_DIFFERENCES = 3.0
_TOGETHER = 4  # samples in a golden sample of a model whose answers depend on the whole batch
# Of an int8 output that is zero on every sample; one that parity found to be small has its own.
_SMALLEST_RANGE = 1e-3

_PACKAGES = ("edgeport-converter", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime")


@dataclass(frozen=True, eq=False)
class ArtifactWriter:
    """Writes the artifacts of one conversion, which share all of this.

    Attributes:
        card: without quantization, accuracy and self-test; with what parity could not tell.
        device: what the artifacts are for.
        samples: the user's samples by input name, for golden samples; None without data.
        tried: trial inputs that the model took, for golden samples, if there is no data.
        layers: the Keras layers by the names of a graph's nodes.
        judged_on: which samples a candidate's loss was measured on, in words.
        frames: the inputs that take frames, which are put before each graph here.
        given: samples with frames as a device hands them over; none without data.
        metric: of a finished graph that takes frames; None without labels.
        floors: by output what a float one may be off by whatever its size, of outputs that are far
            below 1, as the parity check found them.
    """

    card: ModelCard
    device: DeviceOptions
    samples: Mapping[str, Array] | None
    tried: Mapping[str, Array]
    layers: KerasLayers
    judged_on: str = ""
    frames: tuple[FrameInput, ...] = ()
    given: Sequence[Mapping[str, Array]] = ()
    metric: Callable[[Run], float | None] | None = None
    floors: Mapping[str, float] = field(default_factory=dict)

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
        own = put_in_card(self.card, self.frames)
        card = replace(
            own,
            quantization=self._quantization(candidate),
            accuracy=_own(accuracy, candidate),
        )
        kind = candidate.recipe.kind if candidate else "none"
        runner = Runner(own, kind, self.device.cpu)
        plain, graph = graph, put_before(graph, self.frames)
        with runner.open(graph) as run:
            if self.frames and self.metric and card.accuracy:
                reached = self.metric(run)
                if reached is not None:
                    card = replace(card, accuracy=replace(card.accuracy, artifact=reached))
            # Golden outputs are as ONNX defines them. Loading the file runs the self-test, so that
            # this machine's kernels are held to the definition, too. Once they are made, the
            # sessions, which hold all weights once more, are gone.
            chosen = self._choose_golden_samples(
                runner, run, graph, plain, card, self._allowed_for(run, plain, card, candidate)
            )
            card = replace(
                card,
                requires=self._requires(graph),
                tolerance=chosen.tolerance,
                unproven=self.card.unproven + self._doubts(chosen, can_tell=has_weights(plain)),
            )
            golden_samples = chosen.samples
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

    def _choose_golden_samples(
        self,
        runner: Runner,
        run: Run,
        graph: onnx.ModelProto,
        plain: onnx.ModelProto,
        card: ModelCard,
        allowed: Allowed,
    ) -> GoldenChoice:
        if any(spec.dtype.kind == "O" for spec in (*card.inputs, *card.outputs)):
            # A card stores arrays as numbers, so a model with text has no self-test.
            return GoldenChoice([], {}, 0.0)
        runs = Runs(
            run if runner.judges_as_defined else runner.as_defined(graph),
            run,
            runner.as_defined(put_before(spoil(plain, STRONG), self.frames)),
        )
        together = _TOGETHER if card.samples_interact else 1  # alone, x less its mean is zero
        samples: Mapping[str, Array] | Sequence[Mapping[str, Array]]
        samples = self.tried if self.samples is None else self.samples
        if self.frames:
            samples = list(make_small(self.frames, self.given, self.tried, together))
        return choose(
            runs, card.inputs, samples, allowed, made_up=self.samples is None, together=together
        )

    def _requires(self, graph: onnx.ModelProto) -> Requirements:
        opsets = {entry.domain: entry.version for entry in graph.opset_import}
        require_readable(self.device.engine, opsets, graph.ir_version)
        return Requirements(graph.ir_version, opsets[""], self.device.engine.version)

    def _doubts(self, chosen: GoldenChoice, *, can_tell: bool) -> tuple[str, ...]:
        """Return what the golden samples cannot tell, a sentence, for the card and the report."""
        if not chosen.samples:
            return ("no golden samples, so that no device can tell whether it answers right",)
        if chosen.tells > 1 or not can_tell:
            return ()
        remedy = ": pass data like the device's" if self.samples is None else ""
        return (
            f"the golden samples would pass with all weights {STRONG:.0%} off, so that a device "
            f"that loads the file hardly proves that it answers right{remedy}",
        )

    def _allowed_for(
        self, run: Run, plain: onnx.ModelProto, card: ModelCard, candidate: Candidate | None
    ) -> Allowed:
        """Return what ``_allowed`` does; the samples are pictures, which ``plain`` takes."""
        if not self.frames:
            return self._allowed(run, card, candidate)
        kind = candidate.recipe.kind if candidate else "none"
        with Runner(self.card, kind, self.device.cpu).open(plain) as on_pictures:
            return self._allowed(on_pictures, card, candidate)

    def _allowed(self, run: Run, card: ModelCard, candidate: Candidate | None) -> Allowed:
        """Return what a golden output may be off by at least, as a function of golden outputs.

        1. A float output: as much as the parity check allows, by the output's largest value. An
           int8 output: two per cent of that value.
        2. The largest value is taken over the user's samples and over the golden sample itself.
           That of a large input is coarse or a ramp, and its answers may be far larger.
        3. Where quantizing moves an output by more than that share, a tie that is rounded the other
           way may do so, too: three times the typical error is allowed, ten per cent at most.
        """
        answers = {} if self.samples is None else run(self.samples)
        sizes = {name: _size(array) for name, array in answers.items()}
        lost = candidate.measured.agreement.typical_difference if candidate else {}

        def allowed(outputs: Mapping[str, GoldenOutput]) -> dict[str, float]:
            found = {}
            for name, output in outputs.items():
                largest = max(sizes.get(name, 0.0), _size(output.values))
                if output.values.dtype.kind != "f":
                    found[name] = 0.0
                elif card.quantization is None:
                    floor = self.floors.get(name, ABSOLUTE_TOLERANCE)
                    found[name] = floor + RELATIVE_TOLERANCE * largest
                else:
                    smallest = 0.0 if name in self.floors else _SMALLEST_RANGE
                    least = max(largest, smallest)
                    wanted = _TYPICAL_DIFFERENCES * lost.get(name, 0.0)
                    bounds = _INT8_TOLERANCE * least, _WIDEST_INT8_TOLERANCE * least
                    found[name] = float(np.clip(wanted, *bounds))
            return found

        return allowed


def _size(array: Array) -> float:
    """Return the largest absolute value of those that are numbers."""
    if array.dtype.kind not in "iufb":
        return 0.0
    values = array.astype(np.float64)
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


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
    unproven: tuple[str, ...],
) -> ModelCard:
    """Return the card with what holds for every artifact of this conversion.

    Args:
        base: name, inputs, outputs and labels.
        source: where the model came from.
        float_graph: the optimized graph.
        calibration: the data that the inputs' ranges are taken from.
        unproven: what the parity check could not tell.
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
        unproven=unproven,
    )
