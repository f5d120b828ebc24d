"""The data of one conversion: read, matched to the model's inputs, and checked for its scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.data import datasets, scales
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.data.labels import check_labels
from edgeport_converter.options import PixelOptions

if TYPE_CHECKING:
    from edgeport_converter.exporting import ExportedModel
    from edgeport_converter.loading.model import LoadedModel
    from edgeport_converter.verification.runners import Run


_MIN_CALIBRATION = 10


_THIN_EVIDENCE = 100


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
        labels = check_labels(labels, exported.outputs)
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
