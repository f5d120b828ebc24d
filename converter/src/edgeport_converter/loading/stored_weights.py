"""One weight as an old HDF5 file holds it, and the layout of the GPU layers' weights.

``assigning`` decides which variable it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgeport.golden import Array

KERNEL_NAMES = {"depthwise_kernel": "kernel", "kernel": "kernel"}
"""Keras 3 calls these kernel; older files use the layers' own words."""


@dataclass(frozen=True)
class StoredWeight:
    """A weight in a file.

    Attributes:
        parts: of its name, the last one without TensorFlow's ``:0``.
        array: its value.
    """

    parts: tuple[str, ...]
    array: Array

    @property
    def kind(self) -> str:
        """What the layer uses it for, "kernel" or "bias", in Keras 3's words."""
        return KERNEL_NAMES.get(self.parts[-1], self.parts[-1])


def from_cudnn(
    stored: Sequence[StoredWeight], shapes: Sequence[Sequence[int]]
) -> list[StoredWeight]:
    """Return the weights of CuDNNLSTM and CuDNNGRU as LSTM and GRU have them, others as they are.

    The GPU library adds two biases, which LSTM has as one sum and GRU as two rows, and has its
    matrices transposed, gate by gate.

    Args:
        stored: in the order of the layer's variables.
        shapes: of these variables.

    **Source**: the conversion that Keras 2 did when it loaded weights, ``hdf5_format.py``.
    """
    result = list(stored)
    for i in range(len(stored) - 2):
        kernel, recurrent, bias = stored[i : i + 3]
        kinds = [weight.kind for weight in (kernel, recurrent, bias)]
        if kinds != ["kernel", "recurrent_kernel", "bias"] or bias.array.ndim != 1:
            continue
        units = recurrent.array.shape[0]
        gates = len(bias.array) // (2 * units)
        if len(bias.array) != 2 * gates * units or recurrent.array.shape[1] != gates * units:
            continue
        rows = bias.array.reshape(2, gates * units)
        sums = len(shapes[i + 2]) == 1
        result[i] = replace(kernel, array=_by_gate(kernel.array, gates, order="F"))
        result[i + 1] = replace(recurrent, array=_by_gate(recurrent.array, gates, order="C"))
        result[i + 2] = replace(bias, array=rows.sum(axis=0) if sums else rows)
    return result


def _by_gate(matrix: Array, gates: int, *, order: Literal["C", "F"]) -> Array:
    """Transpose each gate's part; "F" for input matrices, which may not be square."""
    parts = np.hsplit(matrix, gates)
    return np.hstack([part.T.reshape(part.shape, order=order) for part in parts])
