"""What the conversions of TensorFlow operations share: adding constants and nodes to the graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tf2onnx import utils

LABEL_ENCODER_DOMAIN, LABEL_ENCODER_VERSION = "ai.onnx.ml", 2
"""ONNX's only table from one value to another lives in a domain of its own."""


class NoOnnxFormError(Exception):
    """An operation, used as it is here, has no ONNX form; the text is the reason for the user."""


def tensor(graph: Any, node: Any, values: Any) -> str:
    """Add a constant for ``node``, an array of the dtype to store; return its name."""
    name: str = graph.make_const(utils.make_name(node.name), np.asarray(values)).output[0]
    return name


def scalar(graph: Any, node: Any, value: float) -> str:
    """Add a number of the type of the node's first input; return its name."""
    dtype = utils.map_onnx_to_numpy_type(graph.get_dtype(node.input[0]))
    return tensor(graph, node, np.array(value, dtype))


def int64_values(graph: Any, node: Any, values: Sequence[int]) -> str:
    """Add a vector of int64; return its name."""
    return tensor(graph, node, np.asarray(values, np.int64))


def node_for(
    graph: Any, node: Any, op: str, inputs: Sequence[str], attributes: dict[str, Any] | None = None
) -> str:
    """Add an ONNX node that does a part of ``node``'s work; return its output."""
    made = graph.make_node(op, list(inputs), attr=attributes or {}, name=utils.make_name(node.name))
    made.skip_conversion = True
    output: str = made.output[0]
    return output


def replace(
    graph: Any,
    node: Any,
    op: str,
    inputs: Sequence[str],
    attributes: dict[str, Any] | None = None,
    *,
    domain: str = "",
) -> None:
    """Put an ONNX node in ``node``'s place, with its name, outputs, shapes and types."""
    shapes = [graph.get_shape(name) for name in node.output]
    dtypes = [graph.get_dtype(name) for name in node.output]
    outputs, inputs = list(node.output), list(inputs)
    graph.remove_node(node.name)
    made = graph.make_node(
        op,
        inputs,
        attr=attributes or {},
        name=node.name,
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
        domain=domain,
    )
    made.skip_conversion = True
