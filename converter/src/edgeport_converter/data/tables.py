"""Tables in .csv files: the one reader, and tables of numbers a thousand rows at a time.

``read_rows`` reads texts, for tables of numbers here and for the tables of a training recipe, whose
columns have declared types.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgeport import OptionError
from edgeport_converter.data.chunks import LABEL_KEY, SINGLE_KEY, Chunk, Chunks

_CSV_ROWS = 1024
_LABEL_COLUMNS = ("y", "label")


def read_rows(path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line that it ends in, the header first; cells without blanks around.

    Args:
        path: of a .csv file in UTF-8, with or without a byte order mark.
        what: the file, for messages.

    Raises:
        OptionError: the file cannot be read as such, is empty, or a row has another number of cells
            than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if not header:
                raise OptionError(f"{what} is empty, expected a header and rows: add them")
            yield reader.line_num, header
            for row in filter(None, reader):
                if len(row) != len(header):
                    raise OptionError(
                        f"{what} has {len(row)} cells in line {reader.line_num}, expected "
                        f"{len(header)} as in the header: correct that line"
                    )
                yield reader.line_num, [cell.strip() for cell in row]
    except (UnicodeDecodeError, csv.Error) as cause:
        raise OptionError(
            f"{what} cannot be read as .csv ({cause}): save it as UTF-8 with commas"
        ) from cause
    except OSError as cause:
        raise OptionError(
            f"{what} cannot be read ({cause.strerror}): check its permissions"
        ) from cause


def read_csv(path: Path, purpose: str) -> Chunks:
    """Read a table of numbers: a column ``y`` or ``label`` holds labels, the rest features."""
    what = f"the {purpose} file '{path}'"

    def chunks() -> Iterator[Chunk]:
        rows = read_rows(path, what)
        _, names = next(rows)
        _check_header(names, what)
        label_at = next((i for i, name in enumerate(names) if name in _LABEL_COLUMNS), None)
        block: list[list[float]] = []
        for line, row in rows:
            block.append(_numbers(row, names, line, what))
            if len(block) == _CSV_ROWS:
                yield _table(block, label_at)
                block = []
        if block:
            yield _table(block, label_at)

    return chunks


def _check_header(names: list[str], what: str) -> None:
    counted = [str(i) for i in range(len(names))]  # what pandas calls nameless columns
    if all(map(_is_number, names)) and names != counted:
        raise OptionError(
            f"{what} begins with numbers ({', '.join(names[:3])}), expected a header with the "
            "columns' names in the first line: add it"
        )
    mark = next((mark for mark in ";\t" if mark in names[0]), None)
    if len(names) == 1 and mark is not None:
        raise OptionError(
            f"{what} has one column, whose name holds {mark!r}, expected commas between the "
            "columns: save it with commas"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(row: list[str], names: list[str], line: int, what: str) -> list[float]:
    values = []
    for name, text in zip(names, row, strict=True):
        try:
            values.append(float(text))
        except ValueError:
            raise OptionError(
                f"{what} has {text!r} in line {line}, column '{name}', expected a number: turn "
                "text into numbers first, or drop the column"
            ) from None
    return values


def _table(block: list[list[float]], label_at: int | None) -> Chunk:
    table = np.array(block)
    if label_at is None:
        return {SINGLE_KEY: table}
    return {SINGLE_KEY: np.delete(table, label_at, axis=1), LABEL_KEY: table[:, label_at]}
