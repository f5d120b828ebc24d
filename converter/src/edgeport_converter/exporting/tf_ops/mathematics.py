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
    Builder,
    NoOnnxFormError,
)


def _erfc(build: Builder) -> None:
    """erfc(x) = 1 - erf(x); the exact gelu is made of it."""
    erf = build.node("Erf", *build.inputs)
    build.replace("Sub", build.scalar(1.0), erf)


def _expm1(build: Builder) -> None:
    exp = build.node("Exp", *build.inputs)
    build.replace("Sub", exp, build.scalar(1.0))


def _log1p(build: Builder) -> None:
    build.replace("Log", build.node("Add", build.inputs[0], build.scalar(1.0)))


def _bucketize(build: Builder) -> None:
    """Count the boundaries that a value has reached."""
    boundaries = np.asarray(build.source.get_attr_value("boundaries"), dtype=np.float32)
    values = build.inputs[0]
    if build.graph.get_dtype(values) != TensorProto.FLOAT:
        values = build.node("Cast", values, to=TensorProto.FLOAT)
    last = build.int64(-1)
    edges = build.constant(boundaries)
    reached = build.node("GreaterOrEqual", build.node("Unsqueeze", values, last), edges)
    counted = build.node("Cast", reached, to=TensorProto.INT32)
    build.replace("ReduceSum", counted, last, keepdims=0)


def _bincount(build: Builder) -> None:
    """Count each value along the last axis; tf2onnx counts over all of them."""
    graph, output = build.graph, build.source.output[0]
    given, count, weights = build.inputs
    size = graph.get_shape(output)
    values = build.node("Cast", given, to=TensorProto.INT64)
    last = build.int64(-1)
    if size and size[-1] not in (-1, None):
        bins = build.int64(*range(size[-1]))
    else:
        zero, one = (build.constant(np.array(n, np.int64)) for n in (0, 1))
        end = build.node("Cast", count, to=TensorProto.INT64)
        bins = build.node("Range", zero, end, one)
    hits = build.node("Equal", build.node("Unsqueeze", values, last), bins)
    numbers = build.node("Cast", hits, to=graph.get_dtype(output))
    weights_shape = graph.get_shape(weights)
    if weights_shape is None or 0 not in weights_shape:
        numbers = build.node("Mul", numbers, build.node("Unsqueeze", weights, last))
    if build.source.get_attr_value("binary_output"):
        build.replace("ReduceMax", numbers, axes=[-2], keepdims=0)
    else:
        build.replace("ReduceSum", numbers, build.int64(-2), keepdims=0)


def _equal(build: Builder) -> None:
    """Compare text through a table, since ONNX compares it from opset 19 on only."""
    graph, node = build.graph, build.source
    if graph.get_dtype(build.inputs[0]) != TensorProto.STRING:
        logical.Equal.version_11(graph, node)
        return
    sides = list(zip(build.inputs, node.inputs, strict=True))
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
    build.replace("Cast", found, to=TensorProto.BOOL)


def _bound(comparison: str) -> Callable[[Builder], None]:
    def convert(build: Builder) -> None:
        """Count the sorted values (rows, S) that stand before each of the others (rows, V)."""
        ordered = build.node("Unsqueeze", build.inputs[0], build.int64(1))
        wanted = build.node("Unsqueeze", build.inputs[1], build.int64(2))
        stands_before = build.node(comparison, ordered, wanted)
        dtype = build.graph.get_dtype(build.source.output[0])
        number = build.node("Cast", stands_before, to=dtype)
        build.replace("ReduceSum", number, build.int64(2), keepdims=0)

    return convert


def _cross(build: Builder) -> None:
    """A × b along the last axis: both turned by one and by two places."""
    (a_one, a_two), (b_one, b_two) = (
        [
            build.node("Gather", name, build.int64(*order), axis=-1)
            for order in ([1, 2, 0], [2, 0, 1])
        ]
        for name in build.inputs
    )
    first = build.node("Mul", a_one, b_two)
    build.replace("Sub", first, build.node("Mul", a_two, b_one))


def _broadcast_shape(build: Builder) -> None:
    """Return the shape that two shapes broadcast to: the larger size, where the other is one."""
    wide = [
        build.node("ConstantOfShape", build.node("Cast", name, to=TensorProto.INT64))
        for name in build.inputs
    ]
    shape = build.node("Shape", build.node("Add", *wide))
    build.replace("Cast", shape, to=build.graph.get_dtype(build.source.output[0]))


def _select(build: Builder) -> None:
    """Choose with Where: tf2onnx multiplies both sides by 0 and 1, and 0 times infinity is NaN.

    A Select whose condition has one number a row chooses whole rows.
    """
    graph = build.graph
    condition, chosen, other = build.inputs
    ranks = [None if s is None else len(s) for s in map(graph.get_shape, build.inputs)]
    if build.source.type == "Select" and ranks[0] == 1:
        rank = ranks[1] if ranks[1] is not None else ranks[2]
        if rank is None:
            raise NoOnnxFormError("it takes a tensor of an unknown number of axes")
        if rank > 1:
            condition = build.node("Unsqueeze", condition, build.int64(*range(1, rank)))
    build.replace_by_where(condition, chosen, other)


def _no_product(operation: str, zero: int) -> Callable[[Builder], None]:
    """Return the handler of a product or quotient that is 0 where one input is, even beside NaN."""

    def convert(build: Builder) -> None:
        left, right = build.inputs
        if operation == "Log":
            result = build.node("Mul", left, build.node("Log", right))
        else:
            result = build.node(operation, left, right)
        nothing = build.scalar(0)
        is_zero = build.node("Equal", build.inputs[zero], nothing)
        build.replace("Where", is_zero, nothing, result)

    return convert


def _euclidean_norm(build: Builder) -> None:
    """ReduceL2 over the named axes."""
    axes = build.source.inputs[1]
    if not axes.is_const():
        raise NoOnnxFormError("which axes it sums over comes from the inputs")
    numbers = [int(axis) for axis in np.reshape(axes.get_tensor_value(as_list=False), -1)]
    if not numbers:  # to ONNX, that is all of them
        build.replace("Abs", build.inputs[0])
        return
    keeps = bool(build.source.get_attr_value("keep_dims"))
    build.replace("ReduceL2", build.inputs[0], axes=numbers, keepdims=int(keeps))


def _truncate_mod(build: Builder) -> None:
    """The remainder has the sign of the number that is divided."""
    build.replace("Mod", *build.inputs, fmod=1)


def _floor_mod(build: Builder) -> None:
    """The remainder has the sign of the divisor, as ONNX's has for integers alone.

    tf2onnx takes floor(a / b) * b from floats, whose rounding is larger than b where a is large.
    Source: floor_fmod in TensorFlow's cwise_ops.h.
    """
    kind = np.dtype(utils.map_onnx_to_numpy_type(build.graph.get_dtype(build.inputs[0])))
    if kind.kind in "iu":
        build.replace("Mod", *build.inputs)
        return
    divisor, zero = build.inputs[1], build.scalar(0)
    rest = build.node("Mod", *build.inputs, fmod=1)
    signs = [build.node("Less", value, zero) for value in (rest, divisor)]
    is_other = build.node("And", build.node("Xor", *signs), _is_no_zero(build, rest))
    build.replace("Where", is_other, build.node("Add", rest, divisor), rest)


def _is_no_zero(build: Builder, value: str) -> str:
    return build.node("Not", build.node("Equal", value, build.scalar(0)))


def _truncate_div(build: Builder) -> None:
    """Round towards zero, which ONNX's Div does with integers alone."""
    kind = np.dtype(utils.map_onnx_to_numpy_type(build.graph.get_dtype(build.inputs[0])))
    if kind.kind in "iu":
        build.replace("Div", *build.inputs)
        return
    quotient = build.node("Div", *build.inputs)
    whole = build.node("Floor", build.node("Abs", quotient))
    build.replace("Mul", build.node("Sign", quotient), whole)


def _fake_quant(build: Builder) -> None:
    """Round to the nearest of 2^bits levels, whose zero is moved onto one of them.

    tf2onnx rounds the zero, and ties, to even numbers. Source: Nudge and the functors in
    TensorFlow's fake_quant_ops_functor.h, in float32.
    """
    node = build.source
    given: list[Any] = [node.get_attr_value(name) for name in ("min", "max")]
    if node.type != "FakeQuantWithMinMaxArgs":
        if not all(limit.is_const() for limit in node.inputs[1:]):
            raise NoOnnxFormError("the range of its levels comes from the inputs")
        given = [limit.get_tensor_value(as_list=False) for limit in node.inputs[1:]]
    low, high = (np.asarray(limit, np.float32) for limit in given)
    first = np.float32(1 if node.get_attr_value("narrow_range") else 0)
    last = np.float32(2 ** int(node.get_attr_value("num_bits")) - 1)
    scale = (high - low) / (last - first)
    if not np.all(scale > 0):
        raise NoOnnxFormError("the range of its levels is empty")
    zero = np.clip(np.floor(first - low / scale + np.float32(0.5)), first, last)
    bottom, top = ((edge - zero) * scale for edge in (first, last))
    half, step, least, most = map(build.constant, (np.float32(0.5), scale, bottom, top))
    value = build.node("Min", build.node("Max", build.inputs[0], least), most)
    level = build.node("Mul", build.node("Sub", value, least), build.constant(1 / scale))
    level = build.node("Floor", build.node("Add", level, half))
    build.replace("Add", build.node("Mul", level, step), least)


HANDLERS: dict[str, Callable[[Builder], None]] = {
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
    "Xlogy": _no_product("Log", 0),
    "Xdivy": _no_product("Div", 0),
    "MulNoNan": _no_product("Mul", 1),
    "Select": _select,
    "SelectV2": _select,
    "EuclideanNorm": _euclidean_norm,
    "FloorMod": _floor_mod,
    "TruncateDiv": _truncate_div,
    "TruncateMod": _truncate_mod,
    "FakeQuantWithMinMaxArgs": _fake_quant,
    "FakeQuantWithMinMaxVars": _fake_quant,
    "FakeQuantWithMinMaxVarsPerChannel": _fake_quant,
}
