"""What is reported: each layer, and the evidence as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeport_converter.conversion.float_model import FloatModel
from edgeport_converter.conversion.measuring import Baseline
from edgeport_converter.conversion.proving import ParityCheck
from edgeport_converter.conversion.quantizing import Quantized
from edgeport_converter.conversion.source import LoadedSource
from edgeport_converter.conversion.user_samples import ConversionData
from edgeport_converter.options import ConversionOptions
from edgeport_converter.paths import variant_path
from edgeport_converter.report import ConversionReport

if TYPE_CHECKING:
    from edgeport_converter.quantization.evaluation.layer_report import LayerReport


def describe_layers(
    float_model: FloatModel,
    quantized: Quantized,
    source: LoadedSource,
    data: ConversionData,
    parity: ParityCheck,
) -> tuple[LayerReport, ...]:
    """Return what each Keras layer became in the graph that is written."""
    from edgeport_converter.quantization.evaluation.layer_report import report_layers

    chosen = quantized.candidate
    return report_layers(
        chosen.float_graph if chosen else float_model.compact,
        chosen.graph if chosen else float_model.compact,
        source.layers,
        data.golden_candidates or parity.tried,
        float_model.card.inputs,
    )


def find_report(
    report: Any, sources: Sequence[Any], options: ConversionOptions, destination: Path
) -> Path | None:
    """Return where the report goes; refuse at once what could not be written after the work."""
    if report is None:
        return None
    from edgeport_converter.reporting.page import find_page

    variants = [variant_path(destination, kind) for kind in options.quantization.also]
    return find_page(report, sources, (destination, *variants))


def write_page(
    page: Path,
    found: ConversionReport,
    float_model: FloatModel,
    quantized: Quantized,
    source: LoadedSource,
    data: ConversionData,
    baseline: Baseline,
    asked: ConversionOptions,
    model: Any,
    given: dict[str, Any],
) -> None:
    """Gather the evidence of the conversion and write it as one HTML file."""
    from edgeport_converter.data.labels import are_classes, check_labels
    from edgeport_converter.quantization.evaluation import evidence
    from edgeport_converter.reporting import conversions, remaking
    from edgeport_converter.reporting.rendering import write_report
    from edgeport_converter.verification.runners import Runner

    candidate, judged = quantized.candidate, data.roles.judged
    kind = candidate.recipe.kind if candidate else "none"
    labels = data.user.labels if baseline.evaluator is not None else None
    card = replace(float_model.card, columns=data.columns)
    if labels is not None:  # with a metric of the user's they may be anything
        labels = check_labels(labels, card.outputs) if are_classes(labels, card.outputs) else None
    has_classes = evidence.answers_with_a_class(source.model, card, labels, data.border)
    known = conversions.ConversionEvidence(
        keras=float_model.reference,
        open_float=float_model.open,
        open_artifact=lambda: Runner(float_model.card, kind, asked.device.cpu).open(
            candidate.graph if candidate else float_model.compact
        ),
        card=card,
        layers=source.layers,
        judged=None if judged is None else judged.batches,
        calibration=None if data.roles.calibration is None else data.roles.calibration.batches,
        labels=labels,
        has_classes=has_classes or labels is not None,
        border=data.border or 0.0,
        command=remaking.command_of_conversion(
            model, found.output, given, found.card.labels, asked, found.card
        ),
        model=model,
        max_drop=asked.budget.max_drop,
        judged_sha256="" if judged is None else judged.sha256,
        smaller_is_better=baseline.evaluator is not None and baseline.evaluator.smaller_is_better,
    )
    write_report(conversions.from_conversion(found, known), page)
