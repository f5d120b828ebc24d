"""Values scattered over a tensor: by their indices, by their segments, onto a diagonal.

tf2onnx keeps one of several values with one index where TensorFlow adds them up, takes a segment
-1 for the last one where TensorFlow leaves its values out, and drops a batch of one diagonal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tf2onnx.onnx_opset import reduction

from edgeport_converter.exporting.tf_ops.builder import Builder, NoOnnxFormError


def _scatter(build: Builder) -> None:
    """Add each value to zeros of the wanted shape at its index."""
    indices, values, shape = build.inputs
    zeros = _zeros(build, values, build.node("Cast", shape, to=TensorProto.INT64))
    where = build.node("Cast", indices, to=TensorProto.INT64)
    build.replace("ScatterND", zeros, where, values, reduction="add")


def _sum_segments(build: Builder) -> None:
    """Add each row to zeros at the number of its segment; negative ones meet beyond the last."""
    graph = build.graph
    values, segments, count = build.inputs
    shape, owners = graph.get_shape(values), graph.get_shape(segments)
    if shape is None or owners is None:
        reduction.SegmentSum.version_13(graph, build.source)
        return
    number = build.node("Reshape", build.node("Cast", count, to=TensorProto.INT64), build.int64(-1))
    zero = build.int64(0)
    owner = build.node("Cast", segments, to=TensorProto.INT64)
    owner = build.node("Where", build.node("Less", owner, zero), number, owner)
    sizes = [build.node("Add", number, build.int64(1))]
    if len(shape) > len(owners):
        rest = build.int64(*range(len(owners), len(shape)))
        sizes.append(build.node("Gather", build.node("Shape", values), rest))
    zeros = _zeros(build, values, build.node("Concat", *sizes, axis=0))
    index = build.node("Unsqueeze", owner, build.int64(-1))
    result = build.node("ScatterND", zeros, index, values, reduction="add")
    build.replace("Slice", result, zero, number, zero)


def _zeros(build: Builder, like: str, shape: str) -> str:
    dtype = build.graph.get_dtype(like)
    value = helper.make_tensor("value", dtype, dims=[1], vals=[0])
    zeros = build.node("ConstantOfShape", shape, value=value)
    build.graph.set_dtype(zeros, dtype)
    return zeros


def _diagonal_matrix(build: Builder) -> None:
    """Put the values on the main diagonal, and rows and columns around it for another one."""
    node = build.source
    diagonal, padding, number = build.inputs[0], build.scalar(0), 0
    if node.type != "MatrixDiag":
        number = _only_diagonal(node, 1)
        if any(_constant(node, place).reshape(-1)[0] != -1 for place in (2, 3)):
            raise NoOnnxFormError("it gives its diagonal matrix a size of its own")
        padding = build.inputs[4]
    length = build.size(diagonal, -1)
    column = build.node("Unsqueeze", diagonal, build.int64(-1))
    matrix = [_is_diagonal(build, length, length), column, padding]
    if number == 0:
        build.replace("Where", *matrix)
        return
    front = [0] * (len(build.graph.get_shape(diagonal)) - 1)
    corners = (0, number), (number, 0)
    if number < 0:
        corners = (-number, 0), (0, -number)
    before, after = ([*front, *corner] for corner in corners)
    build.replace("Pad", build.node("Where", *matrix), build.int64(*before, *after), padding)


def _with_diagonal(build: Builder) -> None:
    """Take the values on the main diagonal, the matrix elsewhere."""
    node = build.source
    matrix, diagonal = build.inputs[:2]
    if node.type != "MatrixSetDiag" and _only_diagonal(node, 2) != 0:
        raise NoOnnxFormError("it sets another diagonal than the main one")
    rows, columns = (build.size(matrix, axis) for axis in (-2, -1))
    height, width = build.graph.get_shape(matrix)[-2:]
    if height != width and -1 in (height, width):
        raise NoOnnxFormError("it sets the diagonal of a matrix that may not be square")
    # A matrix of fewer rows than columns has a value in each row, any other in each column.
    spread = build.node("Unsqueeze", diagonal, build.int64(-1 if height <= width else -2))
    build.replace("Where", _is_diagonal(build, rows, columns), spread, matrix)


def _is_diagonal(build: Builder, rows: str, columns: str) -> str:
    """Return where a matrix has its main diagonal, (rows, columns)."""
    zero, one = (build.constant(np.array(n, np.int64)) for n in (0, 1))
    down, across = (
        build.node("Range", zero, build.node("Squeeze", size, build.int64(0)), one)
        for size in (rows, columns)
    )
    return build.node("Equal", across, build.node("Unsqueeze", down, build.int64(1)))


def _only_diagonal(node: Any, place: int) -> int:
    numbers = np.unique(_constant(node, place))
    if numbers.size != 1:
        raise NoOnnxFormError("it has several diagonals")
    return int(numbers[0])


def _constant(node: Any, place: int) -> np.ndarray[Any, Any]:
    if not node.inputs[place].is_const():
        raise NoOnnxFormError("which diagonal it has comes from the inputs")
    value: np.ndarray[Any, Any] = np.asarray(node.inputs[place].get_tensor_value(as_list=False))
    return value


HANDLERS = {
    "ScatterNd": _scatter,
    "UnsortedSegmentSum": _sum_segments,
    "MatrixDiag": _diagonal_matrix,
    "MatrixDiagV2": _diagonal_matrix,
    "MatrixDiagV3": _diagonal_matrix,
    "MatrixSetDiag": _with_diagonal,
    "MatrixSetDiagV2": _with_diagonal,
    "MatrixSetDiagV3": _with_diagonal,
}
