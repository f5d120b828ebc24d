"""Inputs for the parity check: random trial inputs, or the user's samples cut to a second size.

``parity`` calls ``make_trial_inputs`` where there is no data, ``with_cut_axes`` where there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.verification.runners import Run

# Sizes of free axes, tried in this order; the first two that the model takes are used. A model that
# takes any size gets an even and an odd one. Networks with skip connections often take multiples of
# a power of two only; 16,000 is a second of sound.
_FREE_AXIS_SIZES = (8, 13, 16, 32, 48, 64, 96, 128, 192, 224, 256, 512, 1024, 2048, 4096, 16000)

# Largest values of integer inputs, tried in this order. Integers may be indices into a table of
# unknown length; the first that the model takes is used.
_LARGEST_INTEGERS = (99, 9, 1)
BATCH_SIZES = (1, 2, 5)
"""Numbers of samples in the batches that a model is tried with."""

# Standard deviation of the floats in the last batches: values outside [0, 1), negative ones, too.
_SPREAD = 3.0
_WORDS = ("", "a", "b", "the", "yes", "no")


@dataclass(frozen=True)
class LookupKeys:
    """Keys of a graph's lookup tables. Random text alone would never contain one of them."""

    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


NO_KEYS = LookupKeys()


def find_lookup_keys(graph: onnx.ModelProto) -> LookupKeys:
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
    return LookupKeys(tuple(words), tuple(numbers))


def random_inputs(
    inputs: Sequence[TensorSpec],
    samples: int,
    free_size: int,
    seed: int,
    *,
    largest: int = 1,
    spread: float | None = None,
    keys: LookupKeys = NO_KEYS,
) -> dict[str, Array]:
    """Return random arrays that the inputs accept.

    Args:
        inputs: floats are drawn from their value range, or else from [0, 1); uint8 from 0 to 255;
            text from a few short words.
        samples: the size of the batch axis N.
        free_size: the size of every other free axis.
        seed: for the random generator.
        largest: integers other than uint8 are drawn from 0 to this number, which is included.
        spread: if given, floats without a value range come from a normal distribution with this
            standard deviation.
        keys: about half of the elements of text and integer inputs are drawn from these keys.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in inputs:
        sizes = [size if isinstance(size, int) else free_size for size in spec.shape]
        for place, (axis, size) in enumerate(zip(spec.axes, spec.shape, strict=True)):
            if axis == "N" and isinstance(size, str):
                sizes[place] = samples
        if spec.dtype.kind == "O":
            array = generator.choice(np.array(_WORDS, dtype=object), sizes)
            arrays[spec.name] = _mix(array, keys.words, generator)
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
            arrays[spec.name] = _mix(array, keys.numbers, generator)
    return arrays


def _mix(array: Array, keys: Sequence[Any], generator: np.random.Generator) -> Array:
    """Return the array with about half of its elements replaced by keys that its dtype can hold."""
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        keys = [key for key in keys if limits.min <= key <= limits.max]
    if not keys or array.dtype.kind == "b":
        return array
    chosen = generator.choice(np.array(keys, dtype=array.dtype), array.shape)
    return np.where(generator.random(array.shape) < 0.5, chosen, array)


def make_trial_inputs(
    inputs: Sequence[TensorSpec], reference: Run, keys: LookupKeys = NO_KEYS
) -> list[dict[str, Array]]:
    """Return random batches that the Keras model takes.

    1. Integers may be indices into a table of unknown length: large ones are tried first, mixed
       with the keys of lookup tables, then smaller ones.
    2. For each largest integer, sizes of the free axes are tried until the model has taken two.
    3. At the first largest integer with a size that the model took, batches of each of
       ``BATCH_SIZES`` are made, at each size found.

    Args:
        inputs: the model's inputs.
        reference: the Keras model.
        keys: the keys of the graph's lookup tables.

    Raises:
        Exception: the last exception of the Keras model, if it took none of the inputs.
    """
    free = any(isinstance(size, str) for spec in inputs for size in spec.shape[1:])
    wanted = 2 if free else 1
    problem: Exception | None = None
    for largest, known in _integers_to_try(inputs, keys):
        sizes: list[int] = []
        for size in _FREE_AXIS_SIZES if free else _FREE_AXIS_SIZES[:1]:
            batch = random_inputs(inputs, 1, size, seed=0, largest=largest, keys=known)
            problem = _refusal(reference, batch)
            if problem is None:
                sizes.append(size)
            if len(sizes) == wanted:
                break
        if sizes:
            return [
                random_inputs(
                    inputs, samples, size, samples, largest=largest, spread=spread, keys=known
                )
                for samples, spread in zip(BATCH_SIZES, (None, None, _SPREAD), strict=True)
                for size in sizes
            ]
    assert problem is not None  # noqa: S101 - there was at least one try
    raise problem


def _integers_to_try(
    inputs: Sequence[TensorSpec], keys: LookupKeys
) -> list[tuple[int, LookupKeys]]:
    """Return (largest integer, keys) for each try; a single one if no input takes integers."""
    if not any(spec.dtype.kind in "iu" for spec in inputs):
        return [(_LARGEST_INTEGERS[-1], keys)]
    tries = [(largest, replace(keys, numbers=())) for largest in _LARGEST_INTEGERS]
    return [(_LARGEST_INTEGERS[0], keys), *tries] if keys.numbers else tries


def with_cut_axes(
    inputs: Sequence[TensorSpec], data: Iterable[Mapping[str, Array]], reference: Run
) -> list[dict[str, Array]]:
    """Return the user's batches, then shorter copies of those that the model takes in that form.

    The copies have two thirds of each free axis, so that a second size of it is compared, too.
    """
    batches = [dict(batch) for batch in data]
    if not any(isinstance(size, str) for spec in inputs for size in spec.shape[1:]):
        return batches
    cut = [_cut_short(inputs, batch) for batch in batches]
    return batches + [batch for batch in cut if _refusal(reference, batch) is None]


def _refusal(reference: Run, batch: Mapping[str, Array]) -> Exception | None:
    """Return the exception that the Keras model raises for a batch, None if it raises none."""
    try:
        reference(batch)
    except Exception as problem:  # whatever a layer raises about sizes and indices
        return problem
    return None


def _cut_short(inputs: Sequence[TensorSpec], batch: Mapping[str, Array]) -> dict[str, Array]:
    """Return the first two thirds of the batch along each free axis other than the batch axis."""
    result = {}
    for spec in inputs:
        places = [slice(None)]
        for size, have in zip(spec.shape[1:], batch[spec.name].shape[1:], strict=True):
            places.append(slice(max(1, have * 2 // 3)) if isinstance(size, str) else slice(None))
        result[spec.name] = batch[spec.name][tuple(places)]
    return result
