"""Integer operations that ONNX's ones of the same name compute differently for negative numbers.

ONNX counts a negative index from the end, where TensorFlow refuses it or means "no class"; ONNX
divides integers towards zero, where TensorFlow rounds down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto
from tf2onnx import utils
from tf2onnx.onnx_opset import math as tf2onnx_math
from tf2onnx.onnx_opset import tensor as tf2onnx_tensor

from edgeport_converter.exporting.tf_ops.builder import (
    NoOnnxFormError,
    int64_values,
    node_for,
    replace,
    scalar,
    tensor,
)

_SIGNED = (TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64)
_UNSIGNED = (TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64)


def _floor_div(graph: Any, node: Any) -> None:
    """Q = trunc(a / b), less one where the remainder and the divisor have other signs."""
    dtype = graph.get_dtype(node.input[0])
    if dtype not in _SIGNED:
        tf2onnx_math.FloorDiv.version_6(graph, node)
        return
    left, right = node.input
    zero = scalar(graph, node, 0)
    quotient = node_for(graph, node, "Div", [left, right])
    remainder = node_for(
        graph, node, "Sub", [left, node_for(graph, node, "Mul", [quotient, right])]
    )
    has_rest = node_for(graph, node, "Not", [node_for(graph, node, "Equal", [remainder, zero])])
    signs_differ = node_for(
        graph,
        node,
        "Xor",
        [
            node_for(graph, node, "Less", [remainder, zero]),
            node_for(graph, node, "Less", [right, zero]),
        ],
    )
    is_above = node_for(graph, node, "And", [has_rest, signs_differ])
    replace(
        graph, node, "Sub", [quotient, node_for(graph, node, "Cast", [is_above], {"to": dtype})]
    )


def _floor_mod(graph: Any, node: Any) -> None:
    """ONNX's Mod has the divisor's sign for integers, as TensorFlow's FloorMod has."""
    if graph.get_dtype(node.input[0]) in _SIGNED + _UNSIGNED:
        replace(graph, node, "Mod", node.input)
    else:
        tf2onnx_math.FloorMod.version_7(graph, node)


def _gather(graph: Any, node: Any) -> None:
    """Make a negative index one that onnxruntime refuses."""
    indices, dtype = node.input[1], graph.get_dtype(node.input[1])
    is_known = node.inputs[1].is_const()
    if dtype in (TensorProto.INT32, TensorProto.INT64) and not is_known:
        kind = utils.map_onnx_to_numpy_type(dtype)
        beyond = tensor(graph, node, np.array(np.iinfo(kind).max, kind))
        zero = tensor(graph, node, np.array(0, kind))
        shape = graph.get_shape(indices)
        negative = node_for(graph, node, "Less", [indices, zero])
        checked = node_for(graph, node, "Where", [negative, beyond, indices])
        graph.set_dtype(checked, dtype)
        if shape is not None:
            graph.set_shape(checked, shape)
        graph.replace_input(node, indices, checked, 1)
    if node.type == "GatherV2":
        tf2onnx_tensor.GatherV2.version_12(graph, node)
    else:
        tf2onnx_tensor.Gather.version_11(graph, node)


def _one_hot(graph: Any, node: Any) -> None:
    """Compare with every class, so that an index outside of them is no class."""
    indices, _, on, off = node.input
    if not node.inputs[1].is_const():
        raise NoOnnxFormError("the number of classes comes from the inputs")
    classes = int(node.inputs[1].get_tensor_value())
    axis = node.get_attr_value("axis", -1)
    values = np.arange(classes, dtype=np.int64)
    if axis != -1:
        shape = graph.get_shape(indices)
        if shape is None:
            raise NoOnnxFormError("the classes stand in the middle of an unknown number of axes")
        values = values.reshape(classes, *[1] * (len(shape) - axis))
    wide = node_for(graph, node, "Cast", [indices], {"to": TensorProto.INT64})
    column = node_for(graph, node, "Unsqueeze", [wide, int64_values(graph, node, [axis])])
    hit = node_for(graph, node, "Equal", [column, tensor(graph, node, values)])
    replace(graph, node, "Where", [hit, on, off])


HANDLERS: dict[str, Callable[[Any, Any], None]] = {
    "FloorDiv": _floor_div,
    "FloorMod": _floor_mod,
    "Gather": _gather,
    "GatherV2": _gather,
    "OneHot": _one_hot,
}
