"""Values scattered over a tensor: by their indices, by their segments, onto a diagonal.

tf2onnx keeps one of several values with one index where TensorFlow adds them up, takes a segment
-1 for the last one where TensorFlow leaves its values out, gives an empty segment infinity or NaN
where TensorFlow has a number, and drops a batch of one diagonal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tf2onnx import utils

from edgeport_converter.exporting.tf_ops.builder import Builder, NoOnnxFormError


def _scatter(build: Builder) -> None:
    """Add each value to zeros of the wanted shape at its index."""
    indices, values, shape = build.inputs
    where = build.node("Cast", indices, to=TensorProto.INT64)
    beyond = build.int64(2**31)  # TensorFlow refuses -1: no last place
    where = build.node("Where", build.node("Less", where, build.int64(0)), beyond, where)
    dtype, values = _scattered_type(build, values)
    zeros = _filled(build, values, build.node("Cast", shape, to=TensorProto.INT64), 0)
    result = build.node("ScatterND", zeros, where, values, reduction="add")
    build.replace("Cast", result, to=dtype)


def _scattered_type(build: Builder, values: str) -> tuple[int, str]:
    """Return the type of values, and these as float32 if onnxruntime adds none of their type."""
    dtype: int = build.graph.get_dtype(values)
    if dtype != TensorProto.FLOAT16:
        return dtype, values
    wide = build.node("Cast", values, to=TensorProto.FLOAT)
    build.graph.set_dtype(wide, TensorProto.FLOAT)
    return dtype, wide


def _segments(operation: str) -> Callable[[Builder], None]:
    """Return the handler of the sum, product, mean, ... of the rows of each segment.

    Segment numbers are raised by one: rows of negative ones meet in a segment 0, which is dropped.
    A number beyond the last one is refused, as by TensorFlow.
    """

    def convert(build: Builder) -> None:
        graph, kind = build.graph, build.source.type
        values, segments = build.inputs[:2]
        rank, owner_rank = (len(graph.get_shape(name) or ()) for name in (values, segments))
        if not owner_rank:
            raise NoOnnxFormError("it takes a tensor of an unknown number of axes")
        owner = build.node("Cast", segments, to=TensorProto.INT64)
        owner = build.node("Max", owner, build.int64(-1))
        owner = build.node("Add", owner, build.int64(1))
        if kind.startswith("Unsorted"):
            count = build.node("Cast", build.inputs[2], to=TensorProto.INT64)
            count = build.node("Reshape", count, build.int64(-1))
        else:  # as many as the last one says
            known = build.node("Concat", owner, build.int64(0), axis=0)
            count = build.node("ReduceMax", known, axes=[0], keepdims=1)
        rows = build.node("Add", count, build.int64(1))
        shape = rows
        if rank > owner_rank:
            rest = build.int64(*range(owner_rank, rank))
            sizes = build.node("Gather", build.node("Shape", values), rest)
            shape = build.node("Concat", rows, sizes, axis=0)
        dtype, values = _scattered_type(build, values)
        index = build.node("Unsqueeze", owner, build.int64(-1))
        if operation in ("Max", "Min"):
            result = _extremes(build, operation, values, owner, rows)
        else:
            is_product = operation == "Prod"
            start = _filled(build, values, shape, int(is_product))
            reduction = "mul" if is_product else "add"
            result = build.node("ScatterND", start, index, values, reduction=reduction)
        if operation == "Mean":
            ones = _filled(build, values, build.node("Shape", owner), 1)
            zeros = _filled(build, values, rows, 0)
            counts = build.node("ScatterND", zeros, index, ones, reduction="add")
            counts = build.node("Max", counts, _constant_like(build, values, 1))
            if rank > 1:
                counts = build.node("Unsqueeze", counts, build.int64(*range(1, rank)))
            result = build.node("Div", result, counts)
        end, zero = build.int64(2**31), build.int64(0)
        result = build.node("Slice", result, build.int64(1), end, zero)
        build.replace("Cast", result, to=dtype)

    return convert


def _extremes(build: Builder, operation: str, values: str, owner: str, rows: str) -> str:
    """Return the largest or smallest row of each segment, (rows, ...).

    1. Add a row to segment 0 that changes no result.
    2. Sort the rows by their segment; count each segment's.
    3. Write the rows' numbers into a table (segments, most rows), whose rest is the added row.
    4. Gather the rows by the table; reduce its second axis.
    """
    graph = build.graph
    shape = graph.get_shape(values)
    if len(graph.get_shape(build.inputs[1])) != 1:
        raise NoOnnxFormError("its segments have several axes")
    is_unsorted = build.source.type.startswith("Unsorted")
    kind = np.dtype(utils.map_onnx_to_numpy_type(graph.get_dtype(build.inputs[0])))
    about = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    worst = about.min if operation == "Max" else about.max
    if not is_unsorted and kind.kind == "f":
        worst = -np.inf if operation == "Max" else np.inf
    one = build.int64(1)
    sizes = one
    if len(shape) > 1:
        rest = build.int64(*range(1, len(shape)))
        sizes = build.node("Gather", build.node("Shape", values), rest)
        sizes = build.node("Concat", one, sizes, axis=0)
    neutral = _filled(build, values, sizes, worst)
    values = build.node("Concat", values, neutral, axis=0)
    owner = build.node("Concat", owner, build.int64(0), axis=0)
    total = build.node("Shape", owner)
    name = utils.make_name(build.source.name)
    attributes = {"axis": 0, "largest": 0, "sorted": 1}
    top = graph.make_node("TopK", [owner, total], attr=attributes, output_count=2, name=name)
    top.skip_conversion = True
    by_segment, order = top.output
    ones = build.node("Expand", one, total)
    index = build.node("Unsqueeze", owner, one)
    counts = build.node("Expand", build.int64(0), rows)
    counts = build.node("ScatterND", counts, index, ones, reduction="add")
    begins = build.node("CumSum", counts, build.constant(np.array(0, np.int64)), exclusive=1)
    zero, step = (build.constant(np.array(n, np.int64)) for n in (0, 1))
    numbers = build.node("Range", zero, build.node("Squeeze", total), step)
    place = build.node("Sub", numbers, build.node("Gather", begins, by_segment))
    both = [build.node("Unsqueeze", name, one) for name in (by_segment, place)]
    most = build.node("ReduceMax", counts, axes=[0], keepdims=1)
    table = build.node("Concat", rows, most, axis=0)
    table = build.node("Expand", build.node("Squeeze", build.node("Sub", total, one)), table)
    table = build.node("ScatterND", table, build.node("Concat", *both, axis=1), order)
    found = build.node("Gather", values, table, axis=0)
    found = build.node(f"Reduce{operation}", found, axes=[1], keepdims=0)
    if is_unsorted:
        return found
    # Where the numbers of the segments leave one out, TensorFlow answers 0.
    is_empty = build.node("Equal", counts, build.int64(0))
    if len(shape) > 1:
        is_empty = build.node("Unsqueeze", is_empty, build.int64(*range(1, len(shape))))
    return build.node("Where", is_empty, _constant_like(build, values, 0), found)


def _constant_like(build: Builder, like: str, value: float) -> str:
    kind = utils.map_onnx_to_numpy_type(build.graph.get_dtype(like))
    return build.constant(np.array(value, kind))


def _filled(build: Builder, like: str, shape: str, value: float) -> str:
    dtype = build.graph.get_dtype(like)
    content = helper.make_tensor("value", dtype, dims=[1], vals=[value])
    filled = build.node("ConstantOfShape", shape, value=content)
    build.graph.set_dtype(filled, dtype)
    return filled


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
    is_free = -1 in (height, width)
    if is_free:  # rows below the diagonal's end get any value, which is not taken
        zero, one = (build.constant(np.array(n, np.int64)) for n in (0, 1))
        down = build.node("Range", zero, build.node("Squeeze", rows, build.int64(0)), one)
        place = build.node("Where", build.node("Less", down, columns), down, zero)
        last = len(build.graph.get_shape(diagonal)) - 1
        diagonal = build.node("Gather", diagonal, place, axis=last)
    # A matrix of fewer rows than columns has a value in each row, any other in each column.
    has_row_values = is_free or height <= width
    spread = build.node("Unsqueeze", diagonal, build.int64(-1 if has_row_values else -2))
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
    **{
        f"{kind}Segment{operation}": _segments(operation)
        for kind in ("", "Unsorted")
        for operation in ("Sum", "Prod", "Mean", "Max", "Min")
    },
    "MatrixDiag": _diagonal_matrix,
    "MatrixDiagV2": _diagonal_matrix,
    "MatrixDiagV3": _diagonal_matrix,
    "MatrixSetDiag": _with_diagonal,
    "MatrixSetDiagV2": _with_diagonal,
    "MatrixSetDiagV3": _with_diagonal,
}
