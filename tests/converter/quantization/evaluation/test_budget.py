import numpy as np
import pytest
import scipy.stats

from edgeport import OptionError
from edgeport_converter.quantization.evaluation.agreement import Agreement
from edgeport_converter.quantization.evaluation.budget import accuracy, find_metric, judge


def agreement(top_1=None, decibel=40.0, worst=40.0):
    return Agreement(100, top_1, decibel, worst, 0.1)


@pytest.mark.parametrize(
    ("found", "float_metric", "metric", "holds"),
    [
        (agreement(0.5), 0.90, 0.896, True),  # labels decide, not agreement
        (agreement(1.0), 0.90, 0.894, False),
        (agreement(1.0), 0.90, 0.95, True),
        (agreement(0.991), None, None, True),
        (agreement(0.989), None, None, False),
        (agreement(None, 20.1), None, None, True),
        (agreement(None, 19.9), None, None, False),
        (agreement(None, 30.0, 9.9), None, None, False),
        (agreement(None, float("inf"), float("inf")), None, None, True),
        (agreement(1.0), 0.9, 0.895, True),  # exactly the budget, which has no exact float
    ],
)
def test_labels_then_classes_then_signal_decide(found, float_metric, metric, holds):
    assert judge(found, float_metric, metric, 0.005).holds is holds


@pytest.mark.parametrize(
    ("found", "float_metric", "metric", "holds"),
    [
        (Agreement(100, None, 40, 40, 1.0, changed=0.01), None, None, True),
        (Agreement(100, None, 40, 40, 1.0, changed=0.011), None, None, False),
        (Agreement(100, None, 19, 40, 1.0, changed=0.0), None, None, False),
        (Agreement(100, None, 40, 40, 1.0, changed=0.5), 0.9, 0.9, True),  # the metric sees it
        (Agreement(100, None, 40, 40, 1.0, changed=0.5, others_changed=0.5), 0.9, 0.9, False),
    ],
)
def test_answers_that_are_counted_may_change_as_best_classes_may(
    found, float_metric, metric, holds
):
    assert judge(found, float_metric, metric, 0.005).holds is holds


@pytest.mark.parametrize(("classes", "holds"), [(2, True), (1, False), (None, True)])
def test_one_class_throughout_tells_nothing(classes, holds):
    found = Agreement(100, 1.0, 3.0, 3.0, 0.1, classes=classes)
    assert judge(found, None, None, 0.005).holds is holds


def test_a_smaller_loss_is_a_better_one_in_each_unit():
    assert judge(agreement(0.9), None, None, 0).loss > judge(agreement(0.95), None, None, 0).loss
    assert (
        judge(agreement(None, 5), None, None, 0).loss
        > judge(agreement(None, 10), None, None, 0).loss
    )


def test_accuracy_is_the_share_of_right_classes():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert accuracy(scores, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert accuracy(np.array([[0.2], [0.7]]), np.array([0, 1])) == 1.0


def test_a_metric_comes_from_a_module_or_a_file(tmp_path):
    assert find_metric("math:hypot")[1](3, 4) == 5
    (tmp_path / "mine.py").write_text("def score(outputs, labels):\n    return 0.25\n")
    name, function = find_metric(f"{tmp_path / 'mine.py'}:score")
    assert (name, function(None, None)) == ("score", 0.25)


@pytest.mark.parametrize("metric", ["accuracy", "no_such_module:f", "math:no_such_function", 7])
def test_an_unknown_metric_is_refused(metric):
    with pytest.raises(OptionError, match="expected module:function"):
        find_metric(metric)


def test_verdicts_in_different_units_are_compared_in_budgets():
    nearly = judge(agreement(decibel=16.0, worst=16.0), None, None, 0.005)
    far = judge(agreement(top_1=0.9), None, None, 0.005)
    assert not nearly.holds
    assert not far.holds
    assert nearly.excess == pytest.approx(4 / 20)
    assert far.excess == pytest.approx((0.1 - 0.01) / 0.01)


@pytest.mark.parametrize(
    ("scores", "metric", "holds"),
    [
        (20.1, None, True),
        (17.8, None, False),  # every best class is the same
        (17.8, 0.9, True),  # labels say that the classes are kept, scores are bounded more loosely
        (14.1, 0.9, True),
        (13.9, 0.9, False),
        (None, 0.9, True),
    ],
)
def test_equal_classes_do_not_excuse_other_scores(scores, metric, holds):
    found = Agreement(100, 1.0, 17.8, 17.8, 0.1, classes=3, scores_db=scores)
    verdict = judge(found, metric, metric, 0.005)
    assert verdict.holds is holds
    assert ("scores" in verdict.sentence) is not holds


@pytest.mark.parametrize("max_drop", [0.02, 0.03, 0.045])
def test_scores_may_be_as_noisy_as_the_classes_that_may_change_let_them(max_drop):
    """Drawn: two normal scores with noise change as many best classes as may change, no more."""
    generator = np.random.default_rng(0)
    scores = generator.normal(size=(400_000, 2))
    noise = generator.normal(size=scores.shape)
    for factor, holds in ((0.95, True), (1.05, False)):
        low, high = 0.0, 1.0  # of the noise at which so many classes change, by bisection
        while high - low > 1e-3:
            width = (low + high) / 2
            changed = np.mean(scores.argmax(1) != (scores + width * noise).argmax(1))
            low, high = (low, width) if changed > factor * 2 * max_drop else (width, high)
        found = Agreement(100, 1.0, 9.0, 9.0, 0.1, classes=2, scores_db=float(-20 * np.log10(low)))
        assert judge(found, None, None, max_drop).holds is holds


@pytest.mark.parametrize(
    ("max_drop", "least"), [(0.0, 20), (0.005, 20), (0.015, 20), (0.1, 10), (0.5, 10), (0.9, 10)]
)
def test_scores_keep_20_db_under_a_usual_budget_and_10_under_any(max_drop, least):
    for decibel, holds in ((least + 0.1, True), (least - 0.1, False)):
        found = Agreement(100, 1.0, 40.0, 40.0, 0.1, classes=3, scores_db=decibel)
        assert judge(found, None, None, max_drop).holds is holds


@pytest.mark.parametrize(
    ("before", "after", "holds"), [(0.10, 0.104, True), (0.10, 0.106, False), (0.10, 0.01, True)]
)
def test_an_error_may_shrink_and_not_grow(before, after, holds):
    verdict = judge(agreement(), before, after, 0.005, smaller_is_better=True)
    assert verdict.holds is holds
    assert verdict.loss == pytest.approx(after - before)


@pytest.mark.parametrize(
    ("ranks", "max_drop", "metric", "holds"),
    [
        (0.981, 0.005, None, True),
        (0.979, 0.005, None, False),
        (0.979, 0.01, None, True),
        (0.5, 0.005, 0.9, True),  # the user's metric says what counts
        (None, 0.005, None, True),
    ],
)
def test_reconstruction_errors_keep_their_order(ranks, max_drop, metric, holds):
    found = Agreement(100, None, 40.0, 40.0, 0.1, error_ranks=ranks)
    assert judge(found, metric, metric, max_drop).holds is holds


@pytest.mark.parametrize("separation", np.linspace(0.2, 4, 20))
def test_the_bound_on_ranks_costs_no_more_area_under_the_curve_than_the_budget(separation):
    """Two normal distributions, and noise that leaves a correlation of r with what it was."""
    max_drop = 0.005
    normal = scipy.stats.norm.cdf
    area, spoiled = (normal(separation * r / np.sqrt(2)) for r in (1.0, 1 - 4 * max_drop))
    assert area - spoiled <= max_drop


def test_a_small_loss_is_told_as_more_than_none():
    verdict = judge(agreement(), 0.0, 2.5e-5, 1e-5, smaller_is_better=True)
    assert verdict.sentence == "loses 2.5e-05 (0.0000 to 2.5e-05), expected at most 1e-05"
    assert not verdict.holds
    verdict = judge(agreement(), 0.90, 0.894, 0.005)
    assert verdict.sentence == "loses 0.0060 (0.9000 to 0.8940), expected at most 0.005"


def test_a_ratio_that_misses_its_bound_is_told_as_less():
    assert "ratio of 19.9 dB and" in judge(agreement(decibel=19.97), None, None, 0.0).sentence
    found = Agreement(100, 1.0, 40.0, 40.0, 0.1, classes=3, scores_db=19.97)
    assert "ratio of 19.9 dB in the scores" in judge(found, None, None, 0.0).sentence
    nothing = agreement(decibel=-float("inf"))
    assert "ratio of -inf dB" in judge(nothing, None, None, 0.0).sentence
