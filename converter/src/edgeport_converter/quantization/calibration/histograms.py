"""Choosing a narrower range from a histogram: what large values cost, what small ones gain.

Plain arithmetic on counts. Zero is always inside a range, since padding and relu need it exactly.
"""

from __future__ import annotations

import numpy as np

from edgeport.artifact.golden import Array

_BINS = 2048
_CODES = 256  # of uint8
_PERCENTILE = 99.99
# Shares of each side of the full range that are tried, apart by about one eighth of an octave.
_SHARES = np.geomspace(1.0, 1 / 16, 33)
# What clips more than this is no rare value. The divergence alone would go further where the counts
# have spikes, such as the one answer of a convolution to its padding, since fewer of them then
# share a code: it clipped most of MobileNetV1 0.25.
_MOST_OUTSIDE = 0.01


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
        ends, and behind a relu they would outweigh all that does.
        """
        if self.high == self.low:
            return
        flat = values.reshape(-1)
        scaled = (flat[flat != 0].astype(np.float64) - self.low) / self.width
        places = np.clip(scaled.astype(np.int64), 0, _BINS - 1)
        self.counts += np.bincount(places, minlength=_BINS)


def choose_range(histogram: Histogram, method: str) -> tuple[float, float]:
    """Return (low, high) within the histogram's ends.

    Args:
        histogram: of one activation.
        method: ``percentile`` leaves 0.01 % of the values outside, half on each side;
            ``mse`` makes the mean squared error of the quantized values smallest;
            ``entropy`` makes the Kullback-Leibler divergence from the quantized distribution
            smallest.

    Source:
        The divergence compares the counts with those after each group of bins that share a code
        is levelled, as in Migacz, "8-bit inference with TensorRT" (2017), here for both ends.
    """
    if histogram.high == histogram.low or not histogram.counts.any():
        return histogram.low, histogram.high
    if method == "percentile":
        return _percentile(histogram)
    cost = _squared_error if method == "mse" else _divergence
    best = (histogram.low, histogram.high)
    smallest = cost(histogram, *best)
    # One side after the other: a tail on the left says nothing about one on the right.
    for side in (0, 1):
        full = best[side]
        for share in _SHARES[1:]:
            low, high = (full * share, best[1]) if side == 0 else (best[0], full * share)
            if low == high or full == 0 or _outside(histogram, low, high) > _MOST_OUTSIDE:
                break
            found = cost(histogram, low, high)
            if found < smallest:
                smallest, best = found, (low, high)
    return best


def _outside(histogram: Histogram, low: float, high: float) -> float:
    """Return the share of the values that such a range clips."""
    clipped = (histogram.centers < low) | (histogram.centers > high)
    return float(histogram.counts[clipped].sum() / histogram.counts.sum())


def _percentile(histogram: Histogram) -> tuple[float, float]:
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    outside = (100 - _PERCENTILE) / 200
    first = int(np.searchsorted(share, outside))
    last = int(np.searchsorted(share, 1 - outside))
    low = histogram.low + first * histogram.width
    high = histogram.low + (last + 1) * histogram.width
    return min(low, 0.0), max(high, 0.0)


def _squared_error(histogram: Histogram, low: float, high: float) -> float:
    """Return the mean squared error: step^2 / 12 inside, the distance squared outside."""
    centers = histogram.centers
    step = (high - low) / (_CODES - 1)
    distance = np.maximum(low - centers, 0) + np.maximum(centers - high, 0)
    error = np.where(distance > 0, distance**2, step**2 / 12)
    return float(np.average(error, weights=histogram.counts))


def _divergence(histogram: Histogram, low: float, high: float) -> float:
    """Return sum p log(p / q), q being p with every code's bins levelled and the tails moved in."""
    centers = histogram.centers
    inside = (centers >= low) & (centers <= high)
    codes = np.clip(np.rint((centers - low) / (high - low) * (_CODES - 1)), 0, _CODES - 1)
    codes = codes.astype(np.int64)
    total = histogram.counts.sum()
    p = histogram.counts / total
    filled = inside & (histogram.counts > 0)
    mass = np.bincount(codes[filled], weights=p[filled], minlength=_CODES)
    bins = np.bincount(codes[filled], minlength=_CODES)
    q = np.where(filled, mass[codes] / np.maximum(bins[codes], 1), 0.0)
    # Values outside become the end codes: they add to p there, but q cannot know of them.
    moved = np.where(inside, p, 0.0)
    places = np.flatnonzero(inside)
    moved[places[0]] += p[: places[0]].sum()
    moved[places[-1]] += p[places[-1] + 1 :].sum()
    q = np.maximum(q / max(q.sum(), 1e-12), 1e-9)
    used = moved > 0
    return float(np.sum(moved[used] * np.log(moved[used] / q[used])))
