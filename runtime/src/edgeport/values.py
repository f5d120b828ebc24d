"""Values that a model runs on without complaint, and answers nonsense: see, count, refuse.

Two questions are asked of arrays that are already right in dtype and shape: is there a NaN or an
infinity (on request, and always where int8 would hide it), and is a value outside the range that
an int8 model was calibrated for (always, since such a value saturates). Both are answered from the
smallest and the largest value.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence

import numpy as np

from edgeport.card import TensorSpec
from edgeport.errors import InferenceError, InputError
from edgeport.golden import Array


class RangeCounter:
    """Counts the values of each input that lie outside its calibrated range.

    Args:
        specs: the inputs; one without a range, or whose dtype cannot leave it, is not looked at.
    """

    def __init__(self, specs: Sequence[TensorSpec]) -> None:
        self.limits = tuple(
            (spec.name, *spec.value_range)
            for spec in specs
            if spec.value_range is not None and not _holds_whole_dtype(spec)
        )
        # A thread writes only to keys of its own, so that nothing is lost without a lock.
        self._counts: dict[tuple[str, int], int] = {}

    def watch(self, arrays: Mapping[str, Array]) -> None:
        """Add the values of one call.

        Raises:
            InputError: a value is NaN or infinite, which int8 would turn into an ordinary answer.
        """
        for name, low, high in self.limits:
            array = arrays[name]
            # argmin and argmax cost a third of min and max on small arrays; both find a NaN.
            if array.size and not (
                low <= array.item(array.argmin()) and array.item(array.argmax()) <= high
            ):
                found = _first_unfinite(array)
                if found is not None:
                    index, value = found
                    raise InputError(
                        f"input '{name}' is {value} at {index}, which an int8 model would turn "
                        "into an ordinary answer, expected finite numbers: repair or drop the "
                        "sample",
                        expected="finite numbers",
                        actual=f"{value} at {index}",
                    )
                outside = array.size - int(np.count_nonzero((array >= low) & (array <= high)))
                key = name, threading.get_ident()
                self._counts[key] = self._counts.get(key, 0) + outside

    def totals(self) -> dict[str, int]:
        """Return how many values were outside so far, by input name."""
        totals = {name: 0 for name, _, _ in self.limits}
        for (name, _), count in list(self._counts.items()):
            totals[name] += count
        return totals


def refuse_unfinite_inputs(arrays: Mapping[str, Array], *, is_single: bool) -> None:
    """Refuse the first NaN or infinity that would be fed.

    Raises:
        InputError: there is one; nothing was run.
    """
    for name, array in arrays.items():
        found = _first_unfinite(array[0] if is_single else array)
        if found is not None:
            index, value = found
            raise InputError(
                f"input '{name}' is {value} at {index}, expected finite numbers (finite=True): "
                "repair or drop the sample",
                expected="finite numbers",
                actual=f"{value} at {index}",
            )


def refuse_unfinite_outputs(names: Sequence[str], outputs: Sequence[Array]) -> None:
    """Refuse the first NaN or infinity that would be returned.

    Raises:
        InferenceError: there is one.
    """
    for name, array in zip(names, outputs, strict=True):
        found = _first_unfinite(array)
        if found is not None:
            index, value = found
            raise InferenceError(
                f"output '{name}' is {value} at {index}, expected finite numbers (finite=True): "
                "look for far out-of-range values in the input, or for a damaged sensor"
            )


def _first_unfinite(array: Array) -> tuple[list[int], float] | None:
    if array.dtype.kind != "f" or not array.size:
        return None
    if math.isfinite(array.item(array.argmin())) and math.isfinite(array.item(array.argmax())):
        return None
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    return list(index), float(array[index])


def _holds_whole_dtype(spec: TensorSpec) -> bool:
    if spec.value_range is None or spec.dtype.kind not in "iu":
        return spec.dtype.kind in "bO"
    info = np.iinfo(spec.dtype)
    return spec.value_range[0] <= info.min and spec.value_range[1] >= info.max
