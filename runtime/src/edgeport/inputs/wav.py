"""WAV files as arrays, with every value as it is in the file, or a refusal.

Python's ``wave`` module reads no floats, no big-endian files and, before 3.12, no extensible
format. ``windows`` calls this.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edgeport.artifact.golden import Array
from edgeport.errors import InputError
from edgeport.signals import reraise_signal

# Format tags. Source: mmreg.h of Windows; RFC 2361 lists them.
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 85: "MP3"}
# What follows the tag in the identifier of an extensible format, KSDATAFORMAT_SUBTYPE_PCM and
# the like; the first six bytes turn with the order of the file.
_IDENTIFIER_END = b"\x80\x00\x00\xaa\x00\x38\x9b\x71"
_WIDTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_OTHER_HEADS = {
    b"RF64": "RF64, for files above 4 GiB",
    b"FORM": "AIFF",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3\x03": "MP3",
    b"ID3\x04": "MP3",
}
_PIECE = 2**14  # samples in time that are read at once
_LEVELS = 32768  # of int16, from -1 up to 1


class WavFile:
    """An open WAV file, to be used in a ``with`` block.

    Attributes:
        rate: samples a second.
        channels: numbers at each time.
        samples: samples in time.

    Raises:
        InputError: the file is missing, cut short, compressed, or no WAV file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file: BinaryIO = Path(path).open("rb")  # noqa: SIM115 - closed by __exit__
        except OSError as cause:
            reraise_signal(cause)
            raise self._refusal(
                f"cannot be opened ({cause.strerror})", "a WAV file", "check the path"
            ) from cause
        try:
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> WavFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def pieces(self, dtype: np.dtype[Any]) -> Iterator[Array]:
        """Yield the samples from the beginning to the end, (T, C) in int16 or float32.

        Values of 8, 24 and 32 bits and floats become int16 where 16 bits hold them exactly, with
        full scale as full scale.

        Raises:
            InputError: 16 bits do not hold a value, a float is beyond float32, or floats are
                wanted of a file of integers, whose unit the model's card does not say.
        """
        left = self.samples
        size = self.channels * self._bits // 8
        while left:
            wanted = min(left, _PIECE)
            data = self._file.read(wanted * size)
            if len(data) < wanted * size:
                raise self._refusal("became shorter while it was read", "it whole", "try again")
            values = self._decoded(data)
            values = self._as_int16(values) if dtype == np.int16 else self._as_floats(values)
            yield values.reshape(-1, self.channels)
            left -= wanted

    def _read_header(self) -> None:
        head = self._file.read(12)
        if not head:
            raise self._refusal("is empty", "a WAV file", "record it again")
        if head[:4] not in (b"RIFF", b"RIFX") or head[8:] != b"WAVE":
            known = _OTHER_HEADS.get(head[:4])
            found = f"is {known}" if known else "does not begin as a WAV file"
            raise self._refusal(found, "RIFF with WAVE", "save it as a WAV file of 16 bits")
        self._order = "<" if head[:4] == b"RIFF" else ">"
        has_format = False
        while True:
            head = self._file.read(8)
            if len(head) < 8:
                lacks = "sound data" if has_format else "a format"
                raise self._refusal(f"ends before {lacks}", "it whole", "copy or record it again")
            name, size = struct.unpack(f"{self._order}4sI", head)
            if name == b"data":
                break
            begin = self._file.tell()
            if name == b"fmt ":
                self._read_format(self._file.read(min(size, 40)))
                has_format = True
            self._file.seek(begin + size + size % 2)
        if not has_format:
            raise self._refusal("has sound data before a format", "it after", "save it again")
        there = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if size > there:
            raise self._refusal(
                f"ends after {there:,} bytes of sound",
                f"{size:,}, as its header says",
                "copy or record it again",
            )
        self.samples, rest = divmod(size, self.channels * self._bits // 8)
        if rest:
            raise self._refusal(
                f"ends {rest} bytes into a sample", "whole samples", "copy or record it again"
            )

    def _read_format(self, data: bytes) -> None:
        order = self._order
        if len(data) < 16:
            raise self._refusal(
                f"has a format of {len(data)} bytes", "at least 16", "save it again"
            )
        tag, channels, rate, _, block, bits = struct.unpack(f"{order}HHIIHH", data[:16])
        if tag == _EXTENSIBLE and len(data) == 40:
            tag, middle = struct.unpack(f"{order}IH", data[24:30])
            if middle or data[32:] != _IDENTIFIER_END:
                tag = _EXTENSIBLE
        if bits not in _WIDTHS.get(tag, ()):
            name = {_PCM: "whole numbers", _FLOAT: "floats"}.get(tag)
            found = (
                f"{name} of {bits} bits" if name else _COMPRESSED.get(tag, f"the encoding {tag}")
            )
            raise self._refusal(
                f"has {found}",
                "8, 16, 24 or 32 bits or floats, not compressed",
                "save it with 16 bits",
            )
        if not channels or not rate or block != channels * bits // 8:
            raise self._refusal(
                f"has {channels} channels, {rate} samples a second and {block} bytes a sample",
                "numbers that fit together",
                "save it again",
            )
        self.channels, self.rate = channels, rate
        self._tag, self._bits = tag, bits

    def _decoded(self, data: bytes) -> Array:
        """Return the values as they are in the file; 24 bits as the upper ones of int32."""
        order = self._order
        if self._tag == _FLOAT:
            return np.frombuffer(data, f"{order}f{self._bits // 8}")
        if self._bits == 8:
            return np.frombuffer(data, np.uint8)
        if self._bits == 24:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            place = 1 if order == "<" else 0
            wide[:, place : place + 3] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            return wide.view(f"{order}i4")[:, 0]
        return np.frombuffer(data, f"{order}i{self._bits // 8}")

    def _as_int16(self, values: Array) -> Array:
        levels: Array
        if values.dtype == np.uint8:  # the middle is 128
            return (values.astype(np.int16) - 128) * np.int16(256)
        if values.dtype.kind == "f":
            with np.errstate(all="ignore"):
                levels = values.astype(np.float64) * _LEVELS
                # NaN is no whole number either.
                fits = (levels == np.rint(levels)) & (levels >= -_LEVELS) & (levels < _LEVELS)
        elif values.dtype.itemsize == 4:
            levels = values >> 16
            fits = levels << 16 == values
        else:
            return values.astype(np.int16)
        if not fits.all():
            kind = "floats" if values.dtype.kind == "f" else "numbers"
            place = int(np.argmin(fits))
            raise self._refusal(
                f"has {kind} of {self._bits} bits that 16 bits do not hold, such as "
                f"{values[place]:g}",
                "the int16 of the model",
                "save it with 16 bits, as ffmpeg -i IN -c:a pcm_s16le OUT.wav does",
            )
        return levels.astype(np.int16)

    def _as_floats(self, values: Array) -> Array:
        if self._tag != _FLOAT:
            raise self._refusal(
                f"has whole numbers of {self._bits} bits",
                "floats, since the model takes these in a unit that its card does not say",
                "convert the model with a signal of int16",
            )
        with np.errstate(all="ignore"):
            floats: Array = values.astype(np.float32)
            fits = np.isfinite(floats) | ~np.isfinite(values)
        if not fits.all():
            raise self._refusal(
                f"has floats of {self._bits} bits such as {values[np.argmin(fits)]:g}",
                "values that float32 holds",
                "scale them as for the training",
            )
        return floats

    def _refusal(self, actual: str, expected: str, remedy: str) -> InputError:
        return InputError.of(f"'{self._path}'", actual, expected, remedy)
