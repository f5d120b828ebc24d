"""Numbered parts: the same input is split alike whoever runs it, however many workers there are."""

from __future__ import annotations

from collections.abc import Iterable

from edgeport.scoring.job import Part, Piece


def number(pieces: Iterable[Piece], part_bytes: int) -> list[Part]:
    """Return parts of about ``part_bytes``, numbered from 0.

    Neighbouring pieces are joined until the next one would make the part larger than that. A piece
    that is larger by itself is a part.
    """
    parts: list[Part] = []
    joined: list[Piece] = []
    size = 0
    for piece in pieces:
        if joined and size + piece.bytes > part_bytes:
            parts.append(Part(len(parts), tuple(joined)))
            joined, size = [], 0
        joined.append(piece)
        size += piece.bytes
    if joined:
        parts.append(Part(len(parts), tuple(joined)))
    return parts
