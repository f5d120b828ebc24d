"""Where the user's samples come from: files, folders, arrays, generators.

Every kind becomes the same thing, a function that starts a new pass over the samples and yields
chunks of them: arrays by key, sample along axis 0. Files are read a few megabytes at a time, so
memory does not grow with the number of samples. What the keys mean is ``datasets``' business.
"""

from __future__ import annotations

import csv
import os
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.golden import Array
from edgeport_converter.naming import Keys

Chunk = dict[str, Array]
Chunks = Callable[[], Iterator[Chunk]]
"""Starts a new pass over all samples, in the same order each time."""

SINGLE_KEY = "x"
LABEL_KEY = "y"

_CHUNK_BYTES = 4 * 2**20
_CSV_ROWS = 1024
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def open_source(
    source: Any,
    specs: Sequence[TensorSpec],
    purpose: str,
    pick: Callable[[Sequence[str]], Keys],
    *,
    image_range: tuple[float, float] = (0.0, 255.0),
) -> Chunks:
    """Return a new pass over ``source`` for each call.

    Args:
        source: the path of a ``.npy``, ``.npz`` or ``.csv`` file or of a folder of images; an
            array; a dict of arrays; a pair ``(x, y)``; or an iterable of samples or batches in
            these forms, such as a generator or a ``tf.data.Dataset``.
        specs: the model's inputs; they give images their size, and tell a sample from a batch.
        purpose: "calibration" or "evaluation", for messages.
        pick: says which keys of a file with many arrays are read.
        image_range: the values that black and white pixels of image files become.

    Raises:
        OptionError: there is no such file, or it is of no known kind.
    """
    if isinstance(source, (str, os.PathLike)):
        return _open_path(Path(source), specs, purpose, pick, image_range)
    if isinstance(source, Mapping) or _is_pair(source) or hasattr(source, "shape"):
        return _in_memory(source)
    if isinstance(source, (list, tuple)) and not any(map(_is_batch_like, source)):
        return _in_memory(source)
    if isinstance(source, Iterable):
        return _from_iterable(source, specs, purpose)
    raise OptionError(
        f"the {purpose} data is a {type(source).__name__}, expected a path, arrays or an iterable "
        "of them: pass the path of a .npy, .npz or .csv file, for instance"
    )


def _open_path(
    path: Path,
    specs: Sequence[TensorSpec],
    purpose: str,
    pick: Callable[[Sequence[str]], Keys],
    image_range: tuple[float, float],
) -> Chunks:
    if path.is_dir():
        return _image_folder(path, specs, purpose, image_range)
    if not path.exists():
        raise OptionError(
            f"there is no {purpose} file '{path}': pass a .npy, .npz or .csv file, or a folder of "
            "images"
        )
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as cause:
        raise OptionError(
            f"the {purpose} file '{path}' cannot be read ({cause.strerror}): check its permissions"
        ) from cause
    if start.startswith(b"\x93NUMPY"):
        return _npy_file(path, purpose)
    if start.startswith(b"PK\x03\x04"):
        return _npz_file(path, purpose, pick)
    if path.suffix.lower() == ".csv":
        return _csv_file(path, purpose)
    raise OptionError(
        f"the {purpose} file '{path}' is neither .npy nor .npz nor named .csv, "
        "expected one of them: save it with numpy.save or numpy.savez"
    )


def _in_memory(source: Any) -> Chunks:
    """Cut arrays into chunks, so that what is made of them does not double the memory."""
    whole = _as_chunk(source)
    arrays = [value for value in whole.values() if isinstance(value, np.ndarray) and value.ndim]
    if len(arrays) < len(whole) or len({len(array) for array in arrays}) != 1:
        return lambda: iter([whole])  # refused or converted as one, wherever it is checked
    length = len(arrays[0])
    size = max(1, _CHUNK_BYTES * length // max(1, sum(array.nbytes for array in arrays)))

    def chunks() -> Iterator[Chunk]:
        for start in range(0, max(length, 1), size):
            yield {key: value[start : start + size] for key, value in whole.items()}

    return chunks


def _as_chunk(item: Any) -> Chunk:
    """Return one item in the form of arrays by key; what is no array is left as it is."""
    if isinstance(item, Mapping):
        return dict(item)
    if _is_pair(item):
        first, labels = item
        named = dict(first) if isinstance(first, Mapping) else {SINGLE_KEY: first}
        return named | {LABEL_KEY: labels}
    return {SINGLE_KEY: item}


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2


def _is_batch_like(item: Any) -> bool:
    return isinstance(item, Mapping) or _is_pair(item) or hasattr(item, "shape")


# Files of numpy


def _npy_file(path: Path, purpose: str) -> Chunks:
    def chunks() -> Iterator[Chunk]:
        with path.open("rb") as file:
            for part in _stream_array(file, path, purpose):
                yield {SINGLE_KEY: part}

    return chunks


def _npz_file(path: Path, purpose: str, pick: Callable[[Sequence[str]], Keys]) -> Chunks:
    """Read the wanted members side by side, the same number of samples of each at a time."""

    def chunks() -> Iterator[Chunk]:
        try:
            archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as cause:
            raise _unreadable(path, purpose, cause) from cause
        with archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            picked = pick([name.removesuffix(".npy") for name in names])
            keys = list(dict.fromkeys(picked.inputs.values()))
            keys += [picked.labels] if picked.labels else []
            files = [archive.open(f"{key}.npy") for key in keys]
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
        self.samples_a_chunk = max(1, _CHUNK_BYTES // max(1, self._sample_bytes))
        # Column-major files cannot be cut along axis 0 as they lie; they are read whole.
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


# Tables


def _csv_file(path: Path, purpose: str) -> Chunks:
    """Read a table with a header: a column ``y`` or ``label`` holds labels, the rest features."""

    def chunks() -> Iterator[Chunk]:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, None)
            if not header:
                raise OptionError(
                    f"the {purpose} file '{path}' is empty, expected a header and rows of numbers: "
                    "add them"
                )
            names = [name.strip() for name in header]
            label_at = next((i for i, name in enumerate(names) if name in ("y", "label")), None)
            block: list[list[float]] = []
            for line, row in enumerate(rows, start=2):
                if row:
                    block.append(_numbers(row, names, line, path, purpose))
                if len(block) == _CSV_ROWS:
                    yield _table(block, label_at)
                    block = []
            if block:
                yield _table(block, label_at)

    return chunks


def _numbers(row: list[str], names: list[str], line: int, path: Path, purpose: str) -> list[float]:
    if len(row) != len(names):
        raise OptionError(
            f"the {purpose} file '{path}' has {len(row)} values in line {line}, expected "
            f"{len(names)} as in the header: mend that line"
        )
    values = []
    for name, text in zip(names, row, strict=True):
        try:
            values.append(float(text))
        except ValueError:
            raise OptionError(
                f"the {purpose} file '{path}' has {text!r} in line {line}, column '{name}', "
                "expected a number: turn text into numbers first, or drop the column"
            ) from None
    return values


def _table(block: list[list[float]], label_at: int | None) -> Chunk:
    table = np.array(block)
    if label_at is None:
        return {SINGLE_KEY: table}
    return {SINGLE_KEY: np.delete(table, label_at, axis=1), LABEL_KEY: table[:, label_at]}


# Images


def _image_folder(
    folder: Path, specs: Sequence[TensorSpec], purpose: str, image_range: tuple[float, float]
) -> Chunks:
    """Read a folder of images, or of one folder of images for each class, in name order."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGE_SUFFIXES)
    if not files:
        raise OptionError(
            f"the {purpose} folder '{folder}' holds no image, expected "
            f"{', '.join(_IMAGE_SUFFIXES)}: choose the folder that holds them"
        )
    height, width, mode = _image_form(specs, purpose)
    classes = sorted({path.relative_to(folder).parts[0] for path in files})
    has_classes = all(len(path.relative_to(folder).parts) > 1 for path in files)

    def chunks() -> Iterator[Chunk]:
        for path in files:
            chunk = {SINGLE_KEY: _read_image(path, height, width, mode, image_range, purpose)[None]}
            if has_classes:
                label = classes.index(path.relative_to(folder).parts[0])
                chunk[LABEL_KEY] = np.array([label])
            yield chunk

    return chunks


def _image_form(specs: Sequence[TensorSpec], purpose: str) -> tuple[int, int, str]:
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    shape = specs[0].shape
    if len(specs) == 1 and len(shape) == 4:
        _, height, width, channels = shape
        if isinstance(height, int) and isinstance(width, int) and channels in modes:
            return height, width, modes[int(channels)]
    raise OptionError(
        f"the {purpose} data is a folder of images, but the model's input is no image of fixed "
        "size with 1, 3 or 4 channels: pass arrays instead, in a .npz file"
    )


def _read_image(
    path: Path, height: int, width: int, mode: str, image_range: tuple[float, float], purpose: str
) -> Array:
    """Return (H, W, C) float32, resized bilinearly, 0 to 255 mapped to ``image_range``."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            resized = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError) as cause:
        raise OptionError(
            f"the {purpose} image '{path}' cannot be read ({cause}): mend or remove it"
        ) from cause
    low, high = image_range
    pixels = np.asarray(resized, dtype=np.float32).reshape(height, width, -1)
    return pixels * np.float32((high - low) / 255) + np.float32(low)


# Iterables


def _from_iterable(source: Iterable[Any], specs: Sequence[TensorSpec], purpose: str) -> Chunks:
    """Read items as they come; what can be read only once is written to a temporary file."""
    ranks = {spec.name: len(spec.shape) for spec in specs}
    rank = next(iter(ranks.values())) if len(ranks) == 1 else None

    def as_batch(item: Any) -> Chunk:
        chunk = {key: np.asarray(value) for key, value in _as_chunk(item).items()}
        inputs = {key: array for key, array in chunk.items() if key != LABEL_KEY}
        expected = {key: ranks.get(key, rank) for key in inputs}
        if all(want == inputs[key].ndim + 1 for key, want in expected.items() if want is not None):
            return {key: array[np.newaxis] for key, array in chunk.items()}
        return chunk

    iterator = iter(source)
    if iterator is not source:
        return lambda: map(as_batch, source)
    layout: list[tuple[str, ...]] = []
    handle, name = tempfile.mkstemp(prefix="edgeport-")
    with os.fdopen(handle, "wb") as file:
        for item in iterator:
            chunk = as_batch(item)
            layout.append(tuple(chunk))
            for array in chunk.values():
                np.save(file, array, allow_pickle=False)

    def chunks() -> Iterator[Chunk]:
        with Path(name).open("rb") as file:
            for keys in layout:
                yield {key: np.load(file) for key in keys}

    weakref.finalize(chunks, os.unlink, name)
    if not layout:
        raise OptionError(
            f"the {purpose} data is an iterable without any item, expected samples: "
            "check that it was not used up before"
        )
    return chunks
