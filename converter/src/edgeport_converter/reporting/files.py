"""From an artifact's file to all that its report shows.

The file has the card and the graph. With data the artifact is run, and with the Keras model the two
are compared. ``conversions`` knows more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgeport import ModelCard, OptionError, Predictor, SelfTestError, TensorSpec
from edgeport.artifact.card import BATCH_AXIS
from edgeport.artifact.golden import Array
from edgeport.artifact.seal import read_card
from edgeport.inputs.examples import example
from edgeport.signals import reraise_signal
from edgeport_converter.data.labels import as_classes, find_border, is_classifier, is_logit
from edgeport_converter.progress import say, track_batches
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.quantization.evaluation.layer_report import report_layers
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.reporting import comparison, measuring, remaking, sections, words
from edgeport_converter.reporting.records import (
    FileFacts,
    LayerRow,
    MetricFigures,
    Missing,
    ReportData,
)
from edgeport_converter.sensors.frame_inputs import FrameInput
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.verification.runners import (
    Batches,
    Run,
    as_run,
    in_fixed_batches,
    open_graph,
    run_as_defined,
)

_BORDER_BATCHES = 8
_WITH_LABELS = "Pass data with labels: --data DATA."
_AT_CONVERSION = "`edgeport convert … --report FILE`, or convert(report=), writes a report with it."


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
    artifact = sections.load_graph(path)
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
    metrics = sections.card_metrics(card.accuracy, "as the card says, measured by the conversion")
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
            sections.size_of_file(model),
        ),
        card=card.to_dict(),
        recipe=quantized.recipe if quantized else "none",
        metrics=metrics or sections.without_metric(has_data=read is not None, remedy=_WITH_LABELS),
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
        compared=sections.describe_compared(compared, origin),
        pairs=(),
        worst=(),
        activations=sections.activations(
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
        versions=sections.versions(card),
        digests=sections.digests(card, "" if read is None else read.sha256),
        notes=() if read is None else read.notes,
        unproven=card.unproven,
    )
    no_keras = Missing(
        refusal or "The Keras model was not given, and the float graph is not in the file.",
        "" if refusal else f"`edgeport report {path.name} --data DATA --model MODEL.keras`",
    )
    has_labels = read is not None and read.labels is not None
    return sections.with_headline(
        sections.with_comparison(found, compared, has_labels=has_labels, no_keras=no_keras)
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
    batches = track_batches(found.batches, "samples", len(found))
    given: Batches = (lambda _: found.as_given()) if frames else batches
    return _Read(
        batches,
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


def _load_reference(model: Any, card: ModelCard) -> tuple[Run | None, str]:
    """Return the Keras model as a function, or None and why it cannot be compared."""
    if model is None:
        return None, ""
    say("start TensorFlow and load the Keras model")
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
        return sections.SAMPLES_INTERACT
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
            read.batches(comparison.BATCH),
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
        batches = list(islice(read.given(comparison.BATCH), _BORDER_BATCHES))
        answers = np.concatenate([run(batch)[card.outputs[0].name] for batch in batches])
        return find_border(answers, read.labels[: len(answers)]), True
    if read.labels is not None:
        return 0.5, True
    makers = {name: node.op_type for node in artifact.graph.node for name in node.output}
    is_softmax = makers.get(card.outputs[0].name) == "Softmax"
    return 0.5, is_classifier(card.outputs) and (card.labels is not None or is_softmax)


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
    return sections.layer_rows(found, card)


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
