"""Non-finite values and values out of range: counted, logged or refused.

Two questions are asked of arrays that are already right in dtype and shape: is there a NaN or an
infinity (on request, and always where int8 would hide it), and is a value outside the range that
an int8 model was calibrated for (always, since such a value saturates). Both are answered from the
smallest and the largest value.
"""

from __future__ import annotations

import _thread
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edgeport.artifact.card import TensorSpec
from edgeport.artifact.golden import Array
from edgeport.errors import InferenceError, InputError, warn

# A value at the fringe of the calibrated range saturates as it should. A warning is given for the
# classic mistake alone: an input in other units, such as 0 to 255 where 0 to 1 was meant.
_TOO_MANY = 0.25  # of a call's values

# From about here on max, which goes through memory faster, is faster than argmax.
_SMALL = 2**15
_BITS = np.dtype(np.uint32)
_ROUGHLY_LARGEST = 2.0**127  # of float32

_HIDDEN = ", which an int8 model would turn into an ordinary answer"


class _Range(NamedTuple):
    """The range that an input was calibrated for.

    Attributes:
        top: the bits of ``high`` where a float's bits alone tell whether it is within; else None.
    """

    name: str
    low: float
    high: float
    top: int | None

    @classmethod
    def of(cls, spec: TensorSpec, low: float, high: float) -> _Range:
        """Return the range of an input."""
        # From zero on, floats sort like their bits, and what must not be is above: the negative
        # ones, infinity, NaN. So one pass does, and each costs a large batch time in memory.
        if spec.dtype != np.float32 or low != 0 or not 0 < high < _ROUGHLY_LARGEST:
            return cls(spec.name, low, high, None)
        nearest = np.float32(high)
        bits = int(nearest.view(np.uint32))
        return cls(spec.name, low, high, bits - 1 if float(nearest) > high else bits)

    def look(self) -> Callable[[Array], bool]:
        """Return a call that says whether every value is within; of -0.0 it may say no."""
        top, highest = self.top, np.maximum.reduce
        if top is None:
            return functools.partial(are_between, self.low, self.high)

        def by_bits(array: Array) -> bool:
            bits = array.view(_BITS)
            if 0 < bits.size < _SMALL:
                return bool(bits.item(bits.argmax()) <= top)
            return not bits.size or bool(highest(bits, None) <= top)

        return by_bits

    def check_of(self, array: Array) -> Callable[[], bool]:
        """Return what ``look`` does, of one array with values, for calls that count in ns."""
        low, high, top = self.low, self.high, self.top
        if top is None:
            lowest, highest, item = array.argmin, array.argmax, array.item
            return lambda: low <= item(lowest()) and item(highest()) <= high
        bits = array.view(np.uint32)
        highest, item = bits.argmax, bits.item
        if bits.size < _SMALL:
            return lambda: item(highest()) <= top
        return lambda: bits.max() <= top


def are_between(low: float, high: float, array: Array) -> bool:
    """Whether every value is within the limits; NaN is not."""
    # argmin and argmax cost a third of min and max on small arrays; both find a NaN.
    if 0 < array.size < _SMALL:
        item = array.item
        return bool(low <= item(array.argmin()) and item(array.argmax()) <= high)
    return not array.size or bool(
        low <= np.minimum.reduce(array, None) and np.maximum.reduce(array, None) <= high
    )


class RangeCounter:
    """Counts the values of each input that lie outside its calibrated range.

    Args:
        specs: the inputs; one without a range, or whose dtype cannot leave it, is not looked at.
    """

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.ranges = tuple(
            _Range.of(spec, *spec.value_range)
            for spec in specs
            if spec.value_range is not None and not _holds_whole_dtype(spec)
        )
        self._looks = {one.name: one.look() for one in self.ranges}
        # A thread writes only to keys of its own, so that nothing is lost without a lock.
        self._counts: dict[tuple[str, int], int] = {}
        self._has_warned = False

    @property
    def is_watching(self) -> bool:
        """Whether anything is to be counted."""
        return bool(self.ranges)

    def check_of(self, name: str, array: Array) -> Callable[[], bool] | None:
        """Return a call that says whether all values are within their range; None without one."""
        return next((one.check_of(array) for one in self.ranges if one.name == name), None)

    def look_at(self, name: str) -> Callable[[Array], bool]:
        """Return a call that says whether all values of this input are within their range."""
        return self._looks[name]

    def limits(self, name: str) -> tuple[float, float]:
        """Return limits that hold for each array which the call of ``look_at`` says yes to."""
        return next((one.low, one.high) for one in self.ranges if one.name == name)

    def all_hold(self, arrays: Mapping[str, Array]) -> bool:
        """Whether every value is known to be within its range, so that nothing is to be counted."""
        return all(look(arrays[name]) for name, look in self._looks.items())

    def watch(self, arrays: Mapping[str, Array]) -> None:
        """Add the values of one call; warn once where they look like another unit.

        Raises:
            InputError: a value is NaN or infinite, which int8 would turn into an ordinary answer.
        """
        for one in self.ranges:
            name, low, high, _ = one
            array = arrays[name]
            if self._looks[name](array):
                continue
            lowest, highest = float(array.min()), float(array.max())
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                _refuse_non_finite_input(name, array, _HIDDEN)
            # A value at the fringe is ordinary, so that only passes which are needed are made.
            outside = int(np.count_nonzero(array < low)) if lowest < low else 0
            outside += int(np.count_nonzero(array > high)) if highest > high else 0
            key = name, _thread.get_ident()
            self._counts[key] = self._counts.get(key, 0) + outside
            excess = max(low - lowest, highest - high)
            if not self._has_warned and (outside > _TOO_MANY * array.size or excess > high - low):
                self._has_warned = True
                warn(
                    "input '%s' has values from %.6g to %.6g, but the model was calibrated for "
                    "%.6g to %.6g and saturates beyond, so its answers are not to be trusted: "
                    "scale the input as in the training (said once, counted in out_of_range)",
                    *(name, lowest, highest, low, high),
                )

    def totals(self) -> dict[str, int]:
        """Return how many values were outside so far, by input name."""
        totals = {one.name: 0 for one in self.ranges}
        for (name, _), count in list(self._counts.items()):
            totals[name] += count
        return totals


def refuse_non_finite_inputs(arrays: Mapping[str, Array]) -> None:
    """Refuse the first NaN or infinity that would be fed, by an InputError; nothing was run."""
    for name, array in arrays.items():
        _refuse_non_finite_input(name, array)


def refuse_non_finite_outputs(arrays: Mapping[str, Array]) -> None:
    """Refuse the first NaN or infinity that would be returned, by an InferenceError."""
    for name, array in arrays.items():
        found = _first_non_finite(array)
        if found:
            raise InferenceError(
                f"output '{name}' is {found}, expected finite numbers (finite=True): "
                "look for far out-of-range values in the input, or for a damaged sensor"
            )


def _refuse_non_finite_input(name: str, array: Array, consequence: str = "") -> None:
    found = _first_non_finite(array)
    if found:
        expected = "finite numbers" if consequence else "finite numbers (finite=True)"
        remedy = "repair or drop the sample"
        raise InputError.of(f"input '{name}' is", found + consequence, expected, remedy)


def _first_non_finite(array: Array) -> str | None:
    """Return the first such value with its place, None where there is none."""
    if array.dtype.kind != "f" or not array.size:
        return None
    if math.isfinite(array.item(array.argmin())) and math.isfinite(array.item(array.argmax())):
        return None
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return f"{float(array[index])} at {list(index)}"


def _holds_whole_dtype(spec: TensorSpec) -> bool:
    if spec.value_range is None or spec.dtype.kind not in "iu":
        return spec.dtype.kind in "bO"
    info = np.iinfo(spec.dtype)
    return spec.value_range[0] <= info.min and spec.value_range[1] >= info.max
