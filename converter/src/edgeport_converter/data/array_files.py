"""Reading numpy's files a few megabytes at a time, so that memory does not grow with the data."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.data.chunks import CHUNK_BYTES, SINGLE_KEY, Chunk, Chunks, Pick


def read_npy(path: Path, purpose: str) -> Chunks:
    """Read the one array of a .npy file."""

    def chunks() -> Iterator[Chunk]:
        with _naming(path, purpose), path.open("rb") as file:
            stream = _ArrayStream(file, os.fstat(file.fileno()).st_size, "", path, purpose)
            for start in range(0, stream.length, stream.samples_a_chunk):
                yield {SINGLE_KEY: stream.read(min(stream.samples_a_chunk, stream.length - start))}

    return chunks


def read_npz(path: Path, purpose: str, pick: Pick) -> Chunks:
    """Read the arrays that are picked, the same number of samples of each at a time."""

    def chunks() -> Iterator[Chunk]:
        with _naming(path, purpose), zipfile.ZipFile(path) as archive, ExitStack() as members:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise OptionError(
                    f"the {purpose} file '{path}' has two arrays '{repeated[:-4]}', expected a "
                    "name for each: save it again"
                )
            picked = pick([name.removesuffix(".npy") for name in names])
            keys = list(dict.fromkeys(picked.inputs.values()))
            keys += [picked.labels] if picked.labels else []
            streams = {}
            for key in keys:
                member = archive.getinfo(f"{key}.npy")
                file = members.enter_context(archive.open(member))
                of = f" of the array '{key}'"
                streams[key] = _ArrayStream(file, member.file_size, of, path, purpose)
            lengths = {key: stream.length for key, stream in streams.items()}
            if len(set(lengths.values())) > 1:
                listed = ", ".join(f"{size} in '{key}'" for key, size in lengths.items())
                raise OptionError(
                    f"the {purpose} file '{path}' has {listed}, expected as many samples in each "
                    "array: check how the file was made"
                )
            size = min((stream.samples_a_chunk for stream in streams.values()), default=1)
            for start in range(0, next(iter(lengths.values()), 0), size):
                yield {
                    key: stream.read(min(size, stream.length - start))
                    for key, stream in streams.items()
                }

    return chunks


@contextmanager
def _naming(path: Path, purpose: str) -> Iterator[None]:
    """Name the file in whatever zipfile, zlib and numpy raise about its content."""
    try:
        yield
    except OptionError:
        raise
    except Exception as cause:
        found = " ".join(str(cause).split())[:200] or type(cause).__name__
        raise OptionError(
            f"the {purpose} file '{path}' cannot be read as .npy or .npz ({found}): "
            "save it again with numpy.save or numpy.savez"
        ) from cause


class _ArrayStream:
    """One array of a .npy stream, read in order.

    Args:
        file: at the array's beginning.
        size: the bytes of the array with its header.
        of: which array of several it is, for messages.
        path: of the file, for messages.
        purpose: the same.

    Raises:
        OptionError: it holds no samples of plain values, or is shorter than its header says.
        Exception: what numpy raises about a header that it cannot read.
    """

    def __init__(self, file: IO[bytes], size: int, of: str, path: Path, purpose: str) -> None:
        self._file, self._of = file, of
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
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
        if min(shape) < 0:
            raise ValueError(f"the shape{of} is {shape}")
        self._dtype, self._shape = dtype, shape[1:]
        self.length: int = shape[0]
        self._sample_bytes = dtype.itemsize * math.prod(self._shape)
        self._at = 0
        if self.length * self._sample_bytes > size:  # before memory is taken for it
            raise self._cut_short(max(0, size - file.tell()) // max(1, self._sample_bytes))
        self.samples_a_chunk = max(1, CHUNK_BYTES // max(1, self._sample_bytes))
        # The samples of a column-major file are not stored one after another: it is read whole.
        self._whole = self._read_whole(shape) if fortran and len(shape) > 1 else None

    def read(self, samples: int) -> Array:
        """Return the next samples."""
        if self._whole is not None:
            part = self._whole[self._at : self._at + samples]
        else:
            data = self._exactly(samples * self._sample_bytes)
            part = np.frombuffer(data, self._dtype).reshape(samples, *self._shape)
        self._at += samples
        return part

    def _read_whole(self, shape: tuple[int, ...]) -> Array:
        data = self._exactly(self.length * self._sample_bytes)
        return np.frombuffer(data, self._dtype).reshape(shape[::-1]).T

    def _exactly(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except Exception as cause:
            raise ValueError(f"{cause}, from sample {self._at}{self._of} on") from cause
        if len(data) < size:
            raise self._cut_short(self._at + len(data) // max(1, self._sample_bytes))
        return data

    def _cut_short(self, whole: int) -> ValueError:
        return ValueError(f"it was cut short in sample {whole}{self._of}")
