"""From a traced function to a TensorFlow graph whose variables are constants.

Sizes that are known and branches whose condition is constant are replaced by their results before
tf2onnx sees the graph. Weight offloading: large weights are taken out of the graph before
TensorFlow's passes, each of which copies the graph several times. ``tracing`` calls ``freeze``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import convert_to_constants
from tf2onnx import tf_loader

from edgeport_converter.exporting import complex_numbers, saved_tables
from edgeport_converter.exporting.placeholders import Placeholders
from edgeport_converter.exporting.tf_ops import signal
from edgeport_converter.loading import purity

# How TensorFlow's constant folding names weights that it has multiplied by a later scale.
_MERGED_WEIGHTS = "/merged_input"

_MAX_FOLDS = 8  # each round resolves one level of nested branches

# Attributes that keep TensorFlow from inlining a nested function: of XLA, with which Keras compiles
# grouped convolutions, and of the user's own functions.
_CLOSING_ATTRIBUTES = ("_XlaMustCompile", "_noinline", "_implements", "api_implements")


def weight_bytes(concrete: Any) -> int:
    """Return the size of the variables and constants that a traced function computes with."""
    variables = sum(
        variable.shape.num_elements() * variable.dtype.size for variable in concrete.graph.variables
    )
    constants: int = concrete.graph.as_graph_def().ByteSize()
    return int(variables) + constants


def freeze(
    concrete: Any, placeholders: Placeholders
) -> tuple[Any, dict[str, bytes], Sequence[str], Sequence[str]]:
    """Return the graph, its large weights by node name, and the names of inputs and outputs.

    Returns:
        A GraphDef in which large weights are empty constants; their bytes by node name; the names
        of the input tensors; the names of the output tensors.
    """
    # These two calls are convert_variables_to_constants_v2 without its last step, which loads the
    # frozen graph again and so holds each weight twice more. tf2onnx calls the same two for large
    # models.
    data = convert_to_constants._FunctionConverterDataInEager(
        func=concrete, lower_control_flow=False, aggressive_inlining=True
    )
    _leave_out_side_effects(data.graph_def, [tensor.name for tensor in concrete.outputs])
    graph_def, converted = convert_to_constants._replace_variables_by_constants(data)
    captured = {concrete.graph.internal_captures[place].name for place in converted}
    tables = saved_tables.captured_handles(concrete)
    captured |= {f"{name}:0" for name in tables}
    inputs = [tensor.name for tensor in concrete.inputs if tensor.name not in captured]
    outputs = [tensor.name for tensor in concrete.outputs]
    del data
    graph_def, weights = _offload_weights(graph_def)
    for node in graph_def.node:
        node.device = ""
    for closed in (*graph_def.node, *graph_def.library.function):
        for attribute in _CLOSING_ATTRIBUTES:
            closed.attr.pop(attribute, None)
    saved_tables.replace_lookups(graph_def, tables, placeholders)
    placeholders.write_shapes(graph_def)
    for _ in range(_MAX_FOLDS):
        with tf.Graph().as_default():
            tf.import_graph_def(graph_def, name="")
            graph_def = tf_loader.tf_optimize(inputs, outputs, graph_def)
        placeholders.write_shapes(graph_def)
        has_changed = _write_known_sizes(graph_def) | _choose_known_branches(graph_def)
        if not has_changed and not complex_numbers.lower(graph_def, signal.COMPLEX_OPS, outputs):
            break
    _name_after_weights(graph_def)
    _leave_empty_constants(graph_def, weights)
    return graph_def, weights, inputs, outputs


def _leave_out_side_effects(graph_def: Any, outputs: Sequence[str]) -> None:
    """Remove what runs beside the outputs without giving them anything, where there is some.

    A SavedModel counts up the seeds of its dropout layers at inference, too. The variables of the
    seeds cannot be written once they are constants.
    """
    kinds = (*purity.WRITES.operations, *purity.RANDOM.operations)
    if not any(node.op.startswith(kinds) for node in purity.running_nodes(graph_def)):
        return
    needed = {node.name for node in purity.needed_nodes(graph_def, outputs)}
    kept = [node for node in graph_def.node if node.name in needed or node.op == "Placeholder"]
    for node in kept:
        sources = [source for source in node.input if not source.startswith("^")]
        del node.input[:]
        node.input.extend(sources)
    nodes = type(graph_def)(node=kept)
    del graph_def.node[:]
    graph_def.node.extend(nodes.node)


def _name_after_weights(graph_def: Any) -> None:
    """Rename operations to the layer whose weights they use, so that messages name that layer.

    TensorFlow folds the scale of a BatchNormalization into the weights of the convolution before
    it. It gives the convolution the name of the BatchNormalization, while the weights keep the
    convolution's name.
    """
    taken = {node.name for node in graph_def.node}
    renamed = {}
    for node in graph_def.node:
        for source in node.input:
            owner = source.removesuffix(_MERGED_WEIGHTS)
            if owner != source and owner not in taken and node.name != owner:
                renamed[node.name] = owner
                taken.add(owner)
                node.name = owner
                break
    for node in graph_def.node:
        for place, source in enumerate(node.input):
            mark = "^" if source.startswith("^") else ""
            name, colon, port = source.removeprefix("^").partition(":")
            if name in renamed:
                node.input[place] = f"{mark}{renamed[name]}{colon}{port}"


def _write_known_sizes(graph_def: Any) -> bool:
    """Replace known sizes that the graph reads from a shape by constants; return if it had any.

    TensorFlow folds a Shape only if all of its sizes are known, and the batch size never is.
    """
    sources = {node.name for node in graph_def.node if node.op == "Shape"}
    if not any(
        node.op == "StridedSlice" and node.input[0].partition(":")[0] in sources
        for node in graph_def.node
    ):
        return False
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    values = {}
    for op in graph.get_operations():
        if op.type == "StridedSlice" and op.inputs[0].op.type == "Shape":
            value = _known_slice(op)
            if value is not None:
                values[op.name] = value
    for node in graph_def.node:
        if node.name in values:
            dtype = node.attr["T"].type
            del node.input[:]
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = dtype
            node.attr["value"].tensor.CopyFrom(
                tf.make_tensor_proto(values[node.name], dtype=tf.as_dtype(dtype))
            )
    return bool(values)


def _known_slice(op: Any) -> np.ndarray[Any, Any] | None:
    """Return the sizes that a StridedSlice takes out of a shape, None if one of them is free."""
    shape = op.inputs[0].op.inputs[0].shape
    bounds = [tf.get_static_value(tensor) for tensor in op.inputs[1:4]]
    masks = {
        name: op.get_attr(f"{name}_mask")
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    if shape.rank is None or any(bound is None or len(bound) != 1 for bound in bounds):
        return None
    if masks["ellipsis"] or masks["new_axis"]:
        return None
    begin, end, step = (int(bound[0]) for bound in bounds)
    sizes = shape.as_list()
    if masks["shrink_axis"]:
        taken = sizes[begin]
        return None if taken is None else np.array(taken)
    picked = sizes[slice(None if masks["begin"] else begin, None if masks["end"] else end, step)]
    return None if None in picked else np.array(picked)


def _choose_known_branches(graph_def: Any) -> bool:
    """Turn each If with a constant condition into a call of its branch; return if it had any."""
    constants = {node.name: node for node in graph_def.node if node.op == "Const"}
    found = False
    for node in graph_def.node:
        if node.op not in ("If", "StatelessIf"):
            continue
        decision = constants.get(node.input[0].split(":")[0].lstrip("^"))
        if decision is None:
            continue
        found = True
        is_true = bool(tf.make_ndarray(decision.attr["value"].tensor))
        branch = node.attr["then_branch" if is_true else "else_branch"].func.name
        types = {name: node.attr[name].SerializeToString() for name in ("Tin", "Tout")}
        node.op = "PartitionedCall" if node.op == "StatelessIf" else "StatefulPartitionedCall"
        node.input.pop(0)
        node.attr.clear()
        for name, value in types.items():
            node.attr[name].ParseFromString(value)
        node.attr["f"].func.name = branch
    return found


# Copies of smaller weights cost too little to matter.
_LARGE_BYTES = 2**16

# Operations that combine a weight with data, and which of their inputs is the weight. TensorFlow
# does not need the weight's values to simplify a graph around them.
_TAKERS = {
    "Conv2D": 1,
    "Conv3D": 1,
    "DepthwiseConv2dNative": 1,
    "Conv2DBackpropInput": 1,
    "Conv3DBackpropInputV2": 1,
    "MatMul": 1,
    "BatchMatMulV2": 1,
    "BatchMatMulV3": 1,
    "Einsum": 1,
    "GatherV2": 0,
}


def _offload_weights(graph_def: Any) -> tuple[Any, dict[str, bytes]]:
    """Return a graph with TensorFlow placeholders for large weights, and their bytes by node name.

    A weight that any other operation reads stays in the graph, since TensorFlow may compute with
    it.

    The given graph is emptied of these weights, to free their memory: do not use it afterwards.
    """
    nodes = {node.name: node for node in graph_def.node}
    large = {
        node.name
        for node in graph_def.node
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= _LARGE_BYTES
    }
    # tf2onnx looks values up by name in the subgraphs of loops and branches, too.
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
    # A protobuf message keeps the memory of cleared fields; its copy holds only what is left.
    slim = type(graph_def)()
    slim.CopyFrom(graph_def)
    return slim, weights


def _leave_empty_constants(graph_def: Any, weights: dict[str, bytes]) -> None:
    """Turn the weights' placeholders into empty constants; tf2onnx gets the values separately."""
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
    """Return the name of the node that a value comes from, skipping Identity nodes."""
    name = name.removesuffix(":0")
    while name in nodes and nodes[name].op == "Identity":
        name = nodes[name].input[0].removesuffix(":0")
    return name
