"""Classes: whether a model's outputs score them, and whether labels and class names fit them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.artifact.golden import Array

_SHARES = (0.0, 1.0)  # the range of an output after a sigmoid or a softmax


def is_classifier(outputs: Sequence[TensorSpec]) -> bool:
    """Whether the only output is a row of class scores, or one probability."""
    count = _count_scores(outputs)
    return count is not None and len(outputs[0].shape) == 2 and (count > 1 or _is_share(outputs))


def is_logit(outputs: Sequence[TensorSpec]) -> bool:
    """Whether the only output is one number a sample, or a place of it, that is no probability."""
    return _count_scores(outputs) == 1 and not _is_share(outputs)


def best_classes(scores: Array, border: float = 0.5) -> Array:
    """Return the classes with the highest scores.

    Args:
        scores: (N, ..., C), or (N, ..., 1): a number that is above the border for class 1.
        border: 0.5 for a probability, 0 for a logit.

    Returns:
        int64 class numbers (N, ...).
    """
    if scores.shape[-1] == 1:
        return (scores[..., 0] > border).astype(np.int64)
    best: Array = scores.argmax(axis=-1)
    return best


def find_border(outputs: Array, labels: Array) -> float:
    """Return what the numbers (N, ..., 1) of a layer without an activation are compared with.

    They are logits, whose border is 0, or probabilities, as a loss of squares teaches them, whose
    border is 0.5. Probabilities p with E[y | p] = p explain a part of the labels' variance: the
    mean of (p - y)^2 is smaller than the variance of y. Logits z with E[y | z] = s(z), s being the
    sigmoid, never do: the mean of (z - y)^2 is E[s (1 - s)] + E[(z - s)^2], the variance of y is
    E[s (1 - s)] + Var[s], and E[(z - s)^2] >= Var[z - s] > Var[s], since the slope of s is at most
    1/4 and that of z - s at least 3/4.

    Args:
        outputs: of some hundred samples.
        labels: 0 or 1, for each of them.
    """
    values = outputs[..., 0].astype(np.float64)
    if values.min() >= 0 and values.max() <= 1:
        return 0.5
    return 0.5 if np.mean((values - labels) ** 2) < np.var(labels) else 0.0


def as_classes(
    labels: Array, outputs: Sequence[TensorSpec]
) -> tuple[Array | None, tuple[str, ...]]:
    """Return class numbers as ``check_labels`` does, and a note where they say little.

    Shares from 0 to 1 are the targets of a regression with a sigmoid, not classes: None.

    Raises:
        OptionError: the labels fit no classes of the model.
    """
    if _is_regression(labels, outputs):
        return None, (
            f"the labels are numbers from {labels.min():.4g} to {labels.max():.4g}, so that the "
            "model is taken for a regression, whose quantization is held to agreement with the "
            "float model: pass a metric to measure by the labels",
        )
    classes = check_labels(labels, outputs)
    if classes.size < 2 or (classes != classes.flat[0]).any():
        return classes, ()
    return classes, (
        f"all {len(classes)} labels of the evaluation data are class {classes.flat[0]}, so that "
        "the accuracy says nothing of the other classes: pass samples of each class",
    )


def _is_regression(labels: Array, outputs: Sequence[TensorSpec]) -> bool:
    """Whether the labels are shares for one output after a sigmoid, or a picture of them."""
    return (
        _count_scores(outputs) is not None
        and _is_share(outputs)
        and labels.dtype.kind == "f"
        and labels.size > 0
        and labels.shape[1:] in (_sizes(outputs, labels), _sizes(outputs, labels)[:-1])
        and (outputs[0].shape[-1] == 1 or len(outputs[0].shape) > 2)
        and labels.min() >= 0
        and labels.max() <= 1
        and bool((labels != np.floor(labels)).any())
    )


def _sizes(outputs: Sequence[TensorSpec], labels: Array) -> tuple[int, ...]:
    """Return the shape of one sample's output, free axes as the labels have them."""
    shape = outputs[0].shape[1:]
    have = (*labels.shape[1:], 1)
    free = zip(shape, have, strict=False)
    return tuple(size if isinstance(size, int) else known for size, known in free)


def _count_scores(outputs: Sequence[TensorSpec]) -> int | None:
    """Return the size of the last axis of the only output, None where it cannot score classes."""
    if len(outputs) != 1 or len(outputs[0].shape) < 2 or outputs[0].dtype.kind != "f":
        return None
    count = outputs[0].shape[-1]
    return count if isinstance(count, int) else None


def _is_share(outputs: Sequence[TensorSpec]) -> bool:
    return outputs[0].value_range == _SHARES


def are_classes(labels: Array, outputs: Sequence[TensorSpec]) -> bool:
    """Whether ``check_labels`` accepts them."""
    try:
        check_labels(labels, outputs)
    except OptionError:
        return False
    return True


def check_labels(labels: Array, outputs: Sequence[TensorSpec]) -> Array:
    """Return class numbers (N, ...) for scores (N, ..., C), such as (N, H, W, C) or (N, T, C).

    Args:
        labels: class numbers (N, ...) or (N, ..., 1), or one-hot rows (N, ..., C).
        outputs: the model's.

    Raises:
        OptionError: the model is no classifier, or the labels are no classes of it.
    """
    count = _count_scores(outputs)
    rank = len(outputs[0].shape)
    classes = max(count or 0, 2)
    if labels.ndim == rank and labels.shape[-1] == classes and _is_one_hot(labels):
        labels = labels.argmax(axis=-1)
    if labels.ndim == rank and labels.shape[-1] == 1:
        labels = labels[..., 0]
    is_number = labels.dtype.kind in "biuf" and labels.size > 0
    whole = is_number and bool(np.all(labels == np.floor(labels)))
    low, high = (labels.min(), labels.max()) if whole else (0, 0)
    fits = whole and labels.ndim == rank - 1 and low >= 0 and high < classes
    # A column of numbers, and places of them, may be a regression as well.
    may_regress = (is_logit(outputs) or rank > 2) and labels.dtype.kind in "biuf"
    if count is None or (not fits and may_regress and not (whole and rank > 2)):
        raise OptionError(
            "labels were given, but the model has no single output of class scores"
            f"{_of_logits(outputs)}, expected a classifier: pass a metric for them, or leave the "
            "labels out, then agreement with the float model is measured"
        )
    places = _sizes(outputs, labels)[: rank - 2]
    if not fits or labels.shape[1:] != places:
        found = "text" if labels.dtype.kind in "OSU" else str(labels.dtype)
        found += f" of shape {labels.shape}"
        if whole:
            found += f" from {low} to {high}"
        form = ", ".join(["N", *map(str, outputs[0].shape[1:-1])])
        raise OptionError(
            f"the labels are {found}, expected class numbers from 0 to {classes - 1} of shape "
            f"({form}{',' if rank == 2 else ''}) or one-hot rows of shape ({form}, {classes}): "
            f"{_remedy(labels, classes)}"
        )
    return labels.astype(np.int64)


def _is_one_hot(rows: Array) -> bool:
    return rows.dtype.kind in "biuf" and bool(
        np.all((rows == 0) | (rows == 1)) and np.all(rows.sum(axis=-1) == 1)
    )


def _of_logits(outputs: Sequence[TensorSpec]) -> str:
    if not is_logit(outputs):
        return ""
    return " (a number without a sigmoid is a logit only for labels 0 and 1)"


def _remedy(labels: Array, classes: int) -> str:
    if labels.dtype.kind in "OSU":
        return "pass the classes' names, labels=[...], in the order of the scores"
    if labels.ndim > 1 and labels.shape[-1] == classes:
        return "for several classes a sample, or shares of them, pass a metric of your own"
    return "number the classes as the model does; labels to leave out need a metric of your own"


def class_names_of(data: Any) -> tuple[str, ...] | None:
    """Return the classes' names in the order in which the data numbers them; None without names.

    They are those of the folders in a folder, in name order, or ``class_names`` of a set that was
    read from one, as by ``image_dataset_from_directory``.
    """
    if isinstance(data, (str, os.PathLike)):
        folder = Path(data)
        entries = sorted(folder.iterdir()) if folder.is_dir() else []
        names = [path.name for path in entries if path.is_dir() and path.name[0] != "."]
    else:
        known = getattr(data, "class_names", None)
        names = list(known) if isinstance(known, (list, tuple)) else []
    return tuple(map(str, names)) or None


def check_number_of_classes(names: Sequence[str], outputs: Sequence[TensorSpec], data: Any) -> None:
    """Refuse names that came with the data where a classifier has another number of classes.

    Args:
        names: of the classes, by ``class_names_of``.
        outputs: of the model.
        data: that has them, for the message.

    Raises:
        OptionError: the data's numbers may be those of other classes.
    """
    expected = max(int(outputs[0].shape[-1]), 2)
    if len(names) == expected:
        return
    listed = f"{', '.join(map(repr, names[:6]))}{', …' if len(names) > 6 else ''}"
    step = "pass the names of all classes in the order of the scores, labels=[...]"
    if len(names) == 1 and isinstance(data, (str, os.PathLike)):
        inner = Path(data) / names[0]
        if len(class_names_of(inner) or ()) == expected:
            step = f"pass '{inner}', which has {expected} folders"
    raise OptionError(
        f"the evaluation data has {len(names)} class{'' if len(names) == 1 else 'es'} by its "
        f"folders, {listed}, and the model {expected}, so that their numbers may be those of "
        f"other classes: {step}"
    )


def check_class_names(labels: Sequence[str] | None, outputs: Sequence[TensorSpec]) -> None:
    """Refuse class names that do not fit the outputs.

    Raises:
        OptionError: the model is no classifier, or has another number of classes.
    """
    if labels is None:
        return
    if not all(isinstance(label, str) and label.strip() for label in labels):
        raise OptionError(
            f"the labels are {list(labels)}, expected a text for each class: name them all"
        )
    repeated = sorted({label for label in labels if list(labels).count(label) > 1})
    if repeated:
        raise OptionError(
            f"the label '{repeated[0]}' occurs more than once, expected a name for each class: "
            "give each its own name"
        )
    if not is_classifier(outputs) and not (is_logit(outputs) and len(outputs[0].shape) == 2):
        raise OptionError(
            "labels were given, but the model has no single output of class scores: "
            "leave the labels out"
        )
    count = outputs[0].shape[-1]
    expected = 2 if count == 1 else count
    if len(labels) != expected:
        raise OptionError(
            f"there are {len(labels)} labels, the model has {expected} classes: "
            "pass one name for each class, in the order of the scores"
        )
