"""Trial inputs, to measure or to compare models: made up, or repeated from a sample of the user's.

Their free axes have the sizes that the user names, else one that most models take.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from edgeport.artifact.card import ANY_SHAPE, ModelCard, TensorSpec
from edgeport.artifact.golden import Array, ramp
from edgeport.errors import OptionError
from edgeport.inputs.frames import usual_size

_FREE_AXIS_SIZE = 8


def example(
    card: ModelCard, samples: int, sizes: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """Return well-spread values for every input, within its range; frames of a usual size.

    Raises:
        OptionError: no input has a free axis of this name.
        MemoryError: the sizes are beyond what memory can hold.
    """
    wanted = dict(sizes or {})
    free = free_axes(card.inputs)
    for name in wanted:
        if name not in free:
            listed = ", ".join(free) or "none"
            raise OptionError(
                f"there is no free axis '{name}', the inputs have {listed}: name one of these"
            )
    arrays = {}
    for number, spec in enumerate(card.inputs):
        shape = spec.shape if spec.shape != ANY_SHAPE else (f"{spec.name}_0",)
        usual: dict[int | str, int] = {}
        low, high = spec.value_range or (0.0, 1.0)
        if spec.name in card.frames:
            usual = dict(zip(shape[1:3], usual_size(card.frames[spec.name]), strict=True))
            low, high = 0.0, 255.0
        lengths = [
            size if isinstance(size, int) else wanted.get(size, usual.get(size, _FREE_AXIS_SIZE))
            for size in shape
        ]
        if spec.has_batch_axis:
            lengths[0] = samples
        if math.prod(lengths) * spec.dtype.itemsize >= 2**63:  # which numpy calls a ValueError
            raise MemoryError(f"input '{spec.name}' would have the shape {tuple(lengths)}")
        if spec.dtype.kind == "O":
            arrays[spec.name] = np.full(lengths, "text", object)
        else:
            arrays[spec.name] = ramp(tuple(lengths), spec.dtype, low, high, number / 7)
    return arrays


def free_axes(inputs: Sequence[TensorSpec]) -> list[str]:
    """Return the names of the free axes, without the batch."""
    names = [
        size
        for spec in inputs
        if spec.shape != ANY_SHAPE
        for size in spec.sample_shape
        if isinstance(size, str)
    ]
    return list(dict.fromkeys(names))


def repeated(
    inputs: Sequence[TensorSpec], sample: Mapping[str, Array], samples: int
) -> dict[str, Array]:
    """Return one sample, with its batch axis, as many times; raises MemoryError."""
    return {
        spec.name: np.repeat(sample[spec.name][:1], samples, axis=0)
        if spec.has_batch_axis
        else sample[spec.name]
        for spec in inputs
    }
