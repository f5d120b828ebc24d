"""Weights in int8, arithmetic in float: a smaller file with nearly the float answers.

Each large constant becomes int8 codes with one scale a channel, and a Cast and a Mul that
onnxruntime folds away when it loads the file. DequantizeLinear would say the same, but onnxruntime
keeps it for its int8 kernels, and then a Dense layer takes four times as long.
"""

from __future__ import annotations

import collections
from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeport.artifact.golden import Array
from edgeport_converter.quantization.weights.gptq import Rounder, choose_scales
from edgeport_converter.quantization.weights.moments import as_stored, as_sums

# Below this, the scales and the node cost more bytes than the codes save.
_SMALLEST_WEIGHT = 256

# Channel axis of the weight by operator, by its input's place. Recurrent weights are
# (directions, gates * hidden, inputs): one scale a gate row.
_WEIGHT_AXES = {
    ("Conv", 1): 0,
    ("ConvTranspose", 1): 1,
    ("MatMul", 1): -1,
    ("Gather", 0): 0,
    ("LSTM", 1): 1,
    ("LSTM", 2): 1,
    ("GRU", 1): 1,
    ("GRU", 2): 1,
    ("RNN", 1): 1,
    ("RNN", 2): 1,
}


def store_weights_as_int8(
    model: onnx.ModelProto,
    float_nodes: Collection[str] = (),
    rounder: Rounder | None = None,
) -> onnx.ModelProto:
    """Return the graph with its large weights in int8.

    Args:
        model: a float graph; it is not changed.
        float_nodes: names of nodes whose weights stay in float.
        rounder: knows the layers by their nodes' names; without one, and for layers that it does
            not know, weights are rounded to the nearest code.

    Source:
        Symmetric codes: scale = max |w| / 127 over a channel; rounded as in ``rounding``.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    axes: dict[str, int] = {}
    refused: set[str] = {value.name for value in graph.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name not in constants:
                continue
            axis = _channel_axis(node, place)
            if node.name in float_nodes or axis is None or axes.get(name, axis) != axis:
                refused.add(name)  # read in two ways, or by something that is no weight
            else:
                axes[name] = axis
                users.setdefault(name, []).append(node)
    added = []
    biases = _Biases(graph)
    rounder = rounder or Rounder()
    for name, axis in axes.items():
        weights = numpy_helper.to_array(constants[name])
        if name in refused or weights.dtype != np.float32 or weights.size < _SMALLEST_WEIGHT:
            continue
        axis %= weights.ndim
        codes, scale = _round_by_data(users[name], weights, axis, rounder, biases) or _round(
            weights, axis
        )
        graph.initializer.remove(constants[name])
        graph.initializer.append(numpy_helper.from_array(codes, f"{name}/codes"))
        graph.initializer.append(numpy_helper.from_array(scale, f"{name}/scale"))
        added += [
            helper.make_node(
                "Cast", [f"{name}/codes"], [f"{name}/cast"], to=onnx.TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{name}/cast", f"{name}/scale"], [name]),
        ]
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _channel_axis(node: onnx.NodeProto, place: int) -> int | None:
    if node.op_type == "Gemm" and place == 1:
        return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
    if node.op_type == "ConvTranspose" and place == 1:
        # With groups, axis 1 counts the channels of one group only: the first axis has them all.
        grouped = any(a.name == "group" and a.i != 1 for a in node.attribute)
        return 0 if grouped else 1
    return _WEIGHT_AXES.get((node.op_type, place))


def _round_by_data(
    users: list[onnx.NodeProto],
    weights: Array,
    axis: int,
    rounder: Rounder,
    biases: _Biases,
) -> tuple[Array, Array] | None:
    """Return codes and scales by what the layers read, None where that is not known.

    The mean of what rounding adds is taken out through the layers' biases.
    """
    readers = {node.name: biases.has(node) for node in users}
    if rounder.covariance(readers) is None:
        return None
    sums = as_sums(users[0], weights.astype(np.float64))
    scales = choose_scales(sums, pairs=False, least=np.full(sums.shape[:2], 1e-30))
    scales = scales.astype(np.float32).astype(np.float64)
    rounded = rounder.round(sums, scales, readers, pairs=False)
    error = rounded.codes * scales[..., None] - sums
    for node in users:
        mean = rounder.mean(node.name)
        if readers[node.name] and mean is not None:
            biases.take_off(node, np.einsum("gok,gk->go", error, mean))
    shape = [1] * weights.ndim
    shape[axis] = -1
    codes = as_stored(users[0], rounded.codes, weights.shape)
    return codes, scales.astype(np.float32).reshape(shape)


class _Biases:
    """The constant biases of a graph that one layer alone reads."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._reads = collections.Counter(name for node in graph.node for name in node.input)

    def has(self, node: onnx.NodeProto) -> bool:
        return (
            node.op_type in ("Conv", "Gemm")
            and len(node.input) > 2
            and node.input[2] in self._constants
            and self._reads[node.input[2]] == 1
        )

    def take_off(self, node: onnx.NodeProto, shift: Array) -> None:
        tensor = self._constants[node.input[2]]
        bias = numpy_helper.to_array(tensor)
        corrected = (bias - shift.reshape(bias.shape)).astype(bias.dtype)
        tensor.CopyFrom(numpy_helper.from_array(corrected, tensor.name))


def _round(weights: Array, axis: int) -> tuple[Array, Array]:
    others = tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True).astype(np.float64)
    scale = np.where(largest == 0, 1.0, largest / 127).astype(np.float32)
    codes = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    return codes, scale  # its other axes have size 1, so that Mul spreads it
