"""Tables in .csv files whose columns have declared types, the target among them.

``data.tables`` reads the rows as texts. A recipe may declare categories, which the model itself
looks up, so that the artifact takes their text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeport import OptionError
from edgeport.artifact.column import CATEGORY, NUMBER, Column
from edgeport.artifact.golden import Array
from edgeport.inputs.columns import MISSING_WORDS
from edgeport_converter.data.tables import Decimals, find_delimiter, read_rows
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.recipe.tables import ColumnTable

FEATURES = "features"
"""The input that takes the numbers of a table."""

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]")
_TAKEN = ("features", "joined", "y", "targets")  # by the model and the files of its run


@dataclass(frozen=True, eq=False)
class Table:
    """Columns: numbers (N,) float32 by name, categories (N,) of texts by input; the target.

    Attributes:
        declared: what a recipe says of the columns, by name.
        names: of the categories' columns, by input.
    """

    numeric: dict[str, Array]
    categories: dict[str, Array]
    target: Array
    declared: Mapping[str, ColumnTable]
    names: Mapping[str, str]


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
            types[data.target].kind,
            "no type, since it is the target",
            "leave it out",
        )
    numeric_type = ColumnTable()
    features = [
        name
        for name in names
        if name != data.target and types.get(name, numeric_type).kind != "ignore"
    ]
    if not features:
        raise OptionError(
            f"the table '{path}' has no column to learn from: declare one less 'ignore'"
        )
    cells = dict(zip(names, zip(*rows, strict=True), strict=True))
    decimals = Decimals(find_delimiter(path), f"the table '{path}'")
    numeric: dict[str, Array] = {}
    categories: dict[str, Array] = {}
    own_names: dict[str, str] = {}
    for name in features:
        column = types.get(name, numeric_type)
        if column.kind == "category":
            # It names an input of the model, where TensorFlow takes few characters.
            plain = _NOT_IN_NAMES.sub("_", name)
            if plain in (*_TAKEN, *categories) or not plain[0].isalnum():
                raise OptionError(
                    f"the table '{path}' has a category '{name}', which would name the model's "
                    f"input '{plain}', expected a letter first and none of "
                    f"{', '.join((*_TAKEN, *categories))}: rename the column"
                )
            filled = _filled(recipe, name, column, cells[name])
            categories[plain] = _texts(path, name, filled, lines)
            own_names[plain] = name
        else:
            _check_missing(recipe, name, column)
            numeric[name] = _numbers(
                path,
                name,
                cells[name],
                lines,
                decimals,
                declared=name in types,
                may_be_missing=column.missing is not None,
            )
    target = _target(recipe, path, cells[data.target], lines, decimals)
    decimals.check()
    return Table(numeric, categories, target, types, own_names)


def _check_missing(recipe: TrainingRecipe, name: str, column: ColumnTable) -> None:
    if isinstance(column.missing, str) and column.missing not in ("mean", "median"):
        raise recipe.refuse(
            f"data.columns.{name}.missing", column.missing, "'mean', 'median' or a number"
        )
    largest = float(np.finfo(np.float32).max)
    if isinstance(column.missing, (int, float)) and not -largest <= column.missing <= largest:
        raise recipe.refuse(
            f"data.columns.{name}.missing", column.missing, "a number within float32's range"
        )


def _filled(
    recipe: TrainingRecipe, name: str, column: ColumnTable, cells: tuple[str, ...]
) -> tuple[str, ...]:
    """Return a category's cells, empty ones as the recipe says."""
    if column.missing is None:
        return cells
    if not isinstance(column.missing, str):
        raise recipe.refuse(
            f"data.columns.{name}.missing", column.missing, "a text for a category", "quote it"
        )
    return tuple(cell or column.missing for cell in cells)


def describe_columns(table: Table, numbers: str) -> tuple[Column, ...]:
    """Return what a card says of the columns; ``numbers`` is the input that takes the numbers."""

    def unit(name: str) -> str:
        return table.declared[name].unit if name in table.declared else ""

    found = [Column(name, NUMBER, numbers, unit(name)) for name in table.numeric]
    for key, name in table.names.items():
        missing = table.declared[name].missing
        found.append(Column(name, CATEGORY, key, unit(name), missing=missing))
    return tuple(found)


def fill_values(read: TrainingData, train: TrainingSamples, name: str) -> Array | None:
    """Return what a missing number of each column counts as, float32 (F,), NaN where none may be.

    None where the input has no column with missing values.

    Raises:
        OptionError: the training samples have no value to take the mean of.
    """
    if name != FEATURES or not read.missing:
        return None
    fills = np.full(len(read.columns), np.nan, np.float32)
    for at, column in enumerate(read.columns):
        rule = read.missing.get(column)
        if rule is None:
            continue
        if not isinstance(rule, str):
            fills[at] = rule
            continue
        present = train.inputs[name][:, at]
        present = present[~np.isnan(present)].astype(np.float64)
        if not len(present):
            raise OptionError(
                f"the column '{column}' of the training samples has no value, expected some for "
                f'the {rule} that stands for missing ones: declare it "ignore"'
            )
        fills[at] = present.mean() if rule == "mean" else np.median(present)
    return fills


def filled_in(x: Array, fills: Array | None) -> Array:
    """Return the numbers (N, F) with missing ones filled."""
    return x if fills is None else np.where(np.isnan(x), fills, x)


def columns_of(read: TrainingData, train: TrainingSamples) -> tuple[Column, ...]:
    """Return the columns with ranges, categories and fills of the training samples."""
    fills = fill_values(read, train, FEATURES)
    found = []
    for column in read.table:
        x = train.inputs[column.input]
        if column.kind == CATEGORY:
            categories = tuple(sorted(set(map(str, x.flat))))
            found.append(replace(column, categories=categories))
            continue
        at = read.columns.index(column.name)
        values = filled_in(x, fills)[:, at]
        limits = float(values.min()), float(values.max())
        fill = None if fills is None or np.isnan(fills[at]) else float(fills[at])
        found.append(replace(column, value_range=limits, missing=fill))
    return tuple(found)


def _read_rows(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, the rows, and the line each one ends in."""
    (_, header), *numbered = read_rows(path, f"the table '{path}'")
    if not numbered:
        raise OptionError(
            f"the table '{path}' has a header and no row, expected a header and rows: add them"
        )
    return header, [row for _, row in numbered], [line for line, _ in numbered]


def _numbers(
    path: Path,
    name: str,
    cells: tuple[str, ...],
    lines: list[int],
    decimals: Decimals,
    *,
    declared: bool,
    may_be_missing: bool = False,
) -> Array:
    step = "correct it" if declared else 'declare it in [data.columns] as "category" or "ignore"'
    fill = (
        f'fill it, drop the row, or declare "{name}" = {{ missing = "median" }} in [data.columns]'
    )
    values = np.empty(len(cells), np.float32)
    for index, cell in enumerate(cells):
        if may_be_missing and cell.lower() in MISSING_WORDS:
            values[index] = np.nan
            continue
        plain = decimals.with_point(cell, name, lines[index])
        try:
            if "_" in cell:  # Python alone would take 1_0
                raise ValueError
            with np.errstate(over="ignore"):
                values[index] = float(plain)
        except ValueError:
            found = f"'{cell}'" if cell else "an empty cell"
            raise OptionError(
                f"the table '{path}' has {found} in line {lines[index]}, column '{name}', expected "
                f"a number: {step if cell else fill}"
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


def _target(
    recipe: TrainingRecipe,
    path: Path,
    cells: tuple[str, ...],
    lines: list[int],
    decimals: Decimals,
) -> Array:
    name = str(recipe.data.target)
    if recipe.data.task == "regression":
        return _numbers(path, name, cells, lines, decimals, declared=True).astype(np.float64)
    return np.array(_texts(path, name, cells, lines), dtype=str)
