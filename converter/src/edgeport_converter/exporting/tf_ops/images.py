"""TensorFlow's image resizing as ONNX nodes.

ONNX's Resize says what TensorFlow's nearest and bilinear resizing do. The other kinds are linear,
too: between known sizes each axis is one matrix, which TensorFlow itself is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from onnx import TensorProto

from edgeport_converter.exporting.tf_ops.builder import Builder, NoOnnxFormError

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def _resize(build: Builder) -> None:
    graph, node = build.graph, build.source
    mode = "linear" if node.type == "ResizeBilinear" else "nearest"
    sizes = _fixed_sizes(build)
    is_whole = graph.get_dtype(build.inputs[0]) not in _FLOATS
    source = _as_float(build)
    align = bool(node.get_attr_value("align_corners"))
    half_pixel = bool(node.get_attr_value("half_pixel_centers"))
    if mode == "linear" and is_whole and sizes is not None and half_pixel and not align:
        _lerp(build, source, sizes)
        return
    coordinates, rounding = "asymmetric", "floor"
    if align:
        coordinates, rounding = "align_corners", "round_prefer_ceil"
    elif half_pixel:
        # TensorFlow takes floor((i + 0.5) / scale) for the nearest, which is half_pixel's middle
        # rounded up; "tf_half_pixel_for_nn" left ONNX with opset 13.
        coordinates, rounding = "half_pixel", "round_prefer_ceil"
    data = build.node("Transpose", source, perm=[0, 3, 1, 2])
    scales = None if sizes is None else [_scale(before, after) for before, after in sizes]
    if scales is not None and None not in scales:
        target = ["", build.constant(np.array([1.0, 1.0, *scales], np.float32))]
    else:
        shape = build.node("Shape", data)
        front = build.node("Slice", shape, build.int64(0), build.int64(2))
        wanted = build.node("Cast", build.inputs[1], to=TensorProto.INT64)
        target = ["", "", build.node("Concat", front, wanted, axis=0)]
    result = build.node(
        "Resize",
        *(data, *target),
        mode=mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode=rounding,
    )
    graph.set_dtype(result, graph.get_dtype(source))
    build.replace("Transpose", result, perm=[0, 2, 3, 1])


def _lerp(build: Builder, source: str, sizes: list[tuple[int, int]]) -> None:
    """Interpolate in TensorFlow's own order of operations.

    Whole numbers are rounded afterwards, and what lands on a tie must land there to the bit.
    """
    (top, bottom, down), (left, right, across) = (_neighbours(*pair) for pair in sizes)
    rows = []
    for index in (top, bottom):
        row = build.node("Gather", source, build.constant(index), axis=1)
        first, second = (
            build.node("Gather", row, build.constant(column), axis=2) for column in (left, right)
        )
        weight = build.constant(across.reshape(1, 1, -1, 1))
        part = build.node("Mul", build.node("Sub", second, first), weight)
        rows.append(build.node("Add", first, part))
    gap = build.node("Sub", rows[1], rows[0])
    part = build.node("Mul", gap, build.constant(down.reshape(1, -1, 1, 1)))
    build.replace("Add", rows[0], part)


def _neighbours(before: int, after: int) -> tuple[np.ndarray[Any, Any], ...]:
    """Return the lower and upper neighbour of each new pixel, and the upper one's weight.

    Source: compute_interpolation_weights in TensorFlow's resize_bilinear_op.cc, in float32.
    """
    half = np.float32(0.5)
    scale = np.float32(before) / np.float32(after)
    place = (np.arange(after, dtype=np.float32) + half) * scale - half
    floor = np.floor(place)
    lower = np.maximum(floor.astype(np.int64), 0)
    upper = np.minimum(floor.astype(np.int64) + 1, before - 1)
    return lower, upper, place - floor


def _as_float(build: Builder) -> str:
    """TensorFlow answers in float32 for any input, but for the nearest neighbour."""
    graph, source = build.graph, build.inputs[0]
    is_nearest = build.source.type == "ResizeNearestNeighbor"
    if is_nearest or graph.get_dtype(source) == TensorProto.FLOAT:
        return source
    cast = build.node("Cast", source, to=TensorProto.FLOAT)
    graph.set_dtype(cast, TensorProto.FLOAT)
    return cast


def _fixed_sizes(build: Builder) -> list[tuple[int, int]] | None:
    """Return (before, after) of height and width, None where one is free."""
    before, size = build.graph.get_shape(build.inputs[0]), build.source.inputs[1]
    if before is None or not size.is_const():
        return None
    after = [int(length) for length in size.get_tensor_value(as_list=False)]
    pairs = list(zip(before[1:3], after, strict=True))
    return None if any(size is None or size < 1 for size in before[1:3]) else pairs


def _scale(before: int, after: int) -> np.float32 | None:
    """Return a factor that gives ``after`` in onnxruntime's float32 and in float64."""
    exact = np.float32(after / before)
    for factor in (exact, np.nextafter(exact, np.float32(np.inf))):
        if int(factor * np.float32(before)) == int(float(factor) * before) == after:
            return factor
    return None


def _resize_by_matrices(build: Builder) -> None:
    """Multiply height and width by TensorFlow's own weights."""
    sizes = _fixed_sizes(build)
    if sizes is None:
        raise NoOnnxFormError("ONNX resizes free sizes in the nearest and bilinear way only")
    result = build.node("Transpose", _as_float(build), perm=[0, 3, 1, 2])
    rows, columns = (_weights(build.source, *pair, axis) for axis, pair in enumerate(sizes))
    left, right = build.constant(rows), build.constant(columns.T.copy())
    result = build.node("MatMul", left, result)
    result = build.node("MatMul", result, right)
    build.replace("Transpose", result, perm=[0, 2, 3, 1])


def _weights(node: Any, before: int, after: int, axis: int) -> np.ndarray[Any, Any]:
    """Return the matrix (after, before) that the operation applies along one axis."""
    # Each column of a unit matrix is an image; the other axis has one pixel and stays.
    images = np.eye(before, dtype=np.float32).reshape(before, before, 1, 1)
    if axis == 1:
        images = images.transpose(0, 2, 1, 3)
    size = [after, 1] if axis == 0 else [1, after]
    if node.type == "ScaleAndTranslate":
        scales, shifts = _constants(node)
        scale, shift = [1.0, 1.0], [0.0, 0.0]
        scale[axis], shift[axis] = float(scales[axis]), float(shifts[axis])
        options: dict[str, Any] = {"scale": scale, "translation": shift}
        options["kernel_type"] = node.get_attr_str("kernel_type")
        options["antialias"] = bool(node.get_attr_value("antialias"))
    else:
        names = ["align_corners"]
        if node.type == "ResizeBicubic":
            names.append("half_pixel_centers")
        options = {name: bool(node.get_attr_value(name)) for name in names}
    with tf.Graph().as_default() as graph, tf.device("/cpu:0"):
        result = getattr(tf.raw_ops, node.type)(images=images, size=size, **options)
        with tf.compat.v1.Session(graph=graph) as session:
            answer: np.ndarray[Any, Any] = session.run(result)
    return answer.reshape(before, after).T.copy()


def _constants(node: Any) -> tuple[Any, Any]:
    scale, shift = node.inputs[2], node.inputs[3]
    if not (scale.is_const() and shift.is_const()):
        raise NoOnnxFormError("ONNX resizes free sizes in the nearest and bilinear way only")
    return scale.get_tensor_value(as_list=False), shift.get_tensor_value(as_list=False)


HANDLERS = {
    "ResizeBilinear": _resize,
    "ResizeNearestNeighbor": _resize,
    "ResizeBicubic": _resize_by_matrices,
    "ResizeArea": _resize_by_matrices,
    "ScaleAndTranslate": _resize_by_matrices,
}
