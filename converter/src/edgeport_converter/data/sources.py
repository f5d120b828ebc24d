"""From what the user gave to chunks: files, folders, arrays, generators.

Each kind becomes the same thing, a function that starts a new pass over the samples and yields
chunks of them: arrays by key, sample along axis 0. Files are read a few megabytes at a time, so
memory does not grow with the number of samples. ``datasets`` finds out what the keys mean.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport_converter.data.array_files import read_npy, read_npz
from edgeport_converter.data.chunks import CHUNK_BYTES, LABEL_KEY, SINGLE_KEY, Chunk, Chunks, Pick
from edgeport_converter.data.image_folders import read_image_folder
from edgeport_converter.data.tables import read_csv
from edgeport_converter.options import require_data_file

# An iterator that can be read only once counts as endless after this.
_MOST_BYTES = 4 * 2**30


def open_source(
    source: Any,
    specs: Sequence[TensorSpec],
    purpose: str,
    pick: Pick,
    *,
    image_range: tuple[float, float] = (0.0, 255.0),
    class_names: Sequence[str] | None = None,
) -> Chunks:
    """Return a new pass over ``source`` for each call.

    Args:
        source: the path of a ``.npy``, ``.npz`` or ``.csv`` file or of a folder of images; an
            array; a dict of arrays; a pair ``(x, y)``; or an iterable of samples or batches in
            these forms, such as a generator or a ``tf.data.Dataset``.
        specs: the model's inputs; images take their size; one sample has an axis less than a batch.
        purpose: "calibration" or "evaluation", for messages.
        pick: says which keys of a file with many arrays are read.
        image_range: the values that black and white pixels of image files become.
        class_names: number the classes of a folder of folders of images.

    Raises:
        OptionError: there is no such file, or it is of no known kind.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            return read_image_folder(path, specs, purpose, image_range, class_names)
        return _open_file(path, purpose, pick)
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


def _open_file(path: Path, purpose: str, pick: Pick) -> Chunks:
    require_data_file(path, purpose)
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as cause:
        raise OptionError(
            f"the {purpose} file '{path}' cannot be read ({cause.strerror}): check its permissions"
        ) from cause
    if start.startswith(b"\x93NUMPY"):
        return read_npy(path, purpose)
    if start.startswith(b"PK\x03\x04"):
        return read_npz(path, purpose, pick)
    if path.suffix.lower() == ".csv":
        return read_csv(path, purpose)
    raise OptionError(
        f"the {purpose} file '{path}' is neither .npy nor .npz nor named .csv, "
        "expected one of them: save it with numpy.save or numpy.savez"
    )


def _in_memory(source: Any) -> Chunks:
    """Cut arrays into chunks, so that what is made of them does not double the memory."""
    whole = _as_chunk(source)
    arrays = [value for value in whole.values() if isinstance(value, np.ndarray) and value.ndim]
    if len(arrays) < len(whole) or len({len(array) for array in arrays}) != 1:
        return lambda: iter([whole])  # checked and converted as a whole by the dataset
    length = len(arrays[0])
    size = max(1, CHUNK_BYTES * length // max(1, sum(array.nbytes for array in arrays)))

    def chunks() -> Iterator[Chunk]:
        for start in range(0, max(length, 1), size):
            yield {key: value[start : start + size] for key, value in whole.items()}

    return chunks


def _as_chunk(item: Any) -> Chunk:
    """Return one item as arrays by key; what is no array is left as it is."""
    if isinstance(item, Mapping):
        return dict(item)
    if _is_pair(item):
        first, labels = item[:2]
        named = dict(first) if isinstance(first, Mapping) else {SINGLE_KEY: first}
        return named if labels is None else named | {LABEL_KEY: labels}
    return {SINGLE_KEY: item}


def _is_pair(item: Any) -> bool:
    """Whether it is (x, y), or Keras' (x, y, weights), whose weights are not used."""
    return isinstance(item, tuple) and len(item) in (2, 3)


def _as_array(value: Any, purpose: str) -> Any:
    """Return a numpy array of numbers or of text; no other Python objects are accepted."""
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype != object:
        return array
    texts = [item.decode("utf-8") if isinstance(item, bytes) else item for item in array.flat]
    if texts and all(isinstance(text, str) for text in texts):
        return np.array(texts).reshape(array.shape)
    raise OptionError(
        f"the {purpose} data has an item of Python objects ({type(value).__name__}), expected "
        "arrays of numbers or text, all rows of one length: make arrays of them"
    )


def _is_batch_like(item: Any) -> bool:
    return isinstance(item, Mapping) or _is_pair(item) or hasattr(item, "shape")


def _guarded(items: Iterator[Any], purpose: str) -> Iterator[Any]:
    """Yield the items; an exception from the user's own code becomes an OptionError."""
    number = 0
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as cause:
            raise OptionError(
                f"the {purpose} data raised {type(cause).__name__} ({cause}) after {number} items, "
                "expected samples to the end: correct the code that makes them"
            ) from cause
        number += 1
        yield item


def _from_iterable(source: Iterable[Any], specs: Sequence[TensorSpec], purpose: str) -> Chunks:
    """Read items as they come; what can be read only once is kept in a temporary file."""
    ranks = {spec.name: len(spec.shape) for spec in specs}
    rank = next(iter(ranks.values())) if len(ranks) == 1 else None

    def as_batch(item: Any) -> Chunk:
        chunk = {key: _as_array(value, purpose) for key, value in _as_chunk(item).items()}
        inputs = {key: array for key, array in chunk.items() if key != LABEL_KEY}
        expected = {key: ranks.get(key, rank) for key in inputs}
        if all(want == inputs[key].ndim + 1 for key, want in expected.items() if want is not None):
            return {key: array[np.newaxis] for key, array in chunk.items()}
        return chunk

    iterator = iter(source)
    if iterator is source:
        return _keep_in_file(map(as_batch, _guarded(iterator, purpose)), purpose)
    return lambda: map(as_batch, _guarded(iter(source), purpose))


def _keep_in_file(batches: Iterator[Chunk], purpose: str) -> Chunks:
    """Write the batches to a temporary file, which is removed with the last use of the result."""
    layout: list[tuple[str, ...]] = []
    handle, name = tempfile.mkstemp(prefix="edgeport-")

    def chunks() -> Iterator[Chunk]:
        with Path(name).open("rb") as file:
            for keys in layout:
                yield {key: np.load(file) for key in keys}

    weakref.finalize(chunks, os.unlink, name)
    with os.fdopen(handle, "wb") as file:
        for batch in batches:
            layout.append(tuple(batch))
            for array in batch.values():
                np.save(file, array, allow_pickle=False)
            if file.tell() > _MOST_BYTES:
                raise OptionError(
                    f"the {purpose} data is still going on after {len(layout)} items and "
                    f"{_MOST_BYTES >> 30} GiB, expected some hundred samples and an end: cut the "
                    "iterable short, with itertools.islice or take()"
                )
    if not layout:
        raise OptionError(
            f"the {purpose} data is an iterable without any item, expected samples: "
            "check that it was not used up before"
        )
    return chunks
