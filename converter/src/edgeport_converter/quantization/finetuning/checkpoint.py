"""The state of an interrupted training, in one file beside the output.

The loop of ``training`` writes it whenever it has measured, and goes on from it when it begins
again with the same network, data and settings. ``pipeline`` removes it after a success.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport.atomic_files import replacing
from edgeport_converter.progress import say
from edgeport_converter.quantization.finetuning.samples import TrainingData

_FACTS = ("done", "waited", "before", "best")
_VERSION = 2  # of the file, and of what a step of training does

# What numpy, json and zipfile raise where bytes of a file were changed; of the last, RuntimeError
# for one that would be encrypted or compressed.
_UNREADABLE = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError),
    *(zipfile.BadZipFile, RuntimeError),
)


@dataclass(frozen=True, eq=False)
class Position:
    """Where a training stands.

    Attributes:
        done: steps.
        waited: measurements since the last better loss.
        before, best: the loss at first and the least one, on samples that are not trained on.
        variables: values of all that a step changes, in their order.
        kept: the trained variables with the least loss.
    """

    done: int
    waited: int
    before: float
    best: float
    variables: list[Array]
    kept: list[Array]


class Checkpoint:
    """A file with a position of one training.

    Args:
        path: of the file.
        key: of the training, by ``key_of``.

    Attributes:
        notes: what is to be said of a file that could not be used.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path, self._key = path, key
        self.notes: tuple[str, ...] = ()

    def read(self, variables: Sequence[Any], kept: Sequence[Any]) -> Position | None:
        """Return the position, None where there is no file, or none of this training.

        Args:
            variables: TensorFlow's, as in ``Position.variables``.
            kept: the same for ``Position.kept``.
        """
        if not self._path.exists():
            return None
        try:
            # numpy leaves the file open where it finds no archive in it.
            with self._path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                facts = json.loads(str(file["facts"]))
                if facts.pop("key") != self._key:
                    self._tell("is of another model, other data or other settings and was not used")
                    return None
                rows = [
                    [file[f"{name}_{place}"] for place in range(len(wanted))]
                    for name, wanted in (("variable", variables), ("kept", kept))
                ]
                found = Position(**facts, variables=rows[0], kept=rows[1])
        except _UNREADABLE as cause:
            self._tell(f"cannot be read ({type(cause).__name__}) and was not used")
            return None
        arrays = zip([*found.variables, *found.kept], [*variables, *kept], strict=True)
        if any(array.shape != tuple(variable.shape) for array, variable in arrays):
            self._tell("holds arrays of other shapes and was not used")
            return None
        say(f"fine-tuning goes on after {found.done} steps, from '{self._path}'")
        return found

    def write(self, position: Position) -> None:
        """Replace the file in one step; where that fails, training goes on without it."""
        facts = {"key": self._key} | {name: getattr(position, name) for name in _FACTS}
        arrays = {
            f"{name}_{place}": array
            for name, row in (("variable", position.variables), ("kept", position.kept))
            for place, array in enumerate(row)
        }
        try:
            with replacing(self._path) as file:
                np.savez(file, allow_pickle=False, facts=np.array(json.dumps(facts)), **arrays)
        except OptionError as cause:
            if not self.notes:
                reason = str(cause.__cause__ or cause)
                self._tell(
                    f"cannot be kept ({reason}), so that an interrupted training would begin again"
                )

    def _tell(self, found: str) -> None:
        text = f"the state of fine-tuning in '{self._path}' {found}"
        self.notes = (text,)
        say(text)


def key_of(
    graphs: Iterable[ir.Graph], variables: Sequence[Any], data: TrainingData, settings: object
) -> str:
    """Return the SHA-256 of all that a training depends on.

    1. Of the graphs the operators, what they read, and the constants, in their order; tensors are
       numbered, since their names change where a program exports the same model twice.
    2. The variables' values at the start.
    3. Of the data every sample and label, in the order of the split.
    4. The settings, by their text.
    """
    digest = hashlib.sha256(f"{_VERSION} {settings!r} {data.are_classes}".encode())
    for graph in graphs:
        numbers: dict[ir.Value | None, int] = {None: 0}
        for value in (*graph.inputs, *graph.initializers.values()):
            numbers[value] = len(numbers)
        for node in graph:
            kinds = sorted(f"{name}={node.attributes[name].value}" for name in node.attributes)
            read = [numbers.setdefault(value, len(numbers)) for value in node.inputs]
            numbers |= {value: len(numbers) + place for place, value in enumerate(node.outputs)}
            digest.update(f"{node.op_type} {kinds} {read}".encode())
        digest.update(f"{[numbers[value] for value in graph.outputs]}".encode())
        for value in graph.initializers.values():
            if value.const_value is not None:
                _add(digest, value.const_value.numpy())
    for variable in variables:
        _add(digest, variable.numpy())
    for part in (data.training, data.checking):
        for array in part.values():
            _add(digest, array)
    for labels in (data.labels, data.checking_labels):
        if labels is not None:
            _add(digest, labels)
    return digest.hexdigest()


def _add(digest: Any, array: Array) -> None:
    digest.update(f"{array.dtype.str} {array.shape}".encode())
    if array.dtype.kind in "biuf":
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # without a copy
    else:
        digest.update("\n".join(map(str, array.flat)).encode())
