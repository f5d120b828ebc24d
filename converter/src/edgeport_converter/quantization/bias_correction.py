"""Taking the mean error of each quantized layer out through its bias.

Rounding the weights W by an error E shifts a layer's mean output by E mean(x). The shift is the
same for every sample, so the bias can take it out at no cost.

Source: Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction"
(2019), section 4.2; mean(x) is taken from the calibration data, in the float graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from edgeport.golden import Array
from edgeport_converter.quantization.calibrating import open_with_outputs

_OPERATORS = ("Conv", "Gemm")


def correct_biases(
    float_graph: onnx.ModelProto,
    quantized: onnx.ModelProto,
    batches: Iterable[Mapping[str, Array]],
) -> onnx.ModelProto:
    """Return the float graph with the shifts taken off its biases, to be quantized anew.

    Args:
        float_graph: with the types of its inner tensors; it is not changed.
        quantized: made from it, node names kept.
        batches: the calibration data.
    """
    result = onnx.ModelProto()
    result.CopyFrom(float_graph)
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    layers = [
        node
        for node in result.graph.node
        if node.op_type in _OPERATORS
        and len(node.input) == 3
        and {node.input[1], node.input[2]} <= constants.keys()
    ]
    means = _input_means(float_graph, {node.input[0] for node in layers}, batches)
    rounded = _dequantized_weights(quantized)
    readers = [name for node in result.graph.node for name in node.input]
    for node in layers:
        if node.name not in rounded:
            continue  # it stayed in float
        weights = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        shift = _shift(node, rounded[node.name] - weights, means[node.input[0]])
        bias = numpy_helper.to_array(constants[node.input[2]])
        corrected = (bias - shift.reshape(bias.shape)).astype(bias.dtype)
        if readers.count(node.input[2]) == 1:
            constants[node.input[2]].CopyFrom(numpy_helper.from_array(corrected, node.input[2]))
        else:  # a bias that several layers share: this one gets its own
            own = f"{node.input[2]}/{node.name}"
            result.graph.initializer.append(numpy_helper.from_array(corrected, own))
            node.input[2] = own
    return result


def _input_means(
    graph: onnx.ModelProto, names: set[str], batches: Iterable[Mapping[str, Array]]
) -> dict[str, Array]:
    """Return the mean of each tensor by channel, (C,), over all samples and places."""
    inputs = {value.name for value in graph.graph.input}
    inner = sorted(names - inputs)
    session = open_with_outputs(graph, inner) if inner else None
    totals: dict[str, Array] = {}
    count = 0
    for batch in batches:
        found = {name: batch[name] for name in names & inputs}
        if session is not None:
            found |= dict(zip(inner, session.run(inner, dict(batch)), strict=True))
        count += len(next(iter(batch.values())))
        for name, values in found.items():
            # Channels stand in axis 1; a map of H x W values weighs as one sample.
            mean = values.reshape(*values.shape[:2], -1).mean(axis=2, dtype=np.float64).sum(axis=0)
            totals[name] = totals.get(name, np.zeros_like(mean)) + mean
    return {name: total / count for name, total in totals.items()}


def _dequantized_weights(quantized: onnx.ModelProto) -> dict[str, Array]:
    """Return what each layer's int8 weights stand for, by node name."""
    constants = {tensor.name: tensor for tensor in quantized.graph.initializer}
    sources = {
        node.output[0]: node
        for node in quantized.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    found = {}
    for node in quantized.graph.node:
        source = sources.get(node.input[1]) if node.op_type in _OPERATORS else None
        if source is None:
            continue
        codes = numpy_helper.to_array(constants[source.input[0]]).astype(np.float64)
        scale = numpy_helper.to_array(constants[source.input[1]]).astype(np.float64)
        axis = next((a.i for a in source.attribute if a.name == "axis"), 1)
        shape = [1] * codes.ndim
        if scale.size > 1:
            shape[axis] = scale.size
        found[node.name] = codes * scale.reshape(shape)
    return found


def _shift(node: onnx.NodeProto, error: Array, mean: Array) -> Array:
    """Return the mean shift of the layer's outputs, (channels,); padding is left out of account."""
    attributes = {a.name: a.i for a in node.attribute}
    if node.op_type == "Gemm":
        shift: Array = error @ mean if attributes.get("transB") else mean @ error
        return shift
    groups = attributes.get("group", 1)
    summed = error.reshape(*error.shape[:2], -1).sum(axis=2)
    by_group = summed.reshape(groups, -1, summed.shape[1])
    shifts: Array = np.einsum("goi,gi->go", by_group, mean.reshape(groups, -1))
    return shifts.reshape(-1)
