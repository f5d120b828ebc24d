"""Rows and tables by column name: from what a caller has to arrays for the model's inputs.

``Columns.arrange`` takes a dict of columns, a list of dicts or named tuples, or whatever has
``.columns``, as tables of pandas, polars and pyarrow have, none of which is imported. Bare arrays
keep the declared order. ``predictor`` and the command line use it for cards that have columns;
``column_ranges`` counts values far outside of what the training saw.
"""

from __future__ import annotations

import difflib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec
from edgeport.artifact.column import CATEGORY, Column
from edgeport.artifact.golden import Array
from edgeport.errors import InputError, warn
from edgeport.inputs.casting import as_exact_array

MISSING_WORDS = frozenset(("", "nan", "-nan", "na", "n/a", "#n/a", "<na>", "null", "none"))
"""Cells of a table of text, in small letters, that stand for a number that is not there.

The training's reader and the device's take the same ones. In a column of categories only an empty
cell does, since ``NA`` may be Namibia.
"""

_NO_VALUES = (
    "NAType",
    "NaTType",
    "NullType",
    "MaskedConstant",
)  # what pandas and others have for None
_MOST_NAMES = 12
_PLAIN = {int, float}
_MOST = 65504.0  # the largest number of float16, the narrowest type of floats


class Columns:
    """The columns of one card.

    Args:
        card: with columns, which fill all of its inputs.
        tell: is called with a sentence, once for each further column that rows bring.
    """

    def __init__(self, card: ModelCard, tell: Callable[[str], None] = warn) -> None:
        self.all = card.columns
        self.names = [column.name for column in card.columns]
        self._specs = card.inputs
        self._known = frozenset(self.names)
        self._inputs = {spec.name for spec in card.inputs}
        self._by_input = {
            spec.name: [column for column in card.columns if column.input == spec.name]
            for spec in card.inputs
        }
        self._tell, self._told = tell, set[str]()

    def of(self, input_name: str) -> list[Column]:
        """Return the columns of one input, in order."""
        return self._by_input[input_name]

    def arrange(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what ``predict`` was given as arrays by input name.

        A dict is by input name if its keys are the input names, and these are not the names of the
        columns as well. Every other dict is by column name, and so is a named tuple.

        Raises:
            InputError: a column is missing or doubled, or a value is missing or of another kind.
        """
        # A stream's sample may be a named tuple itself.
        row = None if type(values) is tuple else self._as_row(values)
        if row is None:
            if len(values) != 1:
                return values
            row = self._as_row(values[0])
        if row is not None:
            if self._inputs == set(row) != set(self.names):
                return values
            return (self._from_dict(row),)
        value = values[0]
        if isinstance(value, (list, tuple)) and value and self._as_row(value[0]) is not None:
            return (self._from_rows(value),)
        if hasattr(value, "columns") and not isinstance(value, np.ndarray):
            return (self._from_table(value),)
        return values

    def check_names(self, names: Iterable[Any], subject: str) -> None:
        """Refuse names that lack or double a column; tell further ones once.

        Args:
            names: those that there are, in any order.
            subject: what has them, the beginning of a sentence.

        Raises:
            InputError: a column of the card is missing or occurs more than once.
        """
        found = list(names)
        present = set(found)
        if len(found) == len(self._known) and self._known == present:
            return
        missing = next((name for name in self.names if name not in present), None)
        if missing is not None:
            raise _missing_column(missing, found, self.names, subject)
        if len(present) < len(found):
            for name, count in Counter(found).items():
                if count > 1 and name in self._known:
                    raise InputError.of(
                        f"{subject} has the column '{name}'",
                        f"{count} times",
                        "each column once",
                        "rename or drop one",
                    )
        known = self._known | self._told
        further = [name for name in found if name not in known]
        if further:
            self._told.update(further)
            listed = ", ".join(f"'{name}'" for name in further[:_MOST_NAMES])
            more = f" and {len(further) - _MOST_NAMES} more" if len(further) > _MOST_NAMES else ""
            several = len(further) > 1
            self._tell(
                f"{subject} has the column{'s' if several else ''} {listed}{more}, which the model "
                f"does not take: {'they are' if several else 'it is'} left out (said once)"
            )

    def check(self, arrays: Mapping[str, Array]) -> None:
        """Refuse a number that is missing or infinite, in arrays by input name.

        Raises:
            InputError: there is one; its row and column are named.
        """
        for name, array in arrays.items():
            if array.dtype.kind != "f" or not array.size or np.isfinite(array).all():
                continue
            columns = self.of(name)
            rows = array.reshape(-1, len(columns))
            has_rows = len(rows) > 1
            for row, place in np.argwhere(~np.isfinite(rows)).tolist():
                _refuse_non_finite(rows[row, place], columns[place], row if has_rows else None)

    def _from_rows(self, rows: Sequence[Any]) -> dict[str, Array]:
        """Return the arrays of a list of dicts; all rows have the same columns."""
        named = []
        for number, row in enumerate(rows):
            found = self._as_row(row)
            if found is None:
                wanted = f"a {type(rows[0]).__name__} as row 0 is"
                raise InputError.of(
                    f"row {number} is", f"a {type(row).__name__}", wanted, "pass one"
                )
            self.check_names(found, f"row {number}")
            named.append(found)
        return self._assemble({name: [row[name] for row in named] for name in self.names})

    def _as_row(self, value: Any) -> Mapping[Any, Any] | None:
        """Return one row by column name: a dict, a named tuple, a Series of pandas; else None.

        A named tuple whose fields are the inputs is none, and keeps their declared order.

        Raises:
            InputError: a column is missing or doubled.
        """
        if isinstance(value, Mapping):
            return value
        if isinstance(value, tuple):
            fields = getattr(value, "_fields", ())
            if not fields or self._inputs == set(fields) != set(self.names):
                return None
            return dict(zip(fields, value, strict=True))
        if _is_row(value):
            self.check_names(value.index, "the row")  # to_dict() keeps the last of two
            row: Mapping[Any, Any] = value.to_dict()
            return row
        return None

    def _from_dict(self, given: Mapping[Any, Any]) -> dict[str, Array]:
        self.check_names(given, "the dict")
        named = {name: given[name] for name in self.names}
        row = self._plain_row(list(named.values()))
        if row is not None:
            return row
        scalars = [name for name, value in named.items() if _is_scalar(value)]
        if not scalars:
            return self._assemble(named)
        if len(scalars) < len(named):
            other = next(name for name in self.names if name not in scalars)
            raise InputError.of(
                f"the column '{scalars[0]}' is",
                f"one value and '{other}' has several",
                "all alike",
                "pass one value for each column, or a list or array for each",
            )
        arrays = self._assemble({name: [value] for name, value in named.items()}, is_single=True)
        return {name: array[0, ...] for name, array in arrays.items()}

    def _plain_row(self, values: list[Any]) -> dict[str, Array] | None:
        """Return one row of ordinary numbers for one input of floats, the usual case; else None."""
        spec = self._specs[0]
        if len(self._specs) > 1 or spec.dtype.kind != "f" or not set(map(type, values)) <= _PLAIN:
            return None
        # NaN compares as False, so that it takes the way of all others, too.
        if not all(-_MOST <= value <= _MOST for value in values):
            return None
        return {spec.name: np.array(values, spec.dtype).reshape(spec.sample_shape)}

    def _from_table(self, table: Any) -> dict[str, Array]:
        # pyarrow has the columns themselves in .columns, and their names here.
        names = list(getattr(table, "column_names", table.columns))
        self.check_names(names, "the table")
        return self._assemble({name: table[name] for name in self.names})

    def _assemble(self, named: Mapping[str, Any], *, is_single: bool = False) -> dict[str, Array]:
        """Return an array with batch axis for each input, from a sequence for each column."""
        arrays, sizes = {}, dict[int, str]()
        for spec in self._specs:
            parts = []
            for column in self.of(spec.name):
                part = _read(column, named[column.name], spec, has_rows=not is_single)
                sizes.setdefault(len(part), column.name)
                parts.append(part)
            if len(sizes) > 1:
                (one, first), (other, second) = list(sizes.items())[:2]
                raise InputError.of(
                    f"the column '{second}' has",
                    f"{other} values and '{first}' has {one}",
                    "the same number",
                    "give each column a value for every row",
                )
            arrays[spec.name] = np.stack(parts, axis=1) if spec.sample_shape else parts[0]
        return arrays


def _missing_column(
    name: str, found: Sequence[Any], own: Sequence[str], subject: str
) -> InputError:
    further = [str(other) for other in found if other not in own]
    near = difflib.get_close_matches(name, further, n=1)
    listed = ", ".join(str(other) for other in found[:_MOST_NAMES]) or "none"
    return InputError.of(
        f"{subject} has",
        f"no column '{name}', only {listed}{', …' if len(found) > _MOST_NAMES else ''}",
        f"the columns {', '.join(own[:_MOST_NAMES])}{', …' if len(own) > _MOST_NAMES else ''}",
        f"is it '{near[0]}'? then rename it" if near else "add it, or name the columns as these",
    )


def _is_row(value: Any) -> bool:
    """Whether it is one row with names, as a Series of pandas is."""
    has_names = hasattr(value, "to_dict") and hasattr(value, "index")
    if not has_names or hasattr(value, "columns"):
        return False
    return any(isinstance(name, str) for name in value.index)


def _is_scalar(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return False
    if value is None or isinstance(value, (str, bytes, int, float)):
        return True
    shape = getattr(value, "shape", None)
    return not hasattr(value, "__len__") if shape is None else tuple(shape) == ()


def _is_missing(item: Any) -> bool:
    if item is None or type(item).__name__ in _NO_VALUES:
        return True
    return isinstance(item, (float, np.floating)) and bool(np.isnan(item))


def _place(column: Column, row: int | None) -> str:
    return f"the column '{column.name}'" + ("" if row is None else f" in row {row}")


def _refuse(column: Column, row: int | None, found: str, remedy: str) -> NoReturn:
    wanted = "a text" if column.kind == CATEGORY else "a number"
    raise InputError.of(f"{_place(column, row)} has", found, wanted, remedy)


def refuse_missing(column: Column, row: int | None) -> NoReturn:
    """Refuse a value that is not there, in a column of which the training had every value."""
    _refuse(
        column,
        row,
        "no value",
        "fill it or leave the row out, since the model was trained without missing values here",
    )


def _refuse_non_finite(value: Any, column: Column, row: int | None) -> None:
    """Refuse NaN and infinity; NaN is fine where the graph fills it."""
    if not np.isnan(value):
        _refuse(column, row, f"the value {value}", "repair it, or leave the row out")
    if column.missing is None:
        refuse_missing(column, row)


def _read(column: Column, values: Any, spec: TensorSpec, *, has_rows: bool) -> Array:
    """Return one column as an array (N,) of its input's dtype, every value checked.

    Ordinary rounding to float32 is allowed, as the training's reader does it.
    """
    items = _as_array(column, values)
    if column.kind == CATEGORY:
        texts = [_text(column, item, at if has_rows else None) for at, item in enumerate(items)]
        return np.array(texts, object)
    numbers: Array = items
    found: Any = items
    if items.dtype.kind not in "biuf":
        found = [_number(column, item, at if has_rows else None) for at, item in enumerate(items)]
        numbers = np.array(found)
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        for at in np.flatnonzero(~np.isfinite(numbers)).tolist():
            _refuse_non_finite(numbers[at], column, at if has_rows else None)
    if spec.dtype.kind == "f":
        with np.errstate(over="ignore"):
            rounded: Array = numbers.astype(spec.dtype)
        if np.isinf(rounded).any():
            at = int(np.flatnonzero(np.isinf(rounded))[0])
            found_there = f"the value {numbers[at]}, beyond {spec.dtype}"
            _refuse(column, at if has_rows else None, found_there, "check its unit")
        return rounded
    own = TensorSpec(column.name, spec.dtype, ("N",), ("N",))
    if items.dtype.kind in "biuf":
        found = list(values) if isinstance(values, (list, tuple)) else items
    try:
        return as_exact_array(own, found)  # a list shows the integers beside floats
    except InputError as error:
        message = str(error).replace("input '", "the column '", 1)
        raise InputError(message, expected=error.expected, actual=error.actual) from error


def _as_array(column: Column, values: Any) -> Array:
    """Return the values of one column as an array (N,)."""
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(values, masked.MaskedArray):
        mask, values = masked.getmaskarray(values), np.array(values.data, object)
        values[mask] = None
    array: Array
    try:
        if isinstance(values, (list, tuple)):
            if column.kind != CATEGORY and set(map(type, values)) <= {int, float}:
                array = np.array(values)
            else:  # beside a text, numpy would turn numbers into texts
                array = np.empty(len(values), object)
                array[:] = values
        else:
            array = np.asarray(values)
    except Exception as cause:
        raise InputError.of(
            f"the column '{column.name}' is",
            f"a {type(values).__name__} that numpy cannot turn into an array ({cause})",
            "one value a row",
            "pass a list or an array",
        ) from cause
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError.of(
            f"the column '{column.name}' is",
            f"an array of shape {array.shape}",
            "one value a row",
            "pass a list or an array with one axis",
        )
    if array.dtype.kind not in "biufOUT" and type(array.dtype).__name__ != "StringDType":
        found = {"M": "dates", "m": "time differences", "c": "complex numbers", "S": "bytes"}
        _refuse(column, None, found.get(array.dtype.kind, str(array.dtype)), "convert them first")
    return array


def _shown(item: Any) -> str:
    """Return how a message shows a value; numpy 2 itself would write np.str_('a')."""
    return f"{item.item() if isinstance(item, np.generic) else item!r:.60}"


def _number(column: Column, item: Any, row: int | None) -> float | int:
    if _is_missing(item):
        return float("nan")
    if isinstance(item, (str, bytes)):
        _refuse(column, row, f"the text {_shown(item)}", "turn it into a number first, float(x)")
    if isinstance(item, np.ndarray) and not item.shape:
        item = item[()]
    # Python's float and int take these, and leave out an imaginary part or a unit.
    if isinstance(item, (np.complexfloating, np.timedelta64, bytearray, memoryview)):
        _refuse(column, row, f"a {type(item).__name__}", "pass a plain number")
    if isinstance(item, (int, np.integer)) and abs(int(item)) < 2**64:
        return int(item)
    try:
        return float(item)
    except OverflowError:
        _refuse(column, row, "a number beyond every float", "check its unit")
    except (TypeError, ValueError):
        _refuse(column, row, f"a {type(item).__name__}", "pass a plain number")


def _text(column: Column, item: Any, row: int | None) -> str:
    if isinstance(item, str) and item:
        return str(item)
    if _is_missing(item) or (isinstance(item, str) and not item):
        if column.missing is None:
            refuse_missing(column, row)
        return str(column.missing)
    # A table's reader takes a category such as 12 for a number.
    if isinstance(item, (int, np.integer)) and str(item) in column.categories:
        return str(item)
    return _refuse(column, row, f"the {type(item).__name__} {_shown(item)}", "pass text, str(x)")
