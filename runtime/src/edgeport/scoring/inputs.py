"""The kinds of input files, and which module splits and reads each."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeport.artifact.card import ModelCard
from edgeport.cli.reading import refuse_other_header
from edgeport.inputs.images import IMAGES
from edgeport.scoring import arrays, parquet, pictures, texts
from edgeport.scoring.files import Digest, naming, open_file, refuse_changed
from edgeport.scoring.job import Chunk, Part, Piece, Settings, Source

_READERS: dict[str, Any] = {
    ".parquet": parquet,
    ".csv": texts,
    ".jsonl": texts,
    ".npy": arrays,
    ".npz": arrays,
    **dict.fromkeys(IMAGES, pictures),
}
READABLE = tuple(_READERS)


def split_all(
    sources: Sequence[Source], card: ModelCard, settings: Settings, tell: Callable[[str], None]
) -> Iterator[Piece]:
    """Yield the pieces of all files in order; raises as ``split`` does.

    Raises:
        InputError: two csv files, whose columns are taken by their place, have them in another
            order or under other names.
    """
    headers: dict[str, list[str]] = {}
    for source in sources:
        if _READERS[_kind(source.path)] is texts:
            with naming(source):
                names = texts.header(source, card, settings)
            if names:
                refuse_other_header(
                    source.path, names, headers, "name them in the model's order with --columns"
                )
        yield from split(source, card, settings, tell)


def split(
    source: Source, card: ModelCard, settings: Settings, tell: Callable[[str], None]
) -> list[Piece]:
    """Return pieces of about ``settings.part_bytes``, in order; every row is in one of them.

    Args:
        source: the file.
        card: what the model takes.
        settings: of the run.
        tell: is called with what the user should know about the file, a sentence each.

    Raises:
        InputError: the file cannot be read, or has not what the model takes.
    """
    with naming(source):
        pieces: list[Piece] = _READERS[_kind(source.path)].split(source, card, settings, tell)
        return pieces


def read(part: Part, card: ModelCard, settings: Settings, digests: list[str]) -> Iterator[Chunk]:
    """Yield the rows of a part, at most ``settings.batch_size`` at a time.

    Args:
        part: of the input.
        card: what the model takes.
        settings: of the run.
        digests: gets that of each piece, as ``digest`` returns it, when the piece was read.

    Raises:
        InputError: a file cannot be read, or was changed since the run was begun; what is wrong
            with one row is in the chunk instead.
    """
    for reader, pieces in itertools.groupby(
        part.pieces, key=lambda piece: _READERS[_kind(piece.file)]
    ):
        if reader is pictures:
            yield from pictures.read_all(pieces, card, settings, digests)
            continue
        for piece in pieces:
            made = Digest()
            with naming(piece.source):
                yield from reader.read(piece, card, settings, made)
            refuse_changed(piece.source)
            digests.append(made.hex())


def digest(piece: Piece, card: ModelCard, settings: Settings) -> str:
    """Return the digest of the bytes that are read for a piece, the file's header among them.

    Raises:
        InputError: the file cannot be read.
    """
    made = Digest()
    with naming(piece.source), open_file(piece.source) as file:
        for start, stop in _READERS[_kind(piece.file)].ranges(file, piece, card, settings):
            made.add_from(file, start, stop)
    return made.hex()


def row_numbers(part: Part, card: ModelCard, settings: Settings) -> Iterator[tuple[str, int]]:
    """Yield file and number of each row of a part, from the files themselves."""
    for piece in part.pieces:
        with naming(piece.source):
            reader = _READERS[_kind(piece.file)]
            yield from ((piece.file, row) for row in reader.row_numbers(piece, card, settings))


def _kind(path: str) -> str:
    return Path(path).suffix.lower()
