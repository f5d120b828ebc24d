"""Data on disk for the command line: from files and folders to samples.

Here lives what ``edgeport predict`` reads: npy, npz, csv, json lines, sound, images, and folders
of the last two. Nothing is scaled, resized or guessed: preprocessing is the graph's.
"""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import math
import os
import re
import stat
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.errors import InputError, OptionError
from edgeport.inputs.folders import list_folder, say_left_out
from edgeport.inputs.images import IMAGES, read_image
from edgeport.inputs.windows import array_windows, file_windows, signal_of
from edgeport.signals import reraise_signal

_FROM_PIPES = (".csv", ".jsonl")
_SOUND = ".wav"
READABLE = (".npy", ".npz", *_FROM_PIPES, _SOUND, *IMAGES)

LABEL_NAMES = ("y", "labels", "label", "target", "y_train", "y_test")
"""What arrays of labels are called in a .npz file, here and in the converter."""


class Place(NamedTuple):
    """Where a sample comes from: its file, and in a recording the second at which it begins."""

    file: str
    seconds: float | None = None


class SampleStream(NamedTuple):
    """Samples without batch axis, in a form that ``Predictor.stream`` takes.

    Attributes:
        items: read as they are asked for.
        total: how many there are, None where it is not known before the end.
        places: of the photos, or of the windows of recordings, that were read and not yet
            answered, in order; None where samples come from other files.
    """

    items: Iterator[Any]
    total: int | None
    places: deque[Place] | None = None


def _silent(sentence: str) -> None:
    """Say nothing."""


def find_files(
    paths: Sequence[str], card: ModelCard, tell: Callable[[str], None] = _silent
) -> list[str]:
    """Return the paths with the photos in place of each folder, or the recordings, in name order.

    Args:
        paths: of files and folders.
        card: says whether the model takes recordings.
        tell: is called with what was left out, a sentence for each folder.

    Raises:
        InputError: a folder holds nothing to read.
    """
    endings = (_SOUND,) if card.signal else IMAGES
    found: list[str] = []
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112  Path raises for a name that is too long
            found.append(path)
            continue
        taken, left = list_folder(Path(path), endings)
        if not taken:
            what = "recording" if card.signal else "photo"
            raise InputError(
                f"the folder '{path}' holds no {what}, expected {', '.join(endings)}: choose the "
                "folder that holds them, or pass files of other kinds each by name"
            )
        if left:
            tell(say_left_out(Path(path), left, endings))
        found += map(str, taken)
    return found


def read_samples(
    paths: Sequence[str], card: ModelCard, tell: Callable[[str], None] = _silent
) -> SampleStream:
    """Return the samples of the files, one file after the other.

    Args:
        paths: of the files; ``find_files`` puts them in the place of folders.
        card: what the model takes.
        tell: is called with what the user should know about the data, a sentence each.

    Raises:
        InputError: a file is missing, of another kind, or does not fit the model; in part only
            when the samples are asked for.
        OptionError: images were given and Pillow is not installed.
    """
    for path in paths:
        check_kind(path)
    sounds = [path for path in paths if path.lower().endswith(_SOUND) or _is_recording(path, card)]
    if sounds and len(sounds) < len(paths):
        other = next(path for path in paths if path not in sounds)
        raise OptionError(
            f"'{sounds[0]}' is a recording and '{other}' is none, expected files of one kind, "
            "since answers to recordings have a time: run the command for each kind"
        )
    if sounds:
        return _read_sounds(sounds, card, tell)
    if paths and all(Path(path).suffix.lower() in IMAGES for path in paths):
        return _read_photos(paths, card)
    headers: dict[str, list[str]] = {}
    parts = [_read_file(path, card, headers, tell) for path in paths]
    totals = [part.total for part in parts]
    total = None if None in totals else sum(size for size in totals if size is not None)
    return SampleStream((item for part in parts for item in part.items), total)


def check_kind(path: str) -> None:
    """Refuse what is no file, or of a kind that is not read, by an InputError."""
    try:
        mode = Path(path).stat().st_mode
    except OSError as cause:
        kinds = ", ".join(READABLE[:5])
        raise InputError(f"there is no file '{path}': pass a {kinds} or an image") from cause
    if stat.S_ISDIR(mode):
        raise InputError(f"'{path}' is a folder, expected a file: pass one of those in it")
    ending = Path(path).suffix.lower()
    if ending not in READABLE:
        raise InputError(
            f"'{path}' ends in '{ending}', expected one of {', '.join(READABLE)}: "
            "convert or rename it"
        )
    if not stat.S_ISREG(mode) and ending not in _FROM_PIPES:
        raise InputError(
            f"'{path}' is a pipe or a device, expected a file, since only "
            f"{' and '.join(_FROM_PIPES)} are read from first to last: pass a file"
        )


def _read_file(
    path: str, card: ModelCard, headers: dict[str, list[str]], tell: Callable[[str], None]
) -> SampleStream:
    """Return the samples of one file; but for a look at an array's shape, it is read later.

    ``headers`` is as for ``refuse_other_header``.
    """
    ending = Path(path).suffix.lower()
    if ending == ".npy":
        return _rows(_open_array(path), card, path)
    if ending == ".npz":
        return SampleStream(_read_npz(path, card), None)
    if ending == ".csv":
        return SampleStream(_read_table(path, card, headers, tell), None)
    if ending == ".jsonl":
        return SampleStream(_read_json_lines(path, card, tell), None)
    return SampleStream(_read_images(path, card), 1)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Name the file in whatever goes wrong with its content."""
    try:
        yield
    except (InputError, OptionError):
        raise
    except Exception as cause:
        raise InputError(
            f"'{path}' cannot be read as {Path(path).suffix.lower()} ({cause}): "
            "check the file, or save it again"
        ) from cause


def _read_npz(path: str, card: ModelCard) -> Iterator[Any]:
    with naming(path), zipfile.ZipFile(path) as archive, np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
        if len(arrays) < len(archive.namelist()):
            raise InputError(f"'{path}' has two arrays of one name: save it again")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands on whatever else the archive holds
            raise InputError(f"'{path}' holds '{name}', expected arrays alone: save it again")
    arrays = _without_labels(arrays, card)
    # A file with one array needs no name: numpy itself calls it arr_0.
    if len(arrays) == 1 and len(card.inputs) == 1:
        yield from _rows(next(iter(arrays.values())), card, path).items
        return
    sizes = {
        spec.name: len(arrays[spec.name])
        for spec in card.inputs
        if spec.name in arrays and _is_batch(arrays[spec.name], spec)
    }
    if not sizes or len(sizes) < sum(spec.has_batch_axis for spec in card.inputs):
        yield arrays  # one sample, or a mixture that ``predict`` refuses
        return
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"'{name}' {size}" for name, size in sizes.items())
        raise InputError(f"'{path}' has different numbers of samples ({listed}): save as many each")
    for i in range(next(iter(sizes.values()))):
        yield {name: array[i] if name in sizes else array for name, array in arrays.items()}


def _without_labels(arrays: dict[str, Array], card: ModelCard) -> dict[str, Array]:
    """Return the arrays without those of labels, which the converter takes from the same file."""
    names = {spec.name for spec in card.inputs}
    kept = {key: arrays[key] for key in arrays if key in names or key not in LABEL_NAMES}
    return kept or arrays  # one array alone is the input, whatever its name


def _rows(array: Array, card: ModelCard, path: str) -> SampleStream:
    if len(card.inputs) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in card.inputs)
        raise InputError(
            f"'{path}' is one array, the model's inputs are {names}: save them with "
            "numpy.savez under these names"
        )
    if _is_batch(array, card.inputs[0]):
        return SampleStream(iter(array), len(array))
    return SampleStream(iter([array]), 1)


def _is_batch(array: Array, spec: TensorSpec) -> bool:
    return spec.has_batch_axis and array.ndim == len(spec.shape)


def _read_photos(paths: Sequence[str], card: ModelCard) -> SampleStream:
    """Return each photo when its turn comes, with its file as its place."""
    places: deque[Place] = deque()

    def photos() -> Iterator[Any]:
        for path in paths:
            for photo in _read_images(path, card):
                places.append(Place(path))
                yield photo

    return SampleStream(photos(), len(paths), places)


def _is_recording(path: str, card: ModelCard) -> bool:
    """Whether an array (T,) or (T, C) is no sample and no batch of a model that takes windows."""
    if card.signal is None or not path.lower().endswith(".npy"):
        return False
    spec, array = card.inputs[0], _open_array(path)
    return 0 < array.ndim < min(3, len(spec.shape)) and array.shape != spec.sample_shape


def _open_array(path: str) -> Array:
    with naming(path):
        array: Array = np.lib.format.open_memmap(path, mode="r")
        return array


def _read_sounds(
    paths: Sequence[str], card: ModelCard, tell: Callable[[str], None]
) -> SampleStream:
    """Return the windows of recordings, of which each is cut from its own beginning."""
    spec, signal = signal_of(card)
    places: deque[Place] = deque()

    def cut(path: str) -> Iterator[Array]:
        if path.lower().endswith(_SOUND):
            return file_windows(path, spec, signal)
        tell(
            f"'{path}' does not say how fast it was recorded: it is taken for {signal.rate:g} "
            "samples a second"
        )
        return array_windows(path, _open_array(path), spec, signal)

    def windows() -> Iterator[Array]:
        for path in paths:
            with naming(path):
                for number, window in enumerate(cut(path)):
                    places.append(Place(path, number * signal.hop / signal.rate))
                    yield window

    return SampleStream(windows(), None, places)


def _read_table(
    path: str, card: ModelCard, headers: dict[str, list[str]], tell: Callable[[str], None]
) -> Iterator[Any]:
    if not card.columns:
        yield from _read_csv(path, card, headers)
        return
    from edgeport.cli.tables import read_table

    with naming(path):
        yield from read_table(path, card, tell)


def _read_csv(path: str, card: ModelCard, headers: dict[str, list[str]]) -> Iterator[Any]:
    """Yield one sample a row: numbers, in the order of the sample's values; a header is skipped.

    Raises:
        InputError: a cell is no number, one in a first line that is no header included; or the
            header is not that of the file before.
    """
    if len(card.inputs) != 1:
        raise InputError(
            f"'{path}' holds one input, the model takes {len(card.inputs)}: "
            "use .npz or .jsonl with the inputs' names"
        )
    shape = card.inputs[0].sample_shape
    is_empty, has_header = True, False
    with naming(path), Path(path).open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        for row in filter(None, reader):
            if is_empty and not has_header and is_header(row):
                has_header = True
                names = [name.strip() for name in row]
                refuse_other_header(path, names, headers, "bring them into one order")
                continue
            sample = numbers_of(row, shape, f"'{path}' line {reader.line_num}")
            if is_empty:
                _refuse_signal_rows(path, len(row), card)
            is_empty = False
            yield sample
    if is_empty and has_header:
        raise InputError(
            f"'{path}' has a header and no numbers: check that commas part its columns"
        )


def _refuse_signal_rows(path: str, count: int, card: ModelCard) -> None:
    """Refuse a csv file with a point in time a line where the model takes windows."""
    signal = card.signal
    if signal is not None and count == signal.channels and signal.window > 1:
        raise InputError.of(
            f"'{path}' has",
            f"{count} value{'s' if count > 1 else ''} a line, as a recording has",
            f"a window of {signal.window * signal.channels} values a line",
            f"save the recording as .npy of shape (T, {count}), which is cut into windows, or hand "
            "it to predictor.windows",
        )


def refuse_other_header(
    path: str, names: list[str], headers: dict[str, list[str]], remedy: str
) -> None:
    """Refuse a csv file whose columns are not those of the first one, where place decides.

    Args:
        path: of the file.
        names: of its columns.
        headers: those of the first file with a header, by its path; gets them if it is empty.
        remedy: what to do.

    Raises:
        InputError: a name is missing, new, or in another place.
    """
    first, known = next(iter(headers.items()), (path, names))
    headers.setdefault(first, known)
    for place, (found, expected) in enumerate(itertools.zip_longest(names, known), start=1):
        if found != expected:
            raise InputError.of(
                f"'{path}' has",
                f"no column {place}" if found is None else f"'{found}' as column {place}",
                f"{'none' if expected is None else repr(expected)} as in '{first}', since the "
                "model takes columns by their place",
                remedy,
            )


def numbers_of(row: Sequence[str], shape: Sequence[int | str], subject: str) -> Any:
    """Return the numbers of one line's cells as nested lists, in a sample's shape where it fits.

    Raises:
        InputError: a cell is no number.
    """
    try:
        values = np.array([number_of(text) for text in row], object)
    except ValueError as cause:
        reraise_signal(cause)
        more = ", or check that commas part its columns" if len(row) == 1 else ""
        raise InputError(f"{subject}: {cause}: repair the line{more}") from cause
    fixed = [size for size in shape if isinstance(size, int)]
    if len(fixed) == len(shape) and values.size == math.prod(fixed):
        values = values.reshape(fixed)
    return values.tolist()


def number_of(text: str) -> int | float:
    """Return what the text says, an integer as one; Python alone would take ``1_0``."""
    try:
        if "_" in text:
            raise ValueError
        if text.strip().lstrip("+-").isdecimal():
            return int(text)
        value = float(text)
    except ValueError as cause:
        reraise_signal(cause)
        raise ValueError(f"'{text[:40]}' is no number") from None
    if math.isinf(value) and "inf" not in text.lower():
        raise ValueError(f"'{text[:40]}' is beyond every float")
    return value


# What tables write in place of a number: the words for a missing value that pandas reads as one,
# a few more, what a spreadsheet shows for a formula that failed, and yes and no.
_NO_NAME = re.compile(
    r"#?n/?a|n\.a\.?|<na>|-?nan|nat|null|none|nil|missing|unknown|undefined|void|empty|error|"
    r"-?1\.#(ind|qnan)|#(div/0|value|ref|name|num|null|spill|calc)[!?]|true|false|yes|no",
    re.IGNORECASE,
)


def is_header(row: Sequence[str]) -> bool:
    """Whether a first line names columns, so that no sample is lost when it is skipped.

    None of its cells is a number, at least one is a name, and none of the names occurs twice. A
    line of missing values, or of values that somebody damaged (``1.5.2``, ``12%``), is no header:
    it is refused as a sample.
    """
    names = [text.strip() for text in row if is_name(text)]
    return not any(map(is_number, row)) and 0 < len(names) == len(set(names))


def is_name(text: str) -> bool:
    """Whether a cell can only be a column's name."""
    text = text.strip()
    if _NO_NAME.fullmatch(text) or not any(map(str.isalnum, text)):
        return False
    # "2nd" or "0x1F" may be a name or a value; "0[1]" is a column of an output that is named "0".
    return not _starts_like_a_number(text) or text.endswith("]")


def _starts_like_a_number(text: str) -> bool:
    rest = text.lstrip("+-−.,$€£<>=~≈ '\"")
    return rest[:1].isdigit()


def is_number(text: str) -> bool:
    """Whether ``number_of`` takes it."""
    try:
        number_of(text)
    except ValueError as cause:
        reraise_signal(cause)
        return False
    return True


def _read_json_lines(path: str, card: ModelCard, tell: Callable[[str], None]) -> Iterator[Any]:
    """Yield one sample a line: nested lists, or an object by input name or by column."""
    if not card.columns:
        yield from (sample for _, sample in read_objects(path))
        return
    from edgeport.cli.tables import check_rows

    yield from check_rows(read_objects(path), path, card, tell)


def read_objects(path: str) -> Iterator[tuple[int, Any]]:
    """Yield what each line holds, with its number."""
    with naming(path), Path(path).open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, object_of(line, f"'{path}' line {number}")


def object_of(line: str, subject: str) -> Any:
    """Return what a line of JSON holds.

    Raises:
        InputError: it is no JSON, or a name occurs twice in one object.
    """
    try:
        return json.loads(line, parse_float=number_of, object_pairs_hook=_once_each)
    except ValueError as cause:
        reraise_signal(cause)
        raise InputError(f"{subject} is no JSON ({cause}): repair the line") from cause


def _once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object; Python alone would keep the last of several values for one name."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name occurs twice")
    return values


def _read_images(path: str, card: ModelCard) -> Iterator[Array]:
    with naming(path):
        yield read_image(path, card)
