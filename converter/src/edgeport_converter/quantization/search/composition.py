"""The format of each layer, by the times of a board: the cheapest mixed graph.

A layer costs its time in float or in int8, and a tensor between layers of different formats costs
its conversion; all of these are the board's own. The least sum is a minimum cut:

1. Every node is a vertex; on the source's side it is in int8, on the sink's in float. An edge from
   the source carries its time in float, one to the sink its time in int8.
2. A tensor is dequantized once if it is made in int8 and any reader is in float, and quantized once
   if it is made in float and any reader is in int8. One vertex more for each of the two lets the
   tensor's readers share the cost.
3. What has to stay in float, the model's inputs and its outputs are on the sink's side. A node that
   takes no time in a format is part of a neighbour's kernel, so it has that format only where the
   neighbour has it, too. The two nodes of a swish that is one node in the int8 graph have one
   format.
4. The maximum flow by shortest augmenting paths (Edmonds and Karp) gives the cut. scipy has that
   algorithm, but comes with the extra ``train`` alone.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass

import onnx_ir as ir

from edgeport_converter.quantization.evaluation.layer_times import (
    BLOCKS,
    SWISH,
    Conversions,
    LayerTime,
    LayerTimes,
)
from edgeport_converter.quantization.qdq.placement import (
    FLOAT_OUTPUT_OPERATORS,
    STATIC_OPERATORS,
    WEIGHTED_OPERATORS,
)

_SOURCE, _SINK = "source", "sink"
_NEVER = 10**60  # more than any sum of times
_PICOSECONDS = 1e12  # whole numbers, so that the cut is exact

Vertex = object
_UNKNOWN = LayerTime(0.0, None)


@dataclass(frozen=True)
class Composition:
    """Which layers are in float, and what the graph takes on the board by its times.

    Attributes:
        float_nodes: the nodes to keep in float; empty if none has to be.
        in_blocks: the convolutions in int8 whose time is that over blocks of pixels.
        float_swish: whether the swishes between int8 layers have the time of one node in float.
        int8_layers, layers: how many nodes with weights are in int8, and there are.
        seconds: of the mixed graph.
        float_seconds, int8_seconds: of the graph with everything in float, and with everything in
            int8 that can be.
    """

    float_nodes: frozenset[str]
    in_blocks: frozenset[str]
    float_swish: bool
    int8_layers: int
    layers: int
    seconds: float
    float_seconds: float
    int8_seconds: float

    def describe(self, times: LayerTimes) -> str:
        """Return how the formats were found, in words."""
        mixed, in_float, in_int8 = (
            f"{seconds * 1e6:.1f}"
            for seconds in (self.seconds, self.float_seconds, self.int8_seconds)
        )
        return (
            f"{self.int8_layers} of {self.layers} layers are in int8 by the layer times of "
            f"{times.describe()}, where they add up to {mixed} µs, in float to {in_float} and in "
            f"int8 to {in_int8}"
        )


def compose(graph: ir.Graph, times: LayerTimes, float_nodes: Collection[str] = ()) -> Composition:
    """Return the cheapest formats.

    Args:
        graph: the float graph.
        times: of a board.
        float_nodes: names of nodes that stay in float whatever they take.
    """
    problem = Formats(graph, times, float_nodes)
    chosen = problem.cheapest()
    weighted = [node for node in graph if node.op_type in WEIGHTED_OPERATORS]
    kept = frozenset(
        node.name or "" for node in graph if node not in chosen and node.op_type in STATIC_OPERATORS
    )
    in_int8 = sum(node in chosen for node in weighted)
    if not problem.choices - chosen and not float_nodes:
        kept = frozenset()  # what is in float by itself is no choice
    forms = {node.name or "": times.form_of(node.name or "") for node in chosen}
    return Composition(
        kept,
        frozenset(name for name, form in forms.items() if form == BLOCKS),
        SWISH in forms.values(),
        in_int8,
        len(weighted),
        problem.cost(chosen),
        problem.cost(frozenset()),
        problem.cost(problem.choices),
    )


class Formats:
    """The costs of all assignments of formats to the nodes of one graph.

    Attributes:
        choices: the nodes that may be in int8.
    """

    def __init__(
        self, graph: ir.Graph, times: LayerTimes, float_nodes: Collection[str] = ()
    ) -> None:
        self._graph, self._times = graph, times
        self._known = {name: one for name, one in times.layers.items() if one.conversions}
        self.choices = frozenset(
            node
            for node in graph
            if self._of(node).in_int8 is not None and node.name not in float_nodes
        )
        self._ties = self._find_ties()
        self._tensors = [
            (value, [use.node for use in value.uses()])
            for value in (*graph.inputs, *(value for node in graph for value in node.outputs))
        ]

    def cost(self, in_int8: Collection[ir.Node]) -> float:
        """Return the seconds with these nodes in int8 and all others in float.

        It is infinite where a kernel would have to have both formats.
        """
        inside = frozenset(in_int8)
        if any(first in inside and second not in inside for first, second in self._ties):
            return math.inf
        total = 0.0
        for node in self._graph:
            one = self._of(node)
            total += one.in_float if node not in inside else (one.in_int8 or 0.0)
        for value, readers in self._tensors:
            maker = value.producer()
            formats = {reader in inside for reader in readers}
            if value.is_graph_output():
                formats.add(False)
            quantize, dequantize = self.conversion(value)
            if maker is not None and maker in inside:
                total += dequantize if False in formats else 0.0
            else:
                total += quantize if True in formats else 0.0
        return total

    def conversion(self, value: ir.Value) -> tuple[float, float]:
        """Return what it costs to quantize a tensor, and to dequantize it."""
        maker = value.producer()
        found = self._conversions(value)
        if maker is None:  # Keras' pictures have the channels last already
            return found.quantize, 0.0
        readers = [use.node for use in value.uses()]
        to_blocks = any(self._of(reader).is_blocked for reader in readers)
        quantize = found.quantize + found.channels_last
        quantize += found.from_blocks if self._leaves_blocks(maker) else 0.0
        if maker.op_type in FLOAT_OUTPUT_OPERATORS:  # its int8 kernel writes float by itself
            return quantize, 0.0
        dequantize = found.dequantize + found.channels_first
        return quantize, dequantize + (found.to_blocks if to_blocks else 0.0)

    def _leaves_blocks(self, maker: ir.Node) -> bool:
        """Whether the float kernel that does a node's work leaves its channels in blocks."""
        node: ir.Node | None = maker
        while node is not None and not self._of(node).in_float:  # done by the kernel before
            value = node.inputs[0] if node.inputs else None
            node = None if value is None else value.producer()
        return node is not None and self._of(node).is_blocked

    def cheapest(self) -> frozenset[ir.Node]:
        """Return the nodes in int8 of the assignment that costs least."""
        edges: dict[Vertex, dict[Vertex, int]] = defaultdict(lambda: defaultdict(int))

        def cut(start: Vertex, end: Vertex, seconds: float | None) -> None:
            whole = _NEVER if seconds is None else round(seconds * _PICOSECONDS)
            if start is not end and whole:
                edges[start][end] += whole
                edges[end][start] += 0

        for node in self._graph:
            one = self._of(node)
            cut(_SOURCE, node, one.in_float)
            cut(node, _SINK, one.in_int8 if node in self.choices else None)
        for first, second in self._ties:
            cut(first, second, None)
        for value, readers in self._tensors:
            maker = value.producer() or _SINK
            quantize, dequantize = self.conversion(value)
            ends = [*readers, *([_SINK] if value.is_graph_output() else [])]
            cut(maker, (value, "dequantized"), dequantize)
            cut((value, "quantized"), maker, quantize)
            for end in ends:
                cut((value, "dequantized"), end, None)
                if end is not _SINK:
                    cut(end, (value, "quantized"), None)
        return frozenset(self.choices & _source_side(edges))

    def _find_ties(self) -> list[tuple[ir.Node, ir.Node]]:
        """Return pairs of nodes: where the first is in int8, the second is, too.

        A node without any time in a format has its work done by the kernel of the node before it.
        """
        found = []
        for node in self._graph:
            makers = [value.producer() for value in node.inputs if value is not None]
            before = [maker for maker in makers if maker is not None]
            # An addition is done by a convolution before it that nothing else reads.
            before.sort(key=_is_read_by_others)
            if not before or node not in self.choices or before[0] not in self.choices:
                continue
            if not self._of(node).in_float:
                found.append((before[0], node))
            if self._of(node).form == SWISH and node.op_type == "Sigmoid":
                products = [use.node for use in node.outputs[0].uses()]
                found += [pair for each in products for pair in ((node, each), (each, node))]
            elif not self._of(node).in_int8:
                found.append((node, before[0]))
        return found

    def _of(self, node: ir.Node) -> LayerTime:
        return self._times.layers.get(node.name or "", _UNKNOWN)

    def _conversions(self, value: ir.Value) -> Conversions:
        """Return the tensor's own times, else those of the nearest size, by element."""
        maker = value.producer()
        found = (
            self._times.inputs.get(value.name or "")
            if maker is None
            else self._of(maker).conversions
        )
        if found is not None or not self._known:
            return found or Conversions(0.0, 0.0)
        elements = self._elements(value)
        near = min(
            self._known.values(),
            key=lambda one: abs(math.log(max(1, math.prod(one.shape)) / elements)),
        )
        assert near.conversions is not None  # noqa: S101 - only such are known
        return _scaled(near.conversions, elements / max(1, math.prod(near.shape)))

    @staticmethod
    def _elements(value: ir.Value) -> int:
        sizes = () if value.shape is None else value.shape
        return math.prod(size for size in sizes if isinstance(size, int) and size > 0)


def _is_read_by_others(maker: ir.Node) -> tuple[bool, bool]:
    uses = sum(len(value.uses()) for value in maker.outputs)
    return maker.op_type not in WEIGHTED_OPERATORS, uses > 1


def _scaled(found: Conversions, ratio: float) -> Conversions:
    return Conversions(*(seconds * ratio for seconds in astuple(found)))


def _source_side(edges: Mapping[Vertex, dict[Vertex, int]]) -> set[Vertex]:
    """Return the vertices that the source still reaches at the maximum flow."""
    while True:
        came: dict[Vertex, Vertex] = {_SOURCE: _SOURCE}
        waiting: deque[Vertex] = deque([_SOURCE])
        while waiting and _SINK not in came:
            start = waiting.popleft()
            for end, left in edges[start].items():
                if left and end not in came:
                    came[end] = start
                    waiting.append(end)
        if _SINK not in came:
            return set(came)
        path: list[Vertex] = [_SINK]
        while path[-1] != _SOURCE:
            path.append(came[path[-1]])
        steps = list(zip(path[1:], path, strict=False))
        flow = min(edges[start][end] for start, end in steps)
        for start, end in steps:
            edges[start][end] -= flow
            edges[end][start] += flow
