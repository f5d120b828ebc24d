"""A scale or an offset of what a layer reads, taken into the layer's weights and bias instead."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport_converter.optimizing.constants import Array, array_of, register


def can_take(node: ir.Node, scale: Array, offset: Array) -> bool:
    """Whether a layer could read ``x`` in place of ``scale * x + offset``.

    Args:
        node: any.
        scale: with the rank of what it reads, one number or one a channel.
        offset: likewise.
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
    """Multiply the weights by what their inputs are not multiplied by any more."""
    weights = array_of(node.inputs[1])
    assert weights is not None  # noqa: S101 - can_take has seen it
    node.replace_input_with(
        1,
        register(graph, weights * _by_channel(scale, node), f"{node.inputs[1].name}/scaled"),  # type: ignore[union-attr]
    )


def take_offset(graph: ir.Graph, node: ir.Node, offset: Array) -> None:
    """Add to the bias what a constant input of ``offset`` gives, the same for every place."""
    weights = array_of(node.inputs[1])
    assert weights is not None  # noqa: S101 - can_take has seen it
    contribution = weights.astype(np.float64) * _by_channel(offset, node)
    if node.op_type == "Conv":
        shift = contribution.sum(axis=tuple(range(1, weights.ndim)))
    else:
        shift = contribution.sum(axis=1 if node.attributes.get_int("transB", 0) else 0)
    if node.op_type == "MatMul":
        _add_behind(graph, node, shift)
        return
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    summed = shift if bias is None else shift + array_of(bias)
    constant = register(graph, summed, f"{node.name}/shifted")
    if len(node.inputs) > 2:
        node.replace_input_with(2, constant)
    else:
        node.resize_inputs(3)
        node.replace_input_with(2, constant)


def needs_offset(node: ir.Node) -> bool:
    """Whether an offset cannot go into the bias of a layer that ``can_take`` it.

    Zeros may stand around the input, which it would have to be in, too. And what MatMul adds comes
    behind it, where the graph's own output already has its name.
    """
    if node.op_type != "Conv":
        return node.op_type == "MatMul" and node.outputs[0].is_graph_output()
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    return automatic.startswith("SAME") or any(node.attributes.get_ints("pads", []))


def _by_channel(array: Array, node: ir.Node) -> Array:
    """Return one number for each place of the weights' input channels, in the weights' shape."""
    weights = array_of(node.inputs[1])
    assert weights is not None  # noqa: S101 - can_take has seen it
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


def _add_behind(graph: ir.Graph, node: ir.Node, shift: Array) -> None:
    result = node.outputs[0]
    added = ir.node("Add", [result, register(graph, shift, f"{node.name}/shifted")])
    added.outputs[0].shape, added.outputs[0].dtype = result.shape, ir.DataType.FLOAT
    for use in list(result.uses()):
        if use.node is not added:
            use.node.replace_input_with(use.idx, added.outputs[0])
    graph.insert_after(node, added)
