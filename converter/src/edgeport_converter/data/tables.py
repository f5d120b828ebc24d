"""Tables in .csv files: the one reader, and tables of numbers a thousand rows at a time.

``read_rows`` reads texts, for tables of numbers here and for the tables of a training recipe, whose
columns have declared types. Cells are parted by ``,``, ``;`` or tabs, and between the last two a
number may have a decimal comma (``Decimals``), as on the device (``edgeport.cli.tables``).
"""

from __future__ import annotations

import csv
import difflib
import itertools
import math
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import OptionError
from edgeport.artifact.column import NUMBER, Column
from edgeport.cli.reading import is_name
from edgeport.inputs.columns import MISSING_WORDS
from edgeport_converter.data.chunks import LABEL_KEY, SINGLE_KEY, Chunk, Source

_CSV_ROWS = 1024
_LABEL_COLUMNS = ("y", "label")
_BYTE_ORDER_MARK = "\ufeff"
_DELIMITERS = ",;\t"
_QUOTED = re.compile(r'"[^"]*"')
_LIKE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
# What numpy turns into numbers, but another unit or an imaginary part gets lost.
_NO_NUMBERS = {"M": "dates", "m": "time differences", "c": "complex numbers"}


def read_rows(path: Path, what: str) -> Generator[tuple[int, list[str]], None, None]:
    """Yield each row with the line that it ends in, the header first; cells without blanks around.

    Args:
        path: of a .csv file in UTF-8, with or without a byte order mark; its cells are parted by
            commas, semicolons or tabs, as the header's are.
        what: the file, for messages.

    Raises:
        OptionError: the file cannot be read as such, is empty, has two columns of one name, or a
            row has another number of cells than the header.
    """
    line = 0
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            lines = _plain_lines(file)
            first = [*itertools.islice(lines, 2)]
            reader = csv.reader(
                itertools.chain(first, lines), delimiter=_delimiter_of(first), strict=True
            )
            header = [name.strip() for name in next(reader, [])]
            if not any(header):
                raise OptionError(f"{what} is empty, expected a header and rows: add them")
            repeated = next((name for name in header if header.count(name) > 1), None)
            if repeated is not None:
                raise OptionError(
                    f"{what} has the column '{repeated}' more than once, expected a name for each: "
                    "rename one"
                )
            line = reader.line_num
            yield line, header
            for row in filter(None, reader):
                line = reader.line_num
                if len(row) != len(header):
                    raise OptionError(
                        f"{what} has {len(row)} cells in line {line}, expected "
                        f"{len(header)} as in the header: correct that line"
                    )
                yield line, [cell.strip() for cell in row]
    except (ValueError, csv.Error) as cause:
        if isinstance(cause, OptionError):
            raise
        raise OptionError(
            f"{what} cannot be read as .csv from line {line + 1} on ({cause}): save it as UTF-8"
        ) from cause
    except OSError as cause:
        raise OptionError(
            f"{what} cannot be read ({cause.strerror}): check its permissions"
        ) from cause


def find_delimiter(path: Path) -> str:
    """Return what parts the cells of a file that ``read_rows`` can read."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return _delimiter_of([*itertools.islice(file, 2)])


def _delimiter_of(lines: Sequence[str]) -> str:
    """Return the mark that occurs in the first two lines equally often, else most in the first.

    A comma comes last of several that fit, since it may be a decimal comma, and first without any.
    """
    plain = [_QUOTED.sub("", line) for line in lines] or [""]
    for mark in reversed(_DELIMITERS):
        if 0 < plain[0].count(mark) == plain[-1].count(mark):
            return mark
    return max(_DELIMITERS, key=plain[0].count)


class Decimals:
    """How one file writes its numbers: with a point, or with a comma where none parts its cells.

    Spreadsheets export numbers as they show them, with thousands parted: 1234 as ``1,234`` or
    ``1.234``. Numbers of this form are decimal if another number of the file has a mark that can
    part no thousands, as 0,5 or 12,25 has; else nobody can tell.

    Args:
        delimiter: what parts the cells.
        what: the file, for messages.
    """

    def __init__(self, delimiter: str, what: str) -> None:
        self._may_be_commas, self._what = delimiter != ",", what
        self._comma = self._point = 0  # the first line with a number of that kind
        self._is_decimal = False  # a number's mark can part no thousands
        self._doubtful: dict[str, tuple[str, int]] = {}  # a column's first number like 1,234
        self._whole: set[str] = set()  # columns with numbers without a mark

    def with_point(self, text: str, column: str, line: int) -> str:
        """Return a number's text with a point; other texts as they are.

        Raises:
            OptionError: the file has numbers with a comma and numbers with a point.
        """
        if not self._may_be_commas:
            return text
        if "." in text:
            self._point = self._point or line
        elif text.count(",") == 1:
            self._comma = self._comma or line
        else:
            self._whole.add(column)
            return text
        if self._comma and self._point:
            raise OptionError(
                f"{self._what} has numbers with a decimal comma (line {self._comma}) and with a "
                f"point (line {self._point}), expected one of them, since the other may part "
                "thousands: write all numbers in one way"
            )
        if not self._is_decimal:
            if _LIKE_THOUSANDS.fullmatch(text):
                self._doubtful.setdefault(column, (text, line))
            else:
                self._is_decimal = True
        return text.replace(",", ".") if self._comma else text

    def check(self) -> None:
        """Refuse a file, when its numbers are read, whose marks may part thousands.

        Points count as decimal, as programs write them, but for a column that also has numbers
        without one: all numbers of three decimals have it, and thousands below 1000 have not.

        Raises:
            OptionError: there is such a number.
        """
        if self._is_decimal:
            return
        for column, (text, line) in self._doubtful.items():
            if self._comma or column in self._whole:
                raise OptionError(
                    f"{self._what} has '{text}' in line {line}, column '{column}', which may be "
                    f"{text.replace(',', '.')} or {re.sub('[.,]', '', text)}, since no number of "
                    "the file tells which, expected numbers without marks between thousands: "
                    "write decimals with a point, and commas between the cells"
                )


def _plain_lines(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines without byte order marks; bytes that are no UTF-8 came as surrogates.

    Raises:
        ValueError: there is such a byte, or a NUL, as in UTF-16.
    """
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise ValueError(f"line {number} has a NUL byte, as files in UTF-16 have")
        try:
            line.encode("utf-8")
        except UnicodeEncodeError as cause:
            byte = ord(line[cause.start]) - 0xDC00
            raise ValueError(f"line {number} has byte 0x{byte:02x}, which is no UTF-8") from None
        yield line.lstrip(_BYTE_ORDER_MARK) if number == 1 else line


def read_csv(
    path: Path,
    purpose: str,
    *,
    label_column: str | None = None,
    class_names: Sequence[str] | None = None,
    like: Sequence[str] = (),
    columns: Sequence[Column] = (),
) -> Source:
    """Read a table of numbers: one column holds labels, the rest features.

    If the model knows its columns, they are matched by name and go to their inputs, texts as well;
    where a missing value may be, an empty cell is NaN.

    Args:
        path: of the file.
        purpose: "calibration" or "evaluation", for messages.
        label_column: the name of the column with the labels; without one it is ``y`` or ``label``.
            Data for calibration need not have it, and its labels are not read.
        class_names: number labels in text.
        like: the features of another table, which this one has to have, too, in any order.
        columns: of the model, if it knows them; they take the place of ``like``.

    Raises:
        OptionError: the header is missing, or lacks a column. What is wrong in a row is refused
            when it is read.
    """
    what = f"the {purpose} file '{path}'"
    with closing(read_rows(path, what)) as rows:
        _, names = next(rows)
    delimiter = find_delimiter(path)
    _check_header(names, what)
    label_at = _find_labels(names, label_column, purpose, what)
    features = [name for at, name in enumerate(names) if at != label_at]
    wanted = _features_of(columns, features, what) if columns else None
    in_order = wanted or _in_order_of(like, features, what)
    order = [names.index(name) for name in in_order]
    known = dict(zip(order, columns, strict=True)) if columns else {}
    by_name = {name: number for number, name in enumerate(class_names or ())}

    def chunks() -> Iterator[Chunk]:
        with closing(read_rows(path, what)) as rows:
            next(rows)
            decimals = Decimals(delimiter, what)
            block: list[list[float | str]] = []
            labels: list[float] = []
            named: bool | None = None  # whether labels are names of classes, as the first one is
            for line, row in rows:
                block.append(
                    [_cell(row[at], known.get(at), names[at], line, what, decimals) for at in order]
                )
                if label_at is not None and purpose != "calibration":
                    cell = row[label_at]
                    named = cell in by_name if named is None else named
                    labels.append(
                        _class_of(cell, by_name, line, what)
                        if named
                        else _number(cell, names[label_at], line, what, decimals, is_label=True)
                    )
                if len(block) == _CSV_ROWS:
                    yield _table(block, labels, columns)
                    block, labels = [], []
            decimals.check()
            if block:
                yield _table(block, labels, columns)

    left_out = tuple(name for name in features if name not in in_order)
    return Source(chunks, what, tuple(in_order), left_out)


def _features_of(columns: Sequence[Column], features: Sequence[str], what: str) -> Sequence[str]:
    """Return the names of the model's columns; refuse a table that lacks one."""
    wanted = [column.name for column in columns]
    missing = next((name for name in wanted if name not in features), None)
    if missing is not None:
        near = difflib.get_close_matches(missing, features, n=1)
        step = f"did you mean '{near[0]}'?" if near else "name the columns as in the training"
        raise OptionError(
            f"{what} has no column '{missing}', expected the model's columns, "
            f"{', '.join(wanted[:12])}{', …' if len(wanted) > 12 else ''}: {step}"
        )
    return wanted


def _check_header(names: list[str], what: str) -> None:
    counted = [str(i) for i in range(len(names))]  # what pandas calls nameless columns
    if any(map(_is_number, names)) and not any(map(is_name, names)) and names != counted:
        raise OptionError(
            f"{what} begins with numbers ({', '.join(names[:3])}), expected a header with the "
            "columns' names in the first line: add it"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _find_labels(names: list[str], wanted: str | None, purpose: str, what: str) -> int | None:
    """Return the place of the column with the labels, None where there is none."""
    if wanted is None:
        return next((at for at, name in enumerate(names) if name in _LABEL_COLUMNS), None)
    if wanted in names:
        return names.index(wanted)
    if purpose == "calibration":
        return None
    near = difflib.get_close_matches(wanted, names, n=1)
    step = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(names[:12])}"
    raise OptionError(f"{what} has no column '{wanted}', expected the labels in it: {step}")


def _in_order_of(like: Sequence[str], features: Sequence[str], what: str) -> Sequence[str]:
    """Return the features in the order of another table's.

    Raises:
        OptionError: they are not the same.
    """
    if not like:
        return features
    missing = [name for name in like if name not in features]
    extra = [name for name in features if name not in like]
    if missing or extra:
        found = [f"no column '{name}'" for name in missing[:1]]
        found += [f"the column '{name}' more" for name in extra[:1]]
        raise OptionError(
            f"{what} has {' and '.join(found)}, expected the columns of the calibration data, "
            f"{', '.join(like[:12])}{', …' if len(like) > 12 else ''}: name them alike, or pass "
            "label_column= where one of them holds labels"
        )
    return like


def _number(
    text: str, name: str, line: int, what: str, decimals: Decimals, *, is_label: bool = False
) -> float:
    plain = decimals.with_point(text, name, line)
    try:
        value = float(plain) if "_" not in plain else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        step = (
            "for class names pass labels=[...] in the order of the scores"
            if is_label
            else "turn text into numbers first, or drop the column"
        )
        raise OptionError(
            f"{what} has {text!r} in line {line}, column '{name}', expected a number: {step}"
        )
    return value


def _class_of(text: str, by_name: dict[str, int], line: int, what: str) -> int:
    if text not in by_name:
        raise OptionError(
            f"{what} has the label '{text}' in line {line}, expected one of "
            f"{', '.join(map(repr, by_name))}: name the classes as the labels do"
        )
    return by_name[text]


def _cell(
    text: str, column: Column | None, name: str, line: int, what: str, decimals: Decimals
) -> float | str:
    may_be_missing = column is not None and column.missing is not None
    if column is None or column.kind == NUMBER:
        if may_be_missing and text.lower() in MISSING_WORDS:
            return math.nan
        return _number(text, name, line, what, decimals)
    if text:
        return text
    if may_be_missing:
        return str(column.missing)
    raise OptionError(
        f"{what} has an empty cell in line {line}, column '{name}', expected a text: fill it or "
        "drop the row"
    )


def _table(block: list[list[float | str]], labels: list[float], columns: Sequence[Column]) -> Chunk:
    if columns:
        parts: dict[str, list[Any]] = {}
        for column, values in zip(columns, zip(*block, strict=True), strict=True):
            kind = np.float64 if column.kind == NUMBER else object
            parts.setdefault(column.input, []).append(np.array(values, kind))
        table = {name: np.stack(part, axis=1) for name, part in parts.items()}
    else:
        table = {SINGLE_KEY: np.array(block)}
    return table | {LABEL_KEY: np.array(labels)} if labels else table


def is_table(source: Any) -> bool:
    """Whether it is a table with named columns, as pandas, polars and pyarrow have them."""
    if not (hasattr(source, "columns") and hasattr(source, "__getitem__")):
        return False
    names = list(getattr(source, "column_names", source.columns))
    return bool(names) and all(isinstance(name, str) for name in names)


def read_frame(
    source: Any,
    purpose: str,
    *,
    label_column: str | None = None,
    like: Sequence[str] = (),
    columns: Sequence[Column] = (),
) -> Source:
    """Read a table in memory, or a pair of one and labels, as ``read_csv`` reads a file.

    Raises:
        OptionError: it lacks a column, or has a value that is no number.
    """
    what = f"the {purpose} data"
    table, labels = source[:2] if isinstance(source, tuple) else (source, None)
    names = list(getattr(table, "column_names", table.columns))
    label_at = None
    if labels is None:
        label_at = _find_labels(names, label_column, purpose, what)
        labels = None if label_at is None else np.asarray(table[names[label_at]])
    features = [name for at, name in enumerate(names) if at != label_at]
    wanted = _features_of(columns, features, what) if columns else None
    order = wanted or _in_order_of(like, features, what)
    repeated = next((name for name in order if names.count(name) > 1), None)
    if repeated is not None:
        raise OptionError(
            f"{what} has the column '{repeated}' more than once, expected a name for each: "
            "rename one"
        )
    known = columns or [Column(name, NUMBER, SINGLE_KEY) for name in order]
    chunk: dict[str, Any] = {}
    for column in known:
        values = np.asarray(table[column.name])
        if column.kind == NUMBER:
            if values.dtype.kind in _NO_NUMBERS:
                raise OptionError(
                    f"{what} has {_NO_NUMBERS[values.dtype.kind]} in the column '{column.name}', "
                    "expected numbers: turn them into numbers first, or drop the column"
                )
            try:
                values = values.astype(np.float64)
            except (TypeError, ValueError) as cause:
                raise OptionError(
                    f"{what} has values in the column '{column.name}' that are no numbers "
                    f"({cause}), expected numbers: turn text into numbers first, or drop the column"
                ) from cause
        chunk.setdefault(column.input, []).append(values)
    arrays = {name: np.stack(parts, axis=1) for name, parts in chunk.items()}
    if labels is not None:
        arrays[LABEL_KEY] = np.asarray(labels)
    left_out = tuple(name for name in features if name not in order)
    return Source(lambda: iter([arrays]), what, tuple(order), left_out)
