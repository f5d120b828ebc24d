"""The data that is trained on: read, checked, and without the samples that judge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.data.labels import as_classes
from edgeport_converter.quantization.evaluation.held_out import Part

LEAST_SAMPLES = 50
"""Of fewer, weights learn the samples by heart."""

# Samples that are not trained on, but end the training: this share, no more than that many.
_CHECKING_SHARE, _MOST_CHECKING = 0.2, 500
_READ = 256


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Samples and labels in memory, those that end the training apart.

    Attributes:
        training, checking: arrays by input name.
        labels, checking_labels: class numbers, or numbers of the first output's form; None without.
        are_classes: whether the labels are class numbers.
        sha256: of all the data that was given.
        notes: what was left out, a sentence each.
    """

    training: dict[str, Array]
    checking: dict[str, Array]
    labels: Array | None
    checking_labels: Array | None
    are_classes: bool
    sha256: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.training.values())))

    def batches(self, size: int, order: Array) -> Iterator[tuple[dict[str, Array], Array | None]]:
        """Yield full batches in that order; what is left of the last one is dropped."""
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield (
                {name: array[rows] for name, array in self.training.items()},
                None if self.labels is None else self.labels[rows],
            )


def prepare(
    data: Dataset | Part,
    labels: Array | None,
    judged: Dataset | Part,
    outputs: Sequence[TensorSpec],
    *,
    by_class: bool,
    seed: int,
) -> TrainingData:
    """Return what is trained on.

    1. Labels are class numbers, or numbers of the first output's form. Others are left out, a note
       says so.
    2. Samples that judge are left out, whichever of the user's files they stand in.
    3. A fifth of the rest ends the training and is not trained on.

    Args:
        data: what the user gave, or what calibrates.
        labels: one a sample of it, or None.
        judged: the samples that the budget is judged by.
        outputs: the model's.
        by_class: whether labels have to be classes, as for accuracy.
        seed: of the split.

    Raises:
        OptionError: too few samples are left, a label is NaN, or the labels fit no classes.
    """
    notes: tuple[str, ...] = ()
    classes = False
    if labels is not None:
        labels, classes, notes = _as_targets(labels, outputs, by_class=by_class)
    arrays = _joined(data)
    known = {_digest(sample) for batch in judged.batches(_READ) for sample in _rows(batch)}
    kept = np.array([_digest(sample) not in known for sample in _rows(arrays)])
    if not kept.all():
        dropped = int((~kept).sum())
        notes += (
            f"{dropped} of the {len(kept)} samples to fine-tune on were left out, since the loss "
            "is measured on them",
        )
    if kept.sum() < LEAST_SAMPLES:
        raise OptionError(
            f"{int(kept.sum())} samples are left to fine-tune on, expected at least "
            f"{LEAST_SAMPLES} that the loss is not measured on, since weights learn fewer by "
            "heart: pass more in finetune, or leave it out"
        )
    order = np.random.default_rng(seed).permutation(np.flatnonzero(kept))
    count = min(_MOST_CHECKING, int(_CHECKING_SHARE * len(order)))
    parts = order[count:], order[:count]
    training, checking = ({name: array[rows] for name, array in arrays.items()} for rows in parts)
    first, second = (None if labels is None else labels[rows] for rows in parts)
    return TrainingData(training, checking, first, second, classes, data.sha256, notes)


def _as_targets(
    labels: Array, outputs: Sequence[TensorSpec], *, by_class: bool
) -> tuple[Array | None, bool, tuple[str, ...]]:
    """Return labels as targets of the first output, whether they are classes, and notes."""
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        place = int(np.argwhere(~np.isfinite(labels))[0, 0])
        raise OptionError(
            f"the label of sample {place} to fine-tune on is NaN or infinite, expected a number: "
            "clean or drop that sample"
        )
    first = outputs[:1]
    shape = first[0].shape[1:]
    fits = labels.dtype.kind in "iufb" and labels.ndim == len(shape) + 1
    try:
        found, _ = as_classes(labels, first)
    except OptionError:
        if by_class:
            raise
        found = None
    if found is not None and found.dtype.kind in "iub":
        return found.astype(np.int64), True, ()
    if fits and all(a == b for a, b in zip(labels.shape[1:], shape, strict=True)):
        return labels.astype(np.float32), False, ()
    return (
        None,
        False,
        (
            "the labels to fine-tune on were not used, since they are neither classes nor of the "
            "form of the first output: the float model is the teacher",
        ),
    )


def _joined(data: Dataset | Part) -> dict[str, Array]:
    batches = list(data.batches(_READ))
    shapes = {tuple(array.shape[1:] for array in batch.values()) for batch in batches}
    if len(shapes) > 1:
        raise OptionError(
            "the samples to fine-tune on have different shapes, expected one for all: pad or cut "
            "them to one size, or leave finetune out"
        )
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def _rows(arrays: dict[str, Array]) -> Iterator[list[Array]]:
    for row in range(len(next(iter(arrays.values())))):
        yield [array[row] for array in arrays.values()]


def _digest(sample: list[Array]) -> bytes:
    digest = hashlib.sha256()
    for array in sample:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()
