"""The data of one conversion: read, matched with the model's inputs; labels with its outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from edgeport import OptionError, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.artifact.signal_format import SignalFormat
from edgeport.inputs.images import IMAGES
from edgeport_converter.data.datasets import Dataset, read_dataset
from edgeport_converter.data.image_folders import note_left_out
from edgeport_converter.data.labels import as_classes
from edgeport_converter.data.recordings import RECORDINGS
from edgeport_converter.data.sources import ReadingOptions, keep


@dataclass(frozen=True, eq=False)
class UserData:
    """The user's data.

    Attributes:
        calibration: what activation ranges are taken from, None where none was given.
        measured: what the loss is measured on: the evaluation data, or else the calibration data.
        labels: of the evaluation data, one a sample; None where it has none.
        notes: on labels that say little, and on what was left out.
    """

    calibration: Dataset | None
    measured: Dataset | None
    labels: Array | None
    notes: tuple[str, ...] = ()


def read_user_data(
    calibration: Any,
    evaluation: Any,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    /,
    *,
    needs_classes: bool,
    **how: Unpack[ReadingOptions],
) -> UserData:
    """Return the data that ``convert`` was given, checked against the model.

    Args:
        calibration: as for ``convert``.
        evaluation: as for ``convert``.
        inputs: the model's.
        outputs: the model's.
        needs_classes: whether the labels have to be classes, as for accuracy.
        how: as for ``open_source``, but for ``like`` and ``outputs``, which are known here.

    Raises:
        OptionError: the data cannot be read, or its labels are no classes of the model.
        InputError: it disagrees with the inputs.
    """
    _check_order(evaluation, how.get("class_names"))
    names = how["outputs"] = [spec.name for spec in outputs]
    if calibration is evaluation is not None:  # one pass, for an iterable that can be read once
        calibration = evaluation = keep(calibration, inputs, "calibration", names)

    first = second = None
    if calibration is not None:
        first = read_dataset(calibration, inputs, "calibration", **how)
        how["like"] = first.columns
    if evaluation is not None:
        second = read_dataset(evaluation, inputs, "evaluation", **how)
    labels = None if second is None else second.labels
    left_out = _note_files_left_out((calibration, evaluation), how.get("signal"))
    notes: tuple[str, ...] = ()
    if labels is not None and needs_classes:
        labels, notes = as_classes(labels, outputs)
    further = dict.fromkeys(n for one in (first, second) if one is not None for n in one.left_out)
    if further:
        listed = ", ".join(f"'{name}'" for name in list(further)[:12])
        notes += (
            f"the data has columns that the model does not take, which were left out: {listed}"
            f"{', …' if len(further) > 12 else ''}",
        )
    if labels is None and not needs_classes:
        raise OptionError(
            "a metric was given and the evaluation data "
            + ("is missing" if second is None else "has no labels")
            + ", expected data with labels to measure it on: pass evaluation=(x, y), or leave the "
            "metric out"
        )
    return UserData(first, second or first, labels, left_out + notes)


def _note_files_left_out(sources: Sequence[Any], signal: SignalFormat | None) -> tuple[str, ...]:
    """Return a note for each folder of images or recordings that holds files of other kinds."""
    folders = dict.fromkeys(
        Path(one) for one in sources if isinstance(one, (str, os.PathLike)) and Path(one).is_dir()
    )
    suffixes = IMAGES if signal is None else RECORDINGS
    return tuple(note for folder in folders for note in note_left_out(folder, suffixes))


def _check_order(source: Any, class_names: Sequence[str] | None) -> None:
    """Refuse class names in another order than that of a set which knows its own.

    Keras' ``image_dataset_from_directory`` and the like number the classes by ``class_names``.
    """
    known = getattr(source, "class_names", None)
    if class_names is None or not isinstance(known, (list, tuple)):
        return
    wrong = next(
        (pair for pair in zip(known, class_names, strict=False) if pair[0] != pair[1]), None
    )
    if wrong is not None and set(known) == set(class_names):
        raise OptionError(
            f"the evaluation data numbers its classes as {', '.join(map(repr, known))} and the "
            f"labels have '{wrong[1]}' where it has '{wrong[0]}', expected one order: pass "
            "labels=data.class_names if the model was trained on such data"
        )
