"""What all records of a card have in common: frozen, compared and printed by their fields.

``dataclass`` would compile functions of its own for each of the ten classes, and its module costs
0.9 ms besides, together 4.5 ms or 5 % of a cold start. These serve all of them, and they compare
arrays by their values too. Functions of ``dataclasses`` take the records as their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn, TypeVar

import numpy as np

_Record = TypeVar("_Record", bound="Record")


class _Made:
    """A default that is made for each record."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], Any]) -> Any:
    """Return a field's default that is made for each record, as ``dataclasses.field`` does."""
    return _Made(default_factory)


if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:  # only type checkers ask what it says

    def dataclass_transform(**_: Any) -> Any:
        """Return a decorator that changes nothing."""
        return lambda function: function


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(field,))
def record(kind: type[_Record]) -> type[_Record]:
    """Make a frozen, slotted record of a subclass of ``Record``, with its annotations as fields."""
    names = tuple(kind.__annotations__)
    namespace = {key: value for key, value in vars(kind).items() if key not in _OF_INSTANCES}
    # A slot and its default cannot share a name, so the class is made again, as dataclass does.
    namespace["_defaults"] = {key: namespace.pop(key) for key in names if key in namespace}
    namespace["__slots__"] = namespace["__match_args__"] = names
    namespace["__qualname__"] = kind.__qualname__
    made: type[_Record] = type(kind.__name__, kind.__bases__, namespace)
    return made


_OF_INSTANCES = {"__dict__", "__weakref__"}  # descriptors of a class without slots


class _DataclassFields:
    """Gives a record's class what ``dataclasses`` looks for, when it looks."""

    def __get__(self, record: object, kind: type[Record]) -> Any:
        if not kind.__slots__:
            raise AttributeError("Record has no fields of its own")
        import dataclasses

        fields = [
            (
                name,
                kind.__annotations__[name],
                dataclasses.field(default_factory=default.make)
                if isinstance(default, _Made)
                else dataclasses.field(default=default),
            )
            for name, default in (
                (name, kind._defaults.get(name, dataclasses.MISSING)) for name in kind.__slots__
            )
        ]
        like: Any = dataclasses.make_dataclass(kind.__name__, fields, frozen=True)
        found = like.__dataclass_fields__
        type.__setattr__(kind, "__dataclass_fields__", found)
        return found


class Record:
    """The base of each ``@record``."""

    __slots__: tuple[str, ...] = ()
    __dataclass_fields__: ClassVar[Any] = _DataclassFields()
    _defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, *values: Any, **named: Any) -> None:
        names, kind = self.__slots__, type(self).__name__
        if len(values) > len(names):
            raise TypeError(f"{kind} has {len(names)} fields, {len(values)} were given")
        for name, value in zip(names, values, strict=False):
            _set(self, name, value)
        found = 0
        for name in names[len(values) :]:
            if name in named:
                value = named[name]
                found += 1
            elif name in self._defaults:
                value = self._defaults[name]
                if type(value) is _Made:
                    value = value.make()
            else:
                raise TypeError(f"{kind} was given no '{name}'")
            _set(self, name, value)
        if found < len(named):
            name = next(name for name in named if name not in names[len(values) :])
            raise TypeError(f"{kind} was given a field '{name}' twice, or has none")

    def __replace__(self, **changes: Any) -> Any:
        """Return a record with other values in some fields; ``copy.replace`` calls it."""
        return type(self)(**{name: getattr(self, name) for name in self.__slots__} | changes)

    def __setattr__(self, name: str, value: object) -> None:
        _refuse(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        _refuse(f"cannot delete field {name!r}")

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


_set = object.__setattr__


def _refuse(message: str) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(message)


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
