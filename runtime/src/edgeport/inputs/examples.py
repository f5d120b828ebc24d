"""Made-up inputs for a model of which nothing else is at hand: to measure it, or to compare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeport.artifact.card import TensorSpec
from edgeport.artifact.golden import Array, ramp

_FREE_AXIS_SIZE = 8


def example(inputs: Sequence[TensorSpec], samples: int) -> dict[str, Array]:
    """Return well-spread values for every input, within its range."""
    arrays = {}
    for number, spec in enumerate(inputs):
        sizes = [size if isinstance(size, int) else _FREE_AXIS_SIZE for size in spec.shape]
        if spec.has_batch_axis:
            sizes[0] = samples
        if spec.dtype.kind == "O":
            arrays[spec.name] = np.full(sizes, "text", object)
        else:
            low, high = spec.value_range or (0.0, 1.0)
            arrays[spec.name] = ramp(tuple(sizes), spec.dtype, low, high, number / 7)
    return arrays
