"""Keeps a convolution's name where tf2onnx replaces the node by a new one.

Where tf2onnx moves a bias into a convolution it makes a new node and numbers it, ``Conv__289``.
Without its old name nobody could tell which Keras layer it was: a user could not keep that layer in
float by its name.
"""

from __future__ import annotations

import onnx


class NodeNames:
    """The original names of the nodes that one translation has replaced."""

    def __init__(self) -> None:
        self._original: dict[str, str] = {}

    def note(self, new: str, original: str) -> None:
        """Note that the node ``new`` took the place of ``original``."""
        self._original[new] = original

    def restore(self, graph: onnx.GraphProto) -> None:
        """Give the nodes that replaced others their names, in subgraphs too."""
        for node in graph.node:
            while node.name in self._original:
                node.name = self._original[node.name]
            for attribute in node.attribute:
                for inner in attribute.graphs:
                    self.restore(inner)
                if attribute.HasField("g"):
                    self.restore(attribute.g)
