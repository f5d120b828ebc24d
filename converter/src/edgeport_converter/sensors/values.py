"""Arithmetic that is done now where its numbers are known, and else inside of an ONNX graph.

The weights of a resize follow from the frame's size. ``taps`` writes down their formulas once, with
the operators below. For frames of one declared size every number is known: numpy computes them, and
the graph holds the finished weights. For other frames the same formulas become nodes.

Only operators and types that onnxruntime 1.19 computes on every CPU are used, in forms that are the
same in opsets 16 to 21.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeport.artifact.golden import Array

F32, F64, I64 = np.float32, np.float64, np.int64

Number: TypeAlias = "Value | Array | float | int"


class GraphWriter:
    """Collects the nodes and the constants of a graph.

    Attributes:
        nodes: in running order.
        initializers: the constants.
    """

    def __init__(self, prefix: str, taken: Sequence[str] = ()) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._prefix = prefix
        self._taken = set(taken)
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def fresh(self) -> str:
        """Return a name that neither this graph nor the model has."""
        while True:
            self._count += 1
            name = f"{self._prefix}{self._count}"
            if name not in self._taken:
                return name

    def constant(self, array: Any) -> str:
        """Return the name of a constant; equal ones are stored once."""
        array = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.fresh()
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node of one output, and return the output's name."""
        return self.nodes_of(operator, inputs, 1, **attributes)[0]

    def nodes_of(
        self, operator: str, inputs: Sequence[str], count: int, **attributes: Any
    ) -> list[str]:
        """Add a node of several outputs, and return their names."""
        outputs = [self.fresh() for _ in range(count)]
        self.nodes.append(
            helper.make_node(operator, list(inputs), outputs, name=outputs[0], **attributes)
        )
        return outputs

    def choose(self, condition: Value, first: Callable[[], str], second: Callable[[], str]) -> str:
        """Add one of two subgraphs, or a node that runs one; return its output's name.

        Args:
            condition: a scalar.
            first: adds the nodes for where it holds; returns the name of their float32 result.
            second: the same for where it does not.
        """
        if condition.array is not None:
            return first() if condition.array else second()
        outer, bodies = self.nodes, []
        for write in (first, second):
            self.nodes = []
            result = helper.make_value_info(
                write(), helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
            )
            bodies.append(helper.make_graph(self.nodes, self.fresh(), [], [result]))
        self.nodes = outer
        return self.node("If", [condition.name], then_branch=bodies[0], else_branch=bodies[1])

    def known(self, number: Any, dtype: Any = None) -> Value:
        """Return a value that is known now."""
        return Value(self, np.asarray(number, dtype=dtype), None)


class Value:
    """A number or an array that is known now, or that a node computes.

    Operators work as numpy's. Python numbers take the type of the value beside them.
    """

    __slots__ = ("_name", "array", "dtype", "writer")

    def __init__(
        self, writer: GraphWriter, array: Array | None, name: str | None, dtype: Any = None
    ) -> None:
        self.writer = writer
        self.array = array
        self.dtype = np.dtype(dtype) if array is None else array.dtype
        self._name = name

    @property
    def name(self) -> str:
        """The tensor's name; a known value becomes a constant of the graph."""
        return self.writer.constant(self.array) if self._name is None else self._name

    def __add__(self, other: Number) -> Value:
        return _apply("Add", np.add, self, other)

    def __radd__(self, other: Number) -> Value:
        return _apply("Add", np.add, other, self)

    def __sub__(self, other: Number) -> Value:
        return _apply("Sub", np.subtract, self, other)

    def __rsub__(self, other: Number) -> Value:
        return _apply("Sub", np.subtract, other, self)

    def __mul__(self, other: Number) -> Value:
        return _apply("Mul", np.multiply, self, other)

    def __rmul__(self, other: Number) -> Value:
        return _apply("Mul", np.multiply, other, self)

    def __truediv__(self, other: Number) -> Value:
        return _apply("Div", np.divide, self, other)

    def __rtruediv__(self, other: Number) -> Value:
        return _apply("Div", np.divide, other, self)

    def __floordiv__(self, other: Number) -> Value:
        """Divide whole numbers that are not negative."""
        return _apply("Div", np.floor_divide, self, other)

    def __lt__(self, other: Value | float) -> Value:
        return _apply("Less", np.less, self, other, dtype=bool)

    def __gt__(self, other: Value | float) -> Value:
        return _apply("Greater", np.greater, self, other, dtype=bool)

    def __le__(self, other: Value | float) -> Value:
        return _apply("LessOrEqual", np.less_equal, self, other, dtype=bool)

    def __ge__(self, other: Value | float) -> Value:
        return _apply("GreaterOrEqual", np.greater_equal, self, other, dtype=bool)

    def __and__(self, other: Value) -> Value:
        return _apply("And", np.logical_and, self, other, dtype=bool)


def _apply(
    operator: str, function: Callable[..., Any], *operands: Number, dtype: Any = None
) -> Value:
    partner = next(value for value in operands if isinstance(value, Value))
    values = [
        value
        if isinstance(value, Value)
        else partner.writer.known(
            value, value.dtype if isinstance(value, np.ndarray) else partner.dtype
        )
        for value in operands
    ]
    result = dtype or values[-1].dtype
    arrays = [value.array for value in values if value.array is not None]
    if len(arrays) == len(values):
        return partner.writer.known(function(*arrays), result)
    name = partner.writer.node(operator, [value.name for value in values])
    return Value(partner.writer, None, name, result)


def reciprocal(value: Value) -> Value:
    """Return one divided by the values, rounded once.

    onnxruntime turns ``y * (1 / x)`` into ``y / x``, which rounds otherwise; not so with a two.
    """
    return (2.0 / value) * 0.5


def floor(value: Value) -> Value:
    """Return the whole numbers below."""
    return _apply("Floor", np.floor, value)


def ceil(value: Value) -> Value:
    """Return the whole numbers above."""
    return _apply("Ceil", np.ceil, value)


def round_half_even(value: Value) -> Value:
    """Return the nearest whole numbers, the even one of two."""
    return _apply("Round", np.round, value)


def absolute(value: Value) -> Value:
    """Return the values without their signs."""
    return _apply("Abs", np.abs, value)


def sine(value: Value) -> Value:
    """Return the sine of radians."""
    return _apply("Sin", np.sin, value)


def exponential(value: Value) -> Value:
    """Return e to the power of the values."""
    return _apply("Exp", np.exp, value)


def minimum(first: Number, second: Number) -> Value:
    """Return the smaller of each two."""
    return _apply("Min", np.minimum, first, second)


def maximum(first: Number, second: Number) -> Value:
    """Return the larger of each two."""
    return _apply("Max", np.maximum, first, second)


def where(condition: Value, first: Number, second: Number) -> Value:
    """Return the first where the condition holds, else the second; one of them is a ``Value``."""
    partner = first if isinstance(first, Value) else second
    assert isinstance(partner, Value)  # noqa: S101 - for the type checker
    choices = [
        value if isinstance(value, Value) else partner.writer.known(value, partner.dtype)
        for value in (first, second)
    ]
    return _apply("Where", np.where, condition, *choices)


def cast(value: Value, dtype: Any) -> Value:
    """Return the values in another type; numbers with a fraction lose it."""
    dtype = np.dtype(dtype)
    if value.dtype == dtype:
        return value
    if value.array is not None:
        return value.writer.known(value.array.astype(dtype))
    name = value.writer.node("Cast", [value.name], to=helper.np_dtype_to_tensor_dtype(dtype))
    return Value(value.writer, None, name, dtype)


def count_to(number: Value) -> Value:
    """Return 0, 1, ... up to and without the number, int64."""
    if number.array is not None:
        return number.writer.known(np.arange(int(number.array), dtype=np.int64))
    zero, one = (number.writer.constant(np.int64(value)) for value in (0, 1))
    return Value(
        number.writer, None, number.writer.node("Range", [zero, number.name, one]), np.int64
    )


def reshape(value: Value, shape: Sequence[Value | int]) -> Value:
    """Return the same numbers in another shape."""
    writer = value.writer
    sides = [side if isinstance(side, Value) else writer.known(side, np.int64) for side in shape]
    arrays = [side.array for side in sides if side.array is not None]
    if value.array is not None and len(arrays) == len(sides):
        return writer.known(value.array.reshape([int(side) for side in arrays]))
    name = writer.node("Reshape", [value.name, shape_of(sides, writer).name])
    return Value(writer, None, name, value.dtype)


def shape_of(sides: Sequence[Value], writer: GraphWriter) -> Value:
    """Return whole numbers as one vector."""
    arrays = [side.array for side in sides if side.array is not None]
    if len(arrays) == len(sides):
        return writer.known([int(side) for side in arrays], np.int64)
    parts = [writer.node("Reshape", [side.name, writer.constant(np.array([1]))]) for side in sides]
    return Value(writer, None, writer.node("Concat", parts, axis=0), np.int64)


def pick(value: Value, index: Any, axis: int = 0) -> Value:
    """Return the entries at known places of one axis."""
    index = np.asarray(index, np.int64)
    if value.array is not None:
        return value.writer.known(np.take(value.array, index, axis))
    writer = value.writer
    name = writer.node("Gather", [value.name, writer.constant(index)], axis=axis)
    return Value(writer, None, name, value.dtype)


def take(value: Value, index: Value) -> Value:
    """Return the entries of a vector at places that may follow from the frame's size."""
    if value.array is not None and index.array is not None:
        return value.writer.known(value.array[index.array])
    name = value.writer.node("Gather", [value.name, index.name], axis=0)
    return Value(value.writer, None, name, value.dtype)


def transpose(value: Value, axes: Sequence[int]) -> Value:
    """Return the axes in another order."""
    if value.array is not None:
        return value.writer.known(value.array.transpose(axes))
    name = value.writer.node("Transpose", [value.name], perm=list(axes))
    return Value(value.writer, None, name, value.dtype)


def row_sums(value: Value) -> Value:
    """Return the sums over the last of two axes, which stays with length one."""
    if value.array is not None:
        return value.writer.known(value.array.sum(axis=1, keepdims=True, dtype=value.dtype))
    writer = value.writer
    name = writer.node("ReduceSum", [value.name, writer.constant(np.array([1]))], keepdims=1)
    return Value(writer, None, name, value.dtype)


def largest(value: Value) -> Value:
    """Return the largest of all values, a scalar."""
    if value.array is not None:
        return value.writer.known(value.array.max())
    name = value.writer.node("ReduceMax", [value.name], keepdims=0)
    return Value(value.writer, None, name, value.dtype)


def running_sums(value: Value) -> Value:
    """Return the sums of a vector's first one, two, ... entries, added one by one."""
    if value.array is not None:
        return value.writer.known(np.cumsum(value.array, dtype=value.dtype))
    writer = value.writer
    name = writer.node("CumSum", [value.name, writer.constant(np.array(0, np.int32))])
    return Value(writer, None, name, value.dtype)


def join(values: Sequence[Value]) -> Value:
    """Return vectors one after the other."""
    writer = values[0].writer
    arrays = [value.array for value in values if value.array is not None]
    if len(arrays) == len(values):
        return writer.known(np.concatenate(arrays))
    name = writer.node("Concat", [value.name for value in values], axis=0)
    return Value(writer, None, name, values[0].dtype)


def scatter(weights: Value, index: Value, shape: Sequence[Value | int], axis: int) -> Value:
    """Return an array of a shape, zero but for weights that are added at their places.

    Args:
        weights: of the shape, but for ``axis``.
        index: of each weight, along ``axis``.
        shape: of the result.
        axis: the one along which weights are spread.
    """
    writer = weights.writer
    sides = [side if isinstance(side, Value) else writer.known(side, np.int64) for side in shape]
    known = [side.array for side in sides if side.array is not None]
    if weights.array is not None and index.array is not None and len(known) == len(sides):
        array = np.zeros([int(side) for side in known], weights.dtype)
        places: list[Array] = list(np.indices(index.array.shape, sparse=True))
        places[axis] = index.array
        np.add.at(array, tuple(places), weights.array)
        return writer.known(array)
    zero = numpy_helper.from_array(np.zeros(1, weights.dtype))
    blank = writer.node("ConstantOfShape", [shape_of(sides, writer).name], value=zero)
    name = writer.node(
        "ScatterElements", [blank, index.name, weights.name], axis=axis, reduction="add"
    )
    return Value(writer, None, name, weights.dtype)


def split(value: Value, count: int) -> list[Value]:
    """Return the entries of the first axis one by one, each with that axis of length one."""
    if count == 1:
        return [value]
    if value.array is not None:
        return [value.writer.known(part) for part in np.split(value.array, count)]
    writer = value.writer
    ones = writer.constant(np.ones(count, np.int64))
    names = writer.nodes_of("Split", [value.name, ones], count, axis=0)
    return [Value(writer, None, name, value.dtype) for name in names]
