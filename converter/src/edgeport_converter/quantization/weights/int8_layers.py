"""The constants of a quantized layer: int8 codes, scales and an int32 bias that fit each other.

onnxruntime's quantizer decides where to quantize; what it stores for weights and biases is replaced
here, since it rounds to the nearest code, knows nothing of pairs, lets a bias overflow, and leaves
the mean error of a layer in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeport.artifact.golden import Array
from edgeport_converter.quantization.weights.gptq import Rounder, choose_scales
from edgeport_converter.quantization.weights.moments import as_stored, as_sums

# A bias is an int32 in steps of input scale * weight scale; half of its range is left for the sums.
_LARGEST_BIAS_CODE = 2.0**30
# Where all weights of a channel are zero, the steps of its bias alone decide.
_FINE_BIAS_CODE = 2.0**20
_SMALLEST_STEP = 1e-30  # of sums; far from what float32 cannot hold

# Channels from which two bytes a channel are more than the node that widens them.
_WIDE = 64

_OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class _Layer:
    """A weighted node of the quantized graph, its float constants and its DequantizeLinear."""

    node: onnx.NodeProto
    weights: Array
    axis: int
    weight_source: onnx.NodeProto
    bias: Array | None
    bias_source: onnx.NodeProto | None
    input_scale: float


def store_rounded(
    quantized: onnx.ModelProto,
    model: onnx.ModelProto,
    rounder: Rounder,
    *,
    pairs: bool,
    one_scale: bool = False,
) -> None:
    """Replace weights, scales and biases of every int8 layer in place.

    Args:
        quantized: onnxruntime's QDQ graph, weights in int8 per channel, node names kept.
        model: the float graph it was made from.
        rounder: knows the layers by their nodes' names.
        pairs: whether two codes of one sign may add up to 128 at most.
        one_scale: whether all weights of a Gemm or MatMul share one scale.
    """
    layers = _find_layers(quantized, model)
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    by_weights: dict[str, list[_Layer]] = {}
    for layer in layers:
        by_weights.setdefault(layer.weight_source.output[0], []).append(layer)
    for users in by_weights.values():
        is_dense = users[0].node.op_type != "Conv"
        _store(users, rounder, constants, pairs=pairs, one_scale=one_scale and is_dense)
    _shorten_biases(quantized.graph, constants)
    del quantized.graph.initializer[:]
    quantized.graph.initializer.extend(constants.values())


def _find_layers(quantized: onnx.ModelProto, model: onnx.ModelProto) -> list[_Layer]:
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    before = {node.name: node for node in model.graph.node}
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    sources = {
        node.output[0]: node for node in quantized.graph.node if node.op_type == "DequantizeLinear"
    }
    found = []
    for node in quantized.graph.node:
        original = before.get(node.name)
        places = [sources.get(name) for name in node.input]
        if original is None or node.op_type not in _OPERATORS or None in places[:2]:
            continue
        reading, weighing = places[0], places[1]
        assert reading is not None and weighing is not None  # noqa: S101, PT018 - for the types
        weights = arrays.get(original.input[1])
        if (
            weights is None
            or weighing.input[0] not in constants
            or reading.input[1] not in constants
        ):
            continue
        if node.op_type != "Conv" and len(weights.dims) != 2:
            continue
        has_bias = len(original.input) > 2 and original.input[2] in arrays
        found.append(
            _Layer(
                node,
                numpy_helper.to_array(weights).astype(np.float64),
                next((a.i for a in weighing.attribute if a.name == "axis"), 1),
                weighing,
                numpy_helper.to_array(arrays[original.input[2]]) if has_bias else None,
                places[2] if has_bias else None,
                float(numpy_helper.to_array(constants[reading.input[1]])),
            )
        )
    return found


def _store(
    users: list[_Layer],
    rounder: Rounder,
    constants: dict[str, onnx.TensorProto],
    *,
    pairs: bool,
    one_scale: bool,
) -> None:
    """Store weights that one layer reads, or several, and the biases of these."""
    first = users[0]
    weights = as_sums(first.node, first.weights)
    outputs = weights.shape[:2]
    least = np.full(outputs, 0.0)
    for layer in users:
        bias = np.zeros(outputs) if layer.bias is None else layer.bias.reshape(outputs)
        size = np.abs(bias.astype(np.float64))
        dead = np.abs(weights).max(axis=2) == 0
        wanted = size / np.where(dead, _FINE_BIAS_CODE, _LARGEST_BIAS_CODE)
        least = np.maximum(least, np.maximum(wanted, _SMALLEST_STEP) / layer.input_scale)
    scales = choose_scales(weights, pairs=pairs, least=least).astype(np.float32).astype(np.float64)
    if one_scale:
        scales = np.full_like(scales, scales.max())
    readers = {layer.node.name: layer.bias is not None for layer in users}
    rounded = rounder.round(weights, scales, readers, pairs=pairs)
    codes = as_stored(first.node, rounded.codes, first.weights.shape)
    source = first.weight_source
    flat = scales.reshape(-1).astype(np.float32)
    if one_scale:
        flat = flat[0]
        _make_scalar(source, constants)
    constants[source.input[0]].CopyFrom(numpy_helper.from_array(codes, source.input[0]))
    constants[source.input[1]].CopyFrom(numpy_helper.from_array(flat, source.input[1]))
    error = rounded.codes * scales[..., None] - weights
    for layer in users:
        if layer.bias is None or layer.bias_source is None:
            continue
        bias = layer.bias.astype(np.float64).reshape(outputs)
        mean = rounder.mean(layer.node.name)
        if mean is not None:
            # Source: Nagel et al., "Data-Free Quantization through Weight Equalization and Bias
            # Correction" (2019), section 4.2: the mean of what rounding adds, taken out.
            bias = bias - np.einsum("gok,gk->go", error, mean)
        steps = np.float32(layer.input_scale) * flat
        if one_scale:
            _make_scalar(layer.bias_source, constants)
        _store_bias(layer, bias.reshape(-1), steps, constants)


def _store_bias(
    layer: _Layer, bias: Array, steps: Array, constants: dict[str, onnx.TensorProto]
) -> None:
    assert layer.bias_source is not None  # noqa: S101 - the caller has seen it
    limit = np.iinfo(np.int32)
    codes = np.clip(np.rint(bias / steps.astype(np.float64)), limit.min, limit.max)
    source = layer.bias_source
    for name, array in ((source.input[0], codes.astype(np.int32)), (source.input[1], steps)):
        constants[name].CopyFrom(numpy_helper.from_array(array, name))


def _make_scalar(source: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    """Turn a DequantizeLinear by channel into one with a single zero point; the scale follows."""
    kept = [attribute for attribute in source.attribute if attribute.name != "axis"]
    del source.attribute[:]
    source.attribute.extend(kept)
    if len(source.input) > 2:
        zero = numpy_helper.to_array(constants[source.input[2]])
        single = np.zeros((), zero.dtype)
        constants[source.input[2]].CopyFrom(numpy_helper.from_array(single, source.input[2]))


def _shorten_biases(graph: onnx.GraphProto, constants: dict[str, onnx.TensorProto]) -> None:
    """Store the bias of wide Gemm layers in 16 bits where it fits, widened when the file loads.

    Convolutions are left alone: there are many of them, and each such step costs time at loading.
    """
    sources = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    limit = np.iinfo(np.int16)
    for node in [node for node in graph.node if node.op_type == "Gemm" and len(node.input) > 2]:
        source = sources.get(node.input[2])
        if source is None or source.input[0] not in constants:
            continue
        name = source.input[0]
        codes = numpy_helper.to_array(constants[name])
        if codes.dtype != np.int32 or codes.size < _WIDE:
            continue
        if codes.min() < limit.min or codes.max() > limit.max:
            continue
        constants[name].CopyFrom(numpy_helper.from_array(codes.astype(np.int16), name))
        wide = f"{name}/wide"
        source.input[0] = wide
        graph.node.insert(0, helper.make_node("Cast", [name], [wide], to=onnx.TensorProto.INT32))
