"""From scores to named classes: what ``Predictor.classify`` returns."""

from __future__ import annotations

import numpy as np

from edgeport.artifact.card import ModelCard, format_specs
from edgeport.artifact.golden import Array
from edgeport.artifact.records import Record, record
from edgeport.errors import InferenceError, OptionError


@record
class Label(Record):
    """One class and the model's score for it.

    Attributes:
        name: as in the card's labels, or the class' index as text.
        score: the model's own output, not rescaled.
    """

    name: str
    score: float


def best_labels(
    scores: Array, classes: tuple[str, ...], top_k: int, *, is_logit: bool = False
) -> list[Label] | list[list[Label]]:
    """Return the ``top_k`` classes with the highest scores, best first; ties in class order.

    Args:
        scores: float, (classes) for one sample or (N, classes). A single column is the score of
            the second of two classes, as a sigmoid gives it; the first has the rest to 1.
        classes: from ``class_names``.
        top_k: 1 or more; all classes where there are fewer.
        is_logit: whether a single column is a logit instead; the first class has its negative.

    Returns:
        A list of labels for one sample, a list of such lists for (N, classes).

    Raises:
        InferenceError: a score is NaN.
    """
    scores = class_scores(scores.astype(np.float64), is_logit=is_logit)
    if np.isnan(scores).any():
        raise InferenceError(
            "the model answered NaN for a class, expected a number for each: "
            "look for NaN, infinite or far out-of-range values in the input"
        )
    # A stable sort keeps the order of the classes where scores tie, as argmax does.
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :top_k]
    rows = [
        [Label(classes[index], float(row[index])) for index in best]
        for row, best in zip(np.atleast_2d(scores), np.atleast_2d(order), strict=True)
    ]
    return rows[0] if scores.ndim == 1 else rows


def class_scores(scores: Array, *, is_logit: bool) -> Array:
    """Return a score for each class, (..., classes), also where one column stands for two."""
    if scores.shape[-1] > 1:
        return scores
    return np.concatenate([(0.0 if is_logit else 1.0) - scores, scores], axis=-1)


def class_names(card: ModelCard) -> tuple[str, ...]:
    """Return the name of each class: the card's labels, or else "0", "1", ...

    Raises:
        OptionError: the model's answer is not one row of class scores for each sample, or the
            card has another number of labels.
    """
    labels, spec = card.labels, card.outputs[0]
    is_row = len(card.outputs) == 1 and len(spec.shape) == 2 and spec.has_batch_axis
    count = spec.shape[1] if is_row and spec.dtype.kind == "f" else None
    if count == 1 and (spec.value_range == (0.0, 1.0) or labels is not None):
        count, labels = 2, labels or ("0", "1")
    if not isinstance(count, int) or count < 2 or (labels is not None and len(labels) != count):
        remedy = "use predict"
        rows = [
            one.name
            for one in card.outputs
            if len(one.shape) == 2 and isinstance(one.shape[1], int) and one.dtype.kind == "f"
        ]
        if len(card.outputs) > 1 and rows:
            remedy += f" and choose an output, such as predict(x)['{rows[0]}'], or convert the "
            remedy += f"model with the scores alone, outputs=['{rows[0]}']"
        raise OptionError(
            f"classify needs one output of class scores with shape (N, classes), "
            f"the model gives {format_specs(card.outputs)}"
            f"{'' if labels is None else f' for {len(labels)} labels'}: {remedy}"
        )
    return labels or tuple(str(index) for index in range(count))
