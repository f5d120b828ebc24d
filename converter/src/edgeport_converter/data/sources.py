"""From what the user gave to chunks: files, folders, arrays, generators.

Each kind becomes the same thing, a function that starts a new pass over the samples and yields
chunks of them: arrays by key, sample along axis 0. Files are read a few megabytes at a time, so
memory does not grow with the number of samples. An iterable is read once and kept, since a second
pass may give other samples, as with a shuffle or a random augmentation: labels would then belong to
other samples. ``datasets`` finds out what the keys mean.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeGuard

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.artifact.column import Column
from edgeport.artifact.signal_format import SignalFormat
from edgeport_converter.data.array_files import read_npy, read_npz
from edgeport_converter.data.chunks import (
    CHUNK_BYTES,
    LABEL_KEY,
    SINGLE_KEY,
    Chunk,
    Chunks,
    Pick,
    Source,
    require_one_array,
)
from edgeport_converter.data.image_folders import read_image_folder
from edgeport_converter.data.recordings import is_recording, read_recordings
from edgeport_converter.data.tables import is_table, read_csv, read_frame
from edgeport_converter.paths import DATA_FILES, require_data_file
from edgeport_converter.sensors.frame_inputs import FrameInput

# An iterable that does not say where it ends counts as endless after this.
_MOST_BYTES = 4 * 2**30
_MOST_ITEMS = 1_000_000

_BYTES_IN_MEMORY = 16 * 2**20  # what is kept of an iterable; more goes to a temporary file


class ReadingOptions(TypedDict, total=False):
    """The options of ``open_source``, for the functions that hand them on."""

    image_range: tuple[float, float]
    class_names: Sequence[str] | None
    label_column: str | None
    like: Sequence[str]
    frames: Sequence[FrameInput]
    signal: SignalFormat | None
    columns: Sequence[Column]
    outputs: Sequence[str]


def open_source(
    source: Any,
    specs: Sequence[TensorSpec],
    purpose: str,
    pick: Pick,
    *,
    image_range: tuple[float, float] = (0.0, 255.0),
    class_names: Sequence[str] | None = None,
    label_column: str | None = None,
    like: Sequence[str] = (),
    frames: Sequence[FrameInput] = (),
    signal: SignalFormat | None = None,
    columns: Sequence[Column] = (),
    outputs: Sequence[str] = (),
) -> Source:
    """Return what starts a new pass over ``source`` at each call.

    Args:
        source: the path of a ``.npy``, ``.npz``, ``.csv`` or ``.wav`` file or of a folder of images
            or recordings; an array; a dict of arrays; several inputs in a list, or in a pair also
            in a tuple; a pair ``(x, y)``; or an iterable of samples or batches in these forms, such
            as a generator or a ``tf.data.Dataset``; or what ``keep`` returned.
        specs: the model's inputs; images take their size; one sample has an axis less than a batch.
        purpose: "calibration" or "evaluation", for messages.
        pick: says which keys of a file with many arrays are read.
        image_range: the values that black and white pixels of image files become.
        class_names: number the classes of a folder of folders of images, and the labels of a table.
        label_column: of a table.
        like: the features of another table, in whose order a table's are read.
        frames: the inputs that are given as frames; images in a folder keep their size then.
        signal: how recordings are cut into samples.
        columns: of the model, if it knows them.
        outputs: names of the model's outputs, by which labels may be in a dict.

    Raises:
        OptionError: there is no such file, it is of no known kind, or an iterable has no end.
    """
    subject = f"the {purpose} data"
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if signal is not None and is_recording(path):
            require_data_file(path, purpose)
            windows = read_recordings(path, specs, purpose, signal, class_names)
            return Source(windows, f"the {purpose} recordings '{path}'")
        if path.is_dir():
            images = read_image_folder(
                path, specs, purpose, image_range, class_names, frames=frames
            )
            return Source(images, f"the {purpose} folder '{path}'")
        if path.suffix.lower() == ".csv" and path.is_file():
            return read_csv(
                path,
                purpose,
                label_column=label_column,
                class_names=class_names,
                like=like,
                columns=columns,
            )
        return Source(_open_file(path, purpose, pick), f"the {purpose} file '{path}'")
    if is_table(source) or (_is_pair(source) and is_table(source[0])):
        return read_frame(source, purpose, label_column=label_column, like=like, columns=columns)
    if isinstance(source, Mapping) or _is_pair(source) or hasattr(source, "shape"):
        return Source(_in_memory(_as_chunk(source, specs, outputs)), subject)
    if isinstance(source, (list, tuple)):
        if any(map(_is_batch_like, source)) and not _is_by_position(source, specs):
            return Source(
                lambda: (_as_batch(item, specs, purpose, outputs) for item in source), subject
            )
        return Source(_in_memory(_as_chunk(source, specs, outputs)), subject)
    return Source(keep(source, specs, purpose, outputs), subject)


def keep(
    source: Any, specs: Sequence[TensorSpec], purpose: str, outputs: Sequence[str] = ()
) -> Any:
    """Return the samples of an iterable, read once and kept; any other source as it is.

    Raises:
        OptionError: it is no source, raised an exception, gave no array, has no end, or does not
            fit into the folder for temporary files, which is then left as it was.
    """
    known = (str, os.PathLike, Mapping, list, tuple, _Kept)
    if isinstance(source, known) or hasattr(source, "shape") or is_table(source):
        return source
    items: Iterator[Any]
    if isinstance(source, Iterable):
        items = (item for items in [source] for item in items)  # asked for under the guard
    elif hasattr(source, "__getitem__") and hasattr(source, "__len__"):  # as torch has datasets
        items = (source[index] for index in range(len(source)))
    elif callable(source):
        name = getattr(source, "__name__", type(source).__name__)
        raise OptionError(
            f"the {purpose} data is the function or class '{name}' itself, expected what it "
            "returns, such as a generator: pass the result of a call, with () after its name"
        )
    else:
        raise OptionError(
            f"the {purpose} data is a {type(source).__name__}, expected a path, arrays or an "
            f"iterable of them: pass the path of {DATA_FILES}, for instance"
        )
    count = _count_items(source)
    if count == float("inf"):
        raise _endless(purpose, "repeats without end")
    batches = (_as_batch(item, specs, purpose, outputs) for item in _guarded(items, purpose))
    return _Kept(_gather(batches), purpose, ends=count is not None)


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
    if start[:4] in (b"RIFF", b"RIFX"):
        raise OptionError(
            f"the {purpose} file '{path}' is a recording, expected its rate, window and hop, by "
            "which it is cut into samples: pass signal="
        )
    found = "is neither .npy nor .npz nor named .csv" if start else "is empty"
    raise OptionError(
        f"the {purpose} file '{path}' {found}, expected {DATA_FILES}: save it with numpy.save or "
        "numpy.savez"
    )


def _in_memory(whole: Chunk) -> Chunks:
    """Cut arrays into chunks, so that what is made of them does not double the memory."""
    arrays = [value for value in whole.values() if isinstance(value, np.ndarray) and value.ndim]
    if len(arrays) < len(whole) or len({len(array) for array in arrays}) != 1:
        return lambda: iter([whole])  # checked and converted as a whole by the dataset
    length = len(arrays[0])
    size = max(1, CHUNK_BYTES * length // max(1, sum(array.nbytes for array in arrays)))

    def chunks() -> Iterator[Chunk]:
        for start in range(0, max(length, 1), size):
            yield {key: value[start : start + size] for key, value in whole.items()}

    return chunks


def _as_chunk(item: Any, specs: Sequence[TensorSpec], outputs: Sequence[str]) -> Chunk:
    """Return one item as arrays by key; what is no array is left as it is."""
    if isinstance(item, tuple) and len(item) == 1:  # Keras' (x,), with x perhaps several inputs
        if _is_array_like(item[0]) or _is_by_position(item[0], specs):
            return _as_chunk(item[0], specs, outputs)
    elif _is_pair(item):
        first, labels = item[:2]
        named = _as_inputs(first, specs)
        return named if labels is None else named | {LABEL_KEY: _labels_of(labels, outputs)}
    return _as_inputs(item, specs)


def _as_inputs(given: Any, specs: Sequence[TensorSpec]) -> Chunk:
    if isinstance(given, Mapping):
        return dict(given)
    if _is_by_position(given, specs, pair=True):
        return {spec.name: value for spec, value in zip(specs, given, strict=True)}
    return {SINGLE_KEY: given}


def _is_by_position(
    given: Any, specs: Sequence[TensorSpec], *, pair: bool = False
) -> TypeGuard[Sequence[Any]]:
    """Whether it holds the arrays of several inputs in their declared order, as Keras takes them.

    Args:
        given: what may hold them; a tuple of two may also be ``(x, y)``.
        specs: the model's inputs.
        pair: whether it is the x of ``(x, y)``, where a tuple is meant so, and numbers, too.
    """
    if not isinstance(given, (list, tuple)) or len(specs) < 2 or len(given) != len(specs):
        return False
    return pair or (isinstance(given, list) and all(hasattr(each, "shape") for each in given))


def _labels_of(given: Any, outputs: Sequence[str]) -> Any:
    """Return the labels of the only output, where they are in a dict by output."""
    if len(outputs) == 1 and isinstance(given, Mapping):
        if outputs[0] in given:
            return given[outputs[0]]
        if len(given) == 1:
            return next(iter(given.values()))
    return given


def _is_array_like(item: Any) -> bool:
    """Whether it holds arrays, rather than being a number that is the only one of a sample."""
    return isinstance(item, Mapping) or len(getattr(item, "shape", ())) > 0


def _is_pair(item: Any) -> bool:
    """Whether it is (x, y), or Keras' (x, y, weights), whose weights are not used."""
    return isinstance(item, tuple) and len(item) in (2, 3)


def _as_array(value: Any, purpose: str) -> Any:
    """Return a numpy array of numbers or of text; no other Python objects are accepted."""
    try:
        array = np.asarray(value)
    except Exception:  # ragged lists, sparse tensors, tensors of other devices
        array = np.asarray(None)
    if array.dtype != object:
        return array
    try:
        texts = [item.decode("utf-8") if isinstance(item, bytes) else item for item in array.flat]
    except UnicodeDecodeError as cause:
        raise OptionError(
            f"the {purpose} data has an item of text that is no UTF-8 ({cause}), expected UTF-8: "
            "decode it first"
        ) from cause
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


def _as_batch(
    item: Any, specs: Sequence[TensorSpec], purpose: str, outputs: Sequence[str]
) -> Chunk:
    """Return an item's arrays, with a batch axis where it is one sample."""
    given = _as_chunk(item, specs, outputs)
    require_one_array(given.get(LABEL_KEY), f"the {purpose} data")
    ranks = {spec.name: len(spec.shape) for spec in specs}
    rank = next(iter(ranks.values())) if len(ranks) == 1 else None
    chunk = {key: _as_array(value, purpose) for key, value in given.items()}
    inputs = {key: array for key, array in chunk.items() if key != LABEL_KEY}
    expected = {key: ranks.get(key, rank) for key in inputs}
    if all(want == inputs[key].ndim + 1 for key, want in expected.items() if want is not None):
        return {key: array[np.newaxis] for key, array in chunk.items()}
    return chunk


def _count_items(source: Any) -> float | None:
    """Return how many items an iterable says that it has, None where it does not say."""
    try:
        if hasattr(source, "cardinality"):  # of tf.data: -1 is infinite, -2 unknown
            count = int(source.cardinality())
            return {-1: float("inf"), -2: None}.get(count, count)
        if hasattr(source, "num_batches"):  # of Keras: None is infinite
            return float("inf") if source.num_batches is None else int(source.num_batches)
        return len(source)
    except Exception:  # the user's own code, or no length
        return None


def _endless(purpose: str, found: str) -> OptionError:
    return OptionError(
        f"the {purpose} data {found}, expected some hundred samples and an end: cut it short with "
        "take() or itertools.islice, or give it a length"
    )


def _gather(batches: Iterator[Chunk]) -> Iterator[Chunk]:
    """Join small batches of one form, so that later passes read few large ones."""

    def form(chunk: Chunk) -> object:
        lengths = {len(array) if array.ndim else -1 for array in chunk.values()}
        if len(lengths) != 1 or -1 in lengths:
            return object()  # equal to no other: refused as it is
        kinds = [
            array.dtype if array.dtype.kind not in "SU" else "text" for array in chunk.values()
        ]
        return [*zip(chunk, kinds, [array.shape[1:] for array in chunk.values()], strict=True)]

    waiting: list[Chunk] = []
    size = 0
    last: object = None
    for batch in batches:
        own = form(batch)
        if waiting and (own != last or size >= CHUNK_BYTES):
            yield _joined(waiting)
            waiting, size = [], 0
        waiting.append(batch)
        size += sum(array.nbytes for array in batch.values())
        last = own
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[Chunk]) -> Chunk:
    if len(batches) == 1:
        return batches[0]
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


class _Kept:
    """Chunks that were read once, in memory, or in a temporary file where they are many.

    A call starts a new pass. The file has no name, so it goes with the object, and with the
    process, however that ends.

    Args:
        batches: read to the end.
        purpose: for messages.
        ends: whether it is known that there is an end.

    Raises:
        OptionError: there is no batch, no end, or no space.
    """

    def __init__(self, batches: Iterator[Chunk], purpose: str, *, ends: bool) -> None:
        self._file = tempfile.SpooledTemporaryFile(_BYTES_IN_MEMORY)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._layout: list[tuple[int, tuple[str, ...]]] = []
        samples = 0
        for batch in batches:
            self._layout.append((self._file.tell(), tuple(batch)))
            try:
                for array in batch.values():
                    np.save(self._file, array, allow_pickle=False)
            except OSError as cause:
                raise OptionError(
                    f"the {purpose} data does not fit into the folder for temporary files "
                    f"'{tempfile.gettempdir()}' ({cause.strerror}): pass fewer samples, or set "
                    "TMPDIR to another folder"
                ) from cause
            samples += max(len(np.atleast_1d(array)) for array in batch.values())
            if not ends and (self._file.tell() > _MOST_BYTES or samples > _MOST_ITEMS):
                gibibytes = self._file.tell() / 2**30
                raise _endless(
                    purpose, f"is still going on after {samples} samples and {gibibytes:.1f} GiB"
                )
        if not self._layout:
            raise OptionError(
                f"the {purpose} data is an iterable without any item, expected samples: "
                "check that it was not used up before"
            )

    def __call__(self) -> Iterator[Chunk]:
        for start, keys in self._layout:
            self._file.seek(start)  # another pass may have moved it
            yield {key: np.load(self._file) for key in keys}
