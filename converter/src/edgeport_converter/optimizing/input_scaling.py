"""The scaling of inputs, moved into the weights of the first layers. ``passes`` calls it.

Many models begin with Rescaling or Normalization: a chain of Mul, Div, Add and Sub, with nodes that
only change the layout between them. The chain becomes

    input -> Transpose, Reshape -> Add of an offset -> first layer

with a Cast before the Add where the input is uint8. The Add goes into the layer's bias, too, unless
the layer pads its input. A Mul remains only where the first operator has no weights. So the graph
computes no scaled copy of the image, and a quantized graph takes the pixels' bytes as int8 codes:
without this pass EfficientNetB0 takes 1.10 times as long.

1. ``_follow`` collects the chain of nodes from an input as ``x = scale * input + offset``.
2. ``_first_layers`` finds the layers that read x, if all of them can take the scale.
3. ``_hand_over`` changes their weights and biases (``layer_inputs``).
4. ``_replace`` replaces the nodes by the few that are still needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import convenience

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing import layer_inputs
from edgeport_converter.optimizing.constants import array_of, constant

_KINDS = {"Mul": "Mul", "Div": "Mul", "Add": "Add", "Sub": "Add"}
_LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")


# Bounds for float inputs, whose values may be of any size. The features of a table may differ by
# powers of ten; with such factors in them, one layer's weights could not share one int8 scale. And
# a mean far larger than the spread has to be subtracted before the multiplication, or float32
# rounds away the digits that differ from sample to sample.
_LARGEST_SPREAD = 4.0
_LARGEST_OFFSET = 16.0
_SCALES = (1e-12, 1e12)

# onnxruntime moves a Transpose after the Add, so that the channels come last, and its Add then
# works in steps of one pixel: with three channels, 600 KB take as long as a convolution. If the
# constant is repeated over the image's columns, one step is a whole row.
_FEW_CHANNELS = 32
_WIDEST_CONSTANT = 2**14


@dataclass
class _Chain:
    """The nodes between an input and the first layer: ``x = scale * input + offset``.

    Attributes:
        layout: those of the nodes that change the layout, in running order.
        scale, offset: one number, or one for each channel, with as many axes as ``value``.
        value: x, which the first layer reads.
        length: the number of nodes.
    """

    layout: list[ir.Node]
    scale: Array
    offset: Array
    value: ir.Value
    length: int = 0


def simplify_input_scaling(model: ir.Model) -> bool:
    """Move the scaling of every uint8 and float input; return whether the graph has changed."""
    graph = model.graph
    changed = False
    for value in list(graph.inputs):
        if value.dtype in (ir.DataType.UINT8, ir.DataType.FLOAT) and value.shape is not None:
            changed |= _simplify(graph, value)
    return changed


def _simplify(graph: ir.Graph, given: ir.Value) -> bool:
    chain = _follow(graph, given)
    if chain is None:
        return False
    is_float = given.dtype == ir.DataType.FLOAT
    layers = _first_layers(graph, chain)
    if is_float and not (layers and _is_moderate(chain.scale)):
        return False
    conversions = [] if is_float else ["Cast"]
    if not layers and chain.length == len(chain.layout) + len(conversions):
        return False  # nothing but a Cast
    scale, offset = _hand_over(graph, chain, layers, is_float)
    arithmetic = {
        kind: array
        for kind, array, neutral in (("Mul", scale, 1), ("Add", offset, 0))
        if np.any(array != neutral)
    }
    if _operators(chain) == [n.op_type for n in chain.layout] + conversions + [*arithmetic]:
        return False
    _replace(graph, given, chain, arithmetic)
    return True


def _hand_over(
    graph: ir.Graph, chain: _Chain, layers: Sequence[ir.Node], is_float: bool
) -> tuple[Array, Array]:
    """Put scale and offset into the layers' weights; return those that stay in the graph."""
    scale, offset = chain.scale, chain.offset
    if not layers:
        return scale, offset
    fits = not is_float or np.abs(offset).max() <= _LARGEST_OFFSET
    if np.any(offset) and fits and not any(map(layer_inputs.needs_offset, layers)):
        for node in layers:
            layer_inputs.take_offset(graph, node, offset)
        offset = np.zeros_like(offset)
    if np.any(scale != 1):
        for node in layers:
            layer_inputs.take_scale(graph, node, scale)
    return np.ones_like(scale), offset / scale


def _replace(
    graph: ir.Graph, given: ir.Value, chain: _Chain, arithmetic: Mapping[str, Array]
) -> None:
    """Replace the chain by its changes of layout, a Cast for uint8, and ``arithmetic``."""
    old_nodes = _nodes_between(given, chain.value)
    names = {_KINDS[old.op_type]: old.name for old in old_nodes if old.op_type in _KINDS}
    source, nodes = given, []
    for old in chain.layout:
        inputs = [source, *old.inputs[1:]]
        nodes.append(ir.node(old.op_type, inputs, attributes=old.attributes, name=old.name))
        source = nodes[-1].outputs[0]
    if given.dtype != ir.DataType.FLOAT:
        nodes.append(ir.node("Cast", [source], attributes={"to": ir.DataType.FLOAT}))
        source = nodes[-1].outputs[0]
    for kind, array in arithmetic.items():
        operand = constant(graph, f"{given.name}/{kind}", array.astype(np.float32))
        columns = _columns(array, chain.value)
        if columns is not None:
            shape = constant(graph, f"{given.name}/{kind}/shape", np.array(columns, np.int64))
            nodes.append(ir.node("Expand", [operand, shape]))
            operand = nodes[-1].outputs[0]
        nodes.append(ir.node(kind, [source, operand], name=names.get(kind)))
        source = nodes[-1].outputs[0]
    if source is not given:
        source.shape, source.dtype = chain.value.shape, ir.DataType.FLOAT
    graph.insert_before(old_nodes[0], nodes)
    convenience.replace_all_uses_with(chain.value, source)
    graph.remove(list(reversed(old_nodes)), safe=True)


def _columns(array: Array, value: ir.Value) -> list[int] | None:
    """Return the constant's shape when repeated over the columns, None if that gains nothing."""
    (channels,) = [axis for axis, size in enumerate(array.shape) if size > 1] or [-1]
    assert value.shape is not None  # noqa: S101 - the chain's rank is known
    places = [axis for axis in range(1, array.ndim) if axis != channels]
    if channels < 0 or array.shape[channels] >= _FEW_CHANNELS or not places:
        return None
    size = value.shape[places[-1]]
    if not isinstance(size, int) or array.size * size > _WIDEST_CONSTANT:
        return None
    shape = list(array.shape)
    shape[places[-1]] = size
    return shape


def _is_moderate(scale: Array) -> bool:
    """Whether a layer's weights can take these factors for a float input: see the bounds above."""
    sizes = np.abs(scale)
    low, high = _SCALES
    return bool(low < sizes.min() and sizes.max() < min(high, _LARGEST_SPREAD * sizes.min()))


def _follow(graph: ir.Graph, given: ir.Value) -> _Chain | None:
    """Return the chain from an input, None where it is empty or never becomes float32."""
    shape = given.shape
    assert shape is not None  # noqa: S101 - the caller has seen it
    ones = (1,) * len(shape)
    chain = _Chain([], np.ones(ones), np.zeros(ones), given)
    is_float = given.dtype == ir.DataType.FLOAT
    while True:
        uses = list(chain.value.uses())
        if len(uses) != 1 or (uses[0].idx and uses[0].node.op_type not in ("Mul", "Add")):
            break
        node = uses[0].node
        after = node.outputs[0]
        if after.is_graph_output() or node.graph is not graph:  # a loop's subgraph reads it
            break
        if node.op_type == "Cast":
            if is_float or node.attributes["to"].as_int() != ir.DataType.FLOAT:
                break
            is_float = True
        elif node.op_type in _KINDS:
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
    return chain if is_float and chain.length else None


def _compute(chain: _Chain, node: ir.Node, place: int) -> bool:
    """Add a node of arithmetic to the chain; return whether that was possible."""
    other = array_of(node.inputs[1 - place])
    rank, shape = chain.scale.ndim, chain.value.shape
    if other is None or shape is None or other.ndim > rank or not np.isfinite(other).all():
        return False
    if node.op_type == "Div" and not other.all():
        return False
    other = other.astype(np.float64).reshape((1,) * (rank - other.ndim) + other.shape)
    if any(size not in (1, own) for size, own in zip(other.shape, shape, strict=True)):
        return False  # the result is larger than x, as where one grey channel becomes three
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
    """Apply a change of layout to scale and offset; return whether that was possible."""
    if any(array_of(value) is None for value in node.inputs[1:] if value is not None):
        return False
    if node.op_type == "Transpose":
        turns = node.attributes.get_ints("perm", list(reversed(range(chain.scale.ndim))))
        chain.scale = chain.scale.transpose(turns)
        chain.offset = chain.offset.transpose(turns)
        return True
    shape = node.outputs[0].shape
    if shape is None or chain.scale.size > 1 or chain.offset.size > 1:
        return False  # the channels would be on another axis
    ones = (1,) * len(shape)
    chain.scale, chain.offset = chain.scale.reshape(ones), chain.offset.reshape(ones)
    return True


def _first_layers(graph: ir.Graph, chain: _Chain) -> list[ir.Node]:
    """Return the layers that read x, or an empty list if one of them cannot take the scale."""
    if not np.all(chain.scale):
        return []
    if np.abs(chain.offset / chain.scale).max() > np.finfo(np.float32).max:
        return []  # float32 cannot hold the offset that would stay in the graph
    layers = [u.node for u in chain.value.uses() if u.idx == 0 and u.node.graph is graph]
    readers = len(list(chain.value.uses()))
    can = readers == len(layers) > 0 and all(
        layer_inputs.can_take(node, chain.scale, chain.offset) for node in layers
    )
    return list(dict.fromkeys(layers)) if can else []


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
    """Return the chain's nodes in running order."""
    nodes: list[ir.Node] = []
    value = end
    while value is not start:
        node = value.producer()
        assert node is not None  # noqa: S101 - the chain was followed from start
        nodes.append(node)
        value = next(each for each in node.inputs if each is not None and array_of(each) is None)
    return nodes[::-1]
