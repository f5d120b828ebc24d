"""Data files for `edgeport explain`: one sample of many, or a table whole, with its labels.

What a file may be is the business of ``reading`` and ``tables``; here the column of the labels is
set apart, which is named by ``--label-column``, else ``y`` or ``label``, as `edgeport convert` has
it.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.artifact.card import ModelCard
from edgeport.cli import reading
from edgeport.cli.tables import read_table
from edgeport.errors import InputError, OptionError

LABEL_COLUMNS = ("y", "label")
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledTable:
    """A table with its labels, as ``explain`` takes it.

    Attributes:
        x: a list of rows by column name, or an array, or arrays by input name.
        labels: one a row, None where there are none.
        names: of the columns, None where the card has them or nothing names them.
    """

    x: Any
    labels: Sequence[object] | None
    names: Sequence[str] | None = None


def read_sample(
    path: str, card: ModelCard, number: int | None, tell: Tell
) -> tuple[Any, reading.Place | None]:
    """Return one sample, and where in a recording it is.

    Raises:
        InputError: as for ``read_samples``, or there are not so many samples.
    """
    samples = reading.read_samples([path], card, tell)
    items = samples.items
    if Path(path).suffix.lower() == ".npz" and len(card.inputs) == 1:  # which may hold labels, too
        x = _read_npz(path, card, None).x
        spec = card.inputs[0]
        x = x.get(spec.name, x) if isinstance(x, dict) else x
        items = iter(x if np.ndim(x) == len(spec.shape) else [x])
    place = number or 0
    found = list(islice(items, place + 2))[place:]
    if not found:
        raise InputError.of(
            f"'{path}' has", f"no sample {place}", "one of that number", "count from 0"
        )
    if number is None and len(found) > 1:
        tell(f"'{path}' has more than one sample: the first is explained, --sample chooses others")
    where = list(islice(samples.places or (), place, place + 1))
    return found[0], where[0] if where and where[0].seconds is not None else None


def read_labelled(
    path: str, card: ModelCard, label_column: str | None, tell: Tell
) -> LabelledTable:
    """Return a table with its labels, if it has any.

    Raises:
        InputError: the file is missing, of another kind, or does not fit the model.
        OptionError: there is no such column of labels.
    """
    reading.check_kind(path)
    ending = Path(path).suffix.lower()
    if ending == ".csv" and not card.columns:
        return _read_plain_csv(path, card, label_column)
    if ending == ".csv":
        cells: dict[str, list[str]] = {name: [] for name in _wanted(card, label_column)}
        with reading.naming(path):
            rows = list(read_table(path, card, tell, cells))
        return LabelledTable(
            rows, _one_of(path, {k: v for k, v in cells.items() if v}, label_column)
        )
    if ending == ".jsonl":
        return _read_json_lines(path, card, label_column, tell)
    if ending == ".npz":
        return _read_npz(path, card, label_column)
    if label_column is not None:
        raise OptionError(
            f"--label-column was given and '{path}' has no columns with names, expected .csv, "
            ".jsonl or .npz: leave it out"
        )
    samples = reading.read_samples([path], card, tell)
    return LabelledTable(np.array(list(samples.items)), None)


def _wanted(card: ModelCard, label_column: str | None) -> tuple[str, ...]:
    taken = {column.name for column in card.columns} | {spec.name for spec in card.inputs}
    if label_column is None:
        return tuple(name for name in LABEL_COLUMNS if name not in taken)
    if label_column in taken:
        raise OptionError(
            f"the label column is '{label_column}', which the model takes, expected another: "
            "correct the name"
        )
    return (label_column,)


def _one_of(path: str, found: dict[str, Any], label_column: str | None) -> Sequence[object] | None:
    """Return the labels of the only column found, None where there is none."""
    if label_column is not None and label_column not in found:
        raise OptionError(
            f"'{path}' has no column '{label_column}', expected the labels there: correct the name"
        )
    if len(found) > 1:
        listed = " and ".join(f"'{name}'" for name in found)
        raise OptionError(
            f"'{path}' has the columns {listed}, expected one of labels: choose by --label-column"
        )
    return next(iter(found.values()), None)


def _read_plain_csv(path: str, card: ModelCard, label_column: str | None) -> LabelledTable:
    """Return a table with its columns in the model's order, named by the header if there is one."""
    with reading.naming(path), Path(path).open(newline="", encoding="utf-8-sig") as file:
        rows = list(filter(None, csv.reader(file, strict=True)))
        header = [name.strip() for name in rows[0]] if rows and reading.is_header(rows[0]) else []
        found = {}
        for name in _wanted(card, label_column):
            if name in header:
                found[name] = [row[header.index(name)] for row in rows[1:]]
        labels = _one_of(path, found, label_column)
        kept = [at for at, name in enumerate(header) if name not in found]
        body = [[row[at] for at in kept] for row in rows[1:]] if header else rows
        numbers = np.array([[reading.number_of(text) for text in row] for row in body])
    return LabelledTable(numbers, labels, [header[at] for at in kept] if header else None)


def _read_json_lines(
    path: str, card: ModelCard, label_column: str | None, tell: Tell
) -> LabelledTable:
    from edgeport.cli.tables import check_rows

    wanted = _wanted(card, label_column)
    found: dict[str, list[object]] = {}
    rows = []
    for line, row in reading.read_objects(path):
        if isinstance(row, dict):
            for name in wanted:
                if name in row:
                    found.setdefault(name, []).append(row.pop(name))
        rows.append((line, row))
    samples = check_rows(iter(rows), path, card, tell) if card.columns else (x for _, x in rows)
    x = list(samples)
    if not card.columns:
        name = card.inputs[0].name
        with reading.naming(path):
            x = [row[name] if isinstance(row, dict) else row for row in x]
    return LabelledTable(x, _one_of(path, found, label_column))


def _read_npz(path: str, card: ModelCard, label_column: str | None) -> LabelledTable:
    with reading.naming(path), np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    found = {name: arrays.pop(name) for name in _wanted(card, label_column) if name in arrays}
    _one_of(path, found, label_column)
    labels = None
    for name, array in found.items():
        if array.shape not in ((len(array),), (len(array), 1)):
            raise InputError.of(
                f"the labels '{name}' in '{path}' have",
                f"the shape {array.shape}",
                "one label a row",
                "pass the number of each class, y.argmax(axis=1)",
            )
        labels = array.reshape(len(array)).tolist()
    x = next(iter(arrays.values())) if len(arrays) == len(card.inputs) == 1 else arrays
    return LabelledTable(x, labels)
