"""Whether a model is a classifier, and whether labels and class names fit its classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.artifact.golden import Array


def is_classifier(outputs: Sequence[TensorSpec]) -> bool:
    """Whether the only output is a row of class scores, or one probability."""
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].dtype.kind != "f":
        return False
    count = outputs[0].shape[1]
    return isinstance(count, int) and (count > 1 or outputs[0].value_range == (0.0, 1.0))


def _is_one_hot(rows: Array) -> bool:
    return rows.dtype.kind in "biuf" and bool(
        np.all((rows == 0) | (rows == 1)) and np.all(rows.sum(axis=1) == 1)
    )


def _remedy(labels: Array, classes: int) -> str:
    if labels.dtype.kind in "OSU":
        return "pass the classes' names, labels=[...], in the order of the scores"
    if labels.ndim == 2 and labels.shape[1] == classes:
        return "for several classes a sample, or shares of them, pass a metric of your own"
    return "number the classes as the model does"


def are_classes(labels: Array, outputs: Sequence[TensorSpec]) -> bool:
    """Whether ``check_labels`` accepts them."""
    try:
        check_labels(labels, outputs)
    except OptionError:
        return False
    return True


def check_labels(labels: Array, outputs: Sequence[TensorSpec]) -> Array:
    """Return class indices (N,) from labels as indices (N,), (N, 1) or one-hot rows (N, C).

    Raises:
        OptionError: the model is no classifier, or the labels are no classes of it.
    """
    if not is_classifier(outputs):
        raise OptionError(
            "labels were given, but the model has no single output of class scores, expected a "
            "classifier: pass a metric for them, or leave the labels out, then agreement with the "
            "float model is measured"
        )
    classes = max(int(outputs[0].shape[1]), 2)
    if labels.ndim == 2 and labels.shape[1] == classes and _is_one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = labels.ndim == 1 and labels.dtype.kind in "biuf" and bool(np.all(labels == labels // 1))
    if not whole or labels.size == 0 or labels.min() < 0 or labels.max() >= classes:
        found = "text" if labels.dtype.kind in "OSU" else str(labels.dtype)
        found += f" of shape {labels.shape}"
        if whole and labels.size:
            found += f" from {labels.min()} to {labels.max()}"
        raise OptionError(
            f"the labels are {found}, expected class numbers from 0 to {classes - 1} of shape (N,) "
            f"or one-hot rows of shape (N, {classes}): {_remedy(labels, classes)}"
        )
    return labels.astype(np.int64)


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
    if not is_classifier(outputs):
        raise OptionError(
            "labels were given, but the model has no single output of class scores: "
            "leave the labels out"
        )
    count = outputs[0].shape[1]
    expected = 2 if count == 1 else count
    if len(labels) != expected:
        raise OptionError(
            f"there are {len(labels)} labels, the model has {expected} classes: "
            "pass one name for each class, in the order of the scores"
        )
