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
_MOST_BYTES = 2**31  # of samples, which are held in memory


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
    3. Of more than memory should hold as many are drawn as it may.
    4. A fifth of the rest ends the training and is not trained on; neither are its copies.

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
    digests, row_bytes = _read_digests(data)
    known = {_digest(sample) for batch in judged.batches(_READ) for sample in _rows(batch)}
    kept = np.array([digest not in known for digest in digests])
    if not kept.all():
        dropped = int((~kept).sum())
        notes += (
            f"{dropped} of the {len(kept)} samples to fine-tune on were left out, since the loss "
            "is measured on them",
        )
    different = len({digest for digest, is_kept in zip(digests, kept, strict=True) if is_kept})
    if different < LEAST_SAMPLES:
        raise OptionError(
            f"{different} samples are left to fine-tune on, expected at least {LEAST_SAMPLES} "
            "different ones that the loss is not measured on, since weights learn fewer by heart: "
            "pass more in finetune, or leave it out"
        )
    order = np.random.default_rng(seed).permutation(np.flatnonzero(kept))
    most = max(LEAST_SAMPLES, _MOST_BYTES // max(row_bytes, 1))
    if len(order) > most:
        notes += (
            f"{most} of the {len(order)} samples to fine-tune on are used, drawn by the seed, "
            f"since all would take more than {_MOST_BYTES / 2**30:.3g} GiB of memory",
        )
        order = order[:most]
    count = min(_MOST_CHECKING, int(_CHECKING_SHARE * len(order)))
    checked = order[:count]
    ending = {digests[row] for row in checked}
    trained = np.array([row for row in order[count:] if digests[row] not in ending], np.int64)
    training, checking = _take(data, [trained, checked])
    first, second = (None if labels is None else labels[rows] for rows in (trained, checked))
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
    if shape == (1,) and labels.ndim == 1 and labels.dtype.kind == "f":
        labels = labels[:, None]
    fits = labels.dtype.kind in "iufb" and labels.ndim == len(shape) + 1
    try:
        found, _ = as_classes(labels, first)
    except OptionError:
        if by_class:
            raise
        found = None
    if found is not None and found.dtype.kind in "iub":
        return found.astype(np.int64), True, ()
    free = (not isinstance(size, int) for size in shape)
    same = (a == b for a, b in zip(labels.shape[1:], shape, strict=False))
    if fits and all(any(pair) for pair in zip(free, same, strict=True)):
        return labels.astype(np.float32), False, ()
    return (
        None,
        False,
        (
            "the labels to fine-tune on were not used, since they are neither classes nor of the "
            "form of the first output: the float model is the teacher",
        ),
    )


def _read_digests(data: Dataset | Part) -> tuple[list[bytes], int]:
    """Return the digest of each sample, and the bytes that one takes; refuse different shapes."""
    digests: list[bytes] = []
    shapes, row_bytes = set(), 0
    for batch in data.batches(_READ):
        shapes.add(tuple(array.shape[1:] for array in batch.values()))
        row_bytes = sum(array[0].nbytes for array in batch.values())
        digests += [_digest(sample) for sample in _rows(batch)]
    if len(shapes) > 1:
        raise OptionError(
            "the samples to fine-tune on have different shapes, expected one for all: pad or cut "
            "them to one size, or leave finetune out"
        )
    return digests, row_bytes


def _take(data: Dataset | Part, parts: Sequence[Array]) -> list[dict[str, Array]]:
    """Return the rows of each part in its order, read in one more pass."""
    first = next(iter(data.batches(1)))
    found = [
        {name: np.empty((len(rows), *a.shape[1:]), a.dtype) for name, a in first.items()}
        for rows in parts
    ]
    sorted_rows = [(np.sort(rows), np.argsort(rows)) for rows in parts]
    begin = 0
    for batch in data.batches(_READ):
        end = begin + len(next(iter(batch.values())))
        for arrays, (rows, places) in zip(found, sorted_rows, strict=True):
            low, high = np.searchsorted(rows, [begin, end])
            for name, array in batch.items():
                arrays[name][places[low:high]] = array[rows[low:high] - begin]
        begin = end
    return found


def _rows(arrays: dict[str, Array]) -> Iterator[list[Array]]:
    for row in range(len(next(iter(arrays.values())))):
        yield [array[row] for array in arrays.values()]


def _digest(sample: list[Array]) -> bytes:
    digest = hashlib.sha256()
    for value in sample:
        array = np.asarray(value)
        is_text = array.dtype.kind in "OSU"
        text = "\n".join(map(str, array.flat)).encode() if is_text else array.tobytes()
        digest.update(text)
    return digest.digest()
