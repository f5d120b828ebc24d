"""From a conversion to all that its report shows.

The conversion knows the candidates, the float graph, Keras, and which samples judged; ``files`` has
the artifact's file alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeport import ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.reporting import comparison, measuring, sections
from edgeport_converter.reporting.records import (
    CandidateRow,
    FileFacts,
    Latency,
    Missing,
    RemakeCommand,
    ReportData,
)
from edgeport_converter.verification.runners import Batches, Run

if TYPE_CHECKING:
    from edgeport_converter.report import ConversionReport

_FLOAT_RECIPE = "none"


@dataclass(frozen=True, eq=False)
class ConversionEvidence:
    """What a conversion knows beside its ``ConversionReport``.

    Attributes:
        keras: the Keras model as a function.
        open_float: opens the float graph as it is judged.
        open_artifact: the same of the artifact's graph, without frames.
        card: what these take and answer.
        layers: name the layers by the names of a graph's nodes.
        judged: the samples that judged; None without data.
        calibration: those that calibrated; None where nothing was quantized.
        labels: of the samples that judged, None without any.
        has_classes: whether the first output scores classes.
        border: of a score that stands alone, above which it means class 1.
        command: what makes the artifact again.
        model: as ``convert`` was given it.
        max_drop: the budget.
        judged_sha256: of the samples that judged, "" without data.
        smaller_is_better: whether the metric is an error.
    """

    keras: Run
    open_float: Callable[[], AbstractContextManager[Run]]
    open_artifact: Callable[[], AbstractContextManager[Run]]
    card: ModelCard
    layers: KerasLayers
    judged: Batches | None
    calibration: Batches | None
    labels: Array | None
    has_classes: bool
    border: float
    command: RemakeCommand
    model: Any
    max_drop: float
    judged_sha256: str
    smaller_is_better: bool


def from_conversion(report: ConversionReport, known: ConversionEvidence) -> ReportData:
    """Return what a conversion found, and a comparison of Keras, float graph and artifact."""
    card, path = report.card, report.output
    artifact = sections.load_graph(path)
    golden = card.golden_samples[0].inputs if card.golden_samples else None
    is_float = card.quantization is None
    compared = _compare_conversion(known)
    latency: Latency | Missing
    if report.latency_us is None:
        latency = measuring.measure_latency(artifact, card, golden)
    else:
        shapes = "" if golden is None else measuring.describe_shapes(golden)
        machine = measuring.describe_machine()
        latency = Latency(report.latency_us, report.float_latency_us, machine, shapes)
    agreement: str | Missing = Missing("Nothing was quantized: this is the float graph itself.")
    if report.agreement is not None and not is_float:
        agreement = f"{report.agreement.describe()} {report.judged_on}"
    metrics = tuple(
        replace(each, smaller_is_better=known.smaller_is_better)
        for each in sections.card_metrics(
            report.accuracy, f"measured on samples {report.judged_on}"
        )
    )
    remedy = "Pass evaluation data with labels to the conversion."
    data = ReportData(
        title=card.name,
        headline="",
        holds=True,
        origin="Written by the conversion that made the artifact.",
        file=FileFacts(
            path.name,
            report.file_bytes,
            card.sha256,
            None if is_float else report.float_bytes,
            card.provenance.get("source", ""),
            sections.size_of_file(known.model),
        ),
        card=card.to_dict(),
        recipe="none" if is_float else report.recipe,
        metrics=metrics
        or sections.without_metric(has_data=known.judged is not None, remedy=remedy),
        agreement=agreement,
        latency=latency,
        float_layers=dict(card.quantization.float_layers) if card.quantization else {},
        reason=report.reason,
        budget="" if not report.steps else f"max_drop {known.max_drop:g}",
        candidates=_candidates(report),
        layers=sections.layer_rows(report.layers, card),
        layer_errors=Missing("Nothing was quantized, so that no layer has an error.")
        if is_float
        else None,
        compared=sections.describe_compared(compared, report.judged_on),
        pairs=(),
        worst=(),
        activations=sections.activations(
            artifact,
            card,
            known.layers,
            None if card.frames else known.calibration,  # the graph takes frames, these are none
            "of the calibration data",
            remedy=f"`edgeport report {path.name} --data DATA` counts them on frames."
            if card.frames
            else "",
        ),
        class_pairs=(),
        reliability=(),
        self_test=measuring.run_self_test(path, artifact, card),
        command=known.command,
        versions=sections.versions(card),
        digests=sections.digests(card, known.judged_sha256),
        notes=tuple(note for note in report.notes if note not in card.unproven),
        unproven=card.unproven,
    )
    no_keras = Missing("The answers of this model cannot be compared as numbers.")
    data = sections.with_comparison(
        data, compared, has_labels=known.labels is not None, no_keras=no_keras
    )
    return sections.with_headline(data)


def _compare_conversion(known: ConversionEvidence) -> comparison.Compared | Missing:
    if known.judged is None:
        return Missing(
            "The conversion had no data to compare answers on.",
            "Pass evaluation data to the conversion, best with labels.",
        )
    if known.card.samples_interact:
        return sections.SAMPLES_INTERACT
    with ExitStack() as stack:
        runs = {
            comparison.KERAS: known.keras,
            comparison.FLOAT: stack.enter_context(known.open_float()),
            comparison.ARTIFACT: stack.enter_context(known.open_artifact()),
        }
        return comparison.compare(
            runs,
            known.judged(comparison.BATCH),
            known.card,
            labels=known.labels,
            has_classes=known.has_classes,
            border=known.border,
        )


def _candidates(report: ConversionReport) -> tuple[CandidateRow, ...] | Missing:
    """Return the float graph and every recipe that was tried."""
    if not report.steps:
        return Missing(
            "Nothing was quantized, so that there was nothing to choose from.",
            "Pass calibration data to the conversion to have int8 recipes tried.",
        )
    reached = report.accuracy.float32 if report.accuracy else None
    is_tried = any(step.recipe == _FLOAT_RECIPE for step in report.steps)
    rows = (
        []
        if is_tried
        else [
            CandidateRow(
                f"{_FLOAT_RECIPE} (float32)",
                reached,
                None if report.agreement is None or report.agreement.top_1 is None else 1.0,
                None,
                report.float_bytes,
                report.float_latency_us,
                holds=True,
                is_chosen=False,
                sentence="what the others are made from and held to",
            )
        ]
    )
    for step in report.steps:
        chosen = step.recipe == report.recipe and step.latency_us == report.latency_us
        rows.append(
            CandidateRow(
                f"{step.recipe} (float32)" if step.recipe == _FLOAT_RECIPE else step.recipe,
                step.metric,
                step.top_1,
                step.signal_to_noise_db,
                step.file_bytes,
                step.latency_us,
                step.holds,
                chosen,
                step.sentence,
            )
        )
    return tuple(rows)
