"""The user's data as the model's inputs: matched by name, checked, measured, in batches.

``sources`` opens what the user gave; the stages say what the samples are used for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from edgeport import InputError, OptionError, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.inputs.feeds import prepare
from edgeport_converter.data.chunks import Keys, Source, pick_keys, require_one_array
from edgeport_converter.data.sources import ReadingOptions, open_source
from edgeport_converter.sensors.columns import fills_of
from edgeport_converter.sensors.frame_inputs import FrameInput


class Dataset:
    """Samples that can be read from the start as often as needed, without being held in memory.

    Making it reads all of the data once: every value is checked, and the attributes are measured.
    Inputs that take frames are given frames, and read as the pictures that the training made of
    them.

    Attributes:
        labels: one label a sample, or None.
        columns: of a table, the names of its features in the order of the samples' values.
        left_out: its other columns, which the model does not know.
        value_ranges: (lowest, highest) value by input name; text has none.
        feature_ranges: lowest and highest values of each feature (F,), by the name of an input that
            takes rows (N, F).
        sha256: over names, dtypes, shapes and values. It does not depend on how the samples were
            split into chunks.

    Raises:
        OptionError: there is no sample, all are the same, a value is NaN or infinite, or the labels
            are not one a sample.
        InputError: the samples do not fit the model's inputs.
    """

    def __init__(
        self,
        source: Source,
        specs: Sequence[TensorSpec],
        purpose: str,
        frames: Sequence[FrameInput] = (),
        fills: Mapping[str, Array] | None = None,
    ) -> None:
        self._fills = fills or {}
        self._frames = {each.name: each for each in frames}
        self._chunks, self._subject, self._specs = source.chunks, source.subject, specs
        self._purpose, self.columns, self.left_out = purpose, source.columns, source.left_out
        self._length = 0
        self.value_ranges: dict[str, tuple[float, float]] = {}
        self.feature_ranges: dict[str, tuple[Array, Array]] = {}
        labels: list[Array] = []
        digests = {spec.name: hashlib.sha256() for spec in specs}
        first: dict[str, Array] = {}
        differ = False
        for arrays, some_labels in self._checked():
            if some_labels is not None:
                labels.append(np.atleast_1d(some_labels))
            for name, array in arrays.items():
                self._survey(name, array, digests[name])
                one = first.setdefault(name, array[:1].copy())
                differ = differ or one.shape[1:] != array.shape[1:] or bool((array != one).any())
            self._length += len(next(iter(arrays.values())))
        if not self._length:
            raise OptionError(
                f"{self._subject} holds no sample, expected some hundred: check how it was made"
            )
        ranges = self.value_ranges.values()
        if self._length > 1 and ranges and all(low == high for low, high in ranges):
            raise OptionError(
                f"every value of {self._subject} is {next(iter(ranges))[0]:g}, expected samples "
                "that differ, since nothing can be learned from these: check how the data was made"
            )
        if self._length > 1 and not differ:
            raise OptionError(
                f"all {self._length} samples of {self._subject} are the same, expected samples "
                "that differ, since they say nothing of others: check how the data was made"
            )
        self.labels = self._joined(labels)
        described = [
            f"{spec.name} {spec.dtype.str} {digests[spec.name].hexdigest()}" for spec in specs
        ]
        self.sha256 = hashlib.sha256("\n".join(described).encode()).hexdigest()

    def __len__(self) -> int:
        return self._length

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield all samples in order, ``size`` at a time; the last batch may be shorter."""
        waiting: list[dict[str, Array]] = []
        count = 0
        for arrays, _ in self._checked():
            waiting.append(arrays)
            count += len(next(iter(arrays.values())))
            if count < size:
                continue
            joined = _concatenate(waiting)
            for start in range(0, count - count % size, size):
                yield _slice(joined, start, start + size)
            waiting = [_slice(joined, count - count % size, count)] if count % size else []
            count %= size
        if waiting:
            yield _concatenate(waiting)

    def as_given(self) -> Iterator[dict[str, Array]]:
        """Yield the samples one by one, with the batch axis, frames as the device sees them."""
        others = [spec for spec in self._specs if spec.name not in self._frames]
        for chunk in self._chunks():
            keys = pick_keys(tuple(chunk), self._specs, self._purpose, self._subject)
            values = {name: chunk[key] for name, key in keys.inputs.items()}
            found: dict[str, Any] = {
                name: each.list_frames(values[name], self._subject)
                for name, each in self._frames.items()
            }
            if others:
                found |= prepare(
                    others, ({spec.name: values[spec.name] for spec in others},)
                ).arrays
            for row in range(len(next(iter(found.values())))):
                yield {spec.name: np.asarray(found[spec.name][row])[None] for spec in self._specs}

    def first(self, samples: int) -> dict[str, Array]:
        """Return the first samples, or all where there are fewer."""
        return next(self.batches(samples))

    def _survey(self, name: str, array: Array, digest: Any) -> None:
        if array.dtype.kind in "biuf":
            digest.update(np.ascontiguousarray(array).tobytes())
            low, high = float(array.min()), float(array.max())
            known = self.value_ranges.get(name, (low, high))
            self.value_ranges[name] = (min(low, known[0]), max(high, known[1]))
            if array.ndim <= 2:
                rows = array.reshape(len(array), -1)
                lows, highs = self.feature_ranges.get(name, (rows[0], rows[0]))
                if lows.shape == rows.shape[1:]:
                    lows, highs = np.minimum(lows, rows.min(0)), np.maximum(highs, rows.max(0))
                    self.feature_ranges[name] = lows, highs
        else:
            digest.update("\n".join(map(str, array.flat)).encode())

    def _checked(self) -> Iterator[tuple[dict[str, Array], Array | None]]:
        """Yield each chunk as the model's inputs, with its labels."""
        for chunk in self._chunks():
            keys = pick_keys(tuple(chunk), self._specs, self._purpose, self._subject)
            labels = None if keys.labels is None else self._as_labels(chunk[keys.labels])
            values = {name: chunk[key] for name, key in keys.inputs.items()}
            for name, each in self._frames.items():
                values[name] = each.read(values[name], self._subject)
            arrays = self._as_inputs(values)
            if not len(next(iter(arrays.values()))):
                continue
            samples = len(next(iter(arrays.values())))
            if labels is not None and len(np.atleast_1d(labels)) != samples:
                raise OptionError(
                    f"{self._subject} has {samples} samples and "
                    f"{len(np.atleast_1d(labels))} labels, expected one label a sample: "
                    "check how the data was made"
                )
            yield arrays, labels

    def _as_labels(self, given: Any) -> Array:
        require_one_array(given, self._subject)
        try:
            return np.asarray(given)
        except Exception as cause:  # rows of different lengths, tensors of other devices
            raise OptionError(
                f"the labels of {self._subject} cannot be an array ({cause}), expected one label a "
                "sample, all of one form: make an array of them"
            ) from cause

    def _as_inputs(self, named: dict[str, Any]) -> dict[str, Array]:
        try:
            feed = prepare(self._specs, (named,))
        except InputError as cause:
            raise InputError(
                f"{self._subject.removeprefix('the ')}: {cause}{self._hint(named)}",
                expected=cause.expected,
                actual=cause.actual,
            ) from cause
        if feed.is_single:
            raise OptionError(
                f"{self._subject} holds one sample without the batch axis, "
                "expected a batch of samples along axis 0: stack the samples first"
            )
        for name, fill in self._fills.items():
            # What the graph does with NaN as well; so all that follows sees ordinary numbers.
            feed.arrays[name] = np.where(np.isnan(feed.arrays[name]), fill, feed.arrays[name])
        for name, array in feed.arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                index = np.argwhere(~np.isfinite(array))[0]
                index[0] += self._length  # during the survey, the samples before this chunk
                raise OptionError(
                    f"{self._subject} has a NaN or an infinity in '{name}' at "
                    f"{index.tolist()}, expected numbers: clean or drop that sample"
                )
        return feed.arrays

    def _hint(self, named: Mapping[str, Any]) -> str:
        """Return what may be wrong with a table that has a column more than the model takes."""
        size = self._specs[0].shape[-1]
        if not self.columns or size != len(self.columns) - 1 or len(named) > 1:
            return ""
        return "; a column with labels is named y or label, or by label_column="

    def _joined(self, labels: list[Array]) -> Array | None:
        if not labels:
            return None
        if len({(label.ndim, label.shape[1:]) for label in labels}) > 1:
            raise OptionError(
                f"the labels of {self._subject} change their form between batches, "
                "expected class numbers or one-hot rows throughout: choose one"
            )
        joined = np.concatenate(labels)
        if len(joined) != self._length:
            raise OptionError(
                f"{self._subject} has {self._length} samples and {len(joined)} labels, "
                "expected one label a sample: check how the data was made"
            )
        return joined


def read_dataset(
    source: Any, specs: Sequence[TensorSpec], purpose: str, **how: Unpack[ReadingOptions]
) -> Dataset:
    """Return the user's data, every value checked against the model's inputs.

    Args:
        source: as for ``sources.open_source``; ``chunks.pick_keys`` matches arrays with inputs.
        specs: the model's inputs in declared order.
        purpose: "calibration" or "evaluation", for messages.
        how: as for ``open_source``; ``class_names`` also number labels in text.

    Raises:
        OptionError: the data is not what was asked for.
        InputError: an array disagrees with an input.
    """

    def pick(keys: Sequence[str]) -> Keys:
        return pick_keys(keys, specs, purpose, f"the {purpose} file '{source}'")

    opened = open_source(source, specs, purpose, pick, **how)
    fills = fills_of(how.get("columns", ()))
    dataset = Dataset(opened, specs, purpose, how.get("frames", ()), fills)
    class_names = how.get("class_names")
    if dataset.labels is not None and dataset.labels.dtype.kind == "O":
        dataset.labels = _plain_labels(dataset.labels, list(class_names or ()), purpose)
    if dataset.labels is not None and dataset.labels.dtype.kind in "OSU" and class_names:
        dataset.labels = _number_labels(dataset.labels, list(class_names), purpose)
    return dataset


def _plain_labels(labels: Array, class_names: list[str], purpose: str) -> Array:
    """Return labels that are Python objects, as tables of pandas have them, as numbers or text.

    Raises:
        OptionError: they are neither throughout, or could be meant as numbers and as names.
    """
    items = labels.reshape(-1).tolist()
    if all(isinstance(item, (str, bytes)) for item in items):
        return labels
    numbers = (int, float, np.bool_, np.integer, np.floating)  # a bool of Python's is an int
    kinds = {type(item) for item in items}
    for item in items:
        if not isinstance(item, numbers):
            others = " among others of other kinds" if len(kinds) > 1 else ""
            raise OptionError(
                f"the {purpose} data has the label {item!r}{others}, expected "
                "a number for each sample, or for each the name of its class: make them all one "
                "of the two, and drop samples without a label"
            )
        # Beside fractions, whole numbers have to be floats, too.
        if isinstance(item, int) and abs(item) > 2**53:
            raise OptionError(
                f"the {purpose} data has the label {item} as a Python object, expected at most "
                f"{2**53} (2**53), up to which floats are exact: number the classes from 0"
            )
    known: Array = np.array(items).reshape(labels.shape)
    for item in known.reshape(-1).tolist():
        name = str(int(item) if isinstance(item, float) and item.is_integer() else item)
        if name in class_names and class_names.index(name) != item:
            raise OptionError(
                f"the {purpose} data has the label {name} as a Python object, which may be class "
                f"{name} or the class of that name, number {class_names.index(name)}, expected one "
                "meaning: pass numbers, y.astype(int), or names, y.astype(str)"
            )
    return known


def _number_labels(labels: Array, class_names: list[str], purpose: str) -> Array:
    """Return class indices of labels that are class names."""
    texts = [
        label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
        for label in labels.reshape(-1)
    ]
    unknown = [text for text in texts if text not in class_names]
    if unknown:
        raise OptionError(
            f"the {purpose} data has the label '{unknown[0]}', expected one of "
            f"{', '.join(map(repr, class_names))}: name the classes as the labels do"
        )
    return np.array([class_names.index(text) for text in texts]).reshape(labels.shape)


def _concatenate(parts: list[dict[str, Array]]) -> dict[str, Array]:
    if len(parts) == 1:
        return parts[0]
    for name in parts[0]:
        shapes = {part[name].shape[1:] for part in parts}
        if len(shapes) > 1:
            listed = " and ".join(map(str, sorted(shapes)[:2]))
            raise OptionError(
                f"the samples of '{name}' have different shapes, {listed}, expected one for all, "
                "since they are run in batches: pad or cut them to one size"
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _slice(arrays: Mapping[str, Array], start: int, stop: int) -> dict[str, Array]:
    return {name: array[start:stop] for name, array in arrays.items()}
