"""TensorFlow's image resizing as ONNX nodes.

ONNX's Resize says what TensorFlow's nearest and bilinear resizing do. The other kinds are linear,
too: between known sizes each axis is one matrix, which TensorFlow itself is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from onnx import TensorProto

from edgeport_converter.exporting.tf_ops.builder import (
    NoOnnxFormError,
    int64_values,
    node_for,
    replace,
    tensor,
)

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)


def _resize(graph: Any, node: Any) -> None:
    mode = "linear" if node.type == "ResizeBilinear" else "nearest"
    sizes = _fixed_sizes(graph, node)
    is_whole = graph.get_dtype(node.input[0]) not in _FLOATS
    source = _as_float(graph, node)
    align = bool(node.get_attr_value("align_corners"))
    half_pixel = bool(node.get_attr_value("half_pixel_centers"))
    if mode == "linear" and is_whole and sizes is not None and half_pixel and not align:
        _lerp(graph, node, source, sizes)
        return
    coordinates, rounding = "asymmetric", "floor"
    if align:
        coordinates, rounding = "align_corners", "round_prefer_ceil"
    elif half_pixel:
        # TensorFlow takes floor((i + 0.5) / scale) for the nearest, which is half_pixel's middle
        # rounded up; "tf_half_pixel_for_nn" left ONNX with opset 13.
        coordinates, rounding = "half_pixel", "round_prefer_ceil"
    data = node_for(graph, node, "Transpose", [source], {"perm": [0, 3, 1, 2]})
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    inputs = [data, "", "", ""]
    scales = None if sizes is None else [_scale(before, after) for before, after in sizes]
    if scales is not None and None not in scales:
        values = np.array([1.0, 1.0, *scales], np.float32)
        inputs[2:] = [tensor(graph, node, values)]
    else:
        shape = node_for(graph, node, "Shape", [data])
        first, third = int64_values(graph, node, [0]), int64_values(graph, node, [2])
        front = node_for(graph, node, "Slice", [shape, first, third])
        target = node_for(graph, node, "Cast", [node.input[1]], {"to": TensorProto.INT64})
        inputs[3] = node_for(graph, node, "Concat", [front, target], {"axis": 0})
    result = node_for(graph, node, "Resize", inputs, attributes)
    graph.set_dtype(result, graph.get_dtype(source))
    replace(graph, node, "Transpose", [result], {"perm": [0, 2, 3, 1]})


def _lerp(graph: Any, node: Any, source: str, sizes: list[tuple[int, int]]) -> None:
    """Interpolate in TensorFlow's own order of operations.

    Whole numbers are rounded afterwards, and what lands on a tie must land there to the bit.
    """

    def between(first: str, second: str, weight: str) -> str:
        gap = node_for(graph, node, "Sub", [second, first])
        part = node_for(graph, node, "Mul", [gap, weight])
        return node_for(graph, node, "Add", [first, part])

    (top, bottom, down), (left, right, across) = (_neighbours(*pair) for pair in sizes)
    rows = []
    for index in (top, bottom):
        row = node_for(graph, node, "Gather", [source, tensor(graph, node, index)], {"axis": 1})
        ends = [
            node_for(graph, node, "Gather", [row, tensor(graph, node, column)], {"axis": 2})
            for column in (left, right)
        ]
        rows.append(between(ends[0], ends[1], tensor(graph, node, across.reshape(1, 1, -1, 1))))
    gap = node_for(graph, node, "Sub", [rows[1], rows[0]])
    part = node_for(graph, node, "Mul", [gap, tensor(graph, node, down.reshape(1, -1, 1, 1))])
    replace(graph, node, "Add", [rows[0], part])


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


def _as_float(graph: Any, node: Any) -> str:
    """TensorFlow answers in float32 for any input, but for the nearest neighbour."""
    source: str = node.input[0]
    if node.type == "ResizeNearestNeighbor" or graph.get_dtype(source) == TensorProto.FLOAT:
        return source
    cast = node_for(graph, node, "Cast", [source], {"to": TensorProto.FLOAT})
    graph.set_dtype(cast, TensorProto.FLOAT)
    return cast


def _fixed_sizes(graph: Any, node: Any) -> list[tuple[int, int]] | None:
    """Return (before, after) of height and width, None where one is free."""
    before = graph.get_shape(node.input[0])
    if before is None or not node.inputs[1].is_const():
        return None
    after = [int(size) for size in node.inputs[1].get_tensor_value(as_list=False)]
    pairs = list(zip(before[1:3], after, strict=True))
    return None if any(size is None or size < 1 for size in before[1:3]) else pairs


def _scale(before: int, after: int) -> np.float32 | None:
    """Return a factor that gives ``after`` in onnxruntime's float32 and in float64."""
    exact = np.float32(after / before)
    for factor in (exact, np.nextafter(exact, np.float32(np.inf))):
        if int(factor * np.float32(before)) == int(float(factor) * before) == after:
            return factor
    return None


def _resize_by_matrices(graph: Any, node: Any) -> None:
    """Multiply height and width by TensorFlow's own weights."""
    sizes = _fixed_sizes(graph, node)
    if sizes is None:
        raise NoOnnxFormError("ONNX resizes free sizes in the nearest and bilinear way only")
    result = node_for(graph, node, "Transpose", [_as_float(graph, node)], {"perm": [0, 3, 1, 2]})
    (height, new_height), (width, new_width) = sizes
    rows = _weights(node, height, new_height, axis=0)
    columns = _weights(node, width, new_width, axis=1)
    left = tensor(graph, node, rows)
    right = tensor(graph, node, columns.T.copy())
    result = node_for(graph, node, "MatMul", [left, result])
    result = node_for(graph, node, "MatMul", [result, right])
    replace(graph, node, "Transpose", [result], {"perm": [0, 2, 3, 1]})


def _weights(node: Any, before: int, after: int, axis: int) -> np.ndarray[Any, Any]:
    """Return the matrix (after, before) that the operation applies along one axis."""
    # Each column of a unit matrix is an image; the other axis has one pixel and stays.
    images = np.eye(before, dtype=np.float32).reshape(before, before, 1, 1)
    if axis == 1:
        images = images.transpose(0, 2, 1, 3)
    size = [after, 1] if axis == 0 else [1, after]
    with tf.Graph().as_default() as graph, tf.device("/cpu:0"):
        if node.type == "ScaleAndTranslate":
            scales, shifts = _constants(node)
            one = [1.0, 1.0]
            scale, shift = (list(one), [0.0, 0.0])
            scale[axis], shift[axis] = float(scales[axis]), float(shifts[axis])
            result = tf.raw_ops.ScaleAndTranslate(
                images=images,
                size=size,
                scale=scale,
                translation=shift,
                kernel_type=node.get_attr_str("kernel_type"),
                antialias=bool(node.get_attr_value("antialias")),
            )
        elif node.type == "ResizeArea":
            result = tf.raw_ops.ResizeArea(
                images=images, size=size, align_corners=bool(node.get_attr_value("align_corners"))
            )
        else:
            result = tf.raw_ops.ResizeBicubic(
                images=images,
                size=size,
                align_corners=bool(node.get_attr_value("align_corners")),
                half_pixel_centers=bool(node.get_attr_value("half_pixel_centers")),
            )
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
