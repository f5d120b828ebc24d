"""Figures of a trained model on a test set, by scikit-learn's formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn import metrics

from edgeport.artifact.golden import Array
from edgeport_converter.training.data.batches import as_feed
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples

_BATCH = 512
_CALIBRATION_BINS = 15
_MOST_CONFUSED = 500  # classes; nobody reads a table of more


@dataclass(frozen=True)
class ClassFigures:
    """Precision and recall of one class.

    ``precision`` is None where no sample was given this class, ``recall`` where none has it.
    """

    name: str
    precision: float | None
    recall: float | None
    samples: int


@dataclass(frozen=True)
class Evaluation:
    """Figures on one set of samples.

    Attributes:
        samples: how many.
        metric, value: the one figure that stands for all: accuracy, or the R² of a regression.
        figures: by name: accuracy and expected_calibration_error; or mae, rmse and r2.
        classes: () for a regression.
        confusion: a row for each true class, a column for each called one; () for a
            regression, and beyond 500 classes.
    """

    samples: int
    metric: str
    value: float
    figures: dict[str, float]
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-ready data; NaN becomes None."""
        found = asdict(self)
        found["value"] = _or_none(self.value)
        found["figures"] = {name: _or_none(value) for name, value in self.figures.items()}
        return found


def evaluate(model: Any, read: TrainingData, samples: TrainingSamples) -> Evaluation:
    """Return the figures of a model on samples that it has not seen."""
    answers = np.asarray(model.predict(as_feed(samples), batch_size=_BATCH, verbose=0))
    if read.is_regression:
        return measure_values(answers[:, 0].astype(np.float64), samples.targets)
    return measure_scores(answers, samples.targets, read.classes)


def measure_values(answers: Array, targets: Array) -> Evaluation:
    """Return the figures of a regression; R² needs two different targets and is NaN without."""
    has_spread = len(targets) > 1 and targets.min() < targets.max()
    figures = {
        "mae": float(metrics.mean_absolute_error(targets, answers)),
        "rmse": math.sqrt(metrics.mean_squared_error(targets, answers)),
        "r2": float(metrics.r2_score(targets, answers)) if has_spread else math.nan,
    }
    return Evaluation(len(targets), "r2", figures["r2"], figures)


def measure_scores(scores: Array, labels: Array, names: Sequence[str]) -> Evaluation:
    """Return the figures of a classifier.

    Scores are (N, C) shares that add to one, or (N, 1), the share of class 1.
    """
    if scores.shape[1] == 1:
        scores = np.concatenate([1 - scores, scores], axis=1)
    called = scores.argmax(axis=1)
    numbers = np.arange(len(names))
    precision, recall, _, support = metrics.precision_recall_fscore_support(
        labels, called, labels=numbers, zero_division=np.nan
    )
    accuracy = float(np.mean(called == labels))
    figures = {
        "accuracy": accuracy,
        "expected_calibration_error": calibration_error(scores, labels),
    }
    return Evaluation(
        len(labels),
        "accuracy",
        accuracy,
        figures,
        tuple(
            ClassFigures(name, _or_none(p), _or_none(r), int(n))
            for name, p, r, n in zip(names, precision, recall, support, strict=True)
        ),
        _confusion(labels, called, numbers),
    )


def _confusion(labels: Array, called: Array, numbers: Array) -> tuple[tuple[int, ...], ...]:
    if len(numbers) > _MOST_CONFUSED:
        return ()
    counts = metrics.confusion_matrix(labels, called, labels=numbers)
    return tuple(tuple(int(count) for count in row) for row in counts)


def calibration_error(scores: Array, labels: Array, bins: int = _CALIBRATION_BINS) -> float:
    """Return the expected calibration error: how far confidence and accuracy lie apart.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017: the best class' score
    in bins of equal width, each bin's gap weighed by its share of the samples.
    """
    confidence = scores.max(axis=1).astype(np.float64)
    right = scores.argmax(axis=1) == labels
    bin_of = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.zeros(bins)
    np.add.at(gaps, bin_of, right - confidence)
    return float(np.abs(gaps).sum() / len(labels))


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
