"""Image files as rows, a file each; neighbours of one size are answered together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import IO

import numpy as np

from edgeport.artifact.card import ModelCard
from edgeport.artifact.golden import Array
from edgeport.errors import InputError, OptionError
from edgeport.inputs.images import read_image
from edgeport.scoring.files import Digest, naming, open_file, refuse_changed
from edgeport.scoring.job import Chunk, Piece, Refused, Settings, Source
from edgeport.signals import reraise_signal

_MOST_BYTES = 32 * 2**20  # of decoded pixels that wait for a run


def split(
    source: Source, card: ModelCard, settings: Settings, tell: Callable[[str], None]
) -> list[Piece]:
    """Return the file as one piece; see ``inputs.split``."""
    if settings.columns or settings.keys:
        raise InputError.of(
            f"'{source.path}' has",
            "no columns",
            "a table for --columns and --keys",
            "leave them out",
        )
    return [Piece(source, 0, source.bytes, 0, 1, source.bytes)]


def read_all(
    pieces: Iterable[Piece], card: ModelCard, settings: Settings, digests: list[str]
) -> Iterator[Chunk]:
    """Yield pictures of one shape each, in order; those that cannot be read are refused.

    Raises:
        InputError: a file cannot be opened, or was changed since the run was begun.
        OptionError: Pillow is not installed.
    """
    name = card.inputs[0].name
    files: list[str] = []
    pixels: list[Array] = []
    refused: list[Refused] = []

    def chunk() -> Chunk:
        return Chunk(list(files), [0] * len(files), {name: np.stack(pixels)}, {}, list(refused))

    for piece in pieces:
        with naming(piece.source), open_file(piece.source) as file:
            content = file.read()
        digest = Digest()
        digest.update(content)
        digests.append(digest.hex())
        found = decode(f"'{piece.file}'", BytesIO(content), card)
        refuse_changed(piece.source)
        if isinstance(found, str):
            refused.append(Refused(piece.file, 0, found))
            continue
        is_full = len(files) == settings.batch_size or found.nbytes * len(files) >= _MOST_BYTES
        if files and (is_full or found.shape != pixels[0].shape or found.dtype != pixels[0].dtype):
            yield chunk()
            files, pixels, refused = [], [], []
        files.append(piece.file)
        pixels.append(found)
    if files:
        yield chunk()
    elif refused:
        yield Chunk([], [], {}, {}, refused)


def ranges(
    file: IO[bytes], piece: Piece, card: ModelCard, settings: Settings
) -> list[tuple[int, int]]:
    """Return which bytes are read for a piece; see ``inputs.digest``."""
    return [(0, piece.source.bytes)]


def row_numbers(piece: Piece, card: ModelCard, settings: Settings) -> Iterator[int]:
    """Yield the number of the only row."""
    yield 0


def decode(subject: str, content: IO[bytes], card: ModelCard) -> Array | str:
    """Return the pixels of a picture, or the sentence that says why there are none.

    Raises:
        OptionError: Pillow is not installed.
    """
    try:
        return read_image(subject.strip("'"), card, content)
    except InputError as error:
        reraise_signal(error)
        return str(error)
    except (OptionError, MemoryError):
        raise
    except Exception as cause:  # whatever Pillow says of damaged bytes
        reraise_signal(cause)
        reason = str(cause) or type(cause).__name__
        if "cannot identify" in reason:  # what follows differs from run to run
            reason = "it is of no known kind"
        return f"{subject} cannot be read as a picture ({reason}): take it again, or leave it out"
