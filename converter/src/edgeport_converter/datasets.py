"""The user's data: arrays by input name, with labels where the file has them.

Here live reading and checking; what the data is used for is the stages' business.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import InputError, OptionError, TensorSpec
from edgeport.golden import Array
from edgeport.inputs import prepare

LABEL_KEYS = ("y", "labels", "label", "y_test", "y_train")
INPUT_KEYS = ("x", "images", "data", "x_test", "x_train")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples in memory.

    Attributes:
        arrays: by input name, each in the input's dtype with the batch axis N.
        labels: one label a sample, or None.
    """

    arrays: Mapping[str, Array]
    labels: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield the samples in order, ``size`` at a time, the last batch shorter."""
        for start in range(0, len(self), size):
            yield self.take(start, size)

    def take(self, start: int, size: int) -> dict[str, Array]:
        """Return ``size`` samples from ``start`` on, or as many as are left."""
        return {name: array[start : start + size] for name, array in self.arrays.items()}

    def value_range(self, name: str) -> tuple[float, float] | None:
        """Return the (lowest, highest) value of an input, None where it is no number."""
        array = self.arrays[name]
        return (float(array.min()), float(array.max())) if array.dtype.kind in "biuf" else None

    def digest(self) -> str:
        """Return the SHA-256 over names, shapes and values, for the card."""
        state = hashlib.sha256()
        for name, array in self.arrays.items():
            state.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


def read_dataset(source: Any, specs: Sequence[TensorSpec], purpose: str) -> Dataset:
    """Return the user's data, every value checked against the model's inputs.

    Args:
        source: the path of a ``.npy`` file (one input), of a ``.npz`` file with one array for each
            input name (or ``x`` for a single input) and optionally labels ``y``; or an array, a
            dict of such arrays, or a pair ``(x, y)``.
        specs: the model's inputs in declared order.
        purpose: "calibration" or "evaluation", for messages.

    Raises:
        OptionError: the file or its arrays are not what was asked for.
        InputError: an array disagrees with an input.
    """
    found, labels = _split_labels(_load(source, purpose))
    named = _match_names(found, specs, purpose)
    try:
        feed = prepare(specs, (named,))
    except InputError as cause:
        raise InputError(
            f"{purpose} data: {cause}", expected=cause.expected, actual=cause.actual
        ) from cause
    if not feed.samples or feed.is_single:
        problem = "one sample without the batch axis" if feed.is_single else "no sample"
        raise OptionError(
            f"the {purpose} data holds {problem}, "
            "expected a batch of samples along axis 0: stack the samples first"
        )
    for name, array in feed.arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            index = np.argwhere(~np.isfinite(array))[0].tolist()
            raise OptionError(
                f"the {purpose} data has a NaN or an infinity in '{name}' at {index}, "
                "expected numbers: clean or drop that sample"
            )
    if labels is not None and len(labels) != feed.samples:
        raise OptionError(
            f"the {purpose} data has {feed.samples} samples and {len(labels)} labels, "
            "expected one label a sample: check how the file was made"
        )
    return Dataset(feed.arrays, labels)


def _load(source: Any, purpose: str) -> dict[str, Any]:
    """Return the source's arrays by key; a single array gets the key ``x``."""
    if isinstance(source, (str, os.PathLike)):
        return _load_file(Path(source), purpose)
    if isinstance(source, Mapping):
        return dict(source)
    if isinstance(source, tuple) and len(source) == 2:
        return {"x": source[0], "y": source[1]}
    return {"x": source}


def _load_file(path: Path, purpose: str) -> dict[str, Any]:
    if not path.exists():
        raise OptionError(f"there is no {purpose} file '{path}': pass a .npy or .npz file")
    try:
        loaded = np.load(path, allow_pickle=False)
    except Exception as cause:
        raise OptionError(
            f"the {purpose} file '{path}' cannot be read as .npy or .npz "
            f"({type(cause).__name__}): save it with numpy.save or numpy.savez"
        ) from cause
    if isinstance(loaded, np.ndarray):
        return {"x": loaded}
    with loaded:
        return {key: loaded[key] for key in loaded.files}


def _split_labels(found: dict[str, Any]) -> tuple[dict[str, Any], Array | None]:
    for key in LABEL_KEYS:
        if key in found and len(found) > 1:
            rest = {name: array for name, array in found.items() if name != key}
            return rest, np.asarray(found[key])
    return found, None


def _match_names(
    found: dict[str, Any], specs: Sequence[TensorSpec], purpose: str
) -> dict[str, Any]:
    names = [spec.name for spec in specs]
    if set(names) <= found.keys():
        return {name: found[name] for name in names}
    if len(names) == 1:
        for key in INPUT_KEYS:
            if key in found:
                return {names[0]: found[key]}
        if len(found) == 1:
            return {names[0]: next(iter(found.values()))}
    raise OptionError(
        f"the {purpose} data has the arrays {', '.join(map(repr, found)) or 'none'}, expected "
        f"{', '.join(map(repr, names))}: name each array after the model's input"
    )
