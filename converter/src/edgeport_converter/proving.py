"""What a conversion proves with the user's data before anything is quantized.

That the data fits the model and is scaled as in training, that the float graph answers as Keras
does, and that both reach the same metric. ``pipeline`` calls these in that order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeport import Accuracy, ArtifactError, ModelCard, OptionError
from edgeport.golden import Array
from edgeport_converter import trying, verifying
from edgeport_converter.data import datasets, scales
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.errors import AgreementError, UnsupportedModelError
from edgeport_converter.graphs import open_graph
from edgeport_converter.options import PixelOptions
from edgeport_converter.verifying import Parity, Run

if TYPE_CHECKING:
    import onnx

    from edgeport_converter.exporting import ExportedModel
    from edgeport_converter.loaded import LoadedModel
    from edgeport_converter.quantization.agreement import Agreement
    from edgeport_converter.quantization.evaluating import Evaluator

_PARITY_SAMPLES = 512
_PARITY_BATCH = 64
_MISSING_KERNEL = re.compile(
    r"Could not find an implementation for (\w+)\(\d+\) node with name '(.*?)'"
)

_MIN_CALIBRATION = 10
_THIN_EVIDENCE = 100

# Between Keras and the float graph, by the user's metric on all of the evaluation data: a sample
# or two may stand on the border of two classes, more would be another model.
_MAX_METRIC_GAP = 0.002


@dataclass(frozen=True, eq=False)
class UserData:
    """The user's data: what ranges are taken from, what the loss is measured on."""

    calibration: Dataset | None
    measured: Dataset | None
    labels: Array | None


def read_user_data(
    exported: ExportedModel,
    calibration: Any,
    evaluation: Any,
    *,
    needs_classes: bool,
    image_range: tuple[float, float],
    class_names: Sequence[str] | None = None,
) -> UserData:
    """Return the data that ``convert`` was given, checked against the model's inputs.

    Args:
        exported: says what the inputs and outputs are.
        calibration: as for ``convert``.
        evaluation: as for ``convert``.
        needs_classes: whether the labels have to be classes, as for accuracy.
        image_range: as for ``convert``.
        class_names: the labels of ``convert``.

    Raises:
        OptionError: the data cannot be read, or its labels are no classes of the model.
        InputError: it disagrees with the inputs.
    """

    def read(source: Any, purpose: str) -> Dataset | None:
        if source is None:
            return None
        return datasets.read_dataset(
            source, exported.inputs, purpose, image_range=image_range, class_names=class_names
        )

    first, second = read(calibration, "calibration"), read(evaluation, "evaluation")
    labels = None if second is None else second.labels
    if labels is not None and needs_classes:
        labels = verifying.check_labels(labels, exported.outputs)
    if labels is None and not needs_classes:
        raise OptionError(
            "a metric was given and the evaluation data "
            + ("is missing" if second is None else "has no labels")
            + ", expected data with labels to measure it on: pass evaluation=(x, y), or leave the "
            "metric out"
        )
    return UserData(first, second or first, labels)


def check_scale(
    loaded: LoadedModel, run: Run, data: UserData, pixels: PixelOptions, *, by_class: bool
) -> tuple[str, ...]:
    """Return a note on data that may be scaled in another way than in training.

    Args:
        loaded: the model as it was trained.
        run: computes it.
        data: of pixels, where ``pixels`` says so.
        pixels: how these are scaled.
        by_class: whether the labels are classes.

    Raises:
        OptionError: the labels tell that the scale is another one.
    """
    spec = loaded.inputs[0]
    if data.measured is None or len(loaded.inputs) > 1 or not spec.dtype.startswith("float"):
        return ()
    value_range = data.measured.value_ranges[spec.name]
    if data.labels is not None and by_class:
        samples = data.measured.first(scales.SAMPLES)[spec.name]
        if pixels.input_uint8:
            mean = 0.0 if pixels.mean is None else np.asarray(pixels.mean)
            factor = 1.0 if pixels.scale is None else np.asarray(pixels.scale)
            samples = ((samples - mean) * factor).astype(np.float32)
            value_range = float(samples.min()), float(samples.max())
        if scales.require_trained_scale(run, spec.name, samples, data.labels, value_range):
            return ()
    if pixels.input_uint8 or loaded.preprocessing or not scales.looks_like_pixels(*value_range):
        return ()
    return (scales.note(spec.name, value_range, has_labels=data.labels is not None),)


def check_evidence(data: UserData) -> tuple[str, ...]:
    """Return notes where few samples, or the wrong ones, stand for what quantization loses.

    Raises:
        OptionError: the calibration data is too little to take ranges from.
    """
    if data.calibration is not None and len(data.calibration) < _MIN_CALIBRATION:
        raise OptionError(
            f"the calibration data holds {len(data.calibration)} samples, expected at least "
            f"{_MIN_CALIBRATION}, since the ranges of so few say nothing of the device's: pass "
            "some hundred"
        )
    notes = []
    if data.measured is not None and len(data.measured) < _THIN_EVIDENCE:
        notes.append(
            f"what quantization loses was measured on {len(data.measured)} samples: a few hundred "
            "would tell half a per cent"
        )
    if data.calibration is not None and data.measured is data.calibration:
        notes.append(
            "what quantization loses was measured on the calibration data itself, which flatters "
            "it: pass evaluation data of its own"
        )
    return tuple(notes)


def check_metric(name: str, evaluator: Evaluator) -> tuple[str, ...]:
    """Return a note where the metric cannot tell a good artifact from a bad one."""
    if evaluator.reached is None or evaluator.float_metric is not None:
        return ()
    return (
        f"{name} is {evaluator.reached:.4f} and loses no more than max_drop when the answers are "
        "shuffled among the samples, so that it tells nothing of the artifact, which was held to "
        "agree with the float model instead: check the labels, or pass a smaller max_drop",
    )


def check_answers(agreement: Agreement | None) -> tuple[str, ...]:
    """Return a note where the model answers all of the data with the same class."""
    if agreement is None or agreement.classes != 1 or agreement.samples < _MIN_CALIBRATION:
        return ()
    return (
        f"the float model gives all {agreement.samples} samples the same class: check that the "
        "data is scaled as in training and holds samples of each class",
    )


def answers_with_a_class(
    loaded: LoadedModel,
    exported: ExportedModel,
    names: Sequence[str] | None,
    labels: Array | None,
) -> bool:
    """Whether the best class is what matters.

    Scores (N, C) alone may as well be a regression, or, with a sigmoid each, several answers; a
    softmax, class names or labels tell.
    """
    return verifying.is_classifier(exported.outputs) and (
        loaded.outputs[0].activation == "softmax"
        or names is not None
        or (labels is not None and verifying.are_classes(labels, exported.outputs))
    )


def check_parity(
    graph: onnx.ModelProto, card: ModelCard, exported: ExportedModel, data: Dataset | None
) -> tuple[Parity, dict[str, Array]]:
    """Return the parity, and the last inputs that it was measured on.

    Raises:
        AgreementError: the graph does not answer as Keras does.
        UnsupportedModelError: the engine has no kernel for an operator in the format it is used in.
    """
    batches = []
    if data is not None:
        samples = data.first(_PARITY_SAMPLES)
        start = 0
        for size in (*verifying.BATCH_SIZES, *[_PARITY_BATCH] * (_PARITY_SAMPLES // _PARITY_BATCH)):
            batch = {name: array[start : start + size] for name, array in samples.items()}
            if all(len(array) for array in batch.values()):
                batches.append(batch)
            start += size
    known = trying.looked_up(graph)
    batches = trying.parity_inputs(exported.inputs, batches, exported.reference, known)
    try:
        opened = open_graph(graph, card)
    except ArtifactError as cause:
        missing = _MISSING_KERNEL.search(str(cause))
        if missing is None:
            raise
        operator, node = missing.groups()
        raise UnsupportedModelError(
            f"the model computes {operator} ('{node}') in a number format that onnxruntime has no "
            "kernel for, expected float32 or what its documentation lists for this operator: cast "
            "its inputs to float32 in the model"
        ) from cause
    with opened as predictor:
        run = verifying.as_run(predictor)
        return verifying.check_parity(run, exported.reference, batches), batches[-1]


def compare_metrics(
    name: str, keras: float | None, evaluator: Evaluator, data: UserData
) -> Accuracy | None:
    """Return the metric with Keras and with the float graph, None without labels.

    Raises:
        AgreementError: they differ.
    """
    float32 = evaluator.reached
    if keras is None or float32 is None or data.measured is None:
        return None
    if abs(keras - float32) > max(_MAX_METRIC_GAP, 2 / len(data.measured)):
        raise AgreementError(
            f"{name} is {keras:.4f} with Keras and {float32:.4f} with the float graph, expected "
            "the same: report this model, its conversion would be wrong",
            measured=abs(keras - float32),
            allowed=_MAX_METRIC_GAP,
        )
    return Accuracy(name, len(data.measured), keras, float32, float32)
