"""Answers to files for the command line: npy, npz, csv, json lines, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgeport.artifact.card import TensorSpec, format_shape
from edgeport.artifact.golden import Array
from edgeport.atomic_files import check_target, replacing
from edgeport.cli.reading import is_number
from edgeport.errors import OptionError

WRITABLE = (".npy", ".npz", ".csv", ".jsonl")


def check_output(path: str, inputs: Sequence[str], outputs: Sequence[TensorSpec]) -> None:
    """Refuse a name that ``write_outputs`` could not serve, before anything is computed.

    Raises:
        OptionError: the ending is unknown, a format cannot hold several outputs, or the file
            cannot be written or is one of those that are read.
    """
    ending = Path(path).suffix.lower()
    if ending not in WRITABLE:
        raise OptionError(
            f"the output is '{path}', expected a name that ends in {', '.join(WRITABLE)}: rename it"
        )
    if ending == ".npy" and len(outputs) > 1:
        raise OptionError(
            f"'{path}' holds one array and the model has the outputs "
            f"{', '.join(spec.name for spec in outputs)}: choose a name that ends in .npz"
        )
    check_target(path, reads=inputs)


def write_outputs(
    path: str,
    answers: Iterable[Mapping[str, Array]],
    outputs: Sequence[TensorSpec],
    labels: Sequence[str] | None = None,
) -> None:
    """Write one answer a row, in the format of the file's ending.

    The file appears in one step when all is written; until then the target is as it was.

    Args:
        path: of the file.
        answers: by output name.
        outputs: their specs, in the order of the columns.
        labels: of the classes, which name the columns of a table where they can.

    Raises:
        OptionError: the file cannot be written, or a format cannot hold the answers.
    """
    ending = Path(path).suffix.lower()
    with replacing(path) as file:
        if ending == ".jsonl":
            file.writelines(f"{as_json(row)}\n".encode() for row in answers)
        elif ending == ".csv":
            file.writelines(line.encode() for line in _csv_lines(answers, outputs, labels))
        else:
            rows = list(answers)
            arrays = {spec.name: _stack([row[spec.name] for row in rows], spec) for spec in outputs}
            if ending == ".npy":
                np.save(file, arrays[outputs[0].name], allow_pickle=False)
                return
            write_arrays(file, arrays)


def write_arrays(file: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """Write an npz file. numpy.savez takes the names as keywords, of which `file` is its own."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def as_json(row: Mapping[str, Array]) -> str:
    """Return one answer as a line of JSON, NaN and infinities by JavaScript's names."""
    return json.dumps({name: array.tolist() for name, array in row.items()})


def _csv_lines(
    rows: Iterable[Mapping[str, Array]],
    outputs: Sequence[TensorSpec],
    labels: Sequence[str] | None,
) -> Iterator[str]:
    """Yield a table with one row a sample, and a header as ``_columns`` returns it."""
    line = io.StringIO()
    # All text is quoted: else a carriage return would part a row, and "1" would look like 1.
    table = csv.writer(line, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")

    def as_line(cells: Iterable[Any]) -> str:
        line.seek(line.truncate(0))
        table.writerow(cells)
        return line.getvalue()

    shapes: list[tuple[int, ...]] = []
    for row in rows:
        arrays = [row[spec.name] for spec in outputs]
        if not shapes:
            shapes = [array.shape for array in arrays]
            yield as_line(_columns(outputs, shapes, labels))
        for spec, array, shape in zip(outputs, arrays, shapes, strict=True):
            if array.shape != shape:
                raise _ragged(spec)
        yield as_line(value for array in arrays for value in array.flat)
    if not shapes:
        yield as_line(_columns(outputs, list(map(_sizes, outputs)), labels))


def _columns(
    outputs: Sequence[TensorSpec],
    shapes: Sequence[tuple[int, ...]],
    labels: Sequence[str] | None,
) -> list[str]:
    """Return the names of the columns: the labels of the only output's scores, else ``y[0]``.

    One score of two classes is that of the second. Where one of the labels is a number, a reader
    could take the names for a row of scores, and where one occurs twice, it names no column.
    """
    if labels is not None and len(labels) == 2 and shapes == [(1,)]:
        labels = labels[1:]
    names = list(labels or ())
    are_clear = len(set(names)) == len(names) and not any(map(is_number, names))
    if names and shapes == [(len(names),)] and are_clear:
        return names
    return [
        spec.name + "".join(f"[{i}]" for i in index)
        for spec, shape in zip(outputs, shapes, strict=True)
        for index in np.ndindex(*shape)
    ]


def _stack(arrays: Sequence[Array], spec: TensorSpec) -> Array:
    if len({array.shape for array in arrays}) > 1:
        raise _ragged(spec)
    array = np.stack(arrays) if arrays else np.empty((0, *_sizes(spec)), spec.dtype)
    if array.dtype.kind != "O":
        return array
    text = array.astype(np.str_)  # which a file holds without pickle
    if (text != array).any():
        raise OptionError(
            f"output '{spec.name}' has text that ends in NUL, which numpy's files cannot hold: "
            "choose a name that ends in .jsonl"
        )
    return text


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    """Return the shape of one answer where there is none to ask."""
    sizes = tuple(size for size in spec.sample_shape if isinstance(size, int))
    if len(sizes) < len(spec.sample_shape):
        raise OptionError(
            f"there are no samples, and without one output '{spec.name}' of shape "
            f"{format_shape(spec.shape)} has no size to write: choose a name that ends in .jsonl"
        )
    return sizes


def _ragged(spec: TensorSpec) -> OptionError:
    return OptionError(
        f"output '{spec.name}' has other shapes for other samples, which one array or table cannot "
        "hold: choose a name that ends in .jsonl"
    )
