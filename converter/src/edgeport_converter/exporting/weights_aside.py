"""Large weights beside the graph while TensorFlow works on it.

Every pass of TensorFlow over a graph copies it several times, and a network's weights are nearly
all of it. So a large constant that an operation takes as it stands (a convolution's kernel, a
matrix, a table of embeddings) is kept aside, and a placeholder of its shape stands in the graph;
nothing could have been computed ahead with it, since the operation's other input is data.
"""

from __future__ import annotations

from typing import Any

# Below this a copy costs nothing.
_LARGE_BYTES = 2**16

# Operations that combine a weight with data, and the input that the weight comes in by.
_TAKERS = {
    "Conv2D": 1, "Conv3D": 1, "DepthwiseConv2dNative": 1, "Conv2DBackpropInput": 1,
    "Conv3DBackpropInputV2": 1, "MatMul": 1, "BatchMatMulV2": 1, "BatchMatMulV3": 1, "Einsum": 1,
    "GatherV2": 0,
}  # fmt: skip


def take_out(graph_def: Any) -> tuple[Any, dict[str, bytes]]:
    """Return the graph with placeholders for its large weights, and these by node name.

    Args:
        graph_def: a frozen graph; it is of no use any more, so that its memory may go.
    """
    nodes = {node.name: node for node in graph_def.node}
    large = {
        node.name
        for node in graph_def.node
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= _LARGE_BYTES
    }
    # tf2onnx looks values up by name in the bodies of loops and branches, too.
    large -= {node.name for function in graph_def.library.function for node in function.node_def}
    for node in graph_def.node:
        taken = _TAKERS.get(node.op)
        for place, name in enumerate(node.input):
            source = _source(nodes, name)
            if source not in large:
                continue
            if place == taken:
                node.input[place] = source  # past the Identity that a variable is read through
            elif node.op != "Identity":
                large.discard(source)
    weights = {}
    for name in sorted(large):
        node = nodes[name]
        tensor = node.attr["value"].tensor
        weights[name] = tensor.tensor_content
        dtype, shape = tensor.dtype, type(tensor.tensor_shape)()
        shape.CopyFrom(tensor.tensor_shape)
        node.op = "Placeholder"
        node.attr.clear()
        node.attr["dtype"].type = dtype
        node.attr["shape"].shape.CopyFrom(shape)
    # A message keeps the memory of what was cleared in it; a copy has what is left.
    slim = type(graph_def)()
    slim.CopyFrom(graph_def)
    return slim, weights


def mark_places(graph_def: Any, weights: dict[str, bytes]) -> None:
    """Turn the placeholders into empty constants, whose values tf2onnx takes from ``weights``."""
    for node in graph_def.node:
        if node.name not in weights:
            continue
        shape = type(node.attr["shape"].shape)()
        shape.CopyFrom(node.attr["shape"].shape)
        dtype = node.attr["dtype"].type
        node.op = "Const"
        node.attr.clear()
        node.attr["dtype"].type = dtype
        node.attr["value"].tensor.dtype = dtype
        node.attr["value"].tensor.tensor_shape.CopyFrom(shape)


def _source(nodes: dict[str, Any], name: str) -> str:
    """Return the node that a value comes from, past Identity nodes."""
    name = name.removesuffix(":0")
    while name in nodes and nodes[name].op == "Identity":
        name = nodes[name].input[0].removesuffix(":0")
    return name
