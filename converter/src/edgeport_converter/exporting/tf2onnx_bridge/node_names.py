"""Names that lead back to the Keras layers, kept through tf2onnx's own rewriting.

Where tf2onnx moves a bias into a convolution it makes a new node and numbers it, ``Conv__289``.
Which layer that was could not be told any more: a user could not keep it in float by its name.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import onnx
from tf2onnx import optimizer
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer


class NodeNames:
    """The original names of the nodes that one rewriting has replaced."""

    def __init__(self) -> None:
        self._original: dict[str, str] = {}

    def optimize(self, graph: Any) -> Any:
        """Return tf2onnx's graph, rewritten by tf2onnx, with its errors raised."""
        passes = OrderedDict(optimizer._get_optimizers())
        # tf_einsum has done what this one does by trying all orders of an equation's letters.
        del passes["einsum_optimizer"]
        passes["optimize_transpose"] = lambda: _Watched(self._original)
        return optimizer.optimize_graph(graph, catch_errors=False, optimizers=passes)

    def restore(self, graph: onnx.GraphProto) -> None:
        """Give the nodes that replaced others their names."""
        for node in graph.node:
            while node.name in self._original:
                node.name = self._original[node.name]
            for attribute in node.attribute:
                for inner in attribute.graphs:
                    self.restore(inner)
                if attribute.HasField("g"):
                    self.restore(attribute.g)


class _Watched(TransposeOptimizer):  # type: ignore[misc]  # tf2onnx has no types
    """tf2onnx's pass; it makes new convolutions in this handler alone, and one mistake.

    It takes what is added behind a convolution without bias for its bias if it has one axis only,
    whichever that is, and fails for a number.
    """

    def __init__(self, original: dict[str, str]) -> None:
        super().__init__()
        self._original = original

    def _add_handler(self, trans: Any, node: Any) -> Any:
        if node.inputs[1].is_const():
            shape = node.inputs[1].get_tensor_value(as_list=False).shape
            if shape[-1:] in ((), (1,)):  # not one value a channel
                return self._handle_node_having_branches(trans, node)
        before = trans.inputs[0]
        name, kind = before.name, before.type
        result = super()._add_handler(trans, node)
        if self._g.get_node_by_name(trans.name) is None:  # it removed itself
            return result
        after = trans.inputs[0]
        if after is not before and after.type == kind:
            self._original[after.name] = name
        return result
