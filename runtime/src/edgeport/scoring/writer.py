"""The files of a part: scores as Parquet, rejected rows as json lines, each whole or not at all.

The columns of the scores: ``file`` and ``row``, the keys, ``scores`` (with several outputs
``scores.NAME`` for each) and, for classifiers, the best ``labels`` with their ``label_scores``.
Answers of more than one axis are written flat; the column's metadata has their shape.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.atomic_files import replacing
from edgeport.errors import InputError, OptionError
from edgeport.labels import class_names, class_scores
from edgeport.scoring.job import Chunk, Job, Part, Refused

Answers = Mapping[str, Array]

# Rows are kept until they are worth a row group.
_GROUP_ROWS = 2**16
_GROUP_BYTES = 8 * 2**20


def scores_path(out: str, number: int) -> Path:
    """Return where a part's scores are."""
    return Path(out, "scores", f"part-{number:06d}.parquet")


def rejected_path(out: str, number: int) -> Path:
    """Return where a part's rejected rows are, if it has any."""
    return Path(out, "rejected", f"part-{number:06d}.jsonl")


def check_keys(card: ModelCard, keys: Sequence[str]) -> None:
    """Refuse keys of names that the output has already; raises OptionError."""
    taken = {"file", "row", "scores", *(f"scores.{spec.name}" for spec in card.outputs)}
    for name in keys:
        if name in taken | {"labels", "label_scores"}:
            raise OptionError(
                f"--keys names '{name}', expected none of the output's own columns: rename that "
                "column in the input"
            )


class Writer:
    """Writes the files of one part; they appear at the end of the block.

    Attributes:
        facts: rows, rejected rows and digests, once the block has ended.
    """

    def __init__(self, part: Part, card: ModelCard, job: Job) -> None:
        self._out, self._part, self._card, self._settings = job.out, part, card, job.settings
        self._digest = job.digest
        self._names = _classes(card)
        self._refused: list[Refused] = []
        self._waiting: list[tuple[Chunk, Answers]] = []
        self._rows = self._waiting_rows = self._waiting_bytes = 0
        self._stack = contextlib.ExitStack()
        self._parquet: Any = None
        self.facts: dict[str, Any] = {}

    def __enter__(self) -> Writer:
        path = scores_path(self._out, self._part.number)
        self._file = _Digested(self._stack.enter_context(replacing(path, in_bulk=True)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._abandon()
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            try:
                self._flush()
                if self._parquet is None:
                    self._open(self._empty())
                self._parquet.close()
                self._file.sync()
            except BaseException:
                self._abandon()
                raise
        rejected = None
        if self._refused:
            rejected = self._write_refused()
        else:  # what a killed run left
            rejected_path(self._out, self._part.number).unlink(missing_ok=True)
        self.facts = {
            "rows": self._rows,
            "rejected": len(self._refused),
            "sha256": self._file.hexdigest(),
            "rejected_sha256": rejected,
        }

    def _abandon(self) -> None:
        """End the writer of pyarrow while its file is open, which it would use later on its own."""
        with contextlib.suppress(Exception):
            if self._parquet is not None:
                self._parquet.close()

    def refuse(self, refused: Refused) -> None:
        """Keep a row that gets no answer, with the reason."""
        self._refused.append(refused)

    def add(self, chunk: Chunk, answers: Answers) -> None:
        """Add the answers to the rows of a chunk; those with a NaN are refused instead."""
        sick = np.zeros(len(chunk.rows), bool)
        for array in answers.values():
            if array.dtype.kind == "f" and math.isnan(array.sum()):  # one pass, seldom two
                sick |= np.isnan(array.reshape(len(array), -1)).any(axis=1)
        if sick.any():
            reason = "the model answered NaN, expected a number: look at the row's values"
            for at in np.flatnonzero(sick).tolist():
                self.refuse(Refused(chunk.file_of(at), chunk.rows[at], reason))
            kept = np.flatnonzero(~sick).tolist()
            chunk = chunk.some(kept)
            answers = {name: array[kept] for name, array in answers.items()}
        self._waiting.append((chunk, answers))
        self._rows += len(chunk.rows)
        self._waiting_rows += len(chunk.rows)
        self._waiting_bytes += sum(array.nbytes for array in answers.values())
        self._waiting_bytes += sum(column.nbytes for column in chunk.keys.values())
        if self._waiting_rows >= _GROUP_ROWS or self._waiting_bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write what waits as one row group; a table is made of neighbours of one shape."""
        import pyarrow as pa

        tables = []
        for _, alike in itertools.groupby(self._waiting, key=_shapes):
            table = self._table(*zip(*alike, strict=True))
            if self._parquet is None:
                self._open(table)
            elif table.schema != self._schema:
                raise _changed(table.schema, self._schema, self._part)
            tables.append(table)
        if tables:
            joined = pa.concat_tables(tables)
            self._parquet.write_table(joined.replace_schema_metadata(self._parquet.schema.metadata))
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def _open(self, table: Any) -> None:
        import pyarrow.parquet as pq

        self._schema = table.schema
        about = {
            "edgeport.artifact": self._digest,
            "edgeport.model": self._card.name,
            "edgeport.part": str(self._part.number),
        }
        # Scores hardly repeat, and nobody looks for their smallest: a dictionary and statistics of
        # them cost time and save nothing.
        self._parquet = pq.ParquetWriter(
            self._file,
            table.schema.with_metadata(about),
            use_dictionary=["file", "labels.list.element"],
            write_statistics=["file", "row", *self._settings.keys],
            compression="zstd",
        )

    def _table(self, chunks: Sequence[Chunk], answers: Sequence[Answers]) -> Any:
        """Return the rows of neighbouring chunks whose answers have the same shapes."""
        import pyarrow as pa

        named = {"file": _files(chunks), "row": numbers(np.concatenate([*map(_rows, chunks)]))}
        for name, first in chunks[0].keys.items():
            named[name] = pa.chunked_array([chunk.keys[name] for chunk in chunks], first.type)
        fields = [pa.field(name, array.type) for name, array in named.items()]
        for spec in self._card.outputs:
            array, shape = _column(_joined(answers, spec.name), spec)
            name = "scores" if len(self._card.outputs) == 1 else f"scores.{spec.name}"
            about = {"edgeport.shape": json.dumps(shape)} if len(shape) > 1 else None
            fields.append(pa.field(name, array.type, metadata=about))
            named[name] = array
        if self._names is not None:
            labels, best = self._best(_joined(answers, self._card.outputs[0].name))
            named |= {"labels": labels, "label_scores": best}
            fields += [pa.field("labels", labels.type), pa.field("label_scores", best.type)]
        return pa.Table.from_arrays(list(named.values()), schema=pa.schema(fields))

    def _best(self, scores: Array) -> tuple[Any, Any]:
        """Return names and scores of the best classes, as ``labels.best_labels`` orders them."""
        import pyarrow as pa

        is_logit = self._card.outputs[0].value_range != (0.0, 1.0)
        scores = class_scores(scores, is_logit=is_logit)
        most = min(self._settings.top_k, scores.shape[1])
        if most == 1:
            order = scores.argmax(axis=1)[:, np.newaxis]
        else:
            order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :most]
        best = np.take_along_axis(scores, order, axis=1)
        names = self._names.take(numbers(order.reshape(-1)))
        return (
            pa.FixedSizeListArray.from_arrays(names, most),
            pa.FixedSizeListArray.from_arrays(numbers(best.reshape(-1)), most),
        )

    def _empty(self) -> Any:
        """Return a table without rows, for a part of which every row is refused."""
        import pyarrow as pa

        answers = {}
        for spec in self._card.outputs:
            sizes = [size if isinstance(size, int) else 0 for size in spec.sample_shape]
            answers[spec.name] = np.zeros((0, *sizes), spec.dtype)
        keys = {name: pa.array([], pa.null()) for name in self._settings.keys}
        return self._table([Chunk("", [], None, keys)], [answers])

    def _write_refused(self) -> str:
        """Write the rejected rows; return the SHA-256 of the file."""
        path = rejected_path(self._out, self._part.number)
        with replacing(path, in_bulk=True) as file:
            digested = _Digested(file)
            for one in self._refused:
                about = {"file": one.file, "row": one.row, "reason": one.reason}
                digested.write(json.dumps(about).encode() + b"\n")
            digested.sync()
        return digested.hexdigest()


def _shapes(waiting: tuple[Chunk, Answers]) -> list[Any]:
    chunk, answers = waiting
    found: list[Any] = [(array.dtype, array.shape[1:]) for array in answers.values()]
    return found + [column.type for column in chunk.keys.values()]


def _files(chunks: Sequence[Chunk]) -> Any:
    """Return the file of each row as a dictionary of names and places in it."""
    import pyarrow as pa

    known: dict[str, int] = {}
    places = []
    for chunk in chunks:
        if isinstance(chunk.files, str):
            at = known.setdefault(chunk.files, len(known))
            places.append(np.full(len(chunk.rows), at, np.int32))
        else:
            found = [known.setdefault(file, len(known)) for file in chunk.files]
            places.append(np.array(found, np.int32))
    return pa.DictionaryArray.from_arrays(numbers(np.concatenate(places)), texts([*known]))


def _rows(chunk: Chunk) -> Array:
    rows = chunk.rows
    if isinstance(rows, range):
        return np.arange(rows.start, rows.stop, rows.step, dtype=np.int64)
    return np.asarray(rows, np.int64)


def _joined(answers: Sequence[Answers], name: str) -> Array:
    return np.concatenate([one[name] for one in answers])


def _classes(card: ModelCard) -> Any:
    """Return the names of the classes as an array of pyarrow, None where there are none."""
    try:
        return texts(class_names(card))
    except OptionError:
        return None


def numbers(array: Array) -> Any:
    """Return an array (N,) of numbers for pyarrow, whose own way loads pandas: 0.2 s and 40 MB."""
    import pyarrow as pa

    if array.dtype == bool:  # a bit each, there
        return pa.array(array)
    buffer = pa.py_buffer(np.ascontiguousarray(array))
    return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), len(array), [None, buffer])


def texts(values: Sequence[str]) -> Any:
    """Return texts for pyarrow, for the same reason."""
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def _column(array: Array, spec: TensorSpec) -> tuple[Any, tuple[int, ...]]:
    """Return an output as an array of pyarrow, and the shape of one row's values."""
    import pyarrow as pa

    shape = array.shape[1:]
    flat = array.reshape(-1)
    values = texts(flat.tolist()) if flat.dtype.kind == "O" else numbers(flat)
    if not shape:
        return values, shape
    width = math.prod(shape)
    if all(isinstance(size, int) for size in spec.sample_shape):
        return pa.FixedSizeListArray.from_arrays(values, width), shape
    offsets = numbers(np.arange(len(array) + 1, dtype=np.int64) * width)
    return pa.LargeListArray.from_arrays(offsets, values), (-1,)


def _changed(found: Any, first: Any, part: Part) -> InputError:
    for name, kind in zip(found.names, found.types, strict=True):
        if name in first.names and first.field(name).type != kind:
            return InputError.of(
                f"the column '{name}' of part {part.number} has",
                f"the type {kind}",
                f"{first.field(name).type} as before",
                "cast it, so that all files agree",
            )
    return InputError.of(
        f"part {part.number} has", "columns that change", "the same in each file", "rename them"
    )


class _Digested:
    """A file that makes the digest of what is written to it, once, from first to last."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._state, self.closed = file, hashlib.sha256(), False

    def write(self, content: Any) -> int:
        self._state.update(content)
        return self._file.write(content)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        """Have the content on the disk before the part's record says that it is there."""
        self.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.flush()

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def hexdigest(self) -> str:
        return self._state.hexdigest()
