"""Tables in .csv files, a thousand rows at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgeport import OptionError
from edgeport_converter.data.chunks import LABEL_KEY, SINGLE_KEY, Chunk, Chunks

_CSV_ROWS = 1024


def read_csv(path: Path, purpose: str) -> Chunks:
    """Read a table with a header: a column ``y`` or ``label`` holds labels, the rest features."""

    def chunks() -> Iterator[Chunk]:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, None)
            if not header:
                raise OptionError(
                    f"the {purpose} file '{path}' is empty, expected a header and rows of numbers: "
                    "add them"
                )
            names = [name.strip() for name in header]
            counted = [str(i) for i in range(len(names))]  # what pandas calls nameless columns
            if all(map(_is_number, names)) and names != counted:
                raise OptionError(
                    f"the {purpose} file '{path}' begins with numbers ({', '.join(names[:3])}), "
                    "expected a header with the columns' names in the first line: add it"
                )
            mark = next((mark for mark in ";\t" if mark in names[0]), None)
            if len(names) == 1 and mark is not None:
                raise OptionError(
                    f"the {purpose} file '{path}' has one column, whose name holds {mark!r}, "
                    "expected commas between the columns: save it with commas"
                )
            label_at = next((i for i, name in enumerate(names) if name in ("y", "label")), None)
            block: list[list[float]] = []
            for line, row in enumerate(rows, start=2):
                if row:
                    block.append(_numbers(row, names, line, path, purpose))
                if len(block) == _CSV_ROWS:
                    yield _table(block, label_at)
                    block = []
            if block:
                yield _table(block, label_at)

    return chunks


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(row: list[str], names: list[str], line: int, path: Path, purpose: str) -> list[float]:
    if len(row) != len(names):
        raise OptionError(
            f"the {purpose} file '{path}' has {len(row)} values in line {line}, expected "
            f"{len(names)} as in the header: mend that line"
        )
    values = []
    for name, text in zip(names, row, strict=True):
        try:
            values.append(float(text))
        except ValueError:
            raise OptionError(
                f"the {purpose} file '{path}' has {text!r} in line {line}, column '{name}', "
                "expected a number: turn text into numbers first, or drop the column"
            ) from None
    return values


def _table(block: list[list[float]], label_at: int | None) -> Chunk:
    table = np.array(block)
    if label_at is None:
        return {SINGLE_KEY: table}
    return {SINGLE_KEY: np.delete(table, label_at, axis=1), LABEL_KEY: table[:, label_at]}
