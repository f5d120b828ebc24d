"""What all records of a card have in common: frozen, compared and printed by their fields.

``dataclass`` would compile functions of its own for each of the ten classes, which costs a cold
start 3.3 ms, or 3 %. These serve all of them, and they compare arrays by their values too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

_Record = TypeVar("_Record", bound="Record")

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:  # only type checkers ask what it says

    def dataclass_transform(**_: bool) -> Any:
        """Return a decorator that changes nothing."""
        return lambda function: function


@dataclass_transform(frozen_default=True, eq_default=False)
def record(kind: type[_Record]) -> type[_Record]:
    """Make a frozen, slotted dataclass of a subclass of ``Record``."""
    return dataclass(init=False, repr=False, eq=False, slots=True)(kind)


class Record:
    """The base of each ``@record``."""

    __slots__: tuple[str, ...] = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __init__(self, *values: Any, **named: Any) -> None:
        kind = type(self).__name__
        if len(values) > len(self.__slots__):
            raise TypeError(f"{kind} has {len(self.__slots__)} fields, {len(values)} were given")
        given = dict(zip(self.__slots__, values, strict=False))
        for name in named:
            if name in given or name not in self.__slots__:
                raise TypeError(f"{kind} was given a field '{name}' twice, or has none")
        given |= named
        for name, field in self.__dataclass_fields__.items():
            if name in given:
                value = given[name]
            elif field.default is not MISSING:
                value = field.default
            elif field.default_factory is not MISSING:
                value = field.default_factory()
            else:
                raise TypeError(f"{kind} was given no '{name}'")
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self.__slots__)

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
