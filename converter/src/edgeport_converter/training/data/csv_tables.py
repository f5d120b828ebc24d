"""Tables in .csv files whose columns have declared types, the target among them.

``data.tables`` reads the rows as texts. A recipe may declare categories, which the model itself
looks up, so that the artifact takes their text.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.data.tables import read_rows
from edgeport_converter.training.recipe.recipe import TrainingRecipe

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_TAKEN = ("features", "joined", "y", "targets")  # by the model and the files of its run


@dataclass(frozen=True, eq=False)
class Table:
    """Columns: numbers (N,) float32 by name, categories (N,) of texts by input; the target."""

    numeric: dict[str, Array]
    categories: dict[str, Array]
    target: Array


def read_table(recipe: TrainingRecipe, path: Path) -> Table:
    """Return the table, every cell read by its column's type.

    Raises:
        OptionError: a column is missing, or a cell is not of its column's type.
    """
    data = recipe.data
    if data.target is None:
        raise OptionError(
            f"{recipe.origin} has no key 'data.target', expected the name of the column to "
            "learn: add it"
        )
    names, rows, lines = _read_rows(path)
    declared = [(f"data.columns.{name}", name) for name in data.columns or {}]
    for option, wanted in (("data.target", data.target), *declared):
        if wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1)
            step = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(names[:12])}"
            raise recipe.refuse(option, wanted, f"a column of '{path}'", step)
    types = data.columns or {}
    if data.target in types:
        raise recipe.refuse(
            f"data.columns.{data.target}",
            types[data.target],
            "no type, since it is the target",
            "leave it out",
        )
    features = [name for name in names if name != data.target and types.get(name) != "ignore"]
    if not features:
        raise OptionError(
            f"the table '{path}' has no column to learn from: declare one less 'ignore'"
        )
    cells = dict(zip(names, zip(*rows, strict=True), strict=True))
    numeric: dict[str, Array] = {}
    categories: dict[str, Array] = {}
    for name in features:
        if types.get(name) == "category":
            # It names an input of the model, where TensorFlow takes few characters.
            plain = _NOT_IN_NAMES.sub("_", name)
            if plain in (*_TAKEN, *categories) or not plain[0].isalnum():
                raise OptionError(
                    f"the table '{path}' has a category '{name}', which would name the model's "
                    f"input '{plain}', expected a letter first and none of "
                    f"{', '.join((*_TAKEN, *categories))}: rename the column"
                )
            categories[plain] = _texts(path, name, cells[name], lines)
        else:
            numeric[name] = _numbers(path, name, cells[name], lines, declared=name in types)
    return Table(numeric, categories, _target(recipe, path, cells[data.target], lines))


def _read_rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, the rows, and the line each one ends in."""
    (_, header), *numbered = read_rows(path, f"the table '{path}'")
    if not numbered:
        raise OptionError(
            f"the table '{path}' has a header and no row, expected a header and rows: add them"
        )
    return header, [row for _, row in numbered], [line for line, _ in numbered]


def _numbers(
    path: Path, name: str, cells: tuple[str, ...], lines: list[int], *, declared: bool
) -> Array:
    step = "correct it" if declared else 'declare it in [data.columns] as "category" or "ignore"'
    values = np.empty(len(cells), np.float32)
    for index, cell in enumerate(cells):
        try:
            with np.errstate(over="ignore"):
                values[index] = float(cell)
        except ValueError:
            found = f"'{cell}'" if cell else "an empty cell"
            raise OptionError(
                f"the table '{path}' has {found} in line {lines[index]}, column '{name}', expected "
                f"a number: {'fill it or drop the row' if not cell else step}"
            ) from None
    return values


def _texts(path: Path, name: str, cells: tuple[str, ...], lines: list[int]) -> Array:
    for index, cell in enumerate(cells):
        if not cell:
            raise OptionError(
                f"the table '{path}' has an empty cell in line {lines[index]}, column '{name}', "
                "expected a category: fill it or drop the row"
            )
    return np.array(cells, dtype=object)


def _target(recipe: TrainingRecipe, path: Path, cells: tuple[str, ...], lines: list[int]) -> Array:
    name = str(recipe.data.target)
    if recipe.data.task == "regression":
        return _numbers(path, name, cells, lines, declared=True).astype(np.float64)
    return np.array(_texts(path, name, cells, lines), dtype=str)
