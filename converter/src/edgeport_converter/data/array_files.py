"""Reading numpy's files a few megabytes at a time, so that memory does not grow with the data."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.data.chunks import CHUNK_BYTES, SINGLE_KEY, Chunk, Chunks, Pick


def read_npy(path: Path, purpose: str) -> Chunks:
    """Read the one array of a .npy file."""

    def chunks() -> Iterator[Chunk]:
        with path.open("rb") as file:
            for part in _stream_array(file, path, purpose):
                yield {SINGLE_KEY: part}

    return chunks


def read_npz(path: Path, purpose: str, pick: Pick) -> Chunks:
    """Read the arrays that are picked, the same number of samples of each at a time."""

    def chunks() -> Iterator[Chunk]:
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as cause:
            raise _unreadable(path, purpose, cause) from cause
        with archive, ExitStack() as members:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            picked = pick([name.removesuffix(".npy") for name in names])
            keys = list(dict.fromkeys(picked.inputs.values()))
            keys += [picked.labels] if picked.labels else []
            files = [members.enter_context(archive.open(f"{key}.npy")) for key in keys]
            streams = [_ArrayStream(file, path, purpose) for file in files]
            lengths = {key: stream.length for key, stream in zip(keys, streams, strict=True)}
            if len(set(lengths.values())) > 1:
                listed = ", ".join(f"{size} in '{key}'" for key, size in lengths.items())
                raise OptionError(
                    f"the {purpose} file '{path}' has {listed}, expected as many samples in each "
                    "array: check how the file was made"
                )
            size = max(1, min((stream.samples_a_chunk for stream in streams), default=1))
            for start in range(0, next(iter(lengths.values()), 0), size):
                yield {
                    key: stream.read(min(size, stream.length - start))
                    for key, stream in zip(keys, streams, strict=True)
                }

    return chunks


class _ArrayStream:
    """One array of a .npy stream, read in order."""

    def __init__(self, file: IO[bytes], path: Path, purpose: str) -> None:
        self._file, self._path, self._purpose = file, path, purpose
        try:
            version = np.lib.format.read_magic(file)
            reader = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = reader(file)
        except (ValueError, KeyError, EOFError, OSError) as cause:
            raise _unreadable(path, purpose, cause) from cause
        if dtype.hasobject:
            raise OptionError(
                f"the {purpose} file '{path}' holds Python objects, expected numbers: "
                "save plain arrays"
            )
        if not shape:
            raise OptionError(
                f"the {purpose} file '{path}' holds a single number, expected samples along "
                "axis 0: check how the file was made"
            )
        self._dtype, self._shape = dtype, shape[1:]
        self.length: int = shape[0]
        self._sample_bytes = dtype.itemsize * int(np.prod(self._shape, dtype=np.int64))
        self.samples_a_chunk = max(1, CHUNK_BYTES // max(1, self._sample_bytes))
        # The samples of a column-major file are not stored one after another: it is read whole.
        self._whole = self._read_whole(shape) if fortran and len(shape) > 1 else None
        self._at = 0

    def read(self, samples: int) -> Array:
        """Return the next samples."""
        if self._whole is not None:
            part = self._whole[self._at : self._at + samples]
            self._at += samples
            return part
        data = self._exactly(samples * self._sample_bytes)
        return np.frombuffer(data, self._dtype).reshape(samples, *self._shape)

    def _read_whole(self, shape: tuple[int, ...]) -> Array:
        data = self._exactly(self.length * self._sample_bytes)
        return np.frombuffer(data, self._dtype).reshape(shape[::-1]).T

    def _exactly(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except (OSError, zipfile.BadZipFile, EOFError) as cause:
            raise _unreadable(self._path, self._purpose, cause) from cause
        if len(data) < size:
            raise _unreadable(self._path, self._purpose, EOFError("it was cut short"))
        return data


def _stream_array(file: IO[bytes], path: Path, purpose: str) -> Iterator[Array]:
    stream = _ArrayStream(file, path, purpose)
    for start in range(0, stream.length, stream.samples_a_chunk):
        yield stream.read(min(stream.samples_a_chunk, stream.length - start))


def _unreadable(path: Path, purpose: str, cause: BaseException) -> OptionError:
    return OptionError(
        f"the {purpose} file '{path}' cannot be read as .npy or .npz ({cause}): "
        "save it again with numpy.save or numpy.savez"
    )
