"""Made-up inputs: the one rule for random arrays that a model's inputs accept.

``loading.purity`` calls a model twice with them. Where there is no data,
``verification.trial_inputs`` compares a graph with Keras on them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeport import TensorSpec
from edgeport.artifact.golden import Array

_WORDS = ("", "a", "b", "the", "yes", "no")


@dataclass(frozen=True)
class LookupKeys:
    """Keys of a graph's lookup tables. Random text alone would never contain one of them."""

    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


NO_KEYS = LookupKeys()


@dataclass(frozen=True, eq=False)
class Limits:
    """Between which values the elements of one sample have to lie, as row numbers of tables do.

    Attributes:
        low: of the shape (1, …) of one sample; minus infinity where an element has no limit.
        high: the same, infinity where there is none.
    """

    low: Array
    high: Array


@dataclass(frozen=True, eq=False)
class Draw:
    """What random inputs are drawn from.

    Attributes:
        lowest, largest: integers other than uint8 and amounts lie between these two, which are
            included.
        whole: whether floats without a value range are such integers, too.
        spread: if given, floats without a value range come from a normal distribution with this
            standard deviation.
        sign: of these, 0 for both; a model that begins with a logarithm takes one sign only.
        keys: about half of the elements of text and integer inputs are drawn from these keys.
        limits: by input; elements that have limits lie between these instead.
    """

    lowest: int = 0
    largest: int = 1
    whole: bool = False
    spread: float | None = None
    sign: int = 0
    keys: LookupKeys = NO_KEYS
    limits: Mapping[str, Limits] = field(default_factory=dict)


def random_inputs(
    inputs: Sequence[TensorSpec], samples: int, free_size: int, seed: int, draw: Draw
) -> dict[str, Array]:
    """Return random arrays that the inputs accept.

    Floats and amounts are drawn from their value range, other floats from [0, 1); uint8 from 0 to
    255; text from a few short words.

    Args:
        inputs: of the model.
        samples: the size of the batch axis N.
        free_size: the size of every other free axis.
        seed: for the random generator.
        draw: what the values are drawn from.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in inputs:
        sizes = sizes_of(spec, samples, free_size)
        if spec.dtype.kind == "O":
            array = generator.choice(np.array(_WORDS, dtype=object), sizes)
            array = _mix(array, draw.keys.words, generator)
        elif spec.dtype.kind == "f":
            array = _floats(spec, sizes, draw, generator).astype(spec.dtype)
        elif spec.dtype.kind == "b":
            array = generator.integers(0, 1, sizes, endpoint=True).astype(spec.dtype)
        else:
            low, top = (0, 255) if spec.dtype == np.uint8 else (draw.lowest, draw.largest)
            if is_amount(spec):
                low, top = map(int, spec.value_range or (low, top))
            top = min(top, int(np.iinfo(spec.dtype).max))
            array = generator.integers(low, top, sizes, endpoint=True).astype(spec.dtype)
            array = _mix(array, draw.keys.numbers, generator)
        if spec.name in draw.limits:
            array = _within(array, draw.limits[spec.name], generator)
        arrays[spec.name] = array
    return arrays


def is_amount(spec: TensorSpec) -> bool:
    """Whether an input of integers takes amounts, such as PCM, and not perhaps row numbers."""
    return spec.dtype.kind == "i" and spec.value_range is not None


def sizes_of(spec: TensorSpec, samples: int, free_size: int) -> list[int]:
    """Return the sizes of an input's axes for so many samples, with this size of its free axes."""
    sizes = [size if isinstance(size, int) else free_size for size in spec.shape]
    if spec.has_batch_axis and isinstance(spec.shape[0], str):
        sizes[0] = samples
    return sizes


def _floats(
    spec: TensorSpec, sizes: Sequence[int], draw: Draw, generator: np.random.Generator
) -> Array:
    if spec.value_range is not None:
        low, high = spec.value_range
        return low + (high - low) * generator.random(sizes)
    if draw.whole:
        return generator.integers(draw.lowest, draw.largest, sizes, endpoint=True).astype(float)
    if draw.spread is not None:
        values = generator.normal(0.0, draw.spread, sizes)
        return draw.sign * np.abs(values) if draw.sign else values
    return generator.random(sizes)


def _within(array: Array, limits: Limits, generator: np.random.Generator) -> Array:
    """Return the array with new elements where there are limits: whole ones if several fit."""
    low, high = (np.broadcast_to(limit, array.shape) for limit in (limits.low, limits.high))
    limited = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(limited, low, 0.0), np.where(limited, high, 0.0)
    first, last = np.ceil(low), np.floor(high)
    shares = generator.random(array.shape)
    whole = np.minimum(first + np.floor(shares * (last - first + 1)), last)
    between = low + shares * (high - low)
    is_whole = (array.dtype.kind in "iu") | (first < last) | (low == high)
    values = np.where(is_whole, whole, between)
    return np.where(limited, values, array).astype(array.dtype)


def _mix(array: Array, keys: Sequence[Any], generator: np.random.Generator) -> Array:
    """Return the array with about half of its elements replaced by keys that its dtype can hold."""
    if array.dtype.kind in "iu":
        limits = np.iinfo(array.dtype)
        keys = [key for key in keys if limits.min <= key <= limits.max]
    if not keys:
        return array
    chosen = generator.choice(np.array(keys, dtype=array.dtype), array.shape)
    return np.where(generator.random(array.shape) < 0.5, chosen, array)
