"""Values that the training never saw anything like: counted by column, and told once.

The counter takes the place of ``RangeCounter`` where a card has columns, for float artifacts, too.

**Far** outside of the range (low, high) that the training saw is what lies beyond it by more than
its width, below ``low - (high - low)`` or above ``high + (high - low)``. There the network
extrapolates further than all that it learned on, and ordinary data does not come there: after a
hundred numbers from a normal distribution, one in 10^9 does. If all numbers of a column had one
sign, what is less than a tenth of the smallest is far as well: it is likely in another unit. In a
column that never changed, every other number is far, since its weights learned nothing. A category
is far if the training did not have it.
"""

from __future__ import annotations

import _thread
import math
from collections.abc import Callable, Mapping

import numpy as np

from edgeport.artifact.card import ModelCard
from edgeport.artifact.column import Column
from edgeport.artifact.golden import Array
from edgeport.errors import warn
from edgeport.inputs.columns import Columns
from edgeport.inputs.ranges import RangeCounter

_TENTH = 10.0
_SMALL = 2**12


def far_limits(low: float, high: float) -> tuple[float, float]:
    """Return the lowest and highest number that are not far outside of (low, high)."""
    lowest, highest = low - (high - low), high + (high - low)
    if low > 0:
        lowest = max(lowest, low / _TENTH)
    if high < 0:
        highest = min(highest, high / _TENTH)
    return lowest, highest


class ColumnCounter(RangeCounter):
    """Counts the values of each column that lie far outside of what the training saw.

    Args:
        card: with columns.
        columns: the same, for the refusal of missing values.
        saturates: whether inputs are quantized; then values that saturate are counted as well.
    """

    def __init__(self, card: ModelCard, columns: Columns, *, saturates: bool) -> None:
        super().__init__(())
        self._columns = columns
        self._has_told: set[str] = set()
        self._numbers: dict[str, tuple[Array, Array, Array, Array]] = {}
        for spec in card.inputs:
            own = columns.of(spec.name)
            if spec.dtype.kind == "O":
                continue
            limits = [
                (-math.inf, math.inf) if each.value_range is None else far_limits(*each.value_range)
                for each in own
            ]
            far_low, far_high = np.array(limits, np.float64).T
            low, high = spec.value_range if saturates and spec.value_range else (-np.inf, np.inf)
            shape = spec.sample_shape
            self._numbers[spec.name] = (
                np.maximum(far_low, low).reshape(shape),
                np.minimum(far_high, high).reshape(shape),
                far_low,
                far_high,
            )

    @property
    def is_watching(self) -> bool:
        """Whether anything is counted or refused; always."""
        return True

    def check_of(self, name: str, array: Array) -> Callable[[], bool] | None:
        """Return a call that says whether all values are within their limits."""
        low, high, _, _ = self._numbers[name]
        # In the array's own dtype numpy needs no buffers. Rounding moves a limit by 6e-8 of it.
        if array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                low, high = low.astype(array.dtype), high.astype(array.dtype)
        at_least, at_most, both = np.greater_equal, np.less_equal, np.logical_and
        first, second = np.empty(array.shape, bool), np.empty(array.shape, bool)
        is_row = array.size < _SMALL
        expected = b"\1" * array.size if is_row else b""

        def holds() -> bool:
            at_least(array, low, first)
            at_most(array, high, second)
            both(first, second, first)
            # On a row, all() costs three times as much as a look at the bytes.
            return first.tobytes() == expected if is_row else bool(first.all())

        return holds

    def look_at(self, name: str) -> Callable[[Array], bool]:
        """Return a call that says whether all values of this input are within their limits."""
        return lambda array: self.all_hold({name: array})

    def limits(self, name: str) -> tuple[float, float]:
        """Return no limits: each column has its own."""
        return -math.inf, math.inf

    def all_hold(self, arrays: Mapping[str, Array]) -> bool:
        """Whether every value is known to be within its limits."""
        for name, array in arrays.items():
            if name in self._numbers:
                holds = self.check_of(name, array)
                if holds is not None and not holds():
                    return False
            elif self._unknown(name, array).any():
                return False
        return True

    def watch(self, arrays: Mapping[str, Array]) -> None:
        """Add the values of one call; warn once for each column that has a far one.

        Raises:
            InputError: a number is missing or infinite; its row and column are named.
        """
        self._columns.check(arrays)
        for name, array in arrays.items():
            columns = self._columns.of(name)
            rows = array.reshape(-1, len(columns))
            if name in self._numbers:
                low, high, far_low, far_high = self._numbers[name]
                outside = (rows < low) | (rows > high)  # False for NaN, which the graph fills
                far = (rows < far_low) | (rows > far_high)
            else:
                outside = far = self._unknown(name, rows)
            for place in np.flatnonzero(outside.any(axis=0)).tolist():
                column = columns[place]
                key = column.name, _thread.get_ident()
                self._counts[key] = self._counts.get(key, 0) + int(outside[:, place].sum())
                if far[:, place].any() and column.name not in self._has_told:
                    self._has_told.add(column.name)
                    _warn(column, rows[:, place], far[:, place])

    def totals(self) -> dict[str, int]:
        """Return how many values were outside so far, by column name."""
        totals = dict.fromkeys(self._columns.names, 0)
        for (name, _), count in list(self._counts.items()):
            totals[name] += count
        return totals

    def _unknown(self, name: str, texts: Array) -> Array:
        """Return which texts are no category of the training."""
        columns = self._columns.of(name)
        rows = texts.reshape(-1, len(columns))
        unknown = np.zeros(rows.shape, bool)
        for place, column in enumerate(columns):
            if column.categories:
                known = {*column.categories, column.missing}
                unknown[:, place] = [item not in known for item in rows[:, place]]
        return unknown


def _warn(column: Column, values: Array, far: Array) -> None:
    row = int(np.flatnonzero(far)[0])
    where = f" in row {row}" if len(values) > 1 else ""
    if values.dtype.kind == "O":
        warn(
            "column '%s' has the category %.60r%s, which the training never saw, only %s: check "
            "its spelling (said once, counted in out_of_range)",
            *(column.name, values[row], where, column.seen),
        )
        return
    warn(
        "column '%s' has the value %.6g%s, far outside of the training's %s, so that its answers "
        "are not to be trusted: check the column's unit (said once, counted in out_of_range)",
        *(column.name, values[row], where, column.seen),
    )
