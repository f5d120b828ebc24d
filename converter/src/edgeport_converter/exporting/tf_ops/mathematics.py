"""Functions, counts and comparisons that ONNX does not have in one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx import utils
from tf2onnx.onnx_opset import logical

from edgeport_converter.exporting.tf_ops.builder import (
    LABEL_ENCODER_DOMAIN,
    NoOnnxFormError,
    int64_values,
    node_for,
    replace,
    scalar,
    tensor,
)


def _erfc(graph: Any, node: Any) -> None:
    """erfc(x) = 1 - erf(x); the exact gelu is made of it."""
    erf = node_for(graph, node, "Erf", node.input)
    one = scalar(graph, node, 1.0)
    replace(graph, node, "Sub", [one, erf])


def _expm1(graph: Any, node: Any) -> None:
    exp = node_for(graph, node, "Exp", node.input)
    replace(graph, node, "Sub", [exp, scalar(graph, node, 1.0)])


def _log1p(graph: Any, node: Any) -> None:
    one = scalar(graph, node, 1.0)
    replace(graph, node, "Log", [node_for(graph, node, "Add", [node.input[0], one])])


def _bucketize(graph: Any, node: Any) -> None:
    """Count the boundaries that a value has reached."""
    boundaries = np.asarray(node.get_attr_value("boundaries"), dtype=np.float32)
    source = node.input[0]
    if graph.get_dtype(source) != TensorProto.FLOAT:
        source = node_for(graph, node, "Cast", [source], {"to": TensorProto.FLOAT})
    last = int64_values(graph, node, [-1])
    edges = tensor(graph, node, boundaries)
    column = node_for(graph, node, "Unsqueeze", [source, last])
    reached = node_for(graph, node, "GreaterOrEqual", [column, edges])
    counted = node_for(graph, node, "Cast", [reached], {"to": TensorProto.INT32})
    replace(graph, node, "ReduceSum", [counted, last], {"keepdims": 0})


def _bincount(graph: Any, node: Any) -> None:
    """Count each value along the last axis; tf2onnx counts over all of them."""
    dtype = graph.get_dtype(node.output[0])
    size = graph.get_shape(node.output[0])
    values = node_for(graph, node, "Cast", [node.input[0]], {"to": TensorProto.INT64})
    last = int64_values(graph, node, [-1])
    if size and size[-1] not in (-1, None):
        bins = int64_values(graph, node, range(size[-1]))
    else:
        zero, one = (tensor(graph, node, np.array(n, np.int64)) for n in (0, 1))
        end = node_for(graph, node, "Cast", [node.input[1]], {"to": TensorProto.INT64})
        bins = node_for(graph, node, "Range", [zero, end, one])
    column = node_for(graph, node, "Unsqueeze", [values, last])
    hits = node_for(graph, node, "Equal", [column, bins])
    numbers = node_for(graph, node, "Cast", [hits], {"to": dtype})
    weights = graph.get_shape(node.input[2])
    if weights is None or 0 not in weights:
        numbers = node_for(
            graph, node, "Mul", [numbers, node_for(graph, node, "Unsqueeze", [node.input[2], last])]
        )
    axis = int64_values(graph, node, [-2])
    if node.get_attr_value("binary_output"):
        replace(graph, node, "ReduceMax", [numbers], {"axes": [-2], "keepdims": 0})
    else:
        replace(graph, node, "ReduceSum", [numbers, axis], {"keepdims": 0})


def _equal(graph: Any, node: Any) -> None:
    """Compare text through a table, since ONNX compares it from opset 19 on only."""
    if graph.get_dtype(node.input[0]) != TensorProto.STRING:
        logical.Equal.version_11(graph, node)
        return
    sides = list(zip(node.input, node.inputs, strict=True))
    known = next((other for _, other in sides if other.is_const()), None)
    if known is None or known.get_tensor_value(as_list=False).size != 1:
        raise NoOnnxFormError("it compares two texts that both come from the inputs")
    asked = next(name for name, other in sides if other is not known)
    text = known.get_tensor_value(as_list=False).reshape(-1)[0]
    text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
    found = graph.make_node(
        "LabelEncoder",
        [asked],
        domain=LABEL_ENCODER_DOMAIN,
        name=utils.make_name(node.name),
        attr={"keys_strings": [text], "values_int64s": [1], "default_int64": 0},
        dtypes=[TensorProto.INT64],
        shapes=[graph.get_shape(asked)],
    ).output[0]
    replace(graph, node, "Cast", [found], {"to": TensorProto.BOOL})


def _bound(comparison: str) -> Any:
    def convert(graph: Any, node: Any) -> None:
        """Count the sorted values (rows, S) that stand before each of the others (rows, V)."""
        ordered = node_for(
            graph, node, "Unsqueeze", [node.input[0], int64_values(graph, node, [1])]
        )
        wanted = node_for(graph, node, "Unsqueeze", [node.input[1], int64_values(graph, node, [2])])
        stands_before = node_for(graph, node, comparison, [ordered, wanted])
        number = node_for(
            graph, node, "Cast", [stands_before], {"to": graph.get_dtype(node.output[0])}
        )
        last = int64_values(graph, node, [2])
        replace(graph, node, "ReduceSum", [number, last], {"keepdims": 0})

    return convert


def _cross(graph: Any, node: Any) -> None:
    """A × b along the last axis: both turned by one and by two places."""
    places = [
        [
            node_for(graph, node, "Gather", [name, int64_values(graph, node, order)], {"axis": -1})
            for order in ([1, 2, 0], [2, 0, 1])
        ]
        for name in node.input
    ]
    (a_one, a_two), (b_one, b_two) = places
    first = node_for(graph, node, "Mul", [a_one, b_two])
    second = node_for(graph, node, "Mul", [a_two, b_one])
    replace(graph, node, "Sub", [first, second])


def _broadcast_shape(graph: Any, node: Any) -> None:
    """Return the shape that two shapes broadcast to: the larger size, where the other is one."""
    wide = [
        node_for(
            graph,
            node,
            "ConstantOfShape",
            [node_for(graph, node, "Cast", [name], {"to": TensorProto.INT64})],
        )
        for name in node.input
    ]
    both = node_for(graph, node, "Add", wide)
    shape = node_for(graph, node, "Shape", [both])
    replace(graph, node, "Cast", [shape], {"to": graph.get_dtype(node.output[0])})


HANDLERS: dict[str, Callable[[Any, Any], None]] = {
    "Erfc": _erfc,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "Cross": _cross,
    "Bucketize": _bucketize,
    "DenseBincount": _bincount,
    "LowerBound": _bound("Less"),
    "UpperBound": _bound("LessOrEqual"),
    "BroadcastArgs": _broadcast_shape,
    "Equal": _equal,
}
