"""Models that insist on a number of samples: any number of them, in parts of that size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from edgeport import TensorSpec
from edgeport.golden import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
Batches = Callable[[int], Iterable[Mapping[str, Array]]]


def fixed_batch(inputs: Sequence[TensorSpec]) -> int | None:
    """Return the number of samples that the model insists on, None where it takes any."""
    sizes = [spec.shape[0] for spec in inputs if spec.has_batch_axis]
    return next((size for size in sizes if isinstance(size, int)), None)


def fill_batch(arrays: Mapping[str, Array], size: int) -> dict[str, Array]:
    """Return the samples with the last one repeated until there are ``size``."""
    return {
        name: np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])
        if len(array) < size
        else array
        for name, array in arrays.items()
    }


def run_in_parts(run: Run, size: int | None) -> Run:
    """Return ``run`` for any number of samples; what fills the last part is cut off again."""
    if size is None:
        return run

    def in_parts(arrays: Mapping[str, Array]) -> dict[str, Array]:
        count = len(next(iter(arrays.values())))
        parts = [
            run(fill_batch({k: a[start : start + size] for k, a in arrays.items()}, size))
            for start in range(0, count, size)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}

    return in_parts


def batches_in_parts(batches: Batches, size: int | None) -> Batches:
    """Return the same samples in batches of the fixed size, whatever size is asked for."""
    if size is None:
        return batches

    def in_parts(_: int) -> Iterator[dict[str, Array]]:
        return (fill_batch(batch, size) for batch in batches(size))

    return in_parts
