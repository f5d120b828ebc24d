"""The parts of a report that every artifact has, whether a conversion or its file tells of it.

``conversions`` and ``files`` put them together; each part that is not there is a ``Missing``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgeport import Accuracy, ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.reporting import comparison, words
from edgeport_converter.reporting.activations import BATCH, count_activations
from edgeport_converter.reporting.records import (
    ActivationRanges,
    ClassPairs,
    LayerRow,
    MetricFigures,
    Missing,
    OutputPairs,
    Reliability,
    ReportData,
    SelfTest,
    WorstSample,
)
from edgeport_converter.verification.runners import Batches, cut_into_batches

if TYPE_CHECKING:
    from edgeport_converter.quantization.evaluation.layer_report import LayerReport

SAMPLES_INTERACT = Missing(
    "Answers depend on the whole batch, so that figures would change with the batches."
)

_HISTOGRAM_SAMPLES = 64
_KINDS = {
    "none": "A float artifact",
    "static": "An int8 artifact",
    "int16": "An artifact with int8 weights and 16-bit activations",
    "dynamic": "An int8 artifact that finds its ranges at each run",
    "weights": "An artifact with int8 weights and float arithmetic",
}
_DIGESTS = {"source_sha256": "model", "weights_sha256": "weights"}


def load_graph(path: Path) -> onnx.ModelProto:
    """Return the graph without card and seal, so that it can be opened under another card."""
    graph = onnx.load(path)
    del graph.metadata_props[:]
    return graph


def activations(
    artifact: onnx.ModelProto,
    card: ModelCard,
    layers: KerasLayers,
    batches: Batches | None,
    origin: str,
    *,
    remedy: str,
) -> ActivationRanges | Missing:
    """Return the histograms of a few samples, or why there are none."""
    if not any(node.op_type == "QuantizeLinear" for node in artifact.graph.node):
        return Missing(
            "No activation has a calibrated range: the artifact computes in float, or finds its "
            "ranges at each run."
        )
    if batches is None:
        return Missing("There is no data to count the activations of.", remedy)
    samples = 0

    def few() -> Iterator[Mapping[str, Array]]:
        nonlocal samples
        for batch in batches(BATCH):
            if samples >= _HISTOGRAM_SAMPLES:
                return
            samples += len(next(iter(batch.values())))
            yield from cut_into_batches(batch, BATCH, card.inputs)

    histograms = count_activations(artifact, layers, few())
    if not histograms:
        return Missing("No activation has one range that is known before a run.")
    return ActivationRanges(samples, origin, histograms)


def layer_rows(layers: Sequence[LayerReport], card: ModelCard) -> tuple[LayerRow, ...]:
    """Return the rows of the table of layers, each with why it stayed in float."""
    reasons = card.quantization.float_layers if card.quantization else {}
    return tuple(
        LayerRow(
            layer.name,
            layer.operators,
            layer.number_format,
            layer.signal_to_noise_db,
            layer.time_share,
            layer.weight_bytes,
            reasons.get(layer.name, ""),
        )
        for layer in layers
    )


def card_metrics(accuracy: Accuracy | None, origin: str) -> tuple[MetricFigures, ...]:
    """Return what the conversion measured with labels, () where it had none."""
    if accuracy is None:
        return ()
    values = (accuracy.keras, accuracy.float32, accuracy.artifact)
    is_share = accuracy.metric == "accuracy" and all(0 <= value <= 1 for value in values)
    return (MetricFigures(accuracy.metric, accuracy.samples, *values, is_share, origin),)


def without_metric(*, has_data: bool, remedy: str) -> Missing:
    """Return why there is no accuracy."""
    if has_data:
        return Missing("The data has no labels that are classes of the model.", remedy)
    return Missing("There was no data with labels to measure accuracy on.", remedy)


def with_comparison(
    data: ReportData,
    compared: comparison.Compared | Missing,
    *,
    has_labels: bool,
    no_keras: Missing,
) -> ReportData:
    """Return the data with what was found on samples, or why nothing was."""
    if isinstance(compared, Missing):
        return replace(
            data, pairs=compared, worst=compared, class_pairs=compared, reliability=compared
        )
    pairs: tuple[OutputPairs, ...] | Missing = compared.pairs or no_keras
    worst: tuple[WorstSample, ...] | Missing = compared.worst if compared.pairs else no_keras
    classes: tuple[ClassPairs, ...] | Missing = compared.class_pairs or Missing(
        "The output scores no classes, so that there are none to confuse."
        if not has_labels
        else "There was one form of the model and no labels, so that nothing could be confused."
    )
    reliability: tuple[Reliability, ...] | Missing = compared.reliability or Missing(
        "The scores are no probabilities of classes."
        if has_labels or isinstance(classes, Missing)
        else "Whether scores tell how often they are right needs labels.",
        "" if has_labels or isinstance(classes, Missing) else "Pass data with labels.",
    )
    return replace(data, pairs=pairs, worst=worst, class_pairs=classes, reliability=reliability)


def with_headline(data: ReportData) -> ReportData:
    """Return the data with the verdict in one sentence."""
    is_sealed = data.file.sha256 is not None
    failed = isinstance(data.self_test, SelfTest) and not data.self_test.holds
    quantized = data.card["quantization"]
    kind = _KINDS.get(quantized["recipe"] if quantized else "none", "An artifact")
    kept = ", within its budget" if quantized and data.budget else ""
    holds = is_sealed and not failed
    if not is_sealed:
        headline = "Nothing vouches for this file: it has no card, and nobody proved its answers."
    elif failed:
        headline = "This machine refuses the artifact: a golden sample came out otherwise."
    elif isinstance(data.self_test, SelfTest):
        headline = f"{kind}{kept}, sealed and whole; its golden samples hold on this machine."
    else:
        headline = f"{kind}{kept}, sealed and whole, without golden samples to run."
    if holds and data.unproven:
        headline += " Its own checks left doubts."
    return replace(data, headline=headline, holds=holds)


def describe_compared(compared: comparison.Compared | Missing, origin: str) -> str:
    """Return how many samples were compared, and which; "" for none."""
    if isinstance(compared, Missing):
        return ""
    return f"{words.count(compared.samples, 'sample')} {origin}".strip()


def size_of_file(path: Any) -> int | None:
    """Return the size of a model's file, None of a folder or of what is no file."""
    if not isinstance(path, (str, os.PathLike)):
        return None
    return Path(path).stat().st_size if Path(path).is_file() else None


def versions(card: ModelCard) -> dict[str, str]:
    """Return the versions that made the artifact, and the engine that it needs."""
    left_out = {"source", "weights", *_DIGESTS}
    found = {name: text for name, text in card.provenance.items() if name not in left_out}
    if card.requires is not None:
        needs = card.requires
        found["runs on"] = (
            f"onnxruntime {needs.onnxruntime} or newer (opset {needs.opset}, IR {needs.ir_version})"
        )
    return found


def digests(card: ModelCard, evaluation: str) -> dict[str, str]:
    """Return what identifies file, model and data, by what it is the digest of."""
    found = {"this artifact": card.sha256 or ""}
    for key, name in _DIGESTS.items():
        if key in card.provenance:
            file = card.provenance.get(key.removesuffix("_sha256"), "")
            found[f"{name} {file}".strip()] = card.provenance[key]
    if card.calibration is not None:
        found["calibration data"] = card.calibration.sha256
    found["samples that judged"] = evaluation
    return {name: digest for name, digest in found.items() if digest}
