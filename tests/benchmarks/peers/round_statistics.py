"""Statistics of measured rounds: medians, quartiles, ratios of rounds, geometric means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

Spread = dict[str, float]


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles, as numpy's linear interpolation has them."""
    if len(values) == 1:
        return dict.fromkeys(("q1", "median", "q3"), values[0])
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"q1": q1, "median": median, "q3": q3}


def ratio_of_rounds(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the spread of the ratios within each round, where both met the same disturbance."""
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


def ratio_of_runs(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the ratio of medians of two runs, with the spread of the numerators alone."""
    middle = statistics.median(denominators)
    return {name: value / middle for name, value in spread(numerators).items()}


def inverse(ratio: Spread) -> Spread:
    """Return the spread of the ratio the other way round."""
    return {"q1": 1 / ratio["q3"], "median": 1 / ratio["median"], "q3": 1 / ratio["q1"]}


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def significant(value: float, digits: int = 4) -> float:
    """Return the number with so many digits: more of a time are noise, and fill the file."""
    return float(f"{value:.{digits}g}")
