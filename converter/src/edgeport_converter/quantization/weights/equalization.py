"""Channels of one tensor brought to like ranges, by moving factors between the layers around it.

An activation has one scale for all of its channels, so a channel that stays small keeps few codes.
Multiplying channel i of one layer's weights and dividing it out of the next one's changes no answer
where all that lies between is linear in each channel for positive factors: relu and pooling are.

Source: Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction"
(2019), section 4.1, for the move; Xiao et al., "SmoothQuant" (2022), equation 4 with alpha 0.5,
for the factors: full factors would make the weights of the next layer as uneven as the channels
were. A depthwise layer has a scale for each channel's weights, so there they cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from edgeport.artifact.golden import Array

_ALPHA = 0.5
# A channel smaller than this share of the largest is brought up no further.
_SMALLEST_SHARE = 1e-5

_BETWEEN = ("AveragePool", "Flatten", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu",
            "Reshape", "Squeeze")  # fmt: skip
_RESHAPING = ("Flatten", "Reshape", "Squeeze")


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two layers with nothing between them that a factor could not pass.

    Attributes:
        first, second: Conv or Gemm.
        tensor: what the factors even out: what the second layer reads.
    """

    first: onnx.NodeProto
    second: onnx.NodeProto
    tensor: str


def equalize(model: onnx.ModelProto, batches: Iterable[Mapping[str, Array]]) -> onnx.ModelProto:
    """Return the graph with the same answers and channels of like ranges.

    Args:
        model: the optimized float graph, with the types of its inner tensors; it is not changed.
        batches: the calibration data.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    pairs = _find_pairs(result)
    if not pairs:
        return result
    largest = _channel_ranges(result, [pair.tensor for pair in pairs], batches)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    for pair in pairs:
        ranges = largest[pair.tensor]
        if not np.isfinite(ranges).all() or ranges.max() == 0:
            continue
        weights = numpy_helper.to_array(constants[pair.second.input[1]]).astype(np.float64)
        factors = _factors(ranges, _strengths(pair.second, weights))
        _scale_outputs(pair.first, factors, constants)
        _scale_inputs(pair.second, 1 / factors, constants)
    return result


def _factors(ranges: Array, strengths: Array | None) -> Array:
    """Return what to multiply each channel by: powers of two, which round nothing.

    Args:
        ranges: (C,) of the channels.
        strengths: (C,) of the weights that read them, None where these have scales of their own.
    """
    # A channel that is zero on all of the data may be dead, or may not: it is left alone.
    used = ranges > 0
    shares = np.where(used, np.maximum(ranges / ranges.max(), _SMALLEST_SHARE), 1.0)
    wanted = -np.log2(shares)
    if strengths is not None:
        used &= strengths > 0
        relative = np.maximum(strengths / max(strengths.max(), 1e-300), _SMALLEST_SHARE)
        wanted = _ALPHA * wanted + (1 - _ALPHA) * np.log2(relative)
    if not used.any():
        return np.ones(len(ranges))
    # The largest channel stays as it is, so that the tensor's range does.
    wanted = wanted - wanted[used][np.argmax(ranges[used])]
    factors: Array = 2.0 ** np.where(used, np.rint(wanted), 0.0)
    return factors


def _strengths(node: onnx.NodeProto, weights: Array) -> Array | None:
    """Return the largest weight that reads each channel, as a share of its output's largest."""
    if node.op_type == "Conv":
        groups = _groups(node)
        if weights.shape[1] == 1 and groups > 1:
            return None
        split = np.abs(weights).reshape(groups, weights.shape[0] // groups, weights.shape[1], -1)
        reads = split.max(axis=3)
    else:
        reads = np.abs(weights if _is_transposed(node) else weights.T)[None]
    reads = reads / np.maximum(reads.max(axis=2, keepdims=True), 1e-300)
    return np.asarray(reads.max(axis=1)).reshape(-1)


def _find_pairs(model: onnx.ModelProto) -> list[_Pair]:
    graph = model.graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}

    def is_layer(node: onnx.NodeProto) -> bool:
        return (
            node.op_type in ("Conv", "Gemm")
            and all(name in constants and len(readers[name]) == 1 for name in node.input[1:])
            and not any(a.name in ("alpha", "beta") and a.f != 1 for a in node.attribute)
        )

    found = []
    for node in graph.node:
        if not is_layer(node):
            continue
        tensor, reshaped = node.output[0], False
        while tensor not in outputs and len(readers.get(tensor, [])) == 1:
            after = readers[tensor][0]
            if is_layer(after) and after.input[0] == tensor:
                channels = _output_channels(node, constants)
                if channels == _input_channels(after, constants) and (
                    not reshaped or after.op_type == "Gemm"
                ):
                    found.append(_Pair(node, after, tensor))
                break
            if after.op_type not in _BETWEEN:
                break
            reshaped = reshaped or after.op_type in _RESHAPING
            tensor = after.output[0]
    return found


def _output_channels(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    shape = shapes[node.input[1]]
    return shape[0] if node.op_type == "Conv" or _is_transposed(node) else shape[1]


def _input_channels(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    shape = shapes[node.input[1]]
    if node.op_type == "Conv":
        return shape[1] * _groups(node)
    return shape[1] if _is_transposed(node) else shape[0]


def _scale_outputs(
    node: onnx.NodeProto, factors: Array, constants: Mapping[str, onnx.TensorProto]
) -> None:
    weights = numpy_helper.to_array(constants[node.input[1]])
    rows = node.op_type == "Conv" or _is_transposed(node)
    shape = (-1, *[1] * (weights.ndim - 1)) if rows else (1, -1)
    _replace(constants[node.input[1]], weights * factors.reshape(shape))
    if len(node.input) > 2:
        bias = numpy_helper.to_array(constants[node.input[2]])
        _replace(constants[node.input[2]], bias * factors.reshape(bias.shape))


def _scale_inputs(
    node: onnx.NodeProto, factors: Array, constants: Mapping[str, onnx.TensorProto]
) -> None:
    weights = numpy_helper.to_array(constants[node.input[1]])
    if node.op_type == "Conv":
        groups = _groups(node)
        split = weights.reshape(groups, weights.shape[0] // groups, *weights.shape[1:])
        spread = factors.reshape(groups, 1, weights.shape[1], *[1] * (weights.ndim - 2))
        scaled = (split * spread).reshape(weights.shape)
    else:
        scaled = weights * (factors if _is_transposed(node) else factors[:, None])
    _replace(constants[node.input[1]], scaled)


def _replace(tensor: onnx.TensorProto, array: Array) -> None:
    tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))


def _channel_ranges(
    model: onnx.ModelProto, tensors: list[str], batches: Iterable[Mapping[str, Array]]
) -> dict[str, Array]:
    """Return the largest absolute value of each channel, (C,), by tensor."""
    watching = onnx.ModelProto()
    watching.CopyFrom(model)
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*model.graph.value_info, *model.graph.output)
    }
    del watching.graph.output[:]
    for name in tensors:
        axes = [axis for axis in range(ranks[name]) if axis != 1]
        watching.graph.node.append(helper.make_node("Abs", [name], [f"size/{name}"]))
        watching.graph.node.append(
            helper.make_node("ReduceMax", [f"size/{name}"], [f"top/{name}"], axes=axes, keepdims=0)
        )
        watching.graph.output.append(
            helper.make_tensor_value_info(f"top/{name}", onnx.TensorProto.FLOAT, [None])
        )
    session = onnxruntime.InferenceSession(
        watching.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    largest: dict[str, Array] = {}
    names = [f"top/{name}" for name in tensors]
    for batch in batches:
        for name, top in zip(tensors, session.run(names, dict(batch)), strict=True):
            largest[name] = np.maximum(largest.get(name, 0.0), top.astype(np.float64))
    return largest


def _groups(node: onnx.NodeProto) -> int:
    return next((a.i for a in node.attribute if a.name == "group"), 1)


def _is_transposed(node: onnx.NodeProto) -> bool:
    return any(a.name == "transB" and a.i for a in node.attribute)
