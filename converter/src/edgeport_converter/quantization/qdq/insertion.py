"""QuantizeLinear and DequantizeLinear around the nodes of a float graph that int8 is to compute.

Steps of ``insert_conversions``:

1. Choose the tensors: the inputs and outputs of each int8 node. A node that only moves values is
   int8 if its input is, and its output has its input's scale. A relu or a clip is removed if the
   ends of its output's range are its bounds, since codes end there.
2. Leave out the outputs of Gemm and MatMul that only float nodes read: their int8 kernels can
   answer in float.
3. Give each tensor, or all that share a scale, scale and zero point from its range.
4. Insert QuantizeLinear and DequantizeLinear. The output of an int8 node is rounded for all that
   read it, since its kernel has no other answer. The output of a float node, or an input of the
   graph, is rounded for int8 nodes alone: float nodes read the exact values.

Weights and biases are still in float afterwards; ``weights.int8_layers`` stores them, when the
scales of what the layers read are final.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, constant, known
from edgeport_converter.quantization.calibration.ranges import Ranges
from edgeport_converter.quantization.qdq import placement
from edgeport_converter.quantization.qdq.pixel_inputs import PixelInput
from edgeport_converter.quantization.tensors import only_use

# They only move values or choose among them, so that codes can be moved in their place.
_PASSING = ("Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")

# Modes in which Pad repeats what it reads.
_REPEATING = ("edge", "reflect", "wrap")


@dataclass(frozen=True, eq=False)
class Inserted:
    """What ``insert_conversions`` has made of a graph.

    Attributes:
        layers: the nodes with weights that compute in int8, in running order.
        limited: tensors whose scale does the work of a relu or a clip that is gone.
        domain: of QuantizeLinear and DequantizeLinear.
    """

    layers: tuple[ir.Node, ...]
    limited: frozenset[ir.Value]
    domain: str


def insert_conversions(
    model: ir.Model,
    nodes: Iterable[ir.Node],
    ranges: Ranges,
    *,
    pixels: Iterable[PixelInput] = (),
    wide: bool = False,
) -> Inserted:
    """Let nodes compute between DequantizeLinear and QuantizeLinear, in place.

    ``pixels`` are inputs whose bytes are read as codes where that is exact. With ``wide``
    activations are uint16, else uint8.
    """
    chosen = _Chosen(wide)
    nodes = list(nodes)
    for node in nodes:
        _choose(model.graph, chosen, node)
    for node in nodes:  # what passes on a tensor that a later node reads as codes
        if node.op_type in _PASSING and node not in chosen.nodes:
            _choose(model.graph, chosen, node)
    _answer_in_float(chosen)
    domain = "com.microsoft" if wide else ""  # ONNX has 16-bit conversions from opset 21 on
    if wide:
        model.opset_imports[domain] = 1
    exact = {found.value: found for found in pixels if found.is_exact and not wide}
    conversions = _Conversions(model.graph, chosen, ranges, exact, domain)
    for value in chosen.scaled_as:
        conversions.insert(value)
    layers = tuple(node for node in chosen.nodes if node.op_type in placement.WEIGHTED_OPERATORS)
    return Inserted(layers, frozenset(chosen.limited), domain)


@dataclass
class _Chosen:
    """What is to be int8.

    Attributes:
        wide: whether activations are uint16.
        nodes: the nodes that compute in int8, in running order.
        scaled_as: tensor -> the tensor whose scale it has, itself where it has its own.
        limited: as in ``Inserted``.
    """

    wide: bool
    nodes: dict[ir.Node, None] = field(default_factory=dict)
    scaled_as: dict[ir.Value, ir.Value] = field(default_factory=dict)
    limited: set[ir.Value] = field(default_factory=set)

    def add(self, value: ir.Value | None, like: ir.Value | None = None) -> None:
        """Add a tensor of float32, with the scale of another one or its own."""
        if value is None or value.dtype != ir.DataType.FLOAT:
            return
        if like is not None:
            self.scaled_as[value] = like
        else:
            self.scaled_as.setdefault(value, value)

    def scale_owner(self, value: ir.Value) -> ir.Value:
        """Return the tensor whose range gives the scale."""
        while self.scaled_as[value] is not value:
            value = self.scaled_as[value]
        return value

    def makes(self, value: ir.Value) -> bool:
        """Whether an int8 node gives a tensor."""
        return value.producer() in self.nodes

    def reads(self, node: ir.Node, place: int) -> bool:
        """Whether a node is int8 and reads codes at this place."""
        return node in self.nodes and place < _count_read(node)


def _count_read(node: ir.Node) -> int:
    """Return how many of its inputs an int8 node reads as codes."""
    if node.op_type in placement.WEIGHTED_OPERATORS:
        return 2  # the bias has a format of its own
    return 1 if node.op_type in (*placement.LIMITS, *_PASSING, "AveragePool") else len(node.inputs)


def _choose(graph: ir.Graph, chosen: _Chosen, node: ir.Node) -> None:
    """Add a node and its tensors to what is chosen, if it can be int8."""
    if node.op_type in placement.WEIGHTED_OPERATORS and not _has_int8_kernel(node):
        return
    read = node.inputs[: _count_read(node)]
    if (
        node.op_type in (*placement.LIMITS, *_PASSING, "AveragePool")
        and read[0] not in chosen.scaled_as
    ):
        return
    if node.op_type in placement.LIMITS and _does_no_more_than_a_scale(chosen, node):
        _drop_limit(graph, chosen, node)
        return
    chosen.nodes[node] = None
    for value in read:
        # Constants of a layer are its weights, which have one scale a channel.
        if node.op_type not in placement.WEIGHTED_OPERATORS or array_of(value) is None:
            chosen.add(value)
    passes = node.op_type in _PASSING or _pads_with_own_values(node)
    # A mean over many positions is far smaller than the largest value among them. With its input's
    # scale most of 256 codes would be unused; of 65,536 enough remain, and values beyond the range
    # that the calibration data showed are not clipped.
    passes = passes or (node.op_type == "AveragePool" and chosen.wide)
    like = read[0] if passes else None
    chosen.add(node.outputs[0], like)


def _has_int8_kernel(layer: ir.Node) -> bool:
    """Whether a layer computes from floats that are no constant; constant weights are a matrix."""
    given, weights = layer.inputs[:2]
    if array_of(given) is not None or getattr(given, "dtype", None) != ir.DataType.FLOAT:
        return False
    array = array_of(weights)
    return layer.op_type != "MatMul" or array is None or array.ndim == 2


def _pads_with_own_values(node: ir.Node) -> bool:
    """Whether it is a Pad that adds zeros, for which each scale has a code, or repeats values."""
    if node.op_type != "Pad":
        return False
    mode = node.attributes.get_string("mode", "constant")
    value = node.inputs[2] if len(node.inputs) > 2 else None
    filling = array_of(value)
    return mode in _REPEATING or value is None or (filling is not None and not filling.any())


def _does_no_more_than_a_scale(chosen: _Chosen, limit: ir.Node) -> bool:
    """Whether codes that end at a limit's bounds do all that it does, for all that read it."""
    given = limit.inputs[0]
    if given is None or not chosen.makes(given) or only_use(given)[0] is not limit:
        return False
    bounds = limit.inputs[1:] if limit.op_type == "Clip" else ()
    for sign, bound in zip((1, -1), bounds, strict=False):
        array = array_of(bound)
        # Each range has zero inside, so a bound beyond it would be lost.
        if bound is not None and (array is None or sign * float(array.reshape(-1)[0]) > 0):
            return False
    return True


def _drop_limit(graph: ir.Graph, chosen: _Chosen, limit: ir.Node) -> None:
    """Remove a relu or a clip; the tensor that it limited gets the name and range of its output."""
    given, answer = limit.inputs[0], limit.outputs[0]
    assert given is not None  # noqa: S101 - _does_no_more_than_a_scale has seen it
    name = answer.name
    answer.replace_all_uses_with(given, replace_graph_outputs=True)
    graph.remove(limit, safe=True)
    given.name = name
    del chosen.scaled_as[given]
    chosen.add(given)
    chosen.limited.add(given)


def _answer_in_float(chosen: _Chosen) -> None:
    """Leave out answers of layers that can be float, where no int8 node reads them."""
    for value in list(chosen.scaled_as):
        producer = value.producer()
        if (
            producer in chosen.nodes
            and producer.op_type in placement.FLOAT_OUTPUT_OPERATORS
            and value not in chosen.limited
            and not any(chosen.reads(*use) for use in value.uses())
        ):
            del chosen.scaled_as[value]


class _Conversions:
    """Inserts the conversions of a graph, with one scale and zero point for all that share them."""

    def __init__(
        self,
        graph: ir.Graph,
        chosen: _Chosen,
        ranges: Ranges,
        pixels: Mapping[ir.Value, PixelInput],
        domain: str,
    ) -> None:
        self._graph, self._chosen, self._ranges = graph, chosen, ranges
        self._pixels, self._domain = pixels, domain
        self._code: Any = np.dtype(np.uint16 if chosen.wide else np.uint8)
        self._scales: dict[ir.Value, tuple[ir.Value, ir.Value]] = {}
        self._first = graph[0]

    def insert(self, value: ir.Value) -> None:
        """Insert the conversions of a tensor, between it and all that have to read it rounded."""
        is_made = self._chosen.makes(value)
        uses = [use for use in value.uses() if is_made or self._chosen.reads(*use)]
        goes_out = is_made and value.is_graph_output()
        if not uses and not goes_out:
            return
        scale, zero = self._scale_of(self._chosen.scale_owner(value))
        nodes = []
        array = array_of(value)
        if value in self._pixels:
            codes = self._pixels[value].pixels
        elif array is not None:
            codes = self._encoded(value, array, scale, zero)
        else:
            nodes.append(self._convert("QuantizeLinear", value, scale, zero))
            codes = nodes[0].outputs[0]
            codes.shape, codes.dtype = value.shape, ir.DataType.from_numpy(self._code)
        producer = (value if nodes else codes).producer()
        nodes.append(self._convert("DequantizeLinear", codes, scale, zero))
        back = nodes[-1].outputs[0]
        back.shape, back.type = value.shape, value.type
        if producer is None:
            self._graph.insert_before(self._first, nodes)
        else:
            self._graph.insert_after(producer, nodes)
        for use in uses:
            use.node.replace_input_with(use.idx, back)
        if goes_out:
            self._graph.outputs[self._graph.outputs.index(value)] = back
            back.name, value.name = value.name, f"{value.name}/float"

    def _convert(self, operator: str, value: ir.Value, scale: ir.Value, zero: ir.Value) -> ir.Node:
        return ir.node(operator, [value, scale, zero], domain=self._domain, name="")

    def _scale_of(self, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Return scale and zero point of a tensor that has its own."""
        if value not in self._scales:
            array, pixels = array_of(value), self._pixels.get(value)
            if pixels is not None:
                scale, zero = np.float32(pixels.scale), pixels.zero_point or 0
            elif array is not None:
                scale, zero = choose_scale(array.min(initial=0), array.max(initial=0), self._code)
            else:
                scale, zero = choose_scale(*self._ranges[value.name or ""], self._code)
            self._scales[value] = (
                constant(self._graph, f"{value.name}/scale", np.asarray(scale)),
                constant(self._graph, f"{value.name}/zero_point", np.asarray(zero, self._code)),
            )
        return self._scales[value]

    def _encoded(self, value: ir.Value, array: Array, scale: ir.Value, zero: ir.Value) -> ir.Value:
        """Return the codes of a constant that is no layer's weights, as what an Add adds."""
        codes = np.rint(array / known(scale)) + known(zero)
        clipped = np.clip(codes, 0, np.iinfo(self._code).max).astype(self._code)
        return constant(self._graph, f"{value.name}/codes", clipped)


def choose_scale(low: float, high: float, code: Any) -> tuple[np.float32, int]:
    """Return scale and zero point of unsigned codes for a range, which is widened to hold zero."""
    least, most = min(float(np.float32(low)), 0.0), max(float(np.float32(high)), 0.0)
    scale = (most - least) / np.iinfo(code).max
    if scale < np.finfo(np.float32).tiny:  # a tensor that is zero throughout
        return np.float32(1), 0
    return np.float32(scale), round(-least / scale)
