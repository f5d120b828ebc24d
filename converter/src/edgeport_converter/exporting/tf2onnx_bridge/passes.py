"""Corrections of tf2onnx's optimization passes, and the names of nodes that they replace.

Each function gives the replacement of one name in tf2onnx; ``PATCHES`` gives the reasons.
"""

from __future__ import annotations

from typing import Any

import onnx

from edgeport_converter.exporting.patching import function_patch

NodeNames = dict[str, str]
"""The original names of the nodes that one translation has replaced, by the new ones."""


def restore_names(graph: onnx.GraphProto, node_names: NodeNames) -> None:
    """Give the nodes that replaced others their names, in subgraphs too.

    Where tf2onnx moves a bias into a convolution it makes a new node and numbers it, ``Conv__289``.
    Without its old name nobody could tell which Keras layer it was: a user could not keep that
    layer in float by its name.
    """
    for node in graph.node:
        while node.name in node_names:
            node.name = node_names[node.name]
        for attribute in node.attribute:
            for inner in attribute.graphs:
                restore_names(inner, node_names)
            if attribute.HasField("g"):
                restore_names(attribute.g, node_names)


@function_patch
def update_no_constants(
    original: Any, node_names: NodeNames, self: Any, *args: Any, **options: Any
) -> None:
    """Bring a node's protobuf message up to date, but not a constant's, which never changes.

    The file's initializers are made from elsewhere.
    """
    if not self.is_const():
        original(self, *args, **options)


def without_einsum(original: dict[str, Any], node_names: NodeNames) -> dict[str, Any]:
    """Return the passes in their order, without the one that takes einsum apart."""
    return {name: made for name, made in original.items() if name != "einsum_optimizer"}


def keep_casts(original: dict[Any, Any], node_names: NodeNames) -> dict[Any, Any]:
    """Return the rules for two nodes of a kind in a row, without the one for casts."""
    return {kinds: rule for kinds, rule in original.items() if kinds != ("Cast",)}


@function_patch
def add_after_transpose(
    original: Any, node_names: NodeNames, self: Any, transpose: Any, node: Any
) -> Any:
    """Move a Transpose past an Add; what is added becomes a bias only if there is one a channel."""
    if node.inputs[1].is_const():
        shape = node.inputs[1].get_tensor_value(as_list=False).shape
        if shape[-1:] in ((), (1,)):
            return self._handle_node_having_branches(transpose, node)
    before = transpose.inputs[0]
    name, kind = before.name, before.type
    result = original(self, transpose, node)
    if self._g.get_node_by_name(transpose.name) is None:  # it removed itself
        return result
    after = transpose.inputs[0]
    if after is not before and after.type == kind:
        node_names[after.name] = name
    return result


@function_patch
def keep_other_consumers(
    original: Any,
    node_names: NodeNames,
    self: Any,
    input_name: str,
    node: Any,
    only_graph: bool = False,
) -> None:
    """Forget that a subgraph reads a tensor only when its last reader is gone."""
    others = self.find_output_consumers(input_name)
    if all(other is node for other in others):
        original(self, input_name, node, only_graph)
