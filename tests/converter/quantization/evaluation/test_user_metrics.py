"""Metrics as users pass them: their own, those of Keras, those of scikit-learn."""

import functools
import inspect

import keras
import numpy as np
import pytest
import sklearn.metrics

from edgeport_converter import convert
from edgeport_converter.quantization.evaluation.budget import find_metric
from edgeport_converter.quantization.evaluation.evaluator import Evaluator
from edgeport_converter.quantization.evaluation.user_metrics import (
    adapt,
    is_smaller_better,
    name_of,
)

GENERATOR = np.random.default_rng(12)
LABELS = GENERATOR.normal(size=(200, 1)).astype(np.float32)
OUTPUTS = LABELS + 0.1 * GENERATOR.normal(size=(200, 1)).astype(np.float32)
MSE = float(np.mean((OUTPUTS - LABELS) ** 2))
MAE = float(np.mean(np.abs(OUTPUTS - LABELS)))
R2 = 1 - MSE / float(np.var(LABELS))


def evaluate(metric, outputs=OUTPUTS, labels=LABELS, max_drop=0.005):
    return Evaluator(
        lambda batch: {"y": batch["x"]},
        lambda size: [{"x": outputs}],
        labels,
        find_metric(metric)[1],
        classifier=False,
        max_drop=max_drop,
        smaller_is_better=is_smaller_better(metric),
    )


@pytest.mark.parametrize(
    ("metric", "value", "smaller"),
    [
        (keras.metrics.mean_squared_error, MSE, True),  # one number a sample
        (keras.metrics.MeanAbsoluteError(), MAE, True),
        (keras.metrics.MeanSquaredError, MSE, True),
        (keras.metrics.R2Score(), R2, False),
        (keras.losses.MeanAbsoluteError(), MAE, True),
        ("keras.losses:mean_absolute_error", MAE, True),
        ("keras.metrics:MeanSquaredError", MSE, True),
        (sklearn.metrics.mean_squared_error, MSE, True),
        (sklearn.metrics.r2_score, R2, False),  # with the labels last it would be another number
        ("sklearn.metrics:median_absolute_error", float(np.median(np.abs(OUTPUTS - LABELS))), True),
    ],
)
def test_the_labels_stand_where_the_metric_wants_them(metric, value, smaller):
    found = evaluate(metric)
    assert found.reached == pytest.approx(value, rel=1e-5)
    assert found.float_metric == found.reached
    assert found.smaller_is_better is smaller


@pytest.mark.parametrize(
    ("name", "smaller"),
    [
        ("mse", True),
        ("RMSE", True),
        ("mean_absolute_error", True),
        ("MeanAbsolutePercentageError", True),
        ("perplexity", True),
        ("wer", True),
        ("character_error_rate", True),
        ("categorical_crossentropy", True),
        ("my_loss", True),
        ("log_loss", True),
        ("brier_score_loss", True),
        ("neg_mean_squared_error", False),
        ("minus_mean_error", False),
        ("f1_score", False),
        ("balanced_accuracy", False),
        ("sparse_top_k_categorical_accuracy", False),
        ("quality", None),
        ("closeness", None),  # "loss" inside of another word
        ("<lambda>", None),
    ],
)
def test_the_name_tells_which_way_is_better(name, smaller):
    def metric(outputs, labels):
        return 0.0

    metric.__name__ = name
    assert is_smaller_better(metric) is smaller
    assert is_smaller_better(f"mine.py:{name}") is smaller


def test_a_loss_of_keras_is_one_whatever_its_name():
    assert is_smaller_better(keras.losses.cosine_similarity) is True
    assert is_smaller_better("keras.losses:cosine_similarity") is True
    assert is_smaller_better(keras.metrics.CosineSimilarity()) is False


def badness(outputs, labels):
    return float(np.mean((outputs - labels) ** 2))


def loss(outputs, labels):
    return -badness(outputs, labels)


def test_shuffled_answers_tell_which_way_is_better_where_the_name_is_silent_or_wrong():
    assert evaluate(badness).smaller_is_better
    assert evaluate(badness).float_metric == pytest.approx(MSE)
    assert not evaluate(loss).smaller_is_better
    assert evaluate(loss).float_metric == pytest.approx(-MSE)


def test_an_error_that_shuffled_answers_keep_does_not_decide():
    small = OUTPUTS * 1e-2
    assert evaluate(badness, small, LABELS * 1e-2).float_metric is None
    assert evaluate(badness, small, LABELS * 1e-2, max_drop=1e-5).float_metric is not None


def test_accuracy_below_chance_stays_accuracy():
    scores = np.eye(4)[np.arange(200) % 4]
    found = evaluate(None, scores, (np.arange(200) + 1) % 4)  # all numbered wrong
    assert (found.reached, found.float_metric, found.smaller_is_better) == (0.0, None, False)


def test_an_error_may_not_grow_by_more_than_the_budget(tmp_path):
    """Rounding to int8 moves answers by some hundredths, and so the mean absolute error."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)]
    )
    x = GENERATOR.normal(size=(300, 6)).astype(np.float32)
    y = np.asarray(model(x))
    options = {"calibration": x, "evaluation": (x, y), "metric": keras.losses.mean_absolute_error}
    report = convert(model, tmp_path / "m.onnx", max_drop=0.1, **options)
    assert report.accuracy.metric == "mean_absolute_error"
    assert report.accuracy.keras < 1e-5
    assert report.accuracy.artifact >= 0
    assert any("smaller is better" in note for note in report.notes)
    report = convert(model, tmp_path / "m.onnx", max_drop=0.0, also=["static"], **options)
    static = next(step for step in report.steps if step.recipe.startswith("static"))
    assert static.loss > 1e-4
    assert not static.holds
    assert "static" not in report.variants


@pytest.mark.parametrize(
    ("names", "labels_first"),
    [
        ("gt, pred", True),
        ("expected, predicted", True),
        ("truth, x", True),
        ("y, p", True),
        ("y_test, y_pred", True),
        ("t, y_hat", True),
        ("outputs, labels", False),
        ("y, t", False),  # y is often what the model gives, t its target
        ("p, y", False),
        ("a, b", False),
        ("predicted, expected", False),
        ("y_pred, y", False),
    ],
)
def test_the_names_of_parameters_tell_which_are_the_labels(names, labels_first):
    def metric(*given):
        return given[0][0]

    metric.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names.split(", ")]
    )
    assert adapt(metric)(np.array([3.0]), np.array([7.0])) == (7.0 if labels_first else 3.0)


def test_a_partial_function_has_the_name_of_its_function():
    metric = functools.partial(keras.metrics.mean_squared_error)
    assert name_of(metric) == "mean_squared_error"
    assert is_smaller_better(metric) is True
