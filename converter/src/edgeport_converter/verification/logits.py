"""Logits of the graph: what goes into the last function of an output that bounds answers.

The rule is that of ``exporting.logits``, which finds the same in the graph of TensorFlow, and so
are the names: logits that only one side has are not compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import helper

from edgeport_converter.loading.model import logits_name

_SQUASHING = {
    "Softmax": "softmax",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Relu": "clip",
    "Clip": "clip",
    "Min": "clip",
    "Max": "clip",
    "HardSigmoid": "clip",
}
_MOVES_FIRST = frozenset(
    {
        *("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
        *("Slice", "Gather", "Split"),
    }
)
_AFFINE = frozenset({"Mul", "Add", "Sub", "Div", "Neg"})
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


@dataclass(frozen=True, eq=False)
class GraphLogits:
    """What a graph needs to answer with its logits, too.

    Attributes:
        nodes: to be added after its own.
        names: the tensors that these end in, as ``logits_name`` gives them.
    """

    nodes: tuple[onnx.NodeProto, ...]
    names: tuple[str, ...]


def find_logits(model: onnx.ModelProto) -> GraphLogits:
    """Return the nodes that compute the logits of a graph; it is not changed.

    1. From each output, the last squashing function is looked for, through nodes that only move,
       scale or shift values.
    2. Those nodes are repeated on what goes into the function, and end in a tensor of their own.
    """
    search = _Search(model.graph)
    names = []
    for value in model.graph.output:
        before, kinds = search.before(value.name)
        if kinds:
            name = logits_name(value.name, kinds)
            search.added.append(helper.make_node("Identity", [before], [name], name))
            names.append(name)
    return GraphLogits(tuple(search.added), tuple(names))


class _Search:
    """Finds what is before the squashing functions of one graph.

    Attributes:
        added: the nodes that repeat others without a squashing function.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.added: list[onnx.NodeProto] = []
        self._producers = {name: node for node in graph.node for name in node.output}
        self._constants = {tensor.name for tensor in graph.initializer}
        self._constants |= {
            name for node in graph.node if node.op_type == "Constant" for name in node.output
        }

    def before(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Return the tensor as it would be without squashing, and the kinds of functions left out.

        The tensor itself and no kind, where there is no such function.
        """
        node = self._producers.get(name)
        if node is None:
            return name, ()
        kind = _SQUASHING.get(node.op_type)
        if kind is not None:
            source = self._varying(node)
            return (name, ()) if source is None else (self._below(node, source), (kind,))
        places = self._moved(node)
        found = {place: self.before(node.input[place]) for place in places}
        kinds = tuple(kind for _, below in found.values() for kind in below)
        if not kinds:
            return name, ()
        inputs = [
            found[place][0] if place in found else each for place, each in enumerate(node.input)
        ]
        repeated = onnx.NodeProto()
        repeated.CopyFrom(node)
        outputs = [self._new(each) if each else "" for each in node.output]
        del repeated.input[:], repeated.output[:]
        repeated.input.extend(inputs)
        repeated.output.extend(outputs)
        repeated.name = self._new(node.name)
        self.added.append(repeated)
        return outputs[list(node.output).index(name)], kinds

    def _below(self, node: onnx.NodeProto, source: int) -> str:
        """Return what goes into a squashing function, below further bounds if it is a bound."""
        while True:
            name = str(node.input[source])
            if node.op_type == "HardSigmoid":
                return self._line(name, node)
            below = self._producers.get(name)
            if not (
                _SQUASHING[node.op_type] == "clip"
                and below is not None
                and _SQUASHING.get(below.op_type) == "clip"
            ):
                return name
            place = self._varying(below)
            if place is None:
                return name
            node, source = below, place

    def _line(self, name: str, node: onnx.NodeProto) -> str:
        """Return ``alpha * x + beta``, which a hard-sigmoid bounds; 0.2 and 0.5 by default."""
        given = {attribute.name: attribute.f for attribute in node.attribute}
        names = [self._new(f"{name} {part}") for part in ("alpha", "beta", "scaled", "line")]
        alpha, beta, scaled, line = names
        for constant, value in ((alpha, given.get("alpha", 0.2)), (beta, given.get("beta", 0.5))):
            self.added.append(helper.make_node("Constant", [], [constant], value_float=value))
        self.added.append(helper.make_node("Mul", [name, alpha], [scaled]))
        self.added.append(helper.make_node("Add", [scaled, beta], [line]))
        return line

    def _moved(self, node: onnx.NodeProto) -> list[int]:
        if node.op_type == "Concat":
            return list(range(len(node.input)))
        if node.op_type == "Cast" and node.attribute[0].i not in _FLOATS:
            return []  # a count of something, or a decision
        if node.op_type in _MOVES_FIRST:
            return [0]
        if node.op_type in _AFFINE:
            source = self._varying(node)
            return [] if source is None or (node.op_type == "Div" and source) else [source]
        return []

    def _varying(self, node: onnx.NodeProto) -> int | None:
        """Return the place of the only input that is no constant, None if there are others."""
        places = [
            place for place, name in enumerate(node.input) if name and name not in self._constants
        ]
        return places[0] if len(places) == 1 else None

    def _new(self, name: str) -> str:
        return f"{name} without squashing {len(self.added)}"
