"""[search.parameters]: what a search may choose from, as the recipe says it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edgeport import OptionError
from edgeport_converter.training.recipe.recipe import Recipe

_RANGE_KEYS = ("low", "high", "log", "steps")
_NOT_SEARCHED = ("data", "search", "seed", "name", "cross_validation", "range_test")


@dataclass(frozen=True)
class Parameter:
    """One key and its values: a list, or a range.

    Attributes:
        key: such as "training.learning_rate".
        values: the list; () for a range.
        low, high: the ends of a range, both whole for a range of whole numbers.
        log: whether it is drawn evenly in the logarithm.
        steps: how many values a grid takes of it.
    """

    key: str
    values: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False
    steps: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a range is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def grid(self) -> tuple[Any, ...]:
        """Return the values that a grid takes."""
        if self.values:
            return self.values
        steps = self.steps or 0
        found = []
        for index in range(steps):
            share = index / (steps - 1) if steps > 1 else 0.0
            if self.log:
                value = self.low * math.exp(share * math.log(self.high / self.low))
            else:
                value = self.low + share * (self.high - self.low)
            # Rounding must not carry the last value out of the range.
            value = min(max(value, self.low), self.high)
            found.append(round(value) if self.is_whole else value)
        return tuple(dict.fromkeys(found))

    def holds(self, value: Any) -> bool:
        """Whether a value could have been drawn."""
        if self.values:
            return value in self.values
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high


def read_parameters(recipe: Recipe) -> tuple[Parameter, ...]:
    """Return what the recipe searches, each value tried on the recipe's own rules.

    Raises:
        OptionError: an unknown key, an empty range, or a value that its key refuses.
    """
    search = recipe.search
    if search is None:
        raise OptionError(
            f"{recipe.origin.name} has no table [search], expected one with its parameters: add it"
        )
    found = tuple(_read(recipe, name, spec) for name, spec in _leaves(search.parameters, ""))
    if not found:
        raise OptionError(
            f"{recipe.origin.place('search.parameters')} is empty, expected a key to search, such "
            "as training.learning_rate = [0.001, 0.01]: add one"
        )
    for parameter in found:
        for value in parameter.values or (parameter.low, parameter.high):
            recipe.with_values({parameter.key: _plain(value)})
        if search.sampler == "grid" and not parameter.values and parameter.steps is None:
            raise OptionError(
                f"{recipe.origin.place(f'search.parameters.{parameter.key}')} has no steps, "
                "expected how many values a grid takes of the range: add steps = 5"
            )
    if search.sampler == "grid":
        count = math.prod(len(parameter.grid()) for parameter in found)
        if count > search.trials:
            raise OptionError(
                f"{recipe.origin.place('search.parameters')} makes a grid of {count:,} points, "
                f"expected at most the {search.trials} of search.trials: raise it, take fewer "
                'values, or sampler = "random"'
            )
    return found


def combinations(parameters: tuple[Parameter, ...]) -> Iterator[dict[str, Any]]:
    """Yield every combination of a grid."""
    for values in itertools.product(*(parameter.grid() for parameter in parameters)):
        yield dict(zip((parameter.key for parameter in parameters), values, strict=True))


def count_combinations(parameters: tuple[Parameter, ...]) -> float:
    """Return how many different points there are; infinity for a range of fractions."""
    count = 1.0
    for parameter in parameters:
        if parameter.values:
            count *= len(parameter.values)
        else:
            count *= parameter.high - parameter.low + 1 if parameter.is_whole else math.inf
    return count


def list_points(parameters: tuple[Parameter, ...]) -> Iterator[dict[str, Any]]:
    """Yield every point of a space without ranges of fractions."""
    axes = [item.values or tuple(range(int(item.low), int(item.high) + 1)) for item in parameters]
    for values in itertools.product(*axes):
        yield dict(zip((item.key for item in parameters), values, strict=True))


def _leaves(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield key and specification; TOML makes tables of the dots in a key without quotes."""
    for name, spec in table.items():
        if isinstance(spec, Mapping) and not (spec.keys() & set(_RANGE_KEYS)):
            yield from _leaves(spec, f"{path}{name}.")
        else:
            yield f"{path}{name}", spec


def _read(recipe: Recipe, name: str, spec: Any) -> Parameter:
    place = f"search.parameters.{name}"
    if name.partition(".")[0] in _NOT_SEARCHED:
        raise recipe.origin.refuse(
            place, spec, "a key of [model], [training] or [augmentation]", "leave it out"
        )
    if isinstance(spec, list) and spec:
        repeated = [value for index, value in enumerate(spec) if value in spec[:index]]
        if repeated:
            raise recipe.origin.refuse(place, spec, "different values", "leave the second out")
        return Parameter(name, tuple(spec))
    if not isinstance(spec, Mapping):
        raise recipe.origin.refuse(
            place, spec, "a list of values, or a table such as {low = 1e-4, high = 0.1, log = true}"
        )
    unknown = [item for item in spec if item not in _RANGE_KEYS]
    if unknown:
        raise recipe.origin.refuse_name(
            place, unknown[0], _RANGE_KEYS, "a table of low, high, log and steps"
        )
    low, high, log, steps = (spec.get(item) for item in _RANGE_KEYS)
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, (int, float)) or not math.isfinite(end):
            raise recipe.origin.refuse(place, dict(spec) and end, "numbers for low and high")
    assert low is not None and high is not None  # noqa: S101, PT018  # numbers, as just seen
    if not low < high:
        raise recipe.origin.refuse(place, high, f"a high above low, {low}")
    if log not in (None, True, False) or (log and low <= 0):
        raise recipe.origin.refuse(place, low if log else log, "a low above 0 with log = true")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise recipe.origin.refuse(place, steps, "a whole number of steps from 1")
    return Parameter(name, (), low, high, bool(log), steps)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
