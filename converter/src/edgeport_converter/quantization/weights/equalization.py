"""Cross-layer equalization: channels of a tensor rescaled to similar ranges.

An activation has one scale for all of its channels, so a channel that stays small keeps few codes.
Multiplying channel i of one layer's weights and dividing it out of the next layer's changes no
answer where all that is between them is linear in each channel for positive factors: relu and
pooling are.

Steps of ``equalize``:

1. Find pairs of layers with nothing else between them.
2. Measure the largest absolute value of each channel of what the second layer reads.
3. Choose a factor for each channel, a power of two, so that nothing is rounded.
4. Multiply the first layer's weights and biases by it, and divide the second layer's weights.

Source: Nagel et al., "Data-Free Quantization through Weight Equalization and Bias Correction"
(2019), section 4.1, for the move; Xiao et al., "SmoothQuant" (2022), equation 4 with alpha 0.5,
for the factors: full factors would make the weights of the next layer as uneven as the channels
were. A depthwise layer has a scale for each channel's weights, so there they cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, known
from edgeport_converter.optimizing.layer_inputs import by_channel
from edgeport_converter.quantization.tensors import only_use, open_session, replace_constant
from edgeport_converter.quantization.weights.forms import groups_of, is_transposed

_ALPHA = 0.5
# A channel smaller than this share of the largest is brought up no further.
_SMALLEST_SHARE = 1e-5

EQUALIZED = "edgeport.equalized"
"""Key of a node's ``meta`` with the factors (C,) that its output's channels were multiplied by."""

DIVIDED = "edgeport.divided"
"""Key of a node's ``meta`` with the factors (C,) that its weights were divided by, for its input's
channels."""

_RESHAPING = ("Flatten", "Reshape", "Squeeze")
_BETWEEN = ("AveragePool", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu", *_RESHAPING)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two layers, Conv or Gemm, and the tensor that the second reads, which is equalized."""

    first: ir.Node
    second: ir.Node
    tensor: ir.Value


def equalize(model: ir.Model, batches: Iterable[Mapping[str, Array]]) -> ir.Model:
    """Return the graph with the same answers and channels of like ranges.

    The given model is not changed.
    """
    result = model.clone()
    pairs = _find_pairs(result.graph)
    if not pairs:
        return result
    largest = channel_ranges(result, [pair.tensor for pair in pairs], batches)
    for pair, ranges in zip(pairs, largest, strict=True):
        if not np.isfinite(ranges).all() or ranges.max() == 0:
            continue
        factors = choose_factors(ranges, strengths_of(pair.second))
        multiply_outputs(pair.first, factors)
        divide_inputs(pair.second, factors)
    return result


def choose_factors(ranges: Array, strengths: Array | None) -> Array:
    """Return what to multiply each channel by: powers of two, which round nothing.

    ``strengths`` are those of the weights that read the channels, None where these have scales of
    their own.
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


def strengths_of(node: ir.Node) -> Array | None:
    """Return the largest weight that reads each channel, as a share of its output's largest."""
    weights = known(node.inputs[1]).astype(np.float64)
    if node.op_type == "Conv":
        groups = groups_of(node)
        if weights.shape[1] == 1 and groups > 1:
            return None
        split = np.abs(weights).reshape(groups, weights.shape[0] // groups, weights.shape[1], -1)
        reads = split.max(axis=3)
    else:
        reads = np.abs(weights if is_transposed(node) else weights.T)[None]
    reads = reads / np.maximum(reads.max(axis=2, keepdims=True), 1e-300)
    return np.asarray(reads.max(axis=1)).reshape(-1)


def _find_pairs(graph: ir.Graph) -> list[_Pair]:
    found = []
    for node in graph:
        if not is_layer(node):
            continue
        tensor, reshaped = node.outputs[0], False
        while True:
            after, place = only_use(tensor)
            if after is None or after.graph is not graph:
                break
            if is_layer(after) and place == 0:
                fits = output_channels(node) == input_channels(after)
                if fits and (not reshaped or after.op_type == "Gemm"):
                    found.append(_Pair(node, after, tensor))
                break
            if after.op_type not in _BETWEEN:
                break
            reshaped = reshaped or after.op_type in _RESHAPING
            tensor = after.outputs[0]
    return found


def is_layer(node: ir.Node) -> bool:
    """Whether a node is a Conv or Gemm whose constants can take a factor for each channel."""
    return (
        node.op_type in ("Conv", "Gemm")
        and all(
            value is not None and array_of(value) is not None and only_use(value)[0] is node
            for value in node.inputs[1:]
        )
        and all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
        # A Gemm may have one bias for all channels.
        and all(known(value).size == output_channels(node) for value in node.inputs[2:])
    )


def output_channels(node: ir.Node) -> int:
    """Return how many channels a layer answers with."""
    rows = node.op_type == "Conv" or is_transposed(node)
    return int(known(node.inputs[1]).shape[0 if rows else 1])


def input_channels(node: ir.Node) -> int:
    """Return how many channels a layer reads."""
    shape = known(node.inputs[1]).shape
    if node.op_type == "Conv":
        return int(shape[1] * groups_of(node))
    return int(shape[1 if is_transposed(node) else 0])


def multiply_outputs(node: ir.Node, factors: Array) -> None:
    """Multiply what a layer answers by factors (C,)."""
    weights = known(node.inputs[1])
    rows = node.op_type == "Conv" or is_transposed(node)
    shape = (-1, *[1] * (weights.ndim - 1)) if rows else (1, -1)
    replace_constant(node.inputs[1], weights * factors.reshape(shape))
    bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None:
        replace_constant(node.inputs[2], bias * factors.reshape(bias.shape))
    node.meta[EQUALIZED] = node.meta.get(EQUALIZED, 1.0) * factors


def divide_inputs(node: ir.Node, factors: Array) -> None:
    """Let a layer read channels that were multiplied by factors (C,)."""
    weights = node.inputs[1]
    replace_constant(weights, known(weights) * by_channel(1 / factors, node))
    node.meta[DIVIDED] = node.meta.get(DIVIDED, 1.0) * factors


def channel_ranges(
    model: ir.Model, tensors: Sequence[ir.Value], batches: Iterable[Mapping[str, Array]]
) -> list[Array]:
    """Return the largest absolute value of each channel, (C,), of each tensor."""
    watching = model.clone()
    values = {value.name or "": value for node in watching.graph for value in node.outputs}
    tops = []
    for tensor in tensors:
        value = values[tensor.name or ""]
        assert value.shape is not None  # noqa: S101 - the optimized graph knows its shapes
        axes = [axis for axis in range(len(value.shape)) if axis != 1]
        size = ir.node("Abs", [value])
        top = ir.node("ReduceMax", size.outputs, {"axes": axes, "keepdims": 0})
        watching.graph.extend([size, top])
        tops.append(top.outputs[0])
        tops[-1].dtype, tops[-1].shape = ir.DataType.FLOAT, ir.Shape([None])
    session = open_session(watching, tops)
    names = [top.name for top in tops]
    largest: list[Array] = [np.zeros(())] * len(tops)
    for batch in batches:
        found = session.run(names, dict(batch))
        largest = [
            np.maximum(before, top.astype(np.float64))
            for before, top in zip(largest, found, strict=True)
        ]
    return largest
