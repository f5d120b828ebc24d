"""[search.parameters]: what a search may choose from, as the recipe says it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from edgeport import OptionError
from edgeport_converter.training.recipe.recipe import TrainingRecipe, read_table
from edgeport_converter.training.recipe.tables import SearchRangeTable

_SEARCHED = ("model", "training", "augmentation")


@dataclass(frozen=True)
class Parameter:
    """One key, such as "training.learning_rate", and its values: a list, or a range.

    ``values`` is (), or the range is not used; ``SearchRangeTable`` explains its fields.
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

    @property
    def count(self) -> float:
        """How many different values there are; infinity for a range of fractions."""
        if self.values:
            return len(self.values)
        return self.high - self.low + 1 if self.is_whole else math.inf

    def grid(self) -> tuple[Any, ...]:
        """Return the values that a grid takes: all of a list, or steps from low to high."""
        if self.values:
            return self.values
        space = np.geomspace if self.log else np.linspace
        found = space(self.low, self.high, self.steps or 1).tolist()
        return tuple(dict.fromkeys(map(round, found) if self.is_whole else found))

    def all_values(self) -> tuple[Any, ...]:
        """Return every value of a list or of a range of whole numbers."""
        return self.values or tuple(range(int(self.low), int(self.high) + 1))

    def holds(self, value: Any) -> bool:
        """Whether a value could have been drawn."""
        if self.values:
            return value in self.values
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high

    def suggest(self, trial: optuna.Trial) -> None:
        """Let Optuna choose a trial's value."""
        if self.values:
            trial.suggest_categorical(self.key, [self.as_stored(value) for value in self.values])
        elif self.is_whole:
            trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        else:
            trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def as_stored(self, value: Any) -> Any:
        """Return a value as Optuna keeps it: those of a list as JSON, since some are lists."""
        return json.dumps(value) if self.values else value

    def from_stored(self, value: Any) -> Any:
        """Return a value that Optuna kept."""
        return json.loads(value) if self.values else value


def read_parameters(recipe: TrainingRecipe) -> tuple[Parameter, ...]:
    """Return what the recipe searches, each value tried on the recipe's own rules.

    Raises:
        OptionError: an unknown key, an empty range, or a value that its key refuses.
    """
    search = recipe.search
    if search is None:
        raise OptionError(
            f"{recipe.origin}: there is no table [search], expected one with its parameters: add it"
        )
    leaves = _leaves(recipe.raw["search"]["parameters"], "")
    found = tuple(_read(recipe, name, spec) for name, spec in leaves)
    if not found:
        raise OptionError(
            f"{recipe.origin}: search.parameters is empty, expected a key to search, such as "
            "training.learning_rate = [0.001, 0.01]: add one"
        )
    for parameter in found:
        for value in parameter.values or (parameter.low, parameter.high):
            recipe.with_values({parameter.key: value})
        if search.sampler == "grid" and not parameter.values and parameter.steps is None:
            raise OptionError(
                f"{recipe.origin}: search.parameters.{parameter.key} has no steps, expected how "
                "many values a grid takes of the range: add steps = 5"
            )
    count = math.prod(len(item.grid()) for item in found) if search.sampler == "grid" else 0
    if count > search.trials:
        raise OptionError(
            f"{recipe.origin}: search.parameters makes a grid of {count:,} points, expected at "
            f"most the {search.trials} of search.trials: raise it, take fewer values, or "
            'sampler = "random"'
        )
    return found


def combinations(
    parameters: Sequence[Parameter], *, as_grid: bool = True
) -> Iterator[dict[str, Any]]:
    """Yield every combination of the values that a grid takes, or of all values."""
    values = [item.grid() if as_grid else item.all_values() for item in parameters]
    for point in itertools.product(*values):
        yield dict(zip((item.key for item in parameters), point, strict=True))


def _leaves(table: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    """Yield key and specification; TOML makes tables of the dots in a key without quotes."""
    for name, spec in table.items():
        if isinstance(spec, Mapping) and not (spec.keys() & SearchRangeTable.model_fields.keys()):
            yield from _leaves(spec, f"{path}{name}.")
        else:
            yield f"{path}{name}", spec


def _read(recipe: TrainingRecipe, name: str, spec: Any) -> Parameter:
    place = f"search.parameters.{name}"
    if name.partition(".")[0] not in _SEARCHED:
        raise recipe.refuse(
            place, spec, "a key of [model], [training] or [augmentation]", "leave it out"
        )
    if isinstance(spec, (list, tuple)) and spec:
        if any(value in spec[:index] for index, value in enumerate(spec)):
            raise recipe.refuse(place, spec, "different values", "leave the second out")
        return Parameter(name, tuple(spec))
    if not isinstance(spec, Mapping):
        raise recipe.refuse(
            place, spec, "a list of values, or a table such as {low = 1e-4, high = 0.1, log = true}"
        )
    span = read_table(SearchRangeTable, spec, recipe.origin, place)
    if not span.low < span.high:
        raise recipe.refuse(f"{place}.high", span.high, f"a high above low, {span.low}")
    if span.log and span.low <= 0:
        raise recipe.refuse(f"{place}.low", span.low, "a low above 0 with log = true")
    return Parameter(name, (), span.low, span.high, span.log, span.steps)
