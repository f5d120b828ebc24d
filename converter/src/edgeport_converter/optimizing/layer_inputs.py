"""The scale and the offset of a layer's input, moved into the layer's weights and bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, constant, known


def can_take(node: ir.Node, scale: Array, offset: Array) -> bool:
    """Whether a layer's weights and bias can compute ``scale * x + offset`` from ``x``.

    Both are one number or one for each channel, with as many axes as the node's input.
    """
    if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.inputs) < 2:
        return False
    weights, bias = array_of(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    if weights is None or (bias is not None and array_of(bias) is None):
        return False
    if node.op_type == "Conv":
        channel = 1
    elif weights.ndim == 2 and not node.attributes.get_int("transA", 0):
        channel = scale.ndim - 1
        if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return False
    else:
        return False
    return all(
        size == 1 or axis == channel
        for array in (scale, offset)
        for axis, size in enumerate(array.shape)
    )


def take_scale(graph: ir.Graph, node: ir.Node, scale: Array) -> None:
    """Multiply a layer's weights by the scale, so that it can read ``x`` for ``scale * x``."""
    weights: Any = node.inputs[1]
    scaled = known(weights) * by_channel(scale, node)
    own = constant(graph, f"{weights.name}/scaled", scaled.astype(np.float32))
    node.replace_input_with(1, own)


def take_offset(graph: ir.Graph, node: ir.Node, offset: Array) -> None:
    """Add the offset times the layer's weights to its bias, so that the layer can read ``x``."""
    weights = known(node.inputs[1])
    contribution = weights.astype(np.float64) * by_channel(offset, node)
    if node.op_type == "Conv":
        shift = contribution.sum(axis=tuple(range(1, weights.ndim)))
    else:
        shift = contribution.sum(axis=1 if node.attributes.get_int("transB", 0) else 0)
    bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
    summed = (shift if bias is None else shift + bias).astype(np.float32)
    own = constant(graph, f"{node.name}/shifted", summed)
    if node.op_type == "MatMul":
        _add_after(graph, node, own)
        return
    if len(node.inputs) == 2:
        node.resize_inputs(3)
    node.replace_input_with(2, own)


def needs_offset(node: ir.Node) -> bool:
    """Whether the offset must stay in the graph, although the layer's weights take the scale.

    This holds for a convolution with padding, since its zeros would have to be shifted, too, and
    for a MatMul whose result is an output of the graph, since an Add after it would need that name.
    """
    if node.op_type != "Conv":
        return node.op_type == "MatMul" and node.outputs[0].is_graph_output()
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    return automatic.startswith("SAME") or any(node.attributes.get_ints("pads", []))


def by_channel(array: Array, node: ir.Node) -> Array:
    """Return one number for each input channel, in a shape that fits the weights."""
    weights = known(node.inputs[1])
    flat = array.reshape(-1)
    if node.op_type != "Conv":
        rows = 1 if node.attributes.get_int("transB", 0) else 0
        return flat.reshape((1, -1) if rows else (-1, 1))
    if flat.size == 1:
        return flat.reshape((1,) * weights.ndim)
    groups = node.attributes.get_int("group", 1)
    # Output channel o belongs to group o // (O / groups), which reads that part of the channels.
    by_output = np.repeat(flat.reshape(groups, -1), weights.shape[0] // groups, axis=0)
    return by_output.reshape(*by_output.shape, *[1] * (weights.ndim - 2))


def _add_after(graph: ir.Graph, node: ir.Node, shift: ir.Value) -> None:
    result = node.outputs[0]
    added = ir.node("Add", [result, shift])
    added.outputs[0].shape, added.outputs[0].dtype = result.shape, ir.DataType.FLOAT
    for use in list(result.uses()):
        if use.node is not added:
            use.node.replace_input_with(use.idx, added.outputs[0])
    graph.insert_after(node, added)
