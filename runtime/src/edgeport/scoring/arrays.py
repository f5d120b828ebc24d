"""Rows of npy files, which are read in pieces, and of npz files, which are read whole."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec, format_shape
from edgeport.artifact.golden import Array
from edgeport.errors import InputError
from edgeport.scoring.files import Digest, open_file, read_into
from edgeport.scoring.job import Chunk, Piece, Settings, Source


def split(
    source: Source, card: ModelCard, settings: Settings, tell: Callable[[str], None]
) -> list[Piece]:
    """Return pieces of an npy file, or all of an npz file; see ``inputs.split``."""
    path = source.path
    if settings.columns or settings.keys:
        raise InputError.of(
            f"'{path}' has", "no columns", "a table for --columns and --keys", "leave them out"
        )
    if path.lower().endswith(".npz"):
        with open_file(source) as file:
            found = _by_input(path, _entries(file), card)
        _refuse_other_kinds(path, {name: dtype for name, (_, dtype) in found.items()}, card)
        by_input = {name: shape for name, (shape, _) in found.items()}
        return [Piece(source, 0, 0, 0, _rows_of(path, by_input, card), source.bytes)]
    with open_file(source) as file:
        shape, dtype, _ = _header(file, path)
    if len(card.inputs) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in card.inputs)
        raise InputError(
            f"'{path}' is one array, the model's inputs are {names}: save them with numpy.savez "
            "under these names"
        )
    _refuse_other_kinds(path, {card.inputs[0].name: dtype}, card)
    rows = _rows_of(path, {card.inputs[0].name: shape}, card)
    row_bytes = max(1, dtype.itemsize * math.prod(shape[1:]))
    step = max(1, settings.part_bytes // row_bytes)
    return [
        Piece(source, at, min(at + step, rows), at, min(step, rows - at), row_bytes * step)
        for at in range(0, rows, step)
    ]


def read(piece: Piece, card: ModelCard, settings: Settings, digest: Digest) -> Iterator[Chunk]:
    """Yield the rows of a piece; see ``inputs.read``."""
    if piece.file.lower().endswith(".npz"):
        with open_file(piece.source) as file:
            digest.add_from(file, 0, piece.source.bytes)
            file.seek(0)
            with np.load(file) as archive:
                given = _by_input(piece.file, {name: archive[name] for name in archive.files}, card)
        for at in range(0, piece.rows, settings.batch_size):
            rows = range(at, min(at + settings.batch_size, piece.rows))
            value = {name: array[rows.start : rows.stop] for name, array in given.items()}
            yield Chunk(piece.file, rows, value)
        return
    name = card.inputs[0].name
    with open_file(piece.source, is_buffered=False) as file:
        shape, dtype, begin = _header(file, piece.file)
        row_bytes = dtype.itemsize * math.prod(shape[1:])
        digest.add_from(file, 0, begin)
        file.seek(begin + piece.start * row_bytes)
        # Memory that is written for the first time costs more than reading does, so it stays.
        array = np.empty((min(settings.batch_size, piece.rows), *shape[1:]), dtype)
        for at in range(piece.start, piece.stop, settings.batch_size):
            count = min(settings.batch_size, piece.stop - at)
            filled = array[:count]
            if filled.nbytes:
                content = _bytes_of(filled)
                read_into(file, content)
                digest.update(content)
            yield Chunk(piece.file, range(at, at + count), {name: filled})


def ranges(
    file: IO[bytes], piece: Piece, card: ModelCard, settings: Settings
) -> list[tuple[int, int]]:
    """Return which bytes are read for a piece; see ``inputs.digest``."""
    if piece.file.lower().endswith(".npz"):
        return [(0, piece.source.bytes)]
    shape, dtype, begin = _header(file, piece.file)
    row_bytes = dtype.itemsize * math.prod(shape[1:])
    return [(0, begin), (begin + piece.start * row_bytes, begin + piece.stop * row_bytes)]


def row_numbers(piece: Piece, card: ModelCard, settings: Settings) -> Iterator[int]:
    """Yield the numbers of a piece's rows."""
    yield from range(piece.first, piece.first + piece.rows)


def _bytes_of(array: Array) -> memoryview:
    view: Any = array.reshape(-1).view(np.uint8)
    return memoryview(view)


def _header(file: IO[bytes], path: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return shape, dtype and where the values begin.

    Raises:
        InputError: the rows are not one after the other, or the values are objects.
    """
    version = np.lib.format.read_magic(file)
    read_header: Any = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"its format {version} is unknown")
    shape, is_fortran, dtype = read_header(file)
    if dtype.hasobject or (is_fortran and len(shape) > 1):
        found = "objects" if dtype.hasobject else "its columns one after the other"
        raise InputError.of(f"'{path}' holds", found, "rows of numbers", "save it in C order")
    return shape, dtype, file.tell()


def _entries(file: IO[bytes]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and dtype of each array of an npz file, without reading their values."""
    found = {}
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise ValueError("it has two arrays of one name")
        for name in names:
            with archive.open(name) as entry:
                found[name.removesuffix(".npy")] = _header(entry, name)[:2]
    return found


def _by_input(path: str, given: dict[str, Any], card: ModelCard) -> dict[str, Any]:
    """Return what belongs to each input; a file with one array needs no name."""
    if len(given) == 1 and len(card.inputs) == 1:
        return {card.inputs[0].name: next(iter(given.values()))}
    wanted = [spec.name for spec in card.inputs]
    if set(given) != set(wanted):
        raise InputError.of(
            f"'{path}' has",
            f"the arrays {', '.join(given) or 'none'}",
            f"the model's inputs, {', '.join(wanted)}",
            "save them under these names",
        )
    return given


def _refuse_other_kinds(path: str, dtypes: dict[str, np.dtype[Any]], card: ModelCard) -> None:
    """Refuse dates, texts and complex numbers for numbers; raises InputError."""
    for spec in card.inputs:
        dtype = dtypes[spec.name]
        if spec.dtype.kind in "biuf" and dtype.kind not in "biuf":
            raise InputError.of(
                f"'{path}' has",
                f"'{spec.name}' of dtype {dtype}",
                f"numbers that fit {spec.dtype}",
                "save numbers",
            )


def _rows_of(path: str, shapes: dict[str, tuple[int, ...]], card: ModelCard) -> int:
    """Return how many rows the arrays have; raises InputError unless all have as many."""
    sizes = set()
    for spec in card.inputs:
        shape = shapes[spec.name]
        if not _is_batch(shape, spec):
            raise InputError.of(
                f"'{path}' has",
                f"'{spec.name}' of shape {format_shape(shape)}",
                f"a batch of shape {format_shape(spec.shape)}",
                "save the samples as one array",
            )
        sizes.add(shape[0])
    if len(sizes) > 1:
        raise InputError.of(
            f"'{path}' has", f"{sorted(sizes)} rows", "as many for each input", "save as many each"
        )
    return int(sizes.pop())


def _is_batch(shape: tuple[int, ...], spec: TensorSpec) -> bool:
    return spec.has_batch_axis and len(shape) == len(spec.shape)
