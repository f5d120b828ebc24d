"""TensorFlow's resizing of images, and its patches and crops of them, as ONNX nodes.

ONNX's Resize says what TensorFlow's nearest and bilinear resizing do. The other kinds are linear,
too: between known sizes each axis is one matrix, which TensorFlow itself is asked for.
"""

from __future__ import annotations

from functools import partial
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


def _extract_patches(build: Builder) -> None:
    """Gather the rows of each window, then its columns: (N, rows, columns, window * C).

    tf2onnx convolves with a unit kernel instead, which needs a known batch and spreads NaN.
    """
    graph, node = build.graph, build.source
    shape = graph.get_shape(build.inputs[0])
    if shape is None or shape[3] < 1:
        raise NoOnnxFormError("it cuts patches of an unknown number of channels")
    counts, strides, rates = (
        [int(value) for value in node.get_attr_value(name)[1:3]]
        for name in ("ksizes", "strides", "rates")
    )
    is_same = node.get_attr_str("padding") == "SAME"
    pads, places, numbers = [], [], []
    for axis, size in enumerate(shape[1:3]):
        window = counts[axis], strides[axis], rates[axis]
        if size >= 0:
            pad, known = _known_windows(size, *window, is_same=is_same)
            place, number = build.constant(known), build.int64(len(known))
        else:
            length = build.size(build.inputs[0], 1 + axis)
            pad, place = _free_windows(build, length, *window, is_same=is_same)
            number = build.node("Gather", build.node("Shape", place), build.int64(0))
        pads.append(pad)
        places.append(place)
        numbers.append(number)
    (top, bottom), (left, right) = pads
    source = build.inputs[0]
    if top or bottom or left or right:
        source = build.node("Pad", source, build.int64(0, top, left, 0, 0, bottom, right, 0))
    source = build.node("Gather", source, places[0], axis=1)  # (N, rows, window, W, C)
    source = build.node("Gather", source, places[1], axis=3)
    source = build.node("Transpose", source, perm=[0, 1, 3, 2, 4, 5])
    # Not by zeros for all: tf2onnx drops a Transpose that moves axes of size 1 alone.
    ends = build.int64(0), build.int64(counts[0] * counts[1] * shape[3])
    build.replace("Reshape", source, build.node("Concat", ends[0], *numbers, ends[1], axis=0))


def _known_windows(
    size: int, count: int, stride: int, rate: int, *, is_same: bool
) -> tuple[tuple[int, int], np.ndarray[Any, Any]]:
    """Return the zeros before and after an axis, and the places (windows, count) in it.

    Source: GetWindowedOutputSizeVerbose in TensorFlow's kernel_shape_util.cc.
    """
    span = (count - 1) * rate + 1
    windows = -(-size // stride) if is_same else (size - span) // stride + 1
    missing = max((windows - 1) * stride + span - size, 0) if is_same else 0
    places = np.arange(windows)[:, None] * stride + np.arange(count) * rate
    return (missing // 2, missing - missing // 2), places.astype(np.int64)


def _free_windows(
    build: Builder, size: str, count: int, stride: int, rate: int, *, is_same: bool
) -> tuple[tuple[int, int], str]:
    """Do the same in the graph; ``size`` is a vector of one number.

    The zeros are as many as any size needs, and the first window begins after those too many.
    """
    span = (count - 1) * rate + 1
    step = build.int64(stride)
    rest = build.node("Add", size, build.int64(stride - 1 if is_same else stride - span))
    windows = build.node("Div", rest, step)
    zero, one = (build.constant(np.array(n, np.int64)) for n in (0, 1))
    numbers = build.node("Range", zero, build.node("Squeeze", windows), one)
    begins = build.node("Mul", numbers, step)
    if is_same:
        last = build.node("Mul", build.node("Sub", windows, build.int64(1)), step)
        end = build.node("Add", last, build.int64(span))
        missing = build.node("Max", build.node("Sub", end, size), build.int64(0))
        before = build.node("Div", missing, build.int64(2))
        begins = build.node("Add", begins, build.node("Sub", build.int64(span), before))
    column = build.node("Unsqueeze", begins, build.int64(1))
    places = build.node("Add", column, build.int64(*range(0, span, rate)))
    return (span, span) if is_same else (0, 0), places


def _crop_and_resize(build: Builder) -> None:
    """Interpolate between the four pixels around each point of each box: (M, H', W', C).

    tf2onnx resizes each box by Resize, whose rounding puts the last point of a box that ends at
    the border beyond the image: its answer was 0. Source: CropAndResize in TensorFlow's
    crop_and_resize_op.cc, in its order of operations.
    """
    node = build.source
    if not node.inputs[3].is_const():
        raise NoOnnxFormError("the size of its crops comes from the inputs")
    counts = [int(count) for count in node.inputs[3].get_tensor_value(as_list=False)]
    is_linear = node.get_attr_str("method") == "bilinear"
    image = _as_float(build)
    sizes = [build.size(image, axis) for axis in (1, 2)]
    lows, highs, parts, insides = [], [], [], []
    for axis, (count, size) in enumerate(zip(counts, sizes, strict=True)):
        last = build.node("Sub", size, build.int64(1))
        place, inside = _places_of_boxes(build, axis, count, last)
        low = build.node("Floor", place)
        nearest = build.node("Floor", build.node("Add", place, build.constant(np.float32(0.5))))
        around = [low, build.node("Ceil", place)] if is_linear else [nearest]
        # A place outside of the image is no pixel; its answer is replaced in the end.
        whole = [
            build.node("Min", build.node("Max", index, build.int64(0)), last)
            for index in (build.node("Cast", value, to=TensorProto.INT64) for value in around)
        ]
        ends = build.int64(2) if axis == 0 else build.int64(1)
        lows.append(build.node("Unsqueeze", whole[0], ends))
        highs.append(build.node("Unsqueeze", whole[-1], ends))
        part = build.node("Unsqueeze", build.node("Sub", place, low), ends)
        parts.append(build.node("Unsqueeze", part, build.int64(3)))
        insides.append(build.node("Unsqueeze", inside, ends))
    pixel = partial(_pixels, build, image, sizes)
    result = pixel(lows[0], lows[1])
    if is_linear:
        result = _between(build, result, pixel(lows[0], highs[1]), parts[1])
        below = _between(build, pixel(highs[0], lows[1]), pixel(highs[0], highs[1]), parts[1])
        result = _between(build, result, below, parts[0])
    inside = build.node("Unsqueeze", build.node("And", *insides), build.int64(3))
    beyond = build.constant(np.float32(node.get_attr_value("extrapolation_value") or 0.0))
    build.replace("Where", inside, result, beyond)


def _places_of_boxes(build: Builder, axis: int, count: int, last: str) -> tuple[str, str]:
    """Return where the points of each box are on an axis, (M, count), and if that is inside."""
    low, high = (
        build.node("Gather", build.inputs[1], build.int64(corner), axis=1)
        for corner in (axis, axis + 2)
    )
    end = build.node("Cast", last, to=TensorProto.FLOAT)
    if count > 1:
        span = build.node("Mul", build.node("Sub", high, low), end)
        step = build.node("Div", span, build.constant(np.float32(count - 1)))
        steps = build.node("Mul", step, build.constant(np.arange(count, dtype=np.float32)))
        place = build.node("Add", build.node("Mul", low, end), steps)
    else:
        middle = build.node("Mul", build.node("Add", low, high), build.constant(np.float32(0.5)))
        place = build.node("Mul", middle, end)
    above = build.node("GreaterOrEqual", place, build.constant(np.float32(0)))
    return place, build.node("And", above, build.node("LessOrEqual", place, end))


def _pixels(build: Builder, image: str, sizes: list[str], rows: str, columns: str) -> str:
    """Return the pixels (M, H', W', C) at rows (M, H', 1) and columns (M, 1, W')."""
    owner = build.node("Cast", build.inputs[2], to=TensorProto.INT64)
    zero = build.constant(np.array(0, np.int64))
    beyond = build.constant(np.array(2**31, np.int64))  # TensorFlow refuses -1: no last image
    owner = build.node("Where", build.node("Less", owner, zero), beyond, owner)
    owner = build.node("Unsqueeze", owner, build.int64(1, 2))
    row = build.node("Add", build.node("Mul", owner, sizes[0]), rows)
    place = build.node("Add", build.node("Mul", row, sizes[1]), columns)
    channels = build.size(image, 3)
    table = build.node("Concat", build.int64(-1), channels, axis=0)
    return build.node("Gather", build.node("Reshape", image, table), place, axis=0)


def _between(build: Builder, first: str, second: str, part: str) -> str:
    gap = build.node("Mul", build.node("Sub", second, first), part)
    return build.node("Add", first, gap)


HANDLERS = {
    "CropAndResize": _crop_and_resize,
    "ExtractImagePatches": _extract_patches,
    "ResizeBilinear": _resize,
    "ResizeNearestNeighbor": _resize,
    "ResizeBicubic": _resize_by_matrices,
    "ResizeArea": _resize_by_matrices,
    "ScaleAndTranslate": _resize_by_matrices,
}
