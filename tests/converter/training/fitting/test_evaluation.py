"""Figures on the test set, against their formulas written out here."""

import math

import numpy as np
import pytest

from edgeport_converter.training.fitting.evaluation import (
    calibration_error,
    measure_scores,
    measure_values,
)

CHANCE = np.random.default_rng(9)


def test_accuracy_precision_recall_and_confusion():
    scores = CHANCE.dirichlet(np.ones(3), size=200)
    labels = CHANCE.integers(0, 3, 200)
    found = measure_scores(scores, labels, ("a", "b", "c"))
    called = scores.argmax(axis=1)
    counts = np.zeros((3, 3), int)
    for label, call in zip(labels, called, strict=True):
        counts[label, call] += 1
    assert found.confusion == tuple(map(tuple, counts.tolist()))
    assert found.value == found.figures["accuracy"] == np.trace(counts) / 200
    for number, one in enumerate(found.classes):
        assert one.precision == pytest.approx(counts[number, number] / counts[:, number].sum())
        assert one.recall == pytest.approx(counts[number, number] / counts[number].sum())
        assert one.samples == counts[number].sum()


def test_a_class_without_samples_or_calls_has_no_figure_instead_of_zero():
    found = measure_scores(np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]]), np.array([0, 0]), "abc")
    assert [one.recall for one in found.classes] == [0.5, None, None]
    assert [one.precision for one in found.classes] == [1.0, 0.0, None]


def test_a_single_score_is_the_share_of_the_second_class():
    found = measure_scores(np.array([[0.9], [0.2], [0.6]]), np.array([1, 0, 0]), ("no", "yes"))
    assert found.confusion == ((1, 1), (0, 1))
    assert found.figures["accuracy"] == pytest.approx(2 / 3)


def test_the_calibration_error_is_the_weighed_gap_of_each_bin():
    top = CHANCE.uniform(0.5, 1, 500)
    scores = np.stack([top, 1 - top], axis=1)
    labels = (CHANCE.uniform(size=500) > 0.8).astype(int)
    expected = 0.0
    for number in range(10):
        inside = (top > number / 10) & (top <= (number + 1) / 10)
        if inside.any():
            gap = abs((labels[inside] == 0).mean() - top[inside].mean())
            expected += inside.mean() * gap
    assert calibration_error(scores, labels, bins=10) == pytest.approx(expected)
    sure = np.array([[1.0, 0.0]] * 4)
    assert calibration_error(sure, np.array([0, 0, 0, 1])) == pytest.approx(0.25)


def test_a_regression_has_its_three_figures():
    targets, answers = CHANCE.normal(size=50), CHANCE.normal(size=50)
    found = measure_values(answers, targets).figures
    gaps = answers - targets
    assert found["mae"] == pytest.approx(np.abs(gaps).mean())
    assert found["rmse"] == pytest.approx(math.sqrt((gaps**2).mean()))
    spread = ((targets - targets.mean()) ** 2).sum()
    assert found["r2"] == pytest.approx(1 - (gaps**2).sum() / spread)


def test_r2_of_equal_targets_is_no_number_and_json_says_so():
    found = measure_values(np.array([1.0, 2.0]), np.array([3.0, 3.0]))
    assert math.isnan(found.value)
    assert found.to_dict()["figures"]["r2"] is None
    assert found.to_dict()["value"] is None
