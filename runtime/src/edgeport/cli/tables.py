"""Tables in .csv and .jsonl files for a card with columns: from cells to rows by column name.

The first line of a .csv file names the columns, in any order. The rules for what else there is:

1. The columns are parted by ``,``, ``;`` or tabs, whichever gives the most of the card's names; in
   a file without a header, by the one that occurs in its first line.
2. Between ``;`` or tabs a number may have a decimal comma. A file that has numbers with a comma
   and numbers with a point is refused, since one of them may part thousands.
3. A file without a header is read in the card's order if each line has exactly as many cells as
   the card has columns, and a sentence tells that order. A first line is no header if it has a
   number and none of the card's names. Where the names are numbers, it is one if it has all of
   them in the card's order, or further cells; all of them in another order are refused.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from edgeport.artifact.card import ModelCard
from edgeport.artifact.column import CATEGORY, Column
from edgeport.errors import InputError
from edgeport.inputs.columns import MISSING_WORDS, Columns
from edgeport.signals import reraise_signal

_NONE: Mapping[str, list[str]] = {}
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}


def read_table(
    path: str,
    card: ModelCard,
    tell: Callable[[str], None],
    further: Mapping[str, list[str]] = _NONE,
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a .csv file, by column name; without the columns that the card has not.

    Args:
        path: of the file, in UTF-8.
        card: with columns.
        tell: is called with what the user should know, a sentence each.
        further: columns beside the card's, whose cells are added to these lists as they are.

    Raises:
        InputError: a column is missing or doubled, or a cell is not of its column's kind.
    """
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        skipped = 0
        first = file.readline()
        while first and not first.strip():
            first, skipped = file.readline(), skipped + 1
        if not first:
            return
        table = Table(path, Columns(card, tell), first)
        reader = csv.reader(itertools.chain([first], file), delimiter=table.delimiter, strict=True)
        is_header, is_empty = table.has_header, True
        for row in reader:
            if is_header:  # the line that named the columns
                is_header = False
                table.take_header(row, further)
            elif row:
                values = table.read_row(row, reader.line_num + skipped)
                if is_empty and not table.has_header:
                    listed = ", ".join(table.names)
                    tell(f"'{path}' has no header: its cells are taken for {listed}, in this order")
                is_empty = False
                for name, cells in further.items():
                    if table.has_header and name in table.names:
                        cells.append(row[table.names.index(name)].strip())
                yield values

        if is_empty:
            raise InputError.of(f"'{path}' has", "a header and no row", "rows", "add them")


class Table:
    """One file: how its cells are parted and read. Its first line that is not blank decides.

    Attributes:
        names: of the cells of a line, in order.
        has_header: whether the first line names the columns.
        delimiter: what parts the cells.
    """

    def __init__(self, path: str, columns: Columns, first: str) -> None:
        self.path, self.columns = path, columns
        self.names = list(columns.names)
        self._places = {column: at for at, column in enumerate(columns.all)}
        self._comma = self._point = 0  # the first line with a number of that kind
        split = {mark: _cells(first, mark) for mark in _DELIMITERS}
        known = {mark: len(set(cells) & set(self.names)) for mark, cells in split.items()}
        best = max(known, key=lambda mark: known[mark])
        if known[best] and not all(map(_is_number, split[best])):
            self.has_header, self.delimiter = True, best
            return
        if known[best] == len(self.names):  # all of its cells are numbers, and so are the names
            self.has_header, self.delimiter = True, best
            if len(split[best]) == len(self.names) and split[best] != self.names:
                raise InputError.of(
                    f"'{path}' has",
                    f"the columns' names in line 1, {', '.join(split[best][:12])}, which are "
                    "numbers and in another order than the model's, so that it may be a row",
                    f"the order {', '.join(self.names[:12])}, or no header",
                    "put the columns in this order",
                )
            return
        occurring = [mark for mark in ("\t", ";", ",") if mark in first] or [","]
        fitting = [mark for mark in occurring if len(split[mark]) == len(self.names)]
        self.delimiter = (fitting or occurring)[0]
        cells = split[self.delimiter]
        if self.delimiter != ",":
            cells = [cell.replace(",", ".") for cell in cells]
        self.has_header = not any(map(_is_number, cells)) or cells == self.names

    def take_header(self, cells: Sequence[str], further: Collection[str] = ()) -> None:
        """Take the names of the columns.

        Args:
            cells: of the first line.
            further: columns beside the card's that are used, too.

        Raises:
            InputError: one of the card's is missing or doubled.
        """
        self.names = [name.strip() for name in cells]
        known = [name for name in self.names if name not in further]
        self.columns.check_names(known, f"'{self.path}'")
        at_name = {name: at for at, name in enumerate(self.names)}
        self._places = {column: at_name[column.name] for column in self.columns.all}

    def read_row(self, cells: Sequence[str], line: int) -> dict[str, Any]:
        """Return the values of one line by column name.

        Raises:
            InputError: it has another number of cells than there are names, or a cell is not of
                its column's kind.
        """
        if len(cells) != len(self.names):
            self._refuse_length(line, len(cells))
        return {
            column.name: self.read_cell(column, cells[at], line)
            for column, at in self._places.items()
        }

    def _refuse_length(self, line: int, count: int) -> NoReturn:
        names = self.names
        what = "as the header has" if self.has_header else f"{', '.join(names)}, or a header"
        mark = _DELIMITERS[self.delimiter]
        raise InputError.of(
            f"'{self.path}' line {line} has",
            f"{count} cell{'s' if count != 1 else ''} parted by {mark}",
            f"{len(names)}, {what}",
            "correct the line" if self.has_header else "name the columns in the first line",
        )

    def read_cell(self, column: Column, cell: str, line: int) -> float | str | None:
        """Return the number or text of a cell; None for a missing one that the model can take."""
        text = cell.strip()
        is_category = column.kind == CATEGORY
        if not text if is_category else text.lower() in MISSING_WORDS:
            if column.missing is not None:
                return None
            found = f"'{text}'" if text else "an empty cell"
            remedy = "fill it or drop the row, since the training had no missing values there"
            self._refuse(column, found, line, remedy)
        if is_category:
            return text
        return self._number(column, text, line)

    def _number(self, column: Column, text: str, line: int) -> float:
        plain = text
        if self.delimiter != "," and text.count(",") == 1 and "." not in text:
            plain = text.replace(",", ".")
            self._comma = self._comma or line
        elif "." in text:
            self._point = self._point or line
        if self._comma and self._point:
            found = f"'{text}', and there are numbers with a decimal "
            found += f"comma (line {self._comma}) and with a point (line {self._point})"
            self._refuse(column, found, line, "write all of them in one way")
        try:
            value = float(plain) if "_" not in plain else math.nan
        except ValueError as cause:
            reraise_signal(cause)
            value = math.nan
        if not math.isfinite(value):
            self._refuse(column, f"'{text[:40]}'", line, "correct it")
        return value

    @property
    def has_comma_and_point(self) -> bool:
        """Whether both were seen as a decimal mark."""
        return bool(self._comma and self._point)

    def _refuse(self, column: Column, found: str, line: int, remedy: str) -> NoReturn:
        wanted = "a text" if column.kind == CATEGORY else "a number"
        subject = f"'{self.path}' line {line}, column '{column.name}' has"
        raise InputError.of(subject, found, wanted, remedy)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error as cause:
        reraise_signal(cause)
        return []


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError as cause:
        reraise_signal(cause)
        return False
    return True


def check_rows(
    items: Iterator[tuple[int, Any]], path: str, card: ModelCard, tell: Callable[[str], None]
) -> Iterator[Any]:
    """Yield the samples of a .jsonl file; objects by column name without further columns.

    Args:
        items: each with the line that it came from.
        path: of the file.
        card: with columns.
        tell: as for ``read_table``.

    Raises:
        InputError: an object lacks a column, or a value is not of its column's kind.
    """
    columns = Columns(card, tell)
    inputs = {spec.name for spec in card.inputs}
    for line, item in items:
        if not is_row(item, inputs, columns):
            yield item
            continue
        try:
            columns.arrange((item,))
        except InputError as error:
            message = f"'{path}' line {line}: {error}"
            raise InputError(message, expected=error.expected, actual=error.actual) from error
        yield {name: item[name] for name in columns.names}


def is_row(item: Any, inputs: set[str], columns: Columns) -> bool:
    """Whether a line's value is an object by column name, rather than by input name."""
    return isinstance(item, dict) and not inputs == set(item) != set(columns.names)
