"""Integer operations that ONNX's ones of the same name compute differently for negative numbers.

ONNX counts a negative index from the end, where TensorFlow refuses it or means "no class"; ONNX
divides integers towards zero, where TensorFlow rounds down.

A cast from an integer to a boolean is here for onnxruntime before 1.21, which joins it with the
cast before it: 0.5 became true by way of the integer 0.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto
from tf2onnx import utils
from tf2onnx.onnx_opset import math as tf2onnx_math
from tf2onnx.onnx_opset import tensor as tf2onnx_tensor

from edgeport_converter.exporting.tf_ops.builder import Builder, NoOnnxFormError

_SIGNED = (TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64)
_UNSIGNED = (TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64)


def _cast(build: Builder) -> None:
    """Ask an integer whether it is 0, instead of casting it to a boolean."""
    graph, node = build.graph, build.source
    given = graph.get_dtype(build.inputs[0])
    if node.get_attr_value("to") != TensorProto.BOOL or given not in _SIGNED + _UNSIGNED:
        tf2onnx_tensor.Cast.version_9(graph, node)
        return
    # onnxruntime compares no other integers. What wraps around stays other than 0.
    wide = TensorProto.INT32 if given == TensorProto.INT32 else TensorProto.INT64
    value = build.inputs[0] if given == wide else build.node("Cast", build.inputs[0], to=wide)
    zero = build.constant(np.array(0, utils.map_onnx_to_numpy_type(wide)))
    build.replace("Not", build.node("Equal", value, zero))


def _floor_div(build: Builder) -> None:
    """Q = trunc(a / b), less one where the remainder and the divisor have other signs."""
    dtype = build.graph.get_dtype(build.inputs[0])
    if dtype not in _SIGNED:
        tf2onnx_math.FloorDiv.version_6(build.graph, build.source)
        return
    left, right = build.inputs
    zero = build.scalar(0)
    quotient = build.node("Div", left, right)
    remainder = build.node("Sub", left, build.node("Mul", quotient, right))
    has_rest = build.node("Not", build.node("Equal", remainder, zero))
    signs = [build.node("Less", value, zero) for value in (remainder, right)]
    is_above = build.node("And", has_rest, build.node("Xor", *signs))
    build.replace("Sub", quotient, build.node("Cast", is_above, to=dtype))


def _gather(build: Builder) -> None:
    """Make a negative index one that onnxruntime refuses."""
    graph, node, indices = build.graph, build.source, build.inputs[1]
    dtype = graph.get_dtype(indices)
    if dtype in (TensorProto.INT32, TensorProto.INT64) and not node.inputs[1].is_const():
        kind = utils.map_onnx_to_numpy_type(dtype)
        beyond = build.constant(np.array(np.iinfo(kind).max, kind))
        zero = build.constant(np.array(0, kind))
        shape = graph.get_shape(indices)
        negative = build.node("Less", indices, zero)
        checked = build.node("Where", negative, beyond, indices)
        graph.set_dtype(checked, dtype)
        if shape is not None:
            graph.set_shape(checked, shape)
        graph.replace_input(node, indices, checked, 1)
    if node.type == "GatherV2":
        tf2onnx_tensor.GatherV2.version_12(graph, node)
    else:
        tf2onnx_tensor.Gather.version_11(graph, node)


_WITH_TOP_K = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT32, TensorProto.INT64)
"""Types of onnxruntime's kernels."""


def _top_k(build: Builder) -> None:
    """Sort integers and float64 as such: tf2onnx makes them float32, which rounds large ones."""
    graph, node = build.graph, build.source
    values, dtype = build.inputs[0], graph.get_dtype(build.inputs[0])
    if dtype not in _WITH_TOP_K:
        is_integer = dtype in _SIGNED + _UNSIGNED
        wide = TensorProto.INT64 if is_integer else TensorProto.FLOAT
        values = build.node("Cast", values, to=wide)
    count = build.node("Cast", build.inputs[1], to=TensorProto.INT64)
    count = build.node("Reshape", count, build.int64(1))
    outputs, dtypes, shapes = list(node.output), node.output_dtypes, node.output_shapes
    graph.remove_node(node.name)
    top = graph.make_node("TopK", [values, count], attr={"axis": -1}, output_count=2)
    top.skip_conversion = True
    for found, name, kind, shape in zip(top.output, outputs, dtypes, shapes, strict=True):
        cast = graph.make_node(
            "Cast", [found], attr={"to": kind}, outputs=[name], dtypes=[kind], shapes=[shape]
        )
        cast.skip_conversion = True


def _one_hot(build: Builder) -> None:
    """Compare with every class, so that an index outside of them is no class."""
    indices, _, on, off = build.inputs
    count = build.source.inputs[1]
    if not count.is_const():
        raise NoOnnxFormError("the number of classes comes from the inputs")
    classes = int(count.get_tensor_value())
    axis = build.source.get_attr_value("axis", -1)
    values = np.arange(classes, dtype=np.int64)
    if axis != -1:
        shape = build.graph.get_shape(indices)
        if shape is None:
            raise NoOnnxFormError("the classes stand in the middle of an unknown number of axes")
        values = values.reshape(classes, *[1] * (len(shape) - axis))
    wide = build.node("Cast", indices, to=TensorProto.INT64)
    column = build.node("Unsqueeze", wide, build.int64(axis))
    hit = build.node("Equal", column, build.constant(values))
    build.replace_by_where(hit, on, off)


HANDLERS = {
    "Cast": _cast,
    "FloorDiv": _floor_div,
    "Gather": _gather,
    "GatherV2": _gather,
    "OneHot": _one_hot,
    "TopKV2": _top_k,
}
