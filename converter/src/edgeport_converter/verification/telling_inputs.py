"""Made-up inputs on which answers tell: of several scales and shapes, and near uncertain answers.

A network knows inputs of one scale only, and made-up inputs rarely have it: bytes, numbers from 0
to 1, standardized values. On the others its answers may all be alike. So each sample here is of
another kind, and where answers hardly depend on the weights, samples between two others are looked
for on which they do. ``parity`` calls this where there is no data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.data.made_up import is_amount

Telling = Callable[[Mapping[str, Array]], "Array | None"]
"""Samples (N, ...) by input name to how much each one tells (N,); None where that is unknown."""

NOTHING: Mapping[str, Array] = {}

# (lowest, highest, share that is noise): bytes, shares, standardized values, weak ones.
_KINDS = (
    (-1.0, 1.0, 1.0),
    (0.0, 255.0, 0.2),
    (0.0, 1.0, 0.2),
    (-3.0, 3.0, 1.0),
    (0.0, 1.0, 1.0),
    (-1.0, 1.0, 0.2),
    (0.0, 255.0, 1.0),
    (-0.1, 0.1, 1.0),
)
_WEAK = 2.0**-10  # quiet PCM, 60 dB below full scale
_PATCHES = 4  # an axis: pictures and signals have patches of like values
_BLENDS = 8  # samples between two others that are tried at once
_WAYS = 4
_ROUNDS = 3  # each looks at an interval of 2/9 of the one before


def varied_samples(
    inputs: Sequence[TensorSpec],
    batch: Mapping[str, Array],
    most: int | None = None,
    kept: Mapping[str, Array] = NOTHING,
) -> dict[str, Array] | None:
    """Return a sample of each kind, None where no floats, bytes or amounts could vary.

    Args:
        inputs: the model's.
        batch: samples that the model takes, which integers and text are repeated from.
        most: how many kinds, None for all.
        kept: by input which elements of a sample stay as they are: row numbers of a table.
    """
    if not any(_varies(spec) for spec in inputs) or not all(array.ndim for array in batch.values()):
        return None
    generator = np.random.default_rng(0)
    kinds = _KINDS[:most]
    varied = {}
    for spec in inputs:
        given = batch[spec.name]
        repeated = given[np.arange(len(kinds)) % len(given)]
        if _varies(spec):
            rows = [_sample(spec, given.shape[1:], kind, generator) for kind in kinds]
            made = np.stack(rows).astype(spec.dtype)
            varied[spec.name] = np.where(kept.get(spec.name, False), repeated, made)
        else:
            varied[spec.name] = repeated
    return varied


def _varies(spec: TensorSpec) -> bool:
    return spec.dtype.kind == "f" or spec.dtype == np.uint8 or is_amount(spec)


def _sample(
    spec: TensorSpec,
    shape: tuple[int, ...],
    kind: tuple[float, float, float],
    generator: np.random.Generator,
) -> Array:
    """Return one sample: patches of like values, with noise."""
    low, high, noise = kind
    if spec.dtype == np.uint8:  # the same kinds, within the range of bytes
        low, high = (0.0, 255.0) if high >= 1 else (100.0, 155.0)
    elif spec.value_range is not None:
        is_weak, (low, high) = high < 1, spec.value_range
        if is_weak and is_amount(spec):
            low, high = low * _WEAK, high * _WEAK
    places = generator.random([min(size, _PATCHES) for size in shape])
    for axis, size in enumerate(shape):
        places = places.take(np.arange(size) * places.shape[axis] // max(size, 1), axis)
    places = (1 - noise) * places + noise * generator.random(shape)
    return np.asarray(low + (high - low) * places)


def nearer_to_uncertain(
    inputs: Sequence[TensorSpec],
    samples: Mapping[str, Array],
    telling: Telling,
    kept: Mapping[str, Array] = NOTHING,
) -> dict[str, Array] | None:
    """Return samples on the way from one sample to another that tell more than both.

    1. From the sample that tells most, the ways to the first others are divided evenly.
    2. On the way with the sample that tells most, the part around it is divided again, three times.

    Where two samples lie on two sides of a border between classes, this ends close to it.

    Args:
        inputs: the model's.
        samples: by input name.
        telling: what is looked for.
        kept: as for ``varied_samples``; such elements are those of the sample that tells most.
    """
    scores = telling(samples)
    if scores is None or len(scores) < 2:
        return None
    start = int(np.argmax(scores))
    best: tuple[float, int, float] | None = None
    steps = np.arange(1, _BLENDS + 1) / (_BLENDS + 1)
    for end in range(min(len(scores), _WAYS)):
        if end != start:
            found = telling(_blend(inputs, samples, start, end, steps, kept))
            if found is None:
                return None
            place = int(np.argmax(found))
            if best is None or found[place] > best[0]:
                best = float(found[place]), end, float(steps[place])
    assert best is not None  # noqa: S101 - there are two samples
    width = 1 / (_BLENDS + 1)
    _, end, middle = best
    for _ in range(_ROUNDS):
        near = np.clip(middle + width * np.linspace(-1, 1, _BLENDS), 0.0, 1.0)
        found = telling(_blend(inputs, samples, start, end, near, kept))
        if found is None:
            return None
        middle = float(near[int(np.argmax(found))])
        width *= 2 / (_BLENDS + 1)
    ends = np.array([middle, min(1.0, middle + width)])
    return _blend(inputs, samples, start, end, ends, kept)


def _blend(
    inputs: Sequence[TensorSpec],
    samples: Mapping[str, Array],
    start: int,
    end: int,
    steps: Array,
    kept: Mapping[str, Array],
) -> dict[str, Array]:
    """Return samples between two others; integers, text and what is kept are the first one's."""
    blended = {}
    for spec in inputs:
        first, last = samples[spec.name][start], samples[spec.name][end]
        if _varies(spec):
            share = steps.reshape(-1, *[1] * first.ndim)
            values = first + share * (last.astype(np.float64) - first)
            values = np.where(kept.get(spec.name, False), first, values)
            blended[spec.name] = values.astype(spec.dtype)
        else:
            blended[spec.name] = np.repeat(first[None], len(steps), axis=0)
    return blended
