"""Small moves on tf2onnx's graph that the conversions of TensorFlow operations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tf2onnx import utils


def constant(graph: Any, node: Any, value: float) -> str:
    """Return a scalar of the type of the node's first input."""
    dtype = utils.map_onnx_to_numpy_type(graph.get_dtype(node.input[0]))
    name: str = graph.make_const(utils.make_name(node.name), np.array(value, dtype)).output[0]
    return name


def int64_values(graph: Any, node: Any, values: Sequence[int]) -> str:
    """Return a vector of int64."""
    name: str = graph.make_const(utils.make_name(node.name), np.asarray(values, np.int64)).output[0]
    return name


def node_for(
    graph: Any, node: Any, op: str, inputs: Sequence[str], attributes: dict[str, Any] | None = None
) -> str:
    """Add an ONNX node that does a part of ``node``'s work; return its output."""
    made = graph.make_node(op, list(inputs), attr=attributes or {}, name=utils.make_name(node.name))
    made.skip_conversion = True
    output: str = made.output[0]
    return output


def replace(
    graph: Any, node: Any, op: str, inputs: Sequence[str], attributes: dict[str, Any] | None = None
) -> None:
    """Put an ONNX node in ``node``'s place, with its name, outputs, shapes and types."""
    shapes = [graph.get_shape(name) for name in node.output]
    dtypes = [graph.get_dtype(name) for name in node.output]
    outputs = list(node.output)
    graph.remove_node(node.name)
    made = graph.make_node(
        op,
        list(inputs),
        attr=attributes or {},
        name=node.name,
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
    )
    made.skip_conversion = True
