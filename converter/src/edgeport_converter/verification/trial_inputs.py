"""Inputs to try a model with: the user's samples, or random ones that the model takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.verification.runners import Run

# The first two that the model takes: one even and one odd where it takes any, else the multiples
# of a power of two that networks with skip connections want, up to a second of sound.
_FREE_AXIS_SIZES = (8, 13, 16, 32, 48, 64, 96, 128, 192, 224, 256, 512, 1024, 2048, 4096, 16000)

# Integers may be indices into a table of unknown length; the first that the model takes.
_LARGEST_INTEGERS = (99, 9, 1)
_SPREAD = 3.0
_WORDS = ("", "a", "b", "the", "yes", "no")


@dataclass(frozen=True)
class Known:
    """Keys of a graph's lookup tables: random text would meet none of them."""

    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


NOTHING = Known()


def looked_up(graph: onnx.ModelProto) -> Known:
    """Return the keys of the graph's LabelEncoder nodes."""
    words: list[str] = []
    numbers: list[int] = []
    for node in graph.graph.node:
        if node.op_type == "LabelEncoder":
            for attribute in node.attribute:
                if attribute.name == "keys_strings":
                    words += [key.decode("utf-8") for key in attribute.strings]
                elif attribute.name == "keys_int64s":
                    numbers += attribute.ints
    return Known(tuple(words), tuple(numbers))


def random_inputs(
    inputs: Sequence[TensorSpec],
    samples: int,
    free_size: int,
    seed: int,
    *,
    largest: int = 1,
    spread: float | None = None,
    known: Known = NOTHING,
) -> dict[str, Array]:
    """Return random arrays that the inputs accept.

    Args:
        inputs: floats come from their value range, else from [0, 1); bytes from all of theirs;
            text from a few short words, and from those that are looked up.
        samples: N.
        free_size: of every other free axis.
        seed: of the generator.
        largest: the largest of the other integers, which may be indices.
        spread: floats without a range come from a normal distribution of that width instead.
        known: what the graph looks up, for every other element of text and of integers.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in inputs:
        sizes = [
            samples if axis == "N" and isinstance(size, str)
            else size if isinstance(size, int) else free_size
            for axis, size in zip(spec.axes, spec.shape, strict=True)
        ]  # fmt: skip
        if spec.dtype.kind == "O":
            array = generator.choice(np.array(_WORDS, dtype=object), sizes)
            arrays[spec.name] = _mix(array, known.words, generator)
        elif spec.dtype.kind == "f":
            low, high = spec.value_range or (0.0, 1.0)
            values = low + (high - low) * generator.random(sizes)
            if spread is not None and spec.value_range is None:
                values = generator.normal(0.0, spread, sizes)
            arrays[spec.name] = values.astype(spec.dtype)
        else:
            top = 255 if spec.dtype == np.uint8 else 1 if spec.dtype.kind == "b" else largest
            top = min(top, 1 if spec.dtype.kind == "b" else int(np.iinfo(spec.dtype).max))
            array = generator.integers(0, top, sizes, endpoint=True).astype(spec.dtype)
            arrays[spec.name] = _mix(array, known.numbers, generator)
    return arrays


def _mix(array: Array, keys: Sequence[Any], generator: np.random.Generator) -> Array:
    """Return the array with about every other element from the keys that its dtype can hold."""
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        keys = [key for key in keys if limits.min <= key <= limits.max]
    if not keys or array.dtype.kind == "b":
        return array
    chosen = generator.choice(np.array(keys, dtype=array.dtype), array.shape)
    return np.where(generator.random(array.shape) < 0.5, chosen, array)


def parity_inputs(
    inputs: Sequence[TensorSpec],
    data: Sequence[Mapping[str, Array]],
    reference: Run,
    known: Known = NOTHING,
) -> list[dict[str, Array]]:
    """Return the batches for ``check_parity``: the user's data, or random ones.

    Sizes of free axes and ranges of integers are tried until the Keras model takes them. The
    user's data is also cut short along its free axes, so that a second size is seen.

    Args:
        inputs: the model's.
        data: the user's batches, or none.
        reference: the Keras model.
        known: what the graph looks up, as ``looked_up`` finds it.

    Raises:
        Exception: what the Keras model raised, where it took none of the inputs.
    """
    free = any(isinstance(size, str) for spec in inputs for size in spec.shape[1:])
    if data:
        batches = [dict(batch) for batch in data]
        cut = [_cut_short(inputs, batch) for batch in batches] if free else []
        return batches + [batch for batch in cut if _answer(reference, batch) is None]
    integers = any(spec.dtype.kind in "iu" for spec in inputs)
    problem: Exception | None = None
    tries = [(largest, replace(known, numbers=())) for largest in _LARGEST_INTEGERS]
    if known.numbers:
        tries.insert(0, (_LARGEST_INTEGERS[0], known))
    for largest, keys in tries if integers else [(_LARGEST_INTEGERS[-1], known)]:
        sizes: list[int] = []
        for size in _FREE_AXIS_SIZES if free else _FREE_AXIS_SIZES[:1]:
            batch = random_inputs(inputs, 1, size, seed=0, largest=largest, known=keys)
            problem = _answer(reference, batch)
            if problem is None:
                sizes.append(size)
            if len(sizes) == (2 if free else 1):
                break
        if sizes:
            return [
                random_inputs(
                    inputs, samples, size, samples, largest=largest, spread=spread, known=keys
                )
                for samples, spread in zip(BATCH_SIZES, (None, None, _SPREAD), strict=True)
                for size in sizes
            ]
    assert problem is not None  # noqa: S101 - there was at least one try
    raise problem


def _answer(reference: Run, batch: Mapping[str, Array]) -> Exception | None:
    """Return what the Keras model says against a batch, None if it takes it."""
    try:
        reference(batch)
    except Exception as problem:  # whatever a layer raises about sizes and indices
        return problem
    return None


def _cut_short(inputs: Sequence[TensorSpec], batch: Mapping[str, Array]) -> dict[str, Array]:
    """Return the batch with two thirds of each free axis but the batch's."""
    result = {}
    for spec in inputs:
        places = [slice(None)]
        for size, have in zip(spec.shape[1:], batch[spec.name].shape[1:], strict=True):
            places.append(slice(max(1, have * 2 // 3)) if isinstance(size, str) else slice(None))
        result[spec.name] = batch[spec.name][tuple(places)]
    return result


BATCH_SIZES = (1, 2, 5)
