"""Weights in int8, arithmetic in float: a smaller file with nearly the float answers.

Each large constant becomes int8 codes with one scale a channel, and a Cast and a Mul that
onnxruntime folds away when it loads the file. DequantizeLinear would say the same, but onnxruntime
keeps it for its int8 kernels, and then a Dense layer takes four times as long.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, constant, known
from edgeport_converter.quantization.tensors import only_use, replace_constant
from edgeport_converter.quantization.weights.forms import as_stored, as_sums, is_transposed
from edgeport_converter.quantization.weights.gptq import Rounder, choose_scales

# Below this, the scales and the node cost more bytes than the codes save.
_SMALLEST_WEIGHT = 256

# Channel axis of the weight by operator, by its input's place. Recurrent weights are
# (directions, gates * hidden, inputs): one scale a row.
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
    model: ir.Model,
    float_nodes: Collection[str] = (),
    rounder: Rounder | None = None,
) -> ir.Model:
    """Return the graph with its large weights in int8.

    The given model is not changed. Layers that the rounder does not know are rounded to the nearest
    code.

    Source:
        Symmetric codes: scale = max |w| / 127 over a channel; rounded as in ``gptq``.
    """
    result = model.clone()
    graph = result.graph
    rounder = rounder or Rounder()
    large = [
        (value, axis)
        for value in graph.initializers.values()
        if (axis := _common_axis(graph, value, float_nodes)) is not None
    ]
    for value, axis in large:
        weights, uses = known(value), value.uses()
        users = list(dict.fromkeys(use.node for use in uses))
        rounded = _round_by_data(users, weights, axis, rounder)
        codes, scale = rounded or _round_to_nearest(weights, axis)
        stored = constant(graph, f"{value.name}/codes", codes)
        factor = constant(graph, f"{value.name}/scale", scale)
        widening = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name="")
        scaling = ir.node("Mul", [widening.outputs[0], factor], name="")
        scaling.outputs[0].shape, scaling.outputs[0].dtype = value.shape, ir.DataType.FLOAT
        graph.insert_before(graph[0], [widening, scaling])
        for use in uses:
            use.node.replace_input_with(use.idx, scaling.outputs[0])
        del graph.initializers[value.name or ""]
    return result


def _common_axis(graph: ir.Graph, value: ir.Value, float_nodes: Collection[str]) -> int | None:
    """Return the axis of the channels of large float32 weights that all readers agree on.

    None for anything else: what goes out, what is read in two ways, or by something else than a
    layer with weights.
    """
    weights = array_of(value)
    if weights is None or weights.dtype != np.float32 or weights.size < _SMALLEST_WEIGHT:
        return None
    if value.is_graph_output():
        return None
    axes = {
        None if node.graph is not graph or node.name in float_nodes else _channel_axis(node, place)
        for node, place in value.uses()
    }
    axis = axes.pop() if len(axes) == 1 else None
    return None if axis is None else axis % weights.ndim


def _channel_axis(node: ir.Node, place: int) -> int | None:
    if node.op_type == "Gemm" and place == 1:
        return 0 if is_transposed(node) else 1
    if node.op_type == "ConvTranspose" and place == 1:
        # With groups, axis 1 counts the channels of one group only: the first axis has them all.
        return 0 if node.attributes.get_int("group", 1) != 1 else 1
    return _WEIGHT_AXES.get((node.op_type, place))


def _round_by_data(
    users: list[ir.Node], weights: Array, axis: int, rounder: Rounder
) -> tuple[Array, Array] | None:
    """Return codes and scales by what the layers read, None where that is not known.

    The mean of what rounding adds is taken out through the layers' biases.
    """
    readers = {node.name or "": _own_bias(node) is not None for node in users}
    if rounder.covariance(readers) is None:
        return None
    sums = as_sums(users[0], weights.astype(np.float64))
    scales = choose_scales(sums, pairs=False, least=np.full(sums.shape[:2], 1e-30))
    scales = scales.astype(np.float32).astype(np.float64)
    rounded = rounder.round(sums, scales, readers, pairs=False)
    error = rounded.codes * scales[..., None] - sums
    for node in users:
        value, mean = _own_bias(node), rounder.mean(node.name or "")
        bias = array_of(value)
        if value is not None and bias is not None and mean is not None:
            shift = np.einsum("gok,gk->go", error, mean)
            replace_constant(value, bias - shift.reshape(bias.shape))
    shape = [1] * weights.ndim
    shape[axis] = -1
    codes = as_stored(users[0], rounded.codes, weights.shape)
    return codes, scales.astype(np.float32).reshape(shape)


def _own_bias(node: ir.Node) -> ir.Value | None:
    """Return a layer's constant bias, None where it has none that it alone reads."""
    if node.op_type not in ("Conv", "Gemm") or len(node.inputs) < 3:
        return None
    value = node.inputs[2]
    if value is None or array_of(value) is None or only_use(value)[0] is None:
        return None
    return value


def _round_to_nearest(weights: Array, axis: int) -> tuple[Array, Array]:
    others = tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(axis=others, keepdims=True).astype(np.float64)
    scale = np.where(largest == 0, 1.0, largest / 127).astype(np.float32)
    codes = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
    return codes, scale  # its other axes have size 1, so that Mul spreads it
