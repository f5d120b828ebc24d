"""From a conversion, or from a file, to all that a report shows.

``from_conversion`` knows the candidates, the float graph, Keras, and which samples judged.
``from_file`` knows the card and the graph; with data it runs the artifact, with a Keras model it
compares the two. Each part that is not there becomes a ``Missing`` here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgeport import (
    Accuracy,
    ModelCard,
    OptionError,
    Predictor,
    SelfTestError,
    TensorSpec,
)
from edgeport.artifact.card import BATCH_AXIS
from edgeport.artifact.golden import Array
from edgeport.artifact.seal import read_card
from edgeport.inputs.examples import example
from edgeport.signals import reraise_signal
from edgeport_converter.data.labels import as_classes, find_border, is_classifier, is_logit
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.quantization.evaluation.layer_report import report_layers
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.reporting import comparison, measuring, remaking, words
from edgeport_converter.reporting.activations import BATCH, count_activations
from edgeport_converter.reporting.records import (
    ActivationRanges,
    CandidateRow,
    ClassPairs,
    FileFacts,
    Latency,
    LayerRow,
    MetricFigures,
    Missing,
    OutputPairs,
    Reliability,
    RemakeCommand,
    ReportData,
    SelfTest,
    WorstSample,
)
from edgeport_converter.sensors.frame_inputs import FrameInput
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.verification.runners import (
    Batches,
    Run,
    as_run,
    cut_into_batches,
    in_fixed_batches,
    open_graph,
    run_as_defined,
)

if TYPE_CHECKING:
    from edgeport_converter.quantization.evaluation.layer_report import LayerReport
    from edgeport_converter.report import ConversionReport

_BATCH = 64
_HISTOGRAM_SAMPLES = 64
_BORDER_SAMPLES = 512
_FLOAT_RECIPE = "none"
_KINDS = {
    "none": "A float artifact",
    "static": "An int8 artifact",
    "int16": "An artifact with int8 weights and 16-bit activations",
    "dynamic": "An int8 artifact that finds its ranges at each run",
    "weights": "An artifact with int8 weights and float arithmetic",
}
_DIGESTS = {"source_sha256": "model", "weights_sha256": "weights"}

_WITH_LABELS = "Pass data with labels: --data DATA."
_AT_CONVERSION = "`edgeport convert … --report FILE`, or convert(report=), writes a report with it."


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
    artifact = _load_graph(path)
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
        for each in _card_metrics(report.accuracy, f"measured on samples {report.judged_on}")
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
            _size_of(known.model),
        ),
        card=card.to_dict(),
        recipe="none" if is_float else report.recipe,
        metrics=metrics or _without_metric(has_data=known.judged is not None, remedy=remedy),
        agreement=agreement,
        latency=latency,
        float_layers=dict(card.quantization.float_layers) if card.quantization else {},
        reason=report.reason,
        budget="" if not report.steps else f"max_drop {known.max_drop:g}",
        candidates=_candidates(report),
        layers=_layer_rows(report.layers, card),
        layer_errors=Missing("Nothing was quantized, so that no layer has an error.")
        if is_float
        else None,
        compared=_describe_compared(compared, report.judged_on),
        pairs=(),
        worst=(),
        activations=_activations(
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
        versions=_versions(card),
        digests=_digests(card, known.judged_sha256),
        notes=tuple(note for note in report.notes if note not in card.unproven),
        unproven=card.unproven,
    )
    no_keras = Missing("The answers of this model cannot be compared as numbers.")
    data = _with_comparison(data, compared, has_labels=known.labels is not None, no_keras=no_keras)
    return _with_headline(data)


def _compare_conversion(known: ConversionEvidence) -> comparison.Compared | Missing:
    if known.judged is None:
        return Missing(
            "The conversion had no data to compare answers on.",
            "Pass evaluation data to the conversion, best with labels.",
        )
    if known.card.samples_interact:
        return Missing(
            "Answers depend on the whole batch, so that figures would change with the batches."
        )
    with ExitStack() as stack:
        runs = {
            comparison.KERAS: known.keras,
            comparison.FLOAT: stack.enter_context(known.open_float()),
            comparison.ARTIFACT: stack.enter_context(known.open_artifact()),
        }
        return comparison.compare(
            runs,
            known.judged(_BATCH),
            known.card,
            labels=known.labels,
            has_classes=known.has_classes,
            border=known.border,
        )


def from_file(
    path: str | os.PathLike[str],
    *,
    data: Any = None,
    model: Any = None,
    label_column: str | None = None,
) -> ReportData:
    """Return what a file tells of itself, and what can be measured of it here.

    Args:
        path: of an artifact, or of an ONNX file without a card, for which nothing vouches.
        data: samples in any form that ``convert`` takes for its evaluation, frames and recordings
            where the artifact takes these; None without any.
        model: the Keras model to compare with, as ``convert`` takes it; None without one.
        label_column: of a table.

    Raises:
        ArtifactError: the file is damaged, or cannot be opened.
        OptionError: the data cannot be used.
        InputError: the data disagrees with the artifact's inputs.
        ConversionError: the model cannot be loaded.
    """
    path = Path(path)
    card, opens = _open(path)
    artifact = _load_graph(path)
    read = None if data is None else _read(data, card, label_column)
    reference, refusal = _load_reference(model, card)
    compared = _compare_file(card, artifact, read, reference, opens=opens)
    golden = card.golden_samples[0].inputs if card.golden_samples else None
    sample = golden if read is None else next(iter(read.given(1)))
    quantized, origin = card.quantization, "of the data that the report was given"
    has_codes = quantized is not None or any("Quantize" in n.op_type for n in artifact.graph.node)
    agreement: str | Missing = Missing("Nothing is quantized: this is a float graph.")
    if has_codes:
        agreement = Missing("The file says nothing of its agreement with float.", _AT_CONVERSION)
    if quantized is not None and quantized.evidence:
        agreement = f"{quantized.evidence}, as the card says"
    metrics = _card_metrics(card.accuracy, "as the card says, measured by the conversion")
    metrics += _measured_metrics(compared)
    found = ReportData(
        title=card.name,
        headline="",
        holds=True,
        origin=_origin_of_file(has_data=read is not None, has_model=reference is not None),
        file=FileFacts(
            path.name,
            path.stat().st_size,
            card.sha256,
            None,
            card.provenance.get("source", ""),
            _size_of(model),
        ),
        card=card.to_dict(),
        recipe=quantized.recipe if quantized else "none",
        metrics=metrics or _without_metric(has_data=read is not None, remedy=_WITH_LABELS),
        agreement=agreement,
        latency=measuring.measure_latency(artifact, card, sample),
        float_layers=dict(quantized.float_layers) if quantized else {},
        reason="",
        budget="",
        candidates=Missing(
            "The file holds the artifact alone, not the other recipes that the conversion tried.",
            _AT_CONVERSION,
        ),
        layers=_measured_layers(artifact, card, sample),
        layer_errors=Missing(
            "The errors of single layers need the float graph, which is not in the file.",
            _AT_CONVERSION,
        )
        if has_codes
        else Missing("Nothing is quantized, so that no layer has an error."),
        compared=_describe_compared(compared, origin),
        pairs=(),
        worst=(),
        activations=_activations(
            artifact,
            card,
            KerasLayers(),
            None if read is None else read.given,
            origin,
            remedy=f"Pass data: `edgeport report {path.name} --data DATA`.",
        ),
        class_pairs=(),
        reliability=(),
        self_test=measuring.run_self_test(path, artifact, card),
        command=remaking.command_of_card(card, path),
        versions=_versions(card),
        digests=_digests(card, "" if read is None else read.sha256),
        notes=() if read is None else read.notes,
        unproven=card.unproven,
    )
    no_keras = Missing(
        refusal or "The Keras model was not given, and the float graph is not in the file.",
        "" if refusal else f"`edgeport report {path.name} --data DATA --model MODEL.keras`",
    )
    has_labels = read is not None and read.labels is not None
    return _with_headline(
        _with_comparison(found, compared, has_labels=has_labels, no_keras=no_keras)
    )


def _origin_of_file(*, has_data: bool, has_model: bool) -> str:
    parts = ["the file"]
    parts += ["the data that was given"] if has_data else []
    parts += ["the Keras model"] if has_model else []
    joined = " and ".join(parts) if len(parts) < 3 else f"{parts[0]}, {parts[1]} and {parts[2]}"
    more = "" if has_data and has_model else " Reports of conversions show more."
    return f"Made from {joined}.{more}"


@dataclass(frozen=True, eq=False)
class _Read:
    """The user's data for a file.

    Attributes:
        batches: samples as the model inside of the artifact takes them, a batch at a time.
        given: the same as the artifact takes them: batches, or single samples where inputs take
            frames, which may differ in size.
        labels: class numbers, None without any.
        card: with pictures in place of frames, whose samples ``batches`` gives.
    """

    batches: Batches
    given: Batches
    labels: Array | None
    card: ModelCard
    notes: tuple[str, ...]
    sha256: str
    samples: int


def _read(data: Any, card: ModelCard, label_column: str | None) -> _Read:
    """Read data for an artifact; labels that are no classes of the model become a note."""
    from edgeport_converter.data.datasets import read_dataset

    frames = tuple(
        FrameInput(name, Frames.from_text(each.training), each.picture)
        for name, each in card.frames.items()
    )
    pictures = {each.name: each.picture for each in frames}
    specs = tuple(
        TensorSpec(
            spec.name,
            np.dtype(np.float32),
            (BATCH_AXIS, *pictures[spec.name]),
            ("N", "H", "W", "C"),
        )
        if spec.name in pictures
        else spec
        for spec in card.inputs
    )
    found = read_dataset(
        data,
        specs,
        "evaluation",
        class_names=card.labels,
        label_column=label_column,
        frames=frames,
        signal=card.signal,
        columns=card.columns,
        outputs=[spec.name for spec in card.outputs],
    )
    labels = found.labels
    notes: tuple[str, ...] = ()
    if labels is not None:
        try:
            labels, notes = as_classes(labels, card.outputs)
        except OptionError as cause:
            labels = None
            notes = (f"no accuracy was measured by the labels of the data: {cause}",)
    given: Batches = (lambda _: found.as_given()) if frames else found.batches
    return _Read(
        found.batches,
        given,
        labels,
        replace(card, inputs=specs, frames={}),
        notes,
        found.sha256,
        len(found),
    )


def _open(path: Path) -> tuple[ModelCard, bool]:
    """Return the card, and whether this machine takes the file; a failed self-test is no error."""
    card = read_card(path)
    try:
        with Predictor.load(path, tuning=False) as predictor:
            return predictor.card, True
    except SelfTestError:
        if card is None:
            raise
        return card, False


def _load_graph(path: Path) -> onnx.ModelProto:
    """Return the graph without card and seal, so that it can be opened under another card."""
    graph = onnx.load(path)
    del graph.metadata_props[:]
    return graph


def _load_reference(model: Any, card: ModelCard) -> tuple[Run | None, str]:
    """Return the Keras model as a function, or None and why it cannot be compared."""
    if model is None:
        return None, ""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        from edgeport_converter.loading.load import load_model, start_tensorflow

        start_tensorflow()
        from edgeport_converter import exporting
    loaded = load_model(model)
    wanted = {
        spec.name: "float32" if spec.name in card.frames else str(spec.dtype)
        for spec in card.inputs
    }
    found = {info.name: info.dtype.replace("string", "object") for info in loaded.inputs}
    if wanted != found:
        return None, (
            f"The artifact takes {_in_pairs(wanted)} and the Keras model {_in_pairs(found)}, since "
            "the conversion put preprocessing before it, so that they cannot be given the same "
            "samples here; the report of the conversion itself compares them."
        )
    names = [info.name for info in loaded.outputs]
    if set(names) != {spec.name for spec in card.outputs}:
        return None, (
            f"The artifact answers with {words.listed([s.name for s in card.outputs])} and the "
            f"Keras model with {words.listed(names)}: they are two models, or the conversion kept "
            "other outputs."
        )
    return in_fixed_batches(exporting.reference_of(loaded), card.inputs), ""


def _in_pairs(named: Mapping[str, str]) -> str:
    return ", ".join(f"'{name}' {dtype}" for name, dtype in named.items())


def _compare_file(
    card: ModelCard,
    artifact: onnx.ModelProto,
    read: _Read | None,
    reference: Run | None,
    *,
    opens: bool,
) -> comparison.Compared | Missing:
    if read is None:
        return Missing(
            "The report was given no data to run the artifact on.",
            "Pass some, best with labels: `edgeport report FILE --data DATA --model MODEL.keras`.",
        )
    if card.samples_interact:
        return Missing(
            "Answers depend on the whole batch, so that figures would change with the batches."
        )
    with ExitStack() as stack:
        if opens:
            run = as_run(stack.enter_context(open_graph(artifact, card)))
        else:
            run = in_fixed_batches(run_as_defined(artifact), card.inputs)
        border, has_classes = _find_classes(run, card, artifact, read)
        runs = {comparison.ARTIFACT: _on_given(run, read) if card.frames else run}
        if reference is not None:
            runs[comparison.KERAS] = reference
        return comparison.compare(
            runs,
            read.batches(_BATCH),
            read.card,
            labels=read.labels,
            has_classes=has_classes,
            border=border,
        )


def _on_given(run: Run, read: _Read) -> Run:
    """Return the artifact as a function of pictures: it is run on the frames that they came from.

    Samples have to be asked for in the order of the data, each once.
    """
    frames = iter(read.given(1))

    def on_frames(batch: Mapping[str, Array]) -> dict[str, Array]:
        count = len(next(iter(batch.values())))
        answers = [run(sample) for sample in islice(frames, count)]
        return {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}

    return on_frames


def _find_classes(
    run: Run, card: ModelCard, artifact: onnx.ModelProto, read: _Read
) -> tuple[float, bool]:
    """Return the border of a score that stands alone, and whether the output scores classes."""
    if is_logit(card.outputs):
        if read.labels is None:
            return 0.0, card.labels is not None
        batches = list(islice(read.given(_BATCH), max(1, _BORDER_SAMPLES // _BATCH)))
        answers = np.concatenate([run(batch)[card.outputs[0].name] for batch in batches])
        return find_border(answers, read.labels[: len(answers)]), True
    if read.labels is not None:
        return 0.5, True
    makers = {name: node.op_type for node in artifact.graph.node for name in node.output}
    is_softmax = makers.get(card.outputs[0].name) == "Softmax"
    return 0.5, is_classifier(card.outputs) and (card.labels is not None or is_softmax)


def _activations(
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


def _measured_layers(
    artifact: onnx.ModelProto, card: ModelCard, sample: Mapping[str, Array] | None
) -> tuple[LayerRow, ...] | Missing:
    """Return time and bytes of each layer of a file; every scope of its nodes counts as a layer."""
    if not all(spec.has_batch_axis for spec in card.inputs):
        return Missing("The inputs have no batch axis, so that no single sample could be timed.")
    try:
        feed = example(card, 1) if sample is None else sample
        found = report_layers(artifact, artifact, KerasLayers(), feed, card.inputs)
    except Exception as cause:  # a made-up sample may be none that the graph takes
        reraise_signal(cause)
        return Missing(
            f"The graph took no made-up sample ({type(cause).__name__}).", "Pass data: --data DATA."
        )
    return _layer_rows(found, card)


def _layer_rows(layers: Sequence[LayerReport], card: ModelCard) -> tuple[LayerRow, ...]:
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


def _card_metrics(accuracy: Accuracy | None, origin: str) -> tuple[MetricFigures, ...]:
    if accuracy is None:
        return ()
    values = (accuracy.keras, accuracy.float32, accuracy.artifact)
    is_share = accuracy.metric == "accuracy" and all(0 <= value <= 1 for value in values)
    return (MetricFigures(accuracy.metric, accuracy.samples, *values, is_share, origin),)


def _measured_metrics(compared: comparison.Compared | Missing) -> tuple[MetricFigures, ...]:
    """Return the accuracy on the data that a file's report was given."""
    if isinstance(compared, Missing) or not compared.accuracy:
        return ()
    found = compared.accuracy
    return (
        MetricFigures(
            "accuracy",
            compared.samples,
            found.get(comparison.KERAS),
            found.get(comparison.FLOAT),
            found[comparison.ARTIFACT],
            is_share=True,
            origin="measured now, on the data that the report was given",
        ),
    )


def _without_metric(*, has_data: bool, remedy: str) -> Missing:
    if has_data:
        return Missing("The data has no labels that are classes of the model.", remedy)
    return Missing("There was no data with labels to measure accuracy on.", remedy)


def _with_comparison(
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


def _with_headline(data: ReportData) -> ReportData:
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


def _describe_compared(compared: comparison.Compared | Missing, origin: str) -> str:
    if isinstance(compared, Missing):
        return ""
    return f"{words.count(compared.samples, 'sample')} {origin}".strip()


def _size_of(path: Any) -> int | None:
    """Return the size of a model's file, None of a folder or of what is no file."""
    if not isinstance(path, (str, os.PathLike)):
        return None
    return Path(path).stat().st_size if Path(path).is_file() else None


def _versions(card: ModelCard) -> dict[str, str]:
    left_out = {"source", "weights", *_DIGESTS}
    found = {name: text for name, text in card.provenance.items() if name not in left_out}
    if card.requires is not None:
        needs = card.requires
        found["runs on"] = (
            f"onnxruntime {needs.onnxruntime} or newer (opset {needs.opset}, IR {needs.ir_version})"
        )
    return found


def _digests(card: ModelCard, evaluation: str) -> dict[str, str]:
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
