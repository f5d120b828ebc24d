"""Samples in chunks, each a dict of arrays by key; and which key belongs to which input.

Arrays are chosen by name, or in pairs that belong together. A file that could be read in two ways
is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.cli.reading import LABEL_NAMES

Chunk = dict[str, Array]
"""Arrays by key, sample along axis 0."""

Chunks = Callable[[], Iterator[Chunk]]
"""Starts a new pass over all samples, in the same order each time."""


@dataclass(frozen=True, eq=False)
class Source:
    """Samples before they are matched with the model's inputs.

    Attributes:
        chunks: starts a new pass over them.
        subject: what messages call them, such as "the calibration file 'x.csv'".
        columns: of a table, the names of its features in the order of the samples' values.
        left_out: its other columns, which the model does not know.
    """

    chunks: Chunks
    subject: str
    columns: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


SINGLE_KEY = "x"
LABEL_KEY = "y"
CHUNK_BYTES = 4 * 2**20

# Usual names of a single input, each with those of its labels, in the order of the search.
_PAIRS = {
    "x": ("y", "labels", "label"),
    "images": ("labels", "label", "y"),
    "data": ("labels", "label", "target", "y"),
}
# In a file with a training and a test set, each purpose has its own.
_PURPOSE_PAIRS = {
    "calibration": {"x_train": ("y_train",)},
    "evaluation": {"x_test": ("y_test",)},
    "fine-tuning": {"x_train": ("y_train",)},
}
_PLAIN_LABELS = ("y", "labels", "label", "target")


@dataclass(frozen=True)
class Keys:
    """The key of each input by its name, and the key of the labels."""

    inputs: Mapping[str, str]
    labels: str | None


def require_one_array(labels: object, subject: str) -> None:
    """Refuse labels of several outputs, which come in a dict or a tuple.

    A list is not refused: it may hold one row for each sample.
    """
    if isinstance(labels, Mapping) or (isinstance(labels, tuple) and any(map(np.ndim, labels))):
        raise OptionError(
            f"the labels of {subject} are a {type(labels).__name__} of "
            f"{len(labels)}, expected one array: pass the labels of the first output, which is "
            "what the metric sees"
        )


Pick = Callable[[Sequence[str]], Keys]
"""Says which of many keys are read."""


def pick_keys(
    keys: Sequence[str], specs: Sequence[TensorSpec], purpose: str, subject: str = "the data"
) -> Keys:
    """Return the keys to read.

    Args:
        keys: of the arrays that there are.
        specs: the model's inputs.
        purpose: "calibration", "evaluation" or "fine-tuning".
        subject: what a message calls the data.

    Raises:
        OptionError: it is not clear which array is which input.
    """
    names = [spec.name for spec in specs]
    if set(names) <= set(keys):
        return Keys({name: name for name in names}, _first(_PLAIN_LABELS, keys, other_than=names))
    if len(names) == 1:
        for pairs in (_PAIRS, _PURPOSE_PAIRS[purpose]):
            for key, labels in pairs.items():
                if key in keys:
                    return Keys({names[0]: key}, _first(labels, keys))
        others = [key for key in keys if key not in LABEL_NAMES]
        if len(others) == 1:
            return Keys({names[0]: others[0]}, _first(LABEL_NAMES, keys))
    way_out = "name each array after the model's input"
    if len(names) > 1:
        way_out += f", or pass (({', '.join(names)}), y), the inputs in this order"
    hint = f" (or '{next(iter(_PURPOSE_PAIRS[purpose]))}')" if len(names) == 1 else ""
    raise OptionError(
        f"{subject} has the arrays {', '.join(map(repr, keys)) or 'none'}, expected "
        f"{', '.join(map(repr, names))}{hint}: {way_out}"
    )


def _first(
    wanted: Sequence[str], keys: Sequence[str], other_than: Sequence[str] = ()
) -> str | None:
    return next((key for key in wanted if key in keys and key not in other_than), None)
