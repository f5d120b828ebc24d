"""Activation statistics: mean and covariance of each layer's inputs over the calibration data.

They are summed up in one pass, so memory does not grow with the data. In a feature map or a
sequence only some dozens of positions of each sample are read. ``gptq`` rounds weights by the
covariance, ``int8_layers`` corrects biases by the mean; ``search.candidates`` measures both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, known
from edgeport_converter.quantization.tensors import open_session
from edgeport_converter.quantization.weights.forms import groups_of

# A layer's output is a sum of K products. Above this K no covariance is measured: it has K * K
# entries, and in so long a sum the rounding errors of the weights average out anyway.
_LONGEST_SUM = 1200
_PLACES = 32  # positions of a feature map that are read for each sample
_GOLDEN_RATIO = (np.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, eq=False)
class Moments:
    """Statistics of the K inputs that each output of a layer sums up, for each of G groups.

    Attributes:
        mean: (G, K), float64.
        covariance: (G, K, K), float64; None where K is above ``_LONGEST_SUM``.
    """

    mean: Array
    covariance: Array | None


class _RowSums:
    """Running sums over rows (G, N, K), from which mean and covariance follow.

    The first batch's mean is subtracted from all rows. Otherwise, where the mean is large beside
    the spread, the covariance would be a small difference of two large sums.
    """

    def __init__(self) -> None:
        self.count = 0
        self._shift: Array | None = None
        self._total: Array | float = 0.0
        self._products: Array | float = 0.0

    def add(self, rows: Array) -> None:
        if self._shift is None:
            self._shift = rows.mean(axis=1, keepdims=True)
        centred = rows - self._shift
        self.count += rows.shape[1]
        self._total = self._total + centred.sum(axis=1, dtype=np.float64)
        if rows.shape[2] <= _LONGEST_SUM:
            self._products = self._products + centred.transpose(0, 2, 1) @ centred

    def moments(self) -> Moments:
        assert self._shift is not None  # noqa: S101 - called after the last batch
        offset = np.asarray(self._total) / self.count
        mean = self._shift[:, 0].astype(np.float64) + offset
        if isinstance(self._products, float):
            return Moments(mean, None)
        products = self._products.astype(np.float64) / self.count
        return Moments(mean, products - offset[:, :, None] * offset[:, None, :])


def measure_moments(
    model: ir.Model, layers: Sequence[ir.Node], batches: Iterable[Mapping[str, Array]]
) -> dict[str, Moments]:
    """Return the statistics of each layer's inputs by node name.

    Layers that are not a Conv, a Gemm or a MatMul with a constant weight matrix are left out.
    """
    read: dict[ir.Node, ir.Value] = {}
    for node in layers:
        value, weights = node.inputs[0], array_of(node.inputs[1])
        if value is None or weights is None or array_of(value) is not None:
            continue
        is_dense = node.op_type in ("Gemm", "MatMul") and weights.ndim == 2
        if (node.op_type == "Conv" or is_dense) and not node.attributes.get_int("transA", 0):
            read[node] = value
    inner = [value for value in dict.fromkeys(read.values()) if not value.is_graph_input()]
    session = open_session(model, inner) if inner else None
    names = [value.name for value in inner]
    sums = {node: _RowSums() for node in read}
    for batch in batches:
        found: dict[Any, Array] = dict(batch)
        if session is not None:  # no names would ask onnxruntime for all outputs
            found.update(zip(names, session.run(names, dict(batch)), strict=True))
        for node, value in read.items():
            sums[node].add(_rows(node, found[value.name]))
    return {node.name or "": each.moments() for node, each in sums.items() if each.count}


def _rows(node: ir.Node, x: Array) -> Array:
    """Return (G, N, K): the K inputs of each sum, in the order of the flattened weights.

    Dense layers read some of the rows of ``x``; convolutions read patches of it at some positions.
    """
    if node.op_type != "Conv":
        rows = x.reshape(-1, x.shape[-1])
        stride = max(1, len(rows) // (len(x) * _PLACES))
        return rows[None, ::stride]
    size = known(node.inputs[1]).shape[2:]
    strides = node.attributes.get_ints("strides", [1] * len(size))
    dilations = node.attributes.get_ints("dilations", [1] * len(size))
    pads = node.attributes.get_ints("pads", [0] * 2 * len(size))
    groups = groups_of(node)
    around = list(zip(pads[: len(size)], pads[len(size) :], strict=True))
    padded = np.pad(x, [(0, 0), (0, 0), *around])
    starts = []
    for axis, length in enumerate(size):
        room = padded.shape[2 + axis] - dilations[axis] * (length - 1)
        starts.append(np.arange(0, room, strides[axis]))
    grid = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(size))
    chosen = grid
    if len(grid) > _PLACES:
        # Multiples of the golden ratio spread over rows and columns; equal steps would visit some
        # columns only.
        shares = np.mod(np.arange(_PLACES) * _GOLDEN_RATIO, 1.0)
        chosen = grid[(shares * len(grid)).astype(np.int64)]
    steps = [np.arange(n) * d for n, d in zip(size, dilations, strict=True)]
    offsets = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, len(size))
    places = chosen[:, None, :] + offsets  # (P, kernel, axes)
    patches = padded[(slice(None), slice(None), *np.moveaxis(places, -1, 0))]
    samples, channels, count, length = patches.shape
    split = patches.reshape(samples, groups, channels // groups, count, length)
    rows = split.transpose(1, 0, 3, 2, 4)
    return rows.reshape(groups, samples * count, (channels // groups) * length)
