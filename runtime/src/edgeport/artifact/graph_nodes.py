"""The nodes of an ONNX file, read without its tensors: names, operators, inputs and outputs.

`edgeport bench --layers` finds by them which layer a line of the engine's profile belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeport.artifact.protobuf import fields, no_onnx_file

# ModelProto.graph; GraphProto.node and .initializer; NodeProto.input, .output, .name, .op_type;
# TensorProto.name. Source: onnx.proto.
_GRAPH, _NODE, _INITIALIZER = 7, 1, 5
_INPUT, _OUTPUT, _NODE_NAME, _OPERATOR = 1, 2, 3, 4
_TENSOR_NAME = 8


@dataclass(frozen=True)
class Node:
    """One node of the graph, outside of loops and branches; "" for a missing name."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Nodes:
    """All nodes in the order of the file, and the names of the constants."""

    nodes: tuple[Node, ...]
    constants: frozenset[str]


def read_nodes(model: bytes) -> Nodes:
    """Return the nodes of a model.

    Raises:
        ArtifactError: the bytes are no protobuf message.
    """
    nodes, constants = [], set()
    try:
        for number, _, at, end in fields(model, 0, len(model)):
            for inner, _, start, stop in fields(model, at, end) if number == _GRAPH else ():
                if inner == _NODE:
                    nodes.append(_read_node(model, start, stop))
                elif inner == _INITIALIZER:
                    constants.update(_texts(model, start, stop, _TENSOR_NAME))
    except (ValueError, IndexError) as cause:
        raise no_onnx_file(cause) from cause
    return Nodes(tuple(nodes), frozenset(constants))


def _read_node(model: bytes, at: int, end: int) -> Node:
    inputs, outputs, names, operators = (
        _texts(model, at, end, number) for number in (_INPUT, _OUTPUT, _NODE_NAME, _OPERATOR)
    )
    return Node("".join(names[-1:]), "".join(operators[-1:]), tuple(inputs), tuple(outputs))


def _texts(model: bytes, at: int, end: int, wanted: int) -> list[str]:
    return [
        model[start:stop].decode("utf-8", "replace")
        for number, _, start, stop in fields(model, at, end)
        if number == wanted
    ]
