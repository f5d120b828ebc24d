"""Bodies of branches and loops, which read tensors of the graph around them without its knowing."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper


def read_through_copies(graph: onnx.GraphProto) -> None:
    """Let the bodies of branches and loops read copies of the tensors around them, in place.

    Who reads a tensor decides whether it may go. The quantizer and what follows it look for readers
    in the graph itself; an Identity is one, and it costs nothing.
    """
    there = {value.name for value in (*graph.input, *graph.initializer)}
    there.update(name for node in graph.node for name in node.output)
    copies: dict[str, str] = {}
    nodes = []
    for node in graph.node:
        for body in _bodies(node):
            for name in sorted(_read_inside(body) & there):
                if name not in copies:
                    copies[name] = f"{name}/for bodies"
                    nodes.append(helper.make_node("Identity", [name], [copies[name]], copies[name]))
            _rename_inside(body, copies)
        nodes.append(node)
    if copies:
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [body for a in node.attribute for body in (*([a.g] if a.HasField("g") else []),
                                                      *a.graphs)]  # fmt: skip


def _own_names(body: onnx.GraphProto) -> set[str]:
    own = {value.name for value in (*body.input, *body.initializer)}
    return own.union(name for node in body.node for name in node.output)


def _read_inside(body: onnx.GraphProto) -> set[str]:
    """Return the names that a body reads from the graphs around it."""
    names = {name for node in body.node for name in node.input}
    names.update(value.name for value in body.output)
    inner = [_read_inside(each) for node in body.node for each in _bodies(node)]
    return names.union(*inner) - _own_names(body) - {""}


def _rename_inside(body: onnx.GraphProto, copies: Mapping[str, str]) -> None:
    own = _own_names(body)
    outer = {name: copy for name, copy in copies.items() if name not in own}
    for node in body.node:
        node.input[:] = [outer.get(name, name) for name in node.input]
        for inner in _bodies(node):
            _rename_inside(inner, outer)
    for value in body.output:
        value.name = outer.get(value.name, value.name)
