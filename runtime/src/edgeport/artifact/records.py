"""What all records of a card have in common: they compare and print by their fields.

``dataclass`` would compile functions of its own for each of the ten classes, which costs a cold
start 1.4 ms, nearly 1 %. These serve all of them, and they compare arrays by their values too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Record:
    """The base of a ``dataclass(frozen=True, slots=True, eq=False, repr=False)``."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(_are_equal(getattr(self, name), getattr(other, name)) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, name) for name in self.__slots__)))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({fields})"


def _are_equal(first: Any, second: Any) -> bool:
    """Whether two values are the same; of arrays: dtype, shape and each value, NaN included."""
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        has_nan = first.dtype.kind == "f"
        return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=has_nan)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            _are_equal(value, second[key]) for key, value in first.items()
        )
    return first is second or bool(first == second)
