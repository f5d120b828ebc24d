"""The range method mse: the activation range with the least mean squared error of its codes.

``ranges`` fills a histogram for each activation and calls ``choose_range``. The squared error of a
value outside the range is its squared distance from the range; that of a value inside is
step^2 / 12, the mean square of a rounding error that is uniform over one step. Zero is always
inside a range, since padding and relu need it exactly.
"""

from __future__ import annotations

import numpy as np

from edgeport.artifact.golden import Array

_BINS = 2048
_CODES = 256  # of uint8
# Fractions of each end of the full range that are tried: eight for each halving.
_SHARES = np.geomspace(1.0, 1 / 16, 33)
_MOST_OUTSIDE = 0.01  # a range may clip this share of the values; more are not rare any more


class Histogram:
    """Counts of an activation's values in bins of equal width from ``low`` to ``high``.

    The two ends are moved where needed so that zero lies between them.
    """

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = min(low, 0.0), max(high, 0.0)
        self.counts = np.zeros(_BINS, dtype=np.int64)

    @property
    def width(self) -> float:
        """The width of one bin."""
        return (self.high - self.low) / _BINS

    @property
    def centers(self) -> Array:
        """The middle of each bin."""
        return self.low + (np.arange(_BINS) + 0.5) * self.width

    def add(self, values: Array) -> None:
        """Count the values; those outside the ends count in the first or the last bin.

        Zeros are left out. Every range has a code for exactly zero, so they say nothing about the
        ends, and after a relu they would outnumber all other values.
        """
        if self.high == self.low:
            return
        flat = values.reshape(-1)
        scaled = (flat[flat != 0].astype(np.float64) - self.low) / self.width
        places = np.clip(scaled.astype(np.int64), 0, _BINS - 1)
        self.counts += np.bincount(places, minlength=_BINS)


def choose_range(histogram: Histogram) -> tuple[float, float]:
    """Return the range (low, high) with the least mean squared error of those that are tried.

    1. Start with the full range of the histogram.
    2. Move the low end towards zero, in the steps of ``_SHARES``, until too many values are
       clipped; keep the best.
    3. Do the same with the high end.
    """
    best = (histogram.low, histogram.high)
    if histogram.high == histogram.low or not histogram.counts.any():
        return best
    smallest, _ = _squared_error(histogram, *best)
    for side in (0, 1):
        full = best[side]
        for share in _SHARES[1:]:
            low, high = (full * share, best[1]) if side == 0 else (best[0], full * share)
            if low == high or full == 0:
                break
            found, outside = _squared_error(histogram, low, high)
            if outside > _MOST_OUTSIDE:
                break
            if found < smallest:
                smallest, best = found, (low, high)
    return best


def _squared_error(histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    """Return the mean squared error of a range, and the share of the values that it clips."""
    centers = histogram.centers
    step = (high - low) / (_CODES - 1)
    distance = np.maximum(low - centers, 0) + np.maximum(centers - high, 0)
    error = np.where(distance > 0, distance**2, step**2 / 12)
    mean = np.average(error, weights=histogram.counts)
    return float(mean), float(np.average(distance > 0, weights=histogram.counts))
