"""Tests on pairs against scipy and simulation: how sure it is that one graph is better."""

import numpy as np
import pytest
from scipy import stats

from edgeport import OptionError
from edgeport_converter.quantization.evaluation.paired import compare_metric, compare_samples


def test_yes_and_no_are_compared_by_mcnemars_exact_test():
    before = np.array([1] * 50 + [0] * 12 + [1] * 3 + [0] * 9)
    after = np.array([1] * 50 + [1] * 12 + [0] * 3 + [0] * 9)
    found = compare_samples("accuracy", before, after)
    assert found.p_value == pytest.approx(stats.binomtest(12, 15, 0.5).pvalue)
    assert (found.before, found.after) == (53 / 74, 62 / 74)
    assert not found.is_noise
    assert "12 turned right, 3 wrong" in found.describe()


@pytest.mark.parametrize(
    ("better", "worse"), [(0, 1), (7, 7), (1, 0), (250, 180), (20_600, 20_000)]
)
def test_mcnemars_test_is_exact_and_quick_for_any_number_of_changes(better, worse):
    before = np.repeat([0, 1, 1], [better, worse, 3])
    after = np.repeat([1, 0, 1], [better, worse, 3])
    expected = stats.binomtest(better, better + worse, 0.5).pvalue
    found = compare_samples("accuracy", before, after)
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_a_difference_that_is_no_number_is_never_beyond_noise():
    found = compare_samples("error", np.array([0.2, np.nan]), np.array([0.1, 0.3]))
    assert found.is_noise


def test_numbers_are_compared_by_the_paired_standard_error():
    generator = np.random.default_rng(1)
    before = generator.normal(size=400)
    after = before + generator.normal(0.01, 0.1, 400)
    found = compare_samples("error", before, after, smaller_is_better=True)
    exact = stats.ttest_rel(after, before)
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.005)
    assert found.is_worse == (after.mean() > before.mean())


def test_equal_answers_are_noise():
    answers = np.ones(20)
    assert compare_samples("accuracy", answers, answers).p_value == 1.0


def test_a_metric_is_compared_by_a_paired_bootstrap():
    generator = np.random.default_rng(1)
    labels = generator.normal(size=500)
    before, better = (labels + generator.normal(0, s, 500) for s in (0.5, 0.4))
    same = labels + np.roll(before - labels, 1)

    def mse(outputs, wanted):
        return float(np.mean((outputs - wanted) ** 2))

    found = compare_metric("mse", mse, before, better, labels, smaller_is_better=True)
    differences = (better - labels) ** 2 - (before - labels) ** 2
    error = differences.std(ddof=1) / np.sqrt(500)
    expected = 2 * stats.norm.cdf(-abs(differences.mean()) / error)
    assert np.log10(found.p_value) == pytest.approx(np.log10(expected), rel=0.3)
    assert not found.is_noise
    assert compare_metric("mse", mse, before, same, labels, smaller_is_better=True).is_noise


def test_a_metric_that_few_draws_have_is_not_compared():
    def picky(outputs, labels):
        raise OptionError("no number")

    zeros = np.zeros(9)
    assert compare_metric("auc", picky, zeros, zeros, zeros, smaller_is_better=False) is None
