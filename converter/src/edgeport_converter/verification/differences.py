"""What two answers may differ by, and by how much they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgeport.artifact.golden import Array
from edgeport_converter.loading.model import is_logits

# Both sides compute in float32 (relative step 1.2e-7) but add in another order. In networks of some
# hundred layers that explains less than a thousand steps; a real mistake makes far more. The bound
# is relative to the output's largest value, since a small output may be the difference of large
# sums.
RELATIVE_TOLERANCE = 1e-4
ABSOLUTE_TOLERANCE = 1e-5

# Below this size the absolute tolerance is more than a hundredth of an answer, so that wrong
# weights begin to pass. A hundredth is allowed instead where rounding moves an answer by less than
# a thousandth: it is then no difference of large sums.
SMALL_ANSWERS = 1e-3
_SMALL_TOLERANCE = 1e-2
_MOVED_BY_ROUNDING = 1e-3
# And where a change of inputs and weights well above rounding shows in most elements: what is left
# of 1 - cos(x) is coarse, so that it stays the same, and a kernel that differs moves it by a step.
_MOVED_BY_CHANGE = 0.5
_NORMAL = 1e-30  # smaller numbers may be flushed to zero

NO_FLOORS: Mapping[str, float] = MappingProxyType({})


def floors_of(
    right: Mapping[str, Array], moved: Sequence[Mapping[str, Array]], changed: Mapping[str, Array]
) -> dict[str, float]:
    """Return the absolute tolerance of each output that is small and hangs little on rounding.

    Args:
        right: the graph's answers.
        moved: the same after roundings of inputs and weights, and with other kernels.
        changed: the same after a change of inputs and weights that is small, but no rounding.
    """
    floors = {}
    for name, array in right.items():
        if array.dtype not in (np.float32, np.float64):
            continue
        size = largest_of(array)
        noise = max(float(difference_of(array, each[name]).max(initial=0.0)) for each in moved)
        if not _NORMAL < size < SMALL_ANSWERS or noise >= _MOVED_BY_ROUNDING * size:
            continue
        if (array != changed[name])[array != 0].mean() > _MOVED_BY_CHANGE:
            floors[name] = _SMALL_TOLERANCE * size
    return floors


def largest_of(array: Array) -> float:
    """Return the largest absolute value of those that are finite."""
    return float(np.abs(np.where(np.isfinite(array), array, 0).astype(np.float64)).max(initial=0.0))


def tolerance_of(name: str, wanted: Array, floors: Mapping[str, float] = NO_FLOORS) -> Array:
    """Return what an output may be off by, one number, or one a channel for logits.

    Logits of one channel may be far larger than all others, such as a bias that rules out a class,
    so that each channel is measured by itself, or by the median channel where it is smaller.

    Args:
        name: the output's.
        wanted: Keras' answers.
        floors: by output what is allowed whatever its size, instead of ``ABSOLUTE_TOLERANCE``.
    """
    if wanted.dtype.kind != "f":
        return np.zeros(())
    size = np.abs(np.where(np.isfinite(wanted), wanted, 0).astype(np.float64))
    largest = size.max(initial=0.0)
    if is_logits(name) and wanted.ndim > 1 and wanted.size:
        channels = size.max(axis=tuple(range(wanted.ndim - 1)))
        largest = np.maximum(channels, np.median(channels))
    floor = floors.get(name, ABSOLUTE_TOLERANCE)
    return np.asarray(floor + RELATIVE_TOLERANCE * largest)


def difference_of(wanted: Array, got: Array) -> Array:
    """Return how far each element is off: infinitely, where only one of the two is finite."""
    if wanted.dtype.kind != "f":
        return np.asarray(wanted != got, np.float64)
    wide, other = wanted.astype(np.float64), got.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(wide - other)
    same = (wide == other) | (np.isnan(wide) & np.isnan(other))  # infinities, too
    return np.asarray(np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference)))


def excesses(
    wanted: Mapping[str, Array],
    got: Mapping[str, Array],
    floors: Mapping[str, float] = NO_FLOORS,
) -> dict[str, Array]:
    """Return the difference of each element, in units of what is allowed, by output."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            name: np.nan_to_num(
                difference_of(array, got[name]) / tolerance_of(name, array, floors), posinf=np.inf
            )
            for name, array in wanted.items()
        }


def largest_excess(
    wanted: Mapping[str, Array],
    got: Mapping[str, Array],
    floors: Mapping[str, float] = NO_FLOORS,
) -> float:
    """Return the largest difference of all outputs, in units of what is allowed."""
    return max(
        (float(each.max(initial=0.0)) for each in excesses(wanted, got, floors).values()),
        default=0.0,
    )


def excess_by_sample(
    wanted: Mapping[str, Array], got: Mapping[str, Array], samples: int
) -> Array | None:
    """Return the largest excess of each sample (N,); None if an output has no axis of samples."""
    found = list(excesses(wanted, got).values())
    if any(each.ndim == 0 or len(each) != samples for each in found):
        return None
    worst = [each.reshape(samples, -1).max(axis=1, initial=0.0) for each in found]
    return np.asarray(np.max(worst, axis=0))
