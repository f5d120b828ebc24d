"""Artifacts that take windows of a recording, and WAV files written byte by byte."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from examples import Example, identity

from edgeport.artifact.signal_format import SignalFormat

Array = npt.NDArray[Any]


def echo(
    window: int, hop: int, channels: int = 0, dtype: str = "int16", rate: float = 8, **more: Any
) -> Example:
    """Return a model that answers a window with itself; with channels, it is (window, channels)."""
    plain = identity(dtype, ("N", window, channels) if channels else ("N", window))
    signal = SignalFormat("x", rate, window, hop, channels or 1, **more)
    return replace(plain, card=replace(plain.card, signal=signal))


def strided(recording: Array, window: int, hop: int) -> Array:
    """Return all windows of a recording (T, ...), by numpy's own strides."""
    if len(recording) < window:
        return np.empty((0, window, *recording.shape[1:]), recording.dtype)
    moved = np.lib.stride_tricks.sliding_window_view(recording, window, axis=0)[::hop]
    return np.moveaxis(moved, -1, 1)


def wav(
    data: bytes,
    *,
    rate: int = 8,
    channels: int = 1,
    bits: int = 16,
    tag: int = 1,
    order: str = "<",
    extensible: bool = False,
    before: bytes = b"",
    size: int | None = None,
) -> bytes:
    """Return a WAV file of these bytes of sound; ``before`` are chunks in front of the format."""
    block = channels * bits // 8
    form = struct.pack(f"{order}HHIIHH", tag, channels, rate, rate * block, block, bits)
    if extensible:
        # KSDATAFORMAT_SUBTYPE_PCM: 00000001-0000-0010-8000-00AA00389B71
        end = bytes.fromhex("800000aa00389b71")
        form = struct.pack(f"{order}H", 0xFFFE) + form[2:]
        form += struct.pack(f"{order}HHIIHH", 22, bits, 0, tag, 0, 0x10) + end
    chunks = before + struct.pack(f"{order}4sI", b"fmt ", len(form)) + form
    chunks += struct.pack(f"{order}4sI", b"data", len(data) if size is None else size) + data
    head = b"RIFF" if order == "<" else b"RIFX"
    return head + struct.pack(f"{order}I", 4 + len(chunks)) + b"WAVE" + chunks
