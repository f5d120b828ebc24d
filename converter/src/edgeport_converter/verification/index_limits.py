"""Which input elements are row numbers of a table in the graph, and how many rows it has.

A made-up index outside of its table stops Keras. The graph tells the tables' sizes, and between an
input and an index there are casts, moves (slices, reshapes, concatenations) and arithmetic with
constants, mostly. ``trial_inputs`` draws the elements within the limits that are found here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.data.made_up import Limits, sizes_of

# Operators that move elements or compute each from constants: cheap, and safe to run on any value.
# The reference evaluator runs them, not the engine: before 1.25 an integer division by 0 in
# onnxruntime ends the process.
_CHEAP = (
    *("Cast", "Concat", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice"),
    *("Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
    *("Abs", "Add", "Ceil", "Clip", "Div", "Floor", "Max", "Min", "Mod", "Mul", "Neg", "Round"),
    *("Sign", "Sub", "And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not"),
    *("Or", "ReduceMax", "Where", "Constant", "ConstantOfShape", "Range", "Shape", "Size"),
)

# (base, digits): values from the base on are tried, as many as there are digits, where none before
# told anything. The first lie above what a model subtracts, and within int8; the others below what
# it subtracts from.
_PROBES = ((64, 16), (16, 16), (1, 8), (0, 2))
_SHAPE_INFERENCE_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class _Table:
    """A tensor of indices, and how many rows they may name.

    Attributes:
        index: the tensor.
        rows: one number, or one for each place along the indices' last axis.
        counted_by: a tensor that counts 0, 1, 2, …, a number for each row, where ``rows`` is None.
    """

    index: str
    rows: Array | None
    counted_by: str = ""


class IndexLimits:
    """The tables of a graph that are read by row numbers computed from its inputs."""

    def __init__(self, graph: onnx.ModelProto, inputs: Sequence[TensorSpec]) -> None:
        self._inputs = {spec.name: spec for spec in inputs if spec.dtype.kind in "iuf"}
        self._all = inputs
        self._found: dict[int, dict[str, Limits]] = {}
        self._parts = [
            part
            for table in _find_tables(graph)
            if (part := _part_before(graph, table, inputs)) is not None
        ]

    def find(self, free_size: int) -> dict[str, Limits]:
        """Return limits by input, for this size of its free axes; nothing where there are none."""
        if free_size not in self._found:
            self._found[free_size] = self._find(free_size)
        return self._found[free_size]

    def places(self, batch: Mapping[str, Array]) -> dict[str, Array]:
        """Return by input which elements of a sample are row numbers, as booleans (1, ...).

        Args:
            batch: samples (N, ...), whose free axes are of one size.
        """
        free = [
            size
            for spec in self._inputs.values()
            for axis, size in zip(spec.shape[1:], batch[spec.name].shape[1:], strict=False)
            if isinstance(axis, str)
        ]
        found = self.find(free[0] if free else 1)
        return {
            name: np.isfinite(limits.low)
            for name, limits in found.items()
            if limits.low.shape[1:] == batch[name].shape[1:]
        }

    def _find(self, free_size: int) -> dict[str, Limits]:
        """Return limits by input, for this size of its free axes; nothing where there are none.

        Each table's indices are run on four kinds of inputs, with b = 64 at first:

        1. b everywhere, and b + 1 in one input: the slope a of each index by each input.
        2. b plus a digit of each element's number, digit by digit: which element each index is
           computed from.
        3. b plus random digits: an index that is not a * x + c of its elements is left out.
        4. 0 <= a * x + c < rows gives the limits of x, the closest where there are several.
        """
        shapes = {name: sizes_of(spec, 1, free_size) for name, spec in self._inputs.items()}
        low = {name: np.full(shape, -np.inf) for name, shape in shapes.items()}
        high = {name: np.full(shape, np.inf) for name, shape in shapes.items()}
        for part in self._parts:
            for name, element, lowest, highest in self._trace(part, free_size):
                np.maximum.at(low[name].reshape(-1), element, lowest)
                np.minimum.at(high[name].reshape(-1), element, highest)
        limits = {}
        for name in shapes:
            fits = np.isfinite(low[name]) & (low[name] <= high[name])
            if fits.any():
                limits[name] = Limits(
                    np.where(fits, low[name], -np.inf), np.where(fits, high[name], np.inf)
                )
        return limits

    def _trace(self, part: _Part, free_size: int) -> list[_Found]:
        """Return the limits from one table."""
        for base, digits in _PROBES:
            arrays = {
                spec.name: np.full(
                    sizes_of(spec, 1, free_size), base if spec.dtype.kind in "iuf" else 0
                ).astype(spec.dtype)
                for spec in self._all
                if spec.name in part.names
            }
            try:
                with np.errstate(all="ignore"):
                    found = list(_Trace(part, arrays, base, digits).limits())
            except Exception:  # noqa: S112 - an index from another table, or sizes that do not fit
                continue
            if any(element.size for _, element, _, _ in found):
                return found
        return []


def _find_tables(graph: onnx.ModelProto) -> Iterator[_Table]:
    """Yield the indices of all nodes that look up rows.

    One-hot codes are a table, too: OneHot, or Equal of indices and the numbers 0, 1, 2, …
    """
    shapes = _Shapes(graph)
    for node in graph.graph.node:
        if node.op_type == "OneHot":
            depth = shapes.value(node.input[1])
            if depth is not None:
                yield _Table(node.input[0], np.asarray(depth).reshape(-1)[:1])
            continue
        if node.op_type == "Equal":
            for index, numbers in (node.input, reversed(node.input)):
                value = shapes.value(numbers)
                if value is None:
                    yield _Table(index, None, numbers)
                elif _counts(value):
                    yield _Table(index, np.array([value.size]))
            continue
        if node.op_type not in ("Gather", "GatherElements", "GatherND", "ScatterND"):
            continue
        shape = shapes.of(node.input[0])
        if shape is None:
            continue
        options = {each.name: each.i for each in node.attribute}
        if node.op_type in ("Gather", "GatherElements"):
            rows = shape[options.get("axis", 0)]
            if rows is not None:
                yield _Table(node.input[1], np.array([rows]))
        else:
            index = shapes.of(node.input[1])
            first = options.get("batch_dims", 0)
            if index is None or index[-1] is None:
                continue
            sizes = shape[first : first + index[-1]]
            if None not in sizes:
                yield _Table(node.input[1], np.array(sizes))


def _counts(numbers: Array) -> bool:
    """Whether an array holds 0, 1, 2, …, at least 0 and 1."""
    return numbers.size > 1 and np.array_equal(numbers.ravel(), np.arange(numbers.size))


class _Shapes:
    """The shapes of a graph's tensors: of constants at once, of others by inference, if asked."""

    def __init__(self, graph: onnx.ModelProto) -> None:
        self._graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.graph.initializer}
        for node in graph.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
        self._inferred: dict[str, tuple[int | None, ...]] | None = None

    def value(self, name: str) -> Array | None:
        """Return the value of a constant."""
        return numpy_helper.to_array(self._constants[name]) if name in self._constants else None

    def of(self, name: str) -> tuple[int | None, ...] | None:
        """Return the sizes of a tensor's axes, None for a free axis or where nothing is known."""
        if name in self._constants:
            return tuple(self._constants[name].dims)
        if self._inferred is None:
            self._inferred = self._infer()
        return self._inferred.get(name)

    def _infer(self) -> dict[str, tuple[int | None, ...]]:
        if self._graph.ByteSize() > _SHAPE_INFERENCE_BYTES:
            return {}
        graph = onnx.shape_inference.infer_shapes(self._graph).graph
        return {
            value.name: tuple(
                size.dim_value if size.HasField("dim_value") else None
                for size in value.type.tensor_type.shape.dim
            )
            for value in (*graph.input, *graph.value_info, *graph.output)
            if value.type.tensor_type.HasField("shape")
        }


@dataclass(frozen=True, eq=False)
class _Part:
    """The part of a graph that computes a table's indices.

    Attributes:
        names: the inputs that it reads.
        run: from arrays by input name to the indices, and the number of rows.
    """

    names: tuple[str, ...]
    run: Callable[[Mapping[str, Array]], tuple[Array, Array]]


def _part_before(
    graph: onnx.ModelProto, table: _Table, inputs: Sequence[TensorSpec]
) -> _Part | None:
    """Return the part that computes indices; None if it needs other operators, or no input."""
    tensors = [table.index] if table.rows is not None else [table.index, table.counted_by]
    makers = {name: node for node in graph.graph.node for name in node.output}
    constants = {each.name: each for each in graph.graph.initializer}
    wanted, needed = list(tensors), set()
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        node = makers.get(name)
        if name not in seen and node is not None:
            if node.op_type not in _CHEAP or node.domain not in ("", "ai.onnx"):
                return None
            needed.add(id(node))
            wanted += node.input
        seen.add(name)
    found = tuple(spec.name for spec in inputs if spec.name in seen)
    if not found:
        return None
    part = helper.make_graph(
        [node for node in graph.graph.node if id(node) in needed],
        "indices",
        [value for value in graph.graph.input if value.name in found],
        [onnx.ValueInfoProto(name=tensor) for tensor in tensors],
        [constants[name] for name in sorted(seen & constants.keys())],
    )
    model = helper.make_model(part, opset_imports=graph.opset_import, ir_version=graph.ir_version)
    evaluator = ReferenceEvaluator(model)

    def run(arrays: Mapping[str, Array]) -> tuple[Array, Array]:
        indices, *numbers = (np.asarray(each) for each in evaluator.run(tensors, dict(arrays)))
        rows = table.rows
        if rows is None:
            if not _counts(numbers[0]):
                raise ValueError("these are no numbers of rows")
            rows = np.array([numbers[0].size])
        return indices.astype(np.float64), rows

    return _Part(found, run)


_Found = tuple[str, Array, Array, Array]  # (input, elements, lowest, highest)


class _Trace:
    """One table's indices as slope * element + offset of the inputs."""

    def __init__(self, part: _Part, base: Mapping[str, Array], value: int, digits: int) -> None:
        self._part, self._base, self._value, self._digits = part, base, value, digits
        self._names = [name for name in part.names if base[name].dtype.kind in "iuf"]
        self._start, self._rows = part.run(base)

    def limits(self) -> Iterator[_Found]:
        """Yield (input, elements, lowest, highest), one for each index that an input moves.

        An index that several inputs move gets an equal share of the way for each of them.
        """
        slopes = {name: self._moved({name: 1}) for name in self._names}
        total = sum(slopes.values(), np.zeros_like(self._start))
        moved = {name: slope != 0 for name, slope in slopes.items()}
        sources = {name: self._source(name, slopes[name]) for name in self._names}
        generator = np.random.default_rng(0)
        digits = {
            name: generator.integers(0, self._digits, self._base[name].shape)
            for name in self._names
        }
        expected = np.zeros_like(self._start)
        for name in self._names:
            chosen = digits[name].reshape(-1)[sources[name] % max(1, digits[name].size)]
            expected += slopes[name] * chosen
        known = self._moved(digits) == expected
        same_sign = np.sign(total) * np.ones_like(total)
        for slope in slopes.values():
            known &= (slope == 0) | (np.sign(slope) == same_sign)
        offset = self._start - total * self._value
        steps = np.where(total == 0, 1.0, total)
        ends = np.stack([(0 - offset) / steps, (self._rows - 1 - offset) / steps])
        for name in self._names:
            chosen = known & moved[name]
            lowest, highest = ends.min(axis=0)[chosen], ends.max(axis=0)[chosen]
            yield name, sources[name][chosen], lowest, highest

    def _moved(self, steps: Mapping[str, Any]) -> Array:
        """Return by how much the indices move when the inputs do by these steps."""
        moved = {
            name: (array + np.asarray(steps[name])).astype(array.dtype) if name in steps else array
            for name, array in self._base.items()
        }
        return self._part.run(moved)[0] - self._start

    def _source(self, name: str, slope: Array) -> Array:
        """Return the number of the element that each index is computed from."""
        size = self._base[name].size
        numbers = np.arange(size).reshape(self._base[name].shape)
        found, step = np.zeros(slope.shape, np.int64), 1
        while step < size or step == 1:
            moved = self._moved({name: numbers // step % self._digits})
            digit = moved / np.where(slope == 0, 1.0, slope)
            digit = np.where((digit >= 0) & (digit < self._digits), digit, 0)
            found += digit.astype(np.int64) * step
            step *= self._digits
        return np.minimum(found, size - 1)
