"""Looking sorted values up, and products of three-vectors: counts and differences in ONNX."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from edgeport_converter.exporting.tf_ops.builder import int64_values, node_for, replace


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
    ahead = node_for(graph, node, "Mul", [a_one, b_two])
    back = node_for(graph, node, "Mul", [a_two, b_one])
    replace(graph, node, "Sub", [ahead, back])


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


HANDLERS = {
    "LowerBound": _bound("Less"),
    "UpperBound": _bound("LessOrEqual"),
    "Cross": _cross,
    "BroadcastArgs": _broadcast_shape,
}
