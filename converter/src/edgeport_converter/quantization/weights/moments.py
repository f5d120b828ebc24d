"""Mean and covariance of what each layer's sums read, over the calibration data, flat in memory.

One pass; of a feature map a few places a sample are looked at, spread evenly. ``rounding`` uses
the covariance, ``layer_constants`` the mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgeport.artifact.golden import Array
from edgeport_converter.quantization.calibration.ranges import open_with_outputs

# Longer sums get no covariance: its size is their square, and with so many terms the errors of
# rounding average out. Their mean is measured.
_LONGEST_SUM = 1200
_PLACES = 32
_GOLDEN_RATIO = (np.sqrt(5.0) - 1.0) / 2.0


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (G, K) and covariance (G, K, K) of a layer's inputs; None for a long sum."""

    mean: Array
    covariance: Array | None


class _Sums:
    """Sums of rows (G, N, K), centred on their first mean so that their digits stay."""

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
    model: onnx.ModelProto, layers: Sequence[onnx.NodeProto], batches: Iterable[Mapping[str, Array]]
) -> dict[str, Moments]:
    """Return the moments of each layer's inputs by node name.

    Args:
        model: the float graph, with the types of its inner tensors.
        layers: nodes with constant weights; others than Conv, and Gemm and MatMul with a matrix,
            are passed over.
        batches: the calibration data.
    """
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    inputs = {value.name for value in model.graph.input}
    layers = [
        node
        for node in layers
        if node.input[0] not in shapes
        and (node.op_type == "Conv" or (
            node.op_type in ("Gemm", "MatMul") and len(shapes[node.input[1]]) == 2
        ))
        and not any(a.name == "transA" and a.i for a in node.attribute)
    ]  # fmt: skip
    inner = sorted({node.input[0] for node in layers} - inputs)
    session = open_with_outputs(model, inner) if inner else None
    sums = {node.name: _Sums() for node in layers}
    for batch in batches:
        found: dict[str, Any] = dict(batch)
        if session is not None:  # no names would ask onnxruntime for all outputs
            found |= dict(zip(inner, session.run(inner, dict(batch)), strict=True))
        for node in layers:
            sums[node.name].add(_rows(node, found[node.input[0]], shapes[node.input[1]]))
    return {name: each.moments() for name, each in sums.items() if each.count}


def _rows(node: onnx.NodeProto, x: Array, kernel: tuple[int, ...]) -> Array:
    """Return what the layer's sums read, (G, N, K), K in the order of the flattened weights."""
    if node.op_type != "Conv":
        rows = x.reshape(-1, x.shape[-1])
        stride = max(1, len(rows) // (len(x) * _PLACES))
        return rows[None, ::stride]
    options = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    size = kernel[2:]
    strides = options.get("strides", [1] * len(size))
    dilations = options.get("dilations", [1] * len(size))
    pads = options.get("pads", [0] * 2 * len(size))
    groups = _groups(node)
    around = list(zip(pads[: len(size)], pads[len(size) :], strict=True))
    padded = np.pad(x, [(0, 0), (0, 0), *around])
    starts = []
    for axis, length in enumerate(size):
        room = padded.shape[2 + axis] - dilations[axis] * (length - 1)
        starts.append(np.arange(0, room, strides[axis]))
    grid = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, len(size))
    chosen = grid
    if len(grid) > _PLACES:
        # Multiples of the golden ratio spread over rows and columns; even steps would visit some
        # columns only.
        shares = np.mod(np.arange(_PLACES) * _GOLDEN_RATIO, 1.0)
        chosen = grid[(shares * len(grid)).astype(np.int64)]
    offsets = np.stack(
        np.meshgrid(*(np.arange(n) * d for n, d in zip(size, dilations, strict=True)),
                    indexing="ij"), axis=-1,
    ).reshape(-1, len(size))  # fmt: skip
    places = chosen[:, None, :] + offsets  # (P, kernel, axes)
    patches = padded[(slice(None), slice(None), *np.moveaxis(places, -1, 0))]
    samples, channels, count, length = patches.shape
    split = patches.reshape(samples, groups, channels // groups, count, length)
    rows = split.transpose(1, 0, 3, 2, 4)
    return rows.reshape(groups, samples * count, (channels // groups) * length)


def _groups(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "group"), 1)


def _is_transposed(node: onnx.NodeProto) -> bool:
    return any(a.name == "transB" and a.i for a in node.attribute)


def as_sums(node: onnx.NodeProto, weights: Array) -> Array:
    """Return a layer's weights as (G, O, K) from the form in which its operator stores them.

    Args:
        node: a Conv, or a Gemm or MatMul with a matrix.
        weights: as the operator wants them.
    """
    if node.op_type == "Conv":
        groups = _groups(node)
        return weights.reshape(groups, weights.shape[0] // groups, -1)
    return (weights if _is_transposed(node) else weights.T)[None]


def as_stored(node: onnx.NodeProto, codes: Array, shape: tuple[int, ...]) -> Array:
    """Return the stored form, of that shape, from (G, O, K)."""
    if node.op_type == "Conv":
        return codes.reshape(shape)
    return np.ascontiguousarray(codes[0] if _is_transposed(node) else codes[0].T)
