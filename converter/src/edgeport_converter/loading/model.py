"""What loading hands to exporting: a function over named tensors, and what goes in and out.

Keras 3, tf_keras and SavedModels have three interfaces; ``exporting`` and everything after it see
this one only. No TensorFlow is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeport.artifact.column import Column
from edgeport_converter.errors import UnsupportedModelError

# Keras' list of what it could not load; the line after a layer's name gives the reason.
_NOT_LOADED = re.compile(r"A total of \d+ objects could not be loaded\. .*<(\w+) name=([^,>]+)")
_NONE_AS_NUMBER = re.compile(
    r"'NoneType' object cannot be interpreted as an integer"
    r"|unsupported operand type\(s\) for [^:]+: .*'NoneType'"
    r"|'[<>]=?' not supported between .*'NoneType'"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

# A protobuf message, and so an ONNX file with its weights inside, ends at 2 GiB; 16 MiB are left
# for nodes, names and the card.
_MAX_WEIGHT_BYTES = 2**31 - 2**24

_BEFORE = " before "

Call = Callable[[Mapping[str, Any]], dict[str, Any]]
"""TensorFlow tensors by input name to tensors by output name, each in the declared order."""


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a loaded model.

    Attributes:
        name: the Keras name, unique among inputs and outputs.
        shape: with the batch axis; None for a free axis.
        dtype: the name of its dtype, such as "float32" or "string".
        activation: for an output, the name of the activation that made it; None where unknown.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    activation: str | None = None


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that is ready for inference.

    Attributes:
        name: the model's own name.
        call: computes the model as it answers at inference: no dropout, no noise, batch statistics
            as trained. Tensors by input name to tensors by output name; ``tf.function`` can trace
            it, and a call by hand gives the answers that the export is held to.
        inputs, outputs: in the declared order.
        source: what it came from, for the card: file name and digest, or "memory".
        notes: what was changed or has to be known, a sentence each, for the report.
        preprocessing: what the model does to its inputs before its first layer with weights, in
            words.
        model: the Keras model that ``call`` calls, to name its layers in messages; None for a
            SavedModel, which has no layers.
        columns: of the tables that it was trained on, where its file says so.
    """

    name: str
    call: Call
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    source: dict[str, str]
    notes: tuple[str, ...] = ()
    model: Any = None
    preprocessing: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names of all Keras layers, those inside of layers too; none of a SavedModel."""
        return tuple(dict.fromkeys(layer.name for layer in all_layers(self.model)))


def all_layers(model: Any) -> list[Any]:
    """Return the model and every layer in it, those inside wrappers included; of None, nothing."""
    if model is None:
        return []
    return list(model._flatten_layers())  # Keras has no public list of these


def layer_of(model: Any, operation: str) -> Any:
    """Return the Keras layer that an operation of a traced graph belongs to, None if unknown.

    Args:
        model: a Keras model, or None.
        operation: its name, a path of scopes; Keras numbers a scope that it opens again.
    """
    layers = {layer.name: layer for layer in all_layers(model) if layer is not model}
    for scope in reversed(operation.split("/")[:-1]):
        layer = layers.get(scope) or layers.get(re.sub(r"_\d+$", "", scope))
        if layer is not None:
            return layer
    return None


def logits_name(output: str, kinds: tuple[str, ...]) -> str:
    """Return the name of what an output is before its last functions: ``scores before softmax``."""
    return f"{output}{_BEFORE}{', '.join(kinds)}"


def is_logits(name: str) -> bool:
    """Whether a name is one that ``logits_name`` gives."""
    return _BEFORE in name


def unique_names(names: list[str], taken: tuple[str, ...] = ()) -> list[str]:
    """Return the names with a number added to each repetition, as a graph needs distinct names."""
    used = set(taken)
    result = []
    for name in names:
        candidate, number = name, 0
        while candidate in used:
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate)
        result.append(candidate)
    return result


def shorten(cause: BaseException, length: int = 200) -> str:
    """Return the line of an exception's text that says why, for the middle of a sentence.

    Keras puts the messages of all callers before the reason, each with "Exception encountered: ".
    """
    text = str(cause).rpartition("Exception encountered: ")[2]
    lines = [_COLOUR.sub("", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception encountered when")]
    line = lines[0].rstrip(" .:") if lines else type(cause).__name__
    layer = _NOT_LOADED.match(line)
    if layer and len(lines) > 1:
        line = f"the weights of {layer[1]} '{layer[2]}': {lines[1].rstrip(' .:')}"
    return line if len(line) <= length else line[: length - 1] + "…"


def needs_fixed_axis(cause: BaseException) -> bool:
    """Whether Python computed with the size of a free axis, which is None, while it was traced."""
    return isinstance(cause, (TypeError, ValueError)) and bool(_NONE_AS_NUMBER.search(str(cause)))


NEEDS_FIXED_AXIS = (
    "computes in Python with the size of a free axis, expected a fixed one, which a graph can "
    "hold: build the model with a number instead of None for that axis, such as "
    "keras.Input((128,)) for 128 steps"
)
"""What to say then, after the layer or the model."""


def refuse_nan(name: str, weights: Sequence[Any]) -> None:
    """Refuse a model with a weight that is not a number, since its answers would be none either.

    Args:
        name: of the model.
        weights: Keras variables.

    Raises:
        UnsupportedModelError: there is one; the message names the first.
    """
    broken = []
    for weight in weights:
        array = np.asarray(weight)
        # The least of numbers with a NaN among them is NaN, and needs no copy of a large weight.
        if array.dtype.kind == "f" and array.size and np.isnan(array.min()):
            broken.append((weight, array))
    if broken:
        weight, array = broken[0]
        more = "" if len(broken) == 1 else f", and {len(broken) - 1} more weights have some"
        raise UnsupportedModelError(
            f"the weight '{getattr(weight, 'path', weight.name)}' of the model '{name}' has NaN in "
            f"{int(np.isnan(array).sum())} of its {array.size} elements{more}, expected numbers, "
            "as the training has diverged: convert an earlier checkpoint, or train again with a "
            "smaller learning rate"
        )


def refuse_large(name: str, weight_bytes: int) -> None:
    """Refuse a model whose weights no ONNX file can hold, before they are copied anywhere.

    An artifact is a single file, so no weights may be in a second one.

    Raises:
        UnsupportedModelError: they are too large.
    """
    if weight_bytes > _MAX_WEIGHT_BYTES:
        raise UnsupportedModelError(
            f"the model '{name}' has {weight_bytes / 2**30:.2f} GiB of weights, expected less than "
            "2 GiB, the limit of an ONNX file with its weights inside: split the model, or make "
            "it smaller"
        )
