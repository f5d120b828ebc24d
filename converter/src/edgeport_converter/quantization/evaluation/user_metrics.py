"""The user's metric as ``convert`` calls it: argument order, objects of Keras, which way is better.

Functions of Keras and scikit-learn take the labels first, those of ``convert`` the outputs, and a
mean squared error is better when it is smaller. None of that raises an error when it is mistaken:
the budget would be held to the wrong side. The names of the parameters tell the order, the name of
the metric which way is better; ``evaluator`` checks the latter by shuffled answers, which are worse
than the model's own.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeport.artifact.golden import Array

Metric = Callable[[Array, Array], float]
"""(outputs (N, ...), labels (N, ...)) to a number."""

# What is sure to be the labels, and what is sure to be the outputs. A plain y, or t, may be either.
_LABELS = {
    *("y_true", "true", "truth", "label", "labels", "target", "targets", "references"),
    *("gt", "ground_truth", "groundtruth", "actual", "expected", "y_test", "trues", "reference"),
}
_OUTPUTS = {
    *("y_pred", "pred", "preds", "prediction", "predictions", "predicted", "y_hat", "yhat"),
    *("y_score", "y_scores", "y_prob", "y_proba", "prob", "probs", "probabilities", "p"),
    *("score", "scores", "output", "outputs", "logits", "hypotheses"),
}

_SMALLER = {
    *("loss", "losses", "error", "errors", "deviance", "divergence", "distance", "perplexity"),
    *("mse", "mae", "rmse", "mape", "smape", "msle", "rmsle", "wmape", "nrmse", "nll", "kld"),
    *("wer", "cer", "eer", "ece", "brier", "logloss", "crossentropy", "entropy", "hinge", "huber"),
    *("poisson", "pinball", "crps", "regret", "hamming", "misses", "mistakes", "cost"),
}
_LARGER = {
    *("accuracy", "acc", "precision", "recall", "f1", "fbeta", "auc", "auroc", "iou", "jaccard"),
    *("dice", "r2", "correlation", "similarity", "kappa", "matthews", "mcc", "bleu", "psnr"),
    *("ssim", "snr", "explained", "sensitivity", "specificity", "score"),
}
_NEGATED = {"neg", "negative", "negated", "minus", "inverse"}


def adapt(metric: Any) -> Metric:
    """Return the user's metric as a function of outputs and labels.

    1. A metric object of Keras is reset, updated and read at each call; a class of such is made.
    2. A function whose first parameter is named for labels, or whose second is named for outputs,
       and not the other way round, gets the labels first.
    3. One number a sample, as the functions of Keras return, becomes the mean.

    Args:
        metric: a function of (outputs, labels) or of (y_true, y_pred); a metric or a loss of Keras.
    """
    if isinstance(inspect.unwrap(metric) if callable(metric) else metric, type):
        metric = metric()
    if hasattr(metric, "update_state") and hasattr(metric, "reset_state"):
        return _mean_of_samples(_read_keras_metric(metric))
    if _takes_labels_first(metric):
        return _mean_of_samples(lambda outputs, labels: metric(labels, outputs))
    return _mean_of_samples(metric)


def name_of(metric: Any) -> str:
    """Return the metric's name: of a function, also of a partial one, or of an object of Keras."""
    while isinstance(metric, functools.partial):
        metric = metric.func
    for attribute in ("__name__", "name"):
        name = getattr(metric, attribute, None)
        if isinstance(name, str):
            return name
    return "metric"


def is_smaller_better(metric: Any) -> bool | None:
    """Whether smaller is better by the metric's name, None where the name does not tell.

    ``mean_squared_error`` and ``MeanSquaredError`` tell, and ``neg_mean_squared_error`` says the
    opposite. What comes from ``keras.losses`` is a loss whatever its name.

    Args:
        metric: as the user gave it; None for accuracy.
    """
    if metric is None:
        return False
    while isinstance(metric, functools.partial):
        metric = metric.func
    origin = metric if isinstance(metric, str) else getattr(metric, "__module__", "") or ""
    if re.match(r"(tf_|tensorflow\.|tf\.)?keras\.(\w+\.)*losses\b", origin):
        return True
    name = metric.rpartition(":")[2] if isinstance(metric, str) else name_of(metric)
    words = set(re.findall(r"[a-z]+\d?", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()))
    if {"cross", "entropy"} <= words:
        words.add("crossentropy")
    if words & _SMALLER:
        return not words & _NEGATED
    return False if words & _LARGER and not words & _NEGATED else None


def _takes_labels_first(metric: Any) -> bool:
    try:
        names = list(inspect.signature(metric).parameters)
    except (TypeError, ValueError):  # written in C, or a callable that hides its parameters
        return False
    if len(names) < 2:
        return False
    first, second = (name.lower().rstrip("_") for name in names[:2])
    if first in _LABELS or second in _OUTPUTS:
        return first not in _OUTPUTS and second not in _LABELS
    return False


def _read_keras_metric(metric: Any) -> Callable[[Array, Array], Any]:
    def measure(outputs: Array, labels: Array) -> Any:
        metric.reset_state()
        metric.update_state(labels, outputs)
        return metric.result()

    return measure


def _mean_of_samples(metric: Callable[[Array, Array], Any]) -> Metric:
    def measure(outputs: Array, labels: Array) -> float:
        found = metric(outputs, labels)
        shape: tuple[int, ...] = tuple(getattr(found, "shape", ()))
        if shape and shape[0] == len(labels) > 1:
            return float(np.mean(np.asarray(found)))
        return float(found)

    return measure
