"""Whether one graph answers better than another, or the difference is chance: tests on pairs.

Both graphs answer the same samples, so that each sample is compared with itself. ``evaluator``
calls these functions; the budget does not depend on them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array

_CHANCE = 0.05  # a difference that chance makes as often is noise
_DRAWS, _FEWEST_DRAWS = 200, 50  # of a bootstrap; two hundred tell a standard error to 5 %


@dataclass(frozen=True)
class PairedTest:
    """A difference between two graphs.

    Attributes:
        what: the figure that was compared.
        before, after: its values.
        samples: how many there are.
        p_value: how often chance alone makes such a difference, two-sided.
        test: the name of the test, with its numbers.
        smaller_is_better: whether the figure is an error.
    """

    what: str
    before: float
    after: float
    samples: int
    p_value: float
    test: str
    smaller_is_better: bool = False

    @property
    def is_worse(self) -> bool:
        """Whether the second graph reaches the worse value, by chance or not."""
        return self.after > self.before if self.smaller_is_better else self.after < self.before

    @property
    def is_noise(self) -> bool:
        """Whether chance makes such a difference in more than one of twenty cases."""
        return not self.p_value <= _CHANCE  # NaN, too

    def describe(self) -> str:
        """Return the figures in words."""
        return (
            f"{self.what} {self.before:.4g} to {self.after:.4g} on {self.samples:,} samples "
            f"({self.test}, p = {self.p_value:.2g})"
        )


def compare_samples(
    what: str, before: Array, after: Array, *, smaller_is_better: bool = False
) -> PairedTest:
    """Compare one number a sample (N,), such as 1 where the answer is right and 0 where not.

    1. For yes and no: McNemar's exact test. By chance, as many of the changed answers turn to yes
       as to no. Source: McNemar, "Note on the sampling error of the difference between
       correlated proportions or percentages" (1947), with the binomial distribution itself.
    2. For other numbers: the mean difference over its standard error, as a normal number.
    """
    pairs = np.stack([before, after]).astype(np.float64)
    means, count = pairs.mean(axis=1), pairs.shape[1]
    if np.isin(pairs, (0.0, 1.0)).all():
        better, worse = int((pairs[1] > pairs[0]).sum()), int((pairs[1] < pairs[0]).sum())
        p_value = _binomial(max(better, worse), better + worse)
        test = f"McNemar's exact test: {better} turned right, {worse} wrong"
    else:
        difference = pairs[1] - pairs[0]
        error = float(difference.std(ddof=1) / math.sqrt(count)) if count > 1 else math.inf
        p_value = _normal(float(difference.mean()), error)
        test = f"paired differences, standard error {error:.2g}"
    return PairedTest(
        what, float(means[0]), float(means[1]), count, p_value, test, smaller_is_better
    )


def compare_metric(
    what: str,
    metric: Callable[[Array, Array], float],
    before: Array,
    after: Array,
    labels: Array,
    *,
    smaller_is_better: bool,
) -> PairedTest | None:
    """Compare a metric of all samples by a paired bootstrap; None where draws have no metric.

    Samples are drawn with replacement, the same for both; the spread of the difference over the
    draws is its standard error. Source: Efron and Tibshirani, "An Introduction to the Bootstrap"
    (1993), chapter 6.
    """
    generator, found = np.random.default_rng(0), []
    for _ in range(_DRAWS):
        rows = generator.integers(0, len(labels), len(labels))
        try:
            first, second = (metric(each[rows], labels[rows]) for each in (before, after))
        except OptionError:  # such as the area under a curve without one of the classes
            continue
        found.append(second - first)
    if len(found) < _FEWEST_DRAWS:
        return None
    values = [metric(each.copy(), labels) for each in (before, after)]
    error = float(np.std(found, ddof=1))
    test = f"paired bootstrap of {len(found)} draws, standard error {error:.2g}"
    p_value = _normal(values[1] - values[0], error)
    return PairedTest(what, values[0], values[1], len(labels), p_value, test, smaller_is_better)


def _binomial(successes: int, trials: int) -> float:
    """Return the two-sided probability that a fair coin shows one side that often or more."""
    if 2 * successes <= trials:
        return 1.0
    # Logarithms of n!: for ten thousand trials, whole numbers of that length take minutes.
    all_orders = math.lgamma(trials + 1) - trials * math.log(2)
    shares = (
        math.exp(all_orders - math.lgamma(count + 1) - math.lgamma(trials - count + 1))
        for count in range(successes, trials + 1)
    )
    return min(1.0, 2 * math.fsum(shares))


def _normal(difference: float, error: float) -> float:
    if difference == 0:
        return 1.0
    return 0.0 if error == 0 else 2 * NormalDist().cdf(-abs(difference) / error)
