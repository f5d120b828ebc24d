"""A narrower range from a histogram, by the least mean squared error of the quantized values.

What a range costs is what it clips, the distance squared, and what it rounds: step^2 / 12, the mean
square of an error that is spread evenly over a step. Zero is always inside a range, since padding
and relu need it exactly.
"""

from __future__ import annotations

import numpy as np

from edgeport.artifact.golden import Array

_BINS = 2048
_CODES = 256  # of uint8
# Shares of each side of the full range that are tried, apart by about one eighth of an octave.
_SHARES = np.geomspace(1.0, 1 / 16, 33)
_MOST_OUTSIDE = 0.01  # what is more frequent is no rare value that may be clipped


class Histogram:
    """Counts of values between two ends, in equal bins."""

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
        """Count the values; what rounding puts past an end counts in the last bin.

        Zeros are left out: every range has a code for exactly zero, so they say nothing of the
        ends, and after a relu they would outweigh all that does.
        """
        if self.high == self.low:
            return
        flat = values.reshape(-1)
        scaled = (flat[flat != 0].astype(np.float64) - self.low) / self.width
        places = np.clip(scaled.astype(np.int64), 0, _BINS - 1)
        self.counts += np.bincount(places, minlength=_BINS)


def choose_range(histogram: Histogram) -> tuple[float, float]:
    """Return (low, high) within the histogram's ends, with the least error of those tried.

    One side after the other is narrowed: a tail on the left says nothing about one on the right.
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
