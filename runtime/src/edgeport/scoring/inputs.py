"""The kinds of input files, and which module splits and reads each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeport.artifact.card import ModelCard
from edgeport.cli.images import IMAGES
from edgeport.scoring import arrays, parquet, pictures, texts
from edgeport.scoring.files import naming
from edgeport.scoring.job import Chunk, Part, Piece, Settings

_READERS: dict[str, Any] = {
    ".parquet": parquet,
    ".csv": texts,
    ".jsonl": texts,
    ".npy": arrays,
    ".npz": arrays,
    **dict.fromkeys(IMAGES, pictures),
}
READABLE = tuple(_READERS)


def split(
    path: str, card: ModelCard, settings: Settings, tell: Callable[[str], None]
) -> list[Piece]:
    """Return pieces of about ``settings.part_bytes``, in order; every row is in one of them.

    Args:
        path: of a file.
        card: what the model takes.
        settings: of the run.
        tell: is called with what the user should know about the file, a sentence each.

    Raises:
        InputError: the file cannot be read, or has not what the model takes.
    """
    with naming(path):
        pieces: list[Piece] = _READERS[_kind(path)].split(path, card, settings, tell)
        return pieces


def read(part: Part, card: ModelCard, settings: Settings) -> Iterator[Chunk]:
    """Yield the rows of a part, at most ``settings.batch_size`` at a time.

    Raises:
        InputError: a file cannot be read; what is wrong with one row is in the chunk instead.
    """
    for reader, pieces in itertools.groupby(
        part.pieces, key=lambda piece: _READERS[_kind(piece.file)]
    ):
        if reader is pictures:
            yield from pictures.read_all(pieces, card, settings)
            continue
        for piece in pieces:
            with naming(piece.file):
                yield from reader.read(piece, card, settings)


def row_numbers(part: Part, card: ModelCard, settings: Settings) -> Iterator[tuple[str, int]]:
    """Yield file and number of each row of a part, from the files themselves."""
    for piece in part.pieces:
        with naming(piece.file):
            reader = _READERS[_kind(piece.file)]
            yield from ((piece.file, row) for row in reader.row_numbers(piece, card, settings))


def _kind(path: str) -> str:
    return Path(path).suffix.lower()
