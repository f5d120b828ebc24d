"""Names: of nodes, which lead a profile back to Keras layers, and of tensors, which are short."""

from __future__ import annotations

import onnx
import onnx_ir as ir

# Key of a node's metadata with the name that the node had in the export, by its operator.
_NAME_OF = "edgeport.name.{}"
# Operators that a rule may have made an operator from.
_FORMER_TYPES = {"Gemm": ("MatMul",)}


def remember(model: ir.Model) -> None:
    """Write each node's name into its metadata, which a node that replaces it inherits."""
    for node in model.graph:
        node.metadata_props[_NAME_OF.format(node.op_type)] = node.name or ""


def name_after_layers(model: ir.Model) -> None:
    """Give nodes that the rewriter made the names of the nodes that they replace.

    A Conv that has taken in a BatchNormalization keeps the convolution's name.
    """
    taken = {node.name for node in model.graph if not (node.name or "").startswith("node_")}
    for node in model.graph:
        noted = node.metadata_props
        if node.name not in taken:
            candidates = [
                noted.get(_NAME_OF.format(kind), "")
                for kind in (node.op_type, *_FORMER_TYPES.get(node.op_type, ()))
            ]
            output = (node.outputs[0].name or "").removesuffix(":0")
            name = next(filter(None, candidates), output)
            node.name = name if name not in taken else f"{name}/{node.op_type}"
            taken.add(node.name)
        for key in [key for key in noted if key.startswith(_NAME_OF.format(""))]:
            del noted[key]


def shorten(graph: onnx.GraphProto) -> None:
    """Give tensors names of few letters in place; those of inputs and outputs stay."""
    kept = {value.name for value in (*graph.input, *graph.output)}
    kept.add("")  # an optional input that is left out
    short: dict[str, str] = {}

    def rename(name: str) -> str:
        if name in kept:
            return name
        if name not in short:
            number = len(short)
            while (candidate := _base36(number)) in kept or candidate in short.values():
                number += 1
            short[name] = candidate
        return short[name]

    for node in graph.node:
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            node.name = ""
    for tensor in graph.initializer:
        tensor.name = rename(tensor.name)


def _base36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = digits[number % 36]
    while number := number // 36:
        text = digits[number % 36] + text
    return text
