"""Scaling of uint8 inputs: moved behind the layout's changes, and into the first layer's weights.

A model that takes uint8 begins with Cast, then scales and shifts: by its own Rescaling or
Normalization, or as the converter was asked to. What is left of it here is

    uint8 input -> Transpose, Reshape -> Cast -> Add of an offset -> first layer

where the offset is gone too unless padding stands in the way, and a scale is left only where the
first operation has no weights to take it. So a quantized graph can read the bytes as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

from edgeport_converter.optimizing.constants import Array, array_of

_ARITHMETIC = ("Mul", "Div", "Add", "Sub")
_LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


@dataclass
class _Chain:
    """What stands between a uint8 input and the first layer: ``x = scale * pixel + offset``.

    Attributes:
        layout: nodes that move pixels about, in running order.
        scale, offset: with the rank of ``value``, one number or one a channel.
        value: what the first layer reads.
        length: how many nodes there are.
    """

    layout: list[ir.Node]
    scale: Array
    offset: Array
    value: ir.Value
    length: int = 0


def simplify_pixel_inputs(model: ir.Model) -> bool:
    """Rewrite the graph in place; return whether anything has changed."""
    graph = model.graph
    changed = False
    for value in list(graph.inputs):
        if value.dtype == ir.DataType.UINT8 and value.shape is not None:
            changed |= _simplify(graph, value)
    return changed


def _simplify(graph: ir.Graph, pixels: ir.Value) -> bool:
    chain = _follow(pixels)
    if chain is None:
        return False
    scale, offset = chain.scale, chain.offset
    layers = _first_layers(chain)
    if layers:
        if scale.size > 1 or scale.reshape(-1)[0] != 1:
            for node in layers:
                _scale_weights(graph, node, _by_channel(scale, node))
            scale, offset = np.ones_like(scale), offset / scale
        if np.any(offset) and not any(map(_keeps_offset, layers)):
            for node in layers:
                _shift_bias(graph, node, _by_channel(offset, node))
            offset = np.zeros_like(offset)
    if not layers and chain.length == len(chain.layout) + 1:
        return False  # nothing but a Cast
    steps = [old.op_type for old in chain.layout] + ["Cast"]
    steps += [kind for kind, array, neutral in (("Mul", scale, 1), ("Add", offset, 0))
              if np.any(array != neutral)]  # fmt: skip
    if _operators(chain) == steps:
        return False
    source, nodes = pixels, []
    for old in chain.layout:
        nodes.append(ir.node(old.op_type, [source, *old.inputs[1:]], attributes=old.attributes,
                             name=old.name))  # fmt: skip
        source = nodes[-1].outputs[0]
    nodes.append(ir.node("Cast", [source], attributes={"to": ir.DataType.FLOAT}))
    source = nodes[-1].outputs[0]
    for kind, array, neutral in (("Mul", scale, 1), ("Add", offset, 0)):
        if np.any(array != neutral):
            constant = _initializer(graph, array, f"{pixels.name}/{kind}")
            nodes.append(ir.node(kind, [source, constant]))
            source = nodes[-1].outputs[0]
    source.shape, source.dtype = chain.value.shape, ir.DataType.FLOAT
    old_nodes = _nodes_between(pixels, chain.value)
    graph.insert_before(old_nodes[0], nodes)
    convenience.replace_all_uses_with(chain.value, source)
    graph.remove(list(reversed(old_nodes)), safe=True)
    return True


def _follow(pixels: ir.Value) -> _Chain | None:
    """Return the chain behind a uint8 input, None where it is not cast to float32."""
    shape = pixels.shape
    assert shape is not None  # noqa: S101 - the caller has seen it
    ones = (1,) * len(shape)
    chain = _Chain([], np.ones(ones), np.zeros(ones), pixels)
    is_float = False
    while True:
        uses = list(chain.value.uses())
        if len(uses) != 1 or (uses[0].idx and uses[0].node.op_type not in ("Mul", "Add")):
            break
        node = uses[0].node
        after = node.outputs[0]
        if after.is_graph_output():
            break
        if node.op_type == "Cast":
            if is_float or node.attributes["to"].as_int() != ir.DataType.FLOAT:
                break
            is_float = True
        elif node.op_type in _ARITHMETIC:
            if not is_float or not _compute(chain, node, uses[0].idx):
                break
        elif node.op_type in _LAYOUT:
            if not _move(chain, node):
                break
            chain.layout.append(node)
        else:
            break
        chain.value = after
        chain.length += 1
    return chain if is_float else None


def _compute(chain: _Chain, node: ir.Node, place: int) -> bool:
    """Take a step of arithmetic into the chain; return whether it can be."""
    other = array_of(node.inputs[1 - place])
    rank = chain.scale.ndim
    if other is None or other.ndim > rank or not np.isfinite(other).all():
        return False
    other = other.astype(np.float64).reshape((1,) * (rank - other.ndim) + other.shape)
    if sum(size > 1 for size in np.broadcast_shapes(other.shape, chain.scale.shape)) > 1:
        return False  # more than one number a channel
    if node.op_type in ("Mul", "Div"):
        factor = other if node.op_type == "Mul" else 1 / other
        chain.scale, chain.offset = chain.scale * factor, chain.offset * factor
    elif node.op_type == "Add":
        chain.offset = chain.offset + other
    else:
        chain.offset = chain.offset - other
    return True


def _move(chain: _Chain, node: ir.Node) -> bool:
    """Follow a change of layout; return whether it can be done to the bytes as well."""
    if any(array_of(value) is None for value in node.inputs[1:] if value is not None):
        return False
    if node.op_type == "Transpose":
        turns = node.attributes.get_ints("perm", list(reversed(range(chain.scale.ndim))))
        chain.scale = chain.scale.transpose(turns)
        chain.offset = chain.offset.transpose(turns)
        return True
    shape = node.outputs[0].shape
    if shape is None or chain.scale.size > 1 or chain.offset.size > 1:
        return False  # the channels would lie elsewhere
    ones = (1,) * len(shape)
    chain.scale, chain.offset = chain.scale.reshape(ones), chain.offset.reshape(ones)
    return True


def _first_layers(chain: _Chain) -> list[ir.Node]:
    """Return the layers that read the chain, if all of them have weights of their own to change."""
    layers = [use.node for use in chain.value.uses() if use.idx == 0]
    readers = len(list(chain.value.uses()))
    can = readers == len(layers) > 0 and all(_can_fold(node, chain) for node in layers)
    return list(dict.fromkeys(layers)) if can else []


def _can_fold(node: ir.Node, chain: _Chain) -> bool:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.inputs) < 2:
        return False
    weights, bias = array_of(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    if weights is None or (bias is not None and array_of(bias) is None):
        return False
    if node.op_type == "Conv":
        channel = 1
    elif weights.ndim == 2 and not node.attributes.get_int("transA", 0):
        channel = chain.scale.ndim - 1
        if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return False
    else:
        return False
    return all(
        size == 1 or axis == channel
        for array in (chain.scale, chain.offset)
        for axis, size in enumerate(array.shape)
    )


def _by_channel(array: Array, node: ir.Node) -> Array:
    """Return one number for each place of the weights' input channels, in the weights' shape."""
    weights = array_of(node.inputs[1])
    assert weights is not None  # noqa: S101 - _can_fold has seen it
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


def _scale_weights(graph: ir.Graph, node: ir.Node, scale: Array) -> None:
    weights = array_of(node.inputs[1])
    assert weights is not None  # noqa: S101 - _can_fold has seen it
    node.replace_input_with(
        1,
        _initializer(graph, weights * scale, f"{node.inputs[1].name}/scaled"),  # type: ignore[union-attr]
    )


def _shift_bias(graph: ir.Graph, node: ir.Node, offset: Array) -> None:
    """Add what a constant input of ``offset`` gives, which is the same for every place."""
    weights = array_of(node.inputs[1])
    assert weights is not None  # noqa: S101 - _can_fold has seen it
    contribution = weights.astype(np.float64) * offset
    if node.op_type == "Conv":
        shift = contribution.sum(axis=tuple(range(1, weights.ndim)))
    else:
        shift = contribution.sum(axis=1 if node.attributes.get_int("transB", 0) else 0)
    if node.op_type == "MatMul":
        _add_behind(graph, node, shift)
        return
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    summed = shift if bias is None else shift + array_of(bias)
    constant = _initializer(graph, summed, f"{node.name}/shifted")
    if len(node.inputs) > 2:
        node.replace_input_with(2, constant)
    else:
        node.resize_inputs(3)
        node.replace_input_with(2, constant)


def _add_behind(graph: ir.Graph, node: ir.Node, shift: Array) -> None:
    result = node.outputs[0]
    added = ir.node("Add", [result, _initializer(graph, shift, f"{node.name}/shifted")])
    added.outputs[0].shape, added.outputs[0].dtype = result.shape, ir.DataType.FLOAT
    for use in list(result.uses()):
        if use.node is not added:
            use.node.replace_input_with(use.idx, added.outputs[0])
    graph.insert_after(node, added)


def _keeps_offset(node: ir.Node) -> bool:
    """Whether an offset cannot go into the bias.

    Zeros may stand around the input, which it would have to be in, too. And what MatMul adds comes
    behind it, where the graph's own output already has its name.
    """
    if node.op_type != "Conv":
        return node.op_type == "MatMul" and node.outputs[0].is_graph_output()
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    return automatic.startswith("SAME") or any(node.attributes.get_ints("pads", []))


def _operators(chain: _Chain) -> list[str]:
    """Return the chain's operators in running order."""
    found: list[str] = []
    value: Any = chain.value
    while value.producer() is not None:
        node = value.producer()
        found.append(node.op_type)
        value = node.inputs[0] if array_of(node.inputs[0]) is None else node.inputs[1]
    return found[::-1]


def _nodes_between(start: ir.Value, end: ir.Value) -> list[ir.Node]:
    nodes: list[ir.Node] = []
    value = end
    while value is not start:
        node = value.producer()
        assert node is not None  # noqa: S101 - the chain was followed from start
        nodes.append(node)
        value = next(each for each in node.inputs if each is not None and array_of(each) is None)
    return nodes[::-1]


def _initializer(graph: ir.Graph, array: Array, name: str) -> ir.Value:
    name = next(
        candidate
        for number in range(len(graph.initializers) + 1)
        if (candidate := f"{name}~{number}") not in graph.initializers
    )
    value = ir.Value(
        name=name, const_value=ir.tensor(np.ascontiguousarray(array, np.float32), name=name)
    )
    value.shape, value.dtype = ir.Shape(array.shape), ir.DataType.FLOAT
    graph.register_initializer(value)
    return value
