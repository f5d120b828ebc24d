"""What loading hands to exporting: a function over named tensors, and what goes in and out.

Keras 3, tf_keras and a SavedModel's signature have three different interfaces; behind this one
the export needs to know none of them. No TensorFlow is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
        model: the Keras model behind ``call``, for naming its layers in messages; None for a
            SavedModel, which has no layers any more.
    """

    name: str
    call: Call
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    source: dict[str, str]
    notes: tuple[str, ...] = ()
    model: Any = None


def unique_names(names: list[str], taken: tuple[str, ...] = ()) -> list[str]:
    """Return the names with a number behind each repetition, since a graph needs them distinct."""
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


def shorten(cause: BaseException, length: int = 300) -> str:
    """Return the first line that an exception says, for the middle of a sentence."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    text = lines[0] if lines else type(cause).__name__
    text = text.rstrip(" .:")
    return text if len(text) <= length else text[: length - 1] + "…"
