"""The records of a run: settings, input files, parts of them, rows on their way to the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the answers beside model and data.

    Attributes:
        columns: of a table, in the order of the model's inputs; empty for those of these names.
        keys: columns of the input that are copied to the output.
        top_k: how many classes each row gets, where the model is a classifier.
        batch_size: most rows of one call.
        part_bytes: how much input makes a part.
    """

    columns: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    top_k: int = 1
    batch_size: int = 32
    part_bytes: int = 64 * 2**20

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker must know beside the model and its part.

    Attributes:
        settings: of the run.
        out: the folder of the run.
        digest: the artifact's.
        engine: the version of onnxruntime that the run was begun with.
    """

    settings: Settings
    out: str
    digest: str
    engine: str


@dataclass(frozen=True, slots=True)
class Source:
    """One input file, as it was when the run was begun.

    Attributes:
        path: or address, without a password or token.
        bytes: its size.
        stamp: its time of change, or the object store's mark: another one after each write.
        opened_by: the address with them, where it has some; never written.
    """

    path: str
    bytes: int
    stamp: str
    opened_by: str = field(default="", repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what is written of it, as JSON's types."""
        return {"path": self.path, "bytes": self.bytes, "stamp": self.stamp}


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring rows of one file.

    Attributes:
        source: the file.
        start: where they begin; what is counted depends on the kind of file: bytes of csv and json
            lines, row groups of Parquet, rows of npy, 0 for a file that is taken whole.
        stop: where they end, counted alike.
        first: the number of the first row, of text that of the line before it.
        rows: how many there are.
        bytes: about how many bytes of the file these are.
    """

    source: Source
    start: int
    stop: int
    first: int
    rows: int
    bytes: int

    @property
    def file(self) -> str:
        """The path or address."""
        return self.source.path


@dataclass(frozen=True, slots=True)
class Part:
    """A numbered share of the input, which is answered in one piece or not at all."""

    number: int
    pieces: tuple[Piece, ...]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return sum(piece.rows for piece in self.pieces)

    @property
    def bytes(self) -> int:
        """About how many bytes of input it has."""
        return sum(piece.bytes for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that got no answer, and the sentence that says why."""

    file: str
    row: int
    reason: str


@dataclass(slots=True)
class Chunk:
    """Neighbouring rows, read and not yet answered.

    Attributes:
        files: the file of each row, or one for all.
        rows: their numbers.
        value: what ``predict`` takes for them: arrays by input name, a table of pyarrow, or a list
            with one sample for each.
        keys: columns to copy, by name.
        refused: rows that could not be read.
    """

    files: str | list[str]
    rows: Sequence[int]
    value: Any
    keys: Mapping[str, Any] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    def file_of(self, at: int) -> str:
        """Return the file of the row at that place."""
        return self.files if isinstance(self.files, str) else self.files[at]

    def some(self, rows: Sequence[int], value: Any = None) -> Chunk:
        """Return the rows at some places, with a value for them."""
        files = self.files if isinstance(self.files, str) else [self.files[at] for at in rows]
        keys = {name: column.take(np.array(rows, np.int64)) for name, column in self.keys.items()}
        return Chunk(files, [self.rows[at] for at in rows], value, keys)
