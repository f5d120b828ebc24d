"""Rows of Parquet files, whose pieces are row groups, read a batch at a time.

For a card with columns these are taken by name. Else each input is filled by the column of its
name, or the only input by the columns that ``--columns`` names: one column of lists, of fixed or
varying length, or several of one number each. A column of bytes is decoded as pictures.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec, format_shape
from edgeport.artifact.golden import Array
from edgeport.errors import InputError
from edgeport.inputs.columns import Columns
from edgeport.scoring import pictures
from edgeport.scoring.files import Digest, open_file
from edgeport.scoring.job import Chunk, Piece, Refused, Settings, Source


def split(
    source: Source, card: ModelCard, settings: Settings, tell: Callable[[str], None]
) -> list[Piece]:
    """Return a piece for each row group; see ``inputs.split``."""
    import pyarrow.parquet as pq

    with open_file(source) as file:
        opened = pq.ParquetFile(file)
        _by_input(source.path, opened.schema_arrow, card, settings)
        about, pieces, first = opened.metadata, [], 0
        for group in range(about.num_row_groups):
            rows = about.row_group(group).num_rows
            size = sum(
                about.row_group(group).column(at).total_compressed_size
                for at in range(about.num_columns)
            )
            if rows:
                pieces.append(Piece(source, group, group + 1, first, rows, size))
            first += rows
    return pieces


def read(piece: Piece, card: ModelCard, settings: Settings, digest: Digest) -> Iterator[Chunk]:
    """Yield the rows of a piece; see ``inputs.read``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_file(piece.source) as file:
        # Read twice, once for the digest: pyarrow reads in an order of its own, which may change.
        for start, stop in ranges(file, piece, card, settings):
            digest.add_from(file, start, stop)
        opened = pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20)
        by_input = _by_input(piece.file, opened.schema_arrow, card, settings)
        names = list(dict.fromkeys(_all_names(by_input, settings)))
        first = piece.first
        for batch in opened.iter_batches(
            batch_size=settings.batch_size,
            row_groups=list(range(piece.start, piece.stop)),
            columns=names,
            use_threads=False,
        ):
            table = pa.Table.from_batches([batch])
            chunk = Chunk(piece.file, range(first, first + len(table)), None)
            first += len(table)
            chunk.keys = {name: table[name].combine_chunks() for name in settings.keys}
            _fill(chunk, table, by_input, card)
            yield chunk


def ranges(
    file: IO[bytes], piece: Piece, card: ModelCard, settings: Settings
) -> list[tuple[int, int]]:
    """Return which bytes are read for a piece: the footer, and the row groups' taken columns.

    Source: Parquet's format, "File format" and "Column chunks". See ``inputs.digest``.
    """
    import pyarrow.parquet as pq

    size = file.seek(-8, 2) + 8
    footer = int.from_bytes(file.read(4), "little")
    found = [(size - 8 - footer, size)]
    opened = pq.ParquetFile(file)
    by_input = _by_input(piece.file, opened.schema_arrow, card, settings)
    taken = set(_all_names(by_input, settings))
    about = opened.metadata
    for group in range(piece.start, piece.stop):
        for at in range(about.num_columns):
            if _top(opened.schema.column(at), taken):
                chunk = about.row_group(group).column(at)
                start = chunk.data_page_offset
                if chunk.dictionary_page_offset:  # some writers leave 0 for none
                    start = min(start, chunk.dictionary_page_offset)
                found.append((start, start + chunk.total_compressed_size))
    return found


def _top(leaf: Any, names: set[str]) -> bool:
    """Whether a leaf of the schema belongs to a column of these names, which may have dots."""
    return any(leaf.path == name or leaf.path.startswith(f"{name}.") for name in names)


def row_numbers(piece: Piece, card: ModelCard, settings: Settings) -> Iterator[int]:
    """Yield the numbers of a piece's rows."""
    yield from range(piece.first, piece.first + piece.rows)


def _by_input(path: str, schema: Any, card: ModelCard, settings: Settings) -> dict[str, list[str]]:
    """Return the names of the columns that fill each input.

    Raises:
        InputError: one is not there, or there twice.
    """
    found = list(schema.names)
    if card.columns:
        names = [column.name for column in card.columns]
        Columns(card, _silent).check_names(found, f"'{path}'")
        by_input = {"": names}
    elif settings.columns:
        if len(card.inputs) > 1:
            raise InputError.of(
                "--columns names",
                f"columns for {len(card.inputs)} inputs",
                "a model with one",
                "name the columns in the file as the inputs, and leave --columns out",
            )
        by_input = {card.inputs[0].name: list(settings.columns)}
    else:
        by_input = {spec.name: [spec.name] for spec in card.inputs}
    for name in _all_names(by_input, settings):
        if found.count(name) != 1:
            raise InputError.of(
                f"'{path}' has",
                f"{'several columns' if name in found else 'no column'} '{name}', only "
                f"{', '.join(found[:12])}",
                "it once",
                "name the columns with --columns",
            )
    for spec in () if card.columns else card.inputs:
        for name in by_input[spec.name]:
            kind = schema.field(name).type
            if spec.dtype.kind in "biuf" and not _is_numeric(kind):
                raise InputError.of(
                    f"'{path}' has",
                    f"the column '{name}' of type {kind}",
                    "numbers, lists of them, or encoded pictures",
                    "cast it, such as to double",
                )
    return by_input


def _is_numeric(kind: Any) -> bool:
    """Whether a column's values, or those in its lists, can become numbers or pixels."""
    from pyarrow import types

    while _is_list(kind) or types.is_dictionary(kind):
        kind = kind.value_type
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    return any(test(kind) for test in (*tests, types.is_binary, types.is_large_binary))


def _all_names(by_input: dict[str, list[str]], settings: Settings) -> list[str]:
    return [name for names in (*by_input.values(), settings.keys) for name in names]


def _silent(sentence: str) -> None:
    """Say nothing: other columns are not read."""


def _fill(chunk: Chunk, table: Any, by_input: dict[str, list[str]], card: ModelCard) -> None:
    """Give the chunk its values; rows without one are refused."""
    import pyarrow as pa

    if "" in by_input:  # by the card's columns
        columns = [
            column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
            for column in (table[name] for name in by_input[""])
        ]
        chunk.value = pa.table(columns, by_input[""])
        return
    is_there = np.ones(len(table), bool)
    reasons: dict[int, str] = {}
    values: dict[str, Any] = {}
    for spec in card.inputs:
        columns = [_plain(table[name].combine_chunks()) for name in by_input[spec.name]]
        for name, column in zip(by_input[spec.name], columns, strict=True):
            for at in np.flatnonzero(_nulls(column)).tolist():
                is_there[at] = False
                reasons[at] = f"the column '{name}' has no value, expected one: fill it"
        values[spec.name] = _values(spec, by_input[spec.name], columns, card, is_there, reasons)
    for at, reason in sorted(reasons.items()):
        refused = Refused(chunk.file_of(at), chunk.rows[at], reason)
        chunk.refused.append(refused)
    if not reasons:
        chunk.value = values
        return
    kept = np.flatnonzero(is_there)
    chunk.rows = [chunk.rows[at] for at in kept.tolist()]
    chunk.keys = {name: column.take(pa.array(kept)) for name, column in chunk.keys.items()}
    chunk.value = {
        name: [value[at] for at in kept.tolist()] if isinstance(value, list) else value[kept]
        for name, value in values.items()
    }


def _nulls(column: Any) -> Array:
    """Return which rows have no value, or a list that lacks one."""
    import pyarrow as pa

    gone: Array = np.zeros(len(column), bool)
    if column.null_count:
        gone = column.is_null().to_numpy(zero_copy_only=False)
    if _is_list(column.type) and not pa.types.is_nested(column.type.value_type):
        inner = column.flatten()
        if inner.null_count:
            owners = _parents(column)[inner.is_null().to_numpy(zero_copy_only=False)]
            gone = gone.copy()
            gone[owners] = True
    return gone


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _parents(column: Any) -> Array:
    import pyarrow.compute as pc

    found: Array = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    return found


def _values(
    spec: TensorSpec,
    names: list[str],
    columns: list[Any],
    card: ModelCard,
    is_there: Array,
    reasons: dict[int, str],
) -> Any:
    """Return the values of an input, an array (N, …) or a list of samples; all rows have one."""
    import pyarrow as pa

    kind = columns[0].type
    if len(columns) == 1 and (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return _decoded(columns[0], names[0], card, is_there, reasons)
    if len(columns) == 1 and not _is_list(kind):
        return _shaped(spec, _numbers(columns[0])[:, np.newaxis])
    if len(columns) == 1:
        return _from_lists(spec, names[0], columns[0], is_there, reasons)
    kinds = {str(column.type) for column in columns}
    if len(kinds) > 1 or _is_list(kind):
        raise InputError.of(
            f"the columns {', '.join(names[:12])} have",
            f"the types {', '.join(sorted(kinds))}",
            "numbers of one type",
            "cast them before, since joining them would round",
        )
    stacked = np.stack([_numbers(column) for column in columns], axis=1)
    return _shaped(spec, stacked)


def _from_lists(
    spec: TensorSpec, name: str, column: Any, is_there: Array, reasons: dict[int, str]
) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_nested(column.type.value_type):
        return column.to_pylist()  # a list for each axis; slow, and checked by ``predict``
    if pa.types.is_fixed_size_list(column.type) and not column.null_count:
        return _shaped(spec, _numbers(column.flatten()).reshape(len(column), -1))
    sizes = spec.sample_shape
    if not all(isinstance(size, int) for size in sizes):
        return column.to_pylist()
    width = math.prod(size for size in sizes if isinstance(size, int))
    lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    for at in np.flatnonzero((lengths != width) & is_there).tolist():
        is_there[at] = False
        reasons[at] = (
            f"the column '{name}' has {lengths[at]} values, expected {width} for "
            f"{format_shape(spec.shape)}: correct it"
        )
    if (lengths != width).any():  # rows without an answer get zeros and are dropped
        fits = lengths == width
        inner = _numbers(column.filter(pa.array(fits)).flatten())
        values = np.zeros((len(column), width), inner.dtype)
        values[fits] = inner.reshape(-1, width)
        return _shaped(spec, values)
    return _shaped(spec, _numbers(column.flatten()).reshape(len(column), width))


def _plain(column: Any) -> Any:
    """Return the values themselves of a column that has them by dictionary."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _numbers(column: Any) -> Array:
    """Return the values for numpy, zero for a missing integer, whose row is refused.

    pyarrow alone would make float64 of all integers beside a missing one, which rounds them.
    """
    import pyarrow as pa

    if column.null_count and (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        column = column.fill_null(pa.scalar(value=False).cast(column.type))
    found: Array = column.to_numpy(zero_copy_only=False)
    return found


def _shaped(spec: TensorSpec, values: Array) -> Array:
    """Return rows (N, values) in the input's shape, where it is known and fits."""
    sizes = [size for size in spec.sample_shape if isinstance(size, int)]
    if len(sizes) == len(spec.sample_shape) and math.prod(sizes) == values.shape[1]:
        return values.reshape(len(values), *sizes)
    return values


def _decoded(
    column: Any, name: str, card: ModelCard, is_there: Array, reasons: dict[int, str]
) -> list[Any]:
    """Return the pixels of encoded pictures; those that cannot be read become a refusal."""
    pixels: list[Any] = []
    for at, content in enumerate(column.to_pylist()):
        pixels.append(None)
        if content is not None:
            found = pictures.decode(f"column '{name}'", io.BytesIO(content), card)
            if isinstance(found, str):
                is_there[at], reasons[at] = False, found
            else:
                pixels[at] = found
    return pixels
