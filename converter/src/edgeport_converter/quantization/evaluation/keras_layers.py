"""From the Keras layers that users name to the graph's nodes, and back.

The export names a node after the scopes it was traced in, ``model/layer/operation``. Nodes that
the export adds have no such name; they belong to the layer that their input comes from.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterable, Sequence

import onnx_ir as ir

from edgeport import OptionError


class KerasLayers:
    """The Keras layers that a graph's nodes come from.

    Args:
        names: of all layers of the model, those inside of layers too; none where the model has no
            layers any more, as a SavedModel; then every scope counts as a layer.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = frozenset(names)

    def path(self, node: str) -> tuple[str, ...]:
        """Return the layers that a node lies in, the innermost last; empty if its name has none."""
        scopes = node.split("/")[:-1]
        return tuple(part for part in scopes if part in self._names or not self._names)

    def owners(self, graph: ir.Graph) -> list[str]:
        """Return the innermost layer of each node, in order; "" where none is known."""
        owners = {node: (self.path(node.name or "") or ("",))[-1] for node in graph}
        for node in graph:
            sources = _sources(node, owners)
            if not owners[node]:
                owners[node] = next((owners[each] for each in sources if owners[each]), "")
        # What comes before all named nodes belongs to the layer that it leads to.
        for node in reversed(graph):
            for source in _sources(node, owners):
                owners[source] = owners[source] or owners[node]
        return list(owners.values())

    def find_nodes(self, patterns: Iterable[str], nodes: Sequence[str]) -> frozenset[str]:
        """Return the nodes of the layers that the patterns name.

        Args:
            patterns: Keras layer names, or shell patterns of them such as ``block_1*``; a layer
                inside another may be told apart from others of its name as ``outer/inner``.
            nodes: the names of the graph's nodes.

        Raises:
            OptionError: a pattern names no layer, or one that the graph has no operation of.
        """
        found: set[str] = set()
        for pattern in patterns:
            matching = [node for node in nodes if self._matches(pattern, node)]
            if not matching:
                raise self._refusal(pattern, nodes)
            found.update(matching)
        return frozenset(found)

    def _matches(self, pattern: str, node: str) -> bool:
        path = self.path(node)
        tails = ("/".join(path[start:]) for start in range(len(path)))
        return any(fnmatch.fnmatchcase(name, pattern) for name in (node, *path, *tails))

    def _refusal(self, pattern: str, nodes: Sequence[str]) -> OptionError:
        known = sorted({layer for node in nodes for layer in self.path(node)})
        if any(fnmatch.fnmatchcase(name, pattern) for name in self._names):
            return OptionError(
                f"the layer to keep in float '{pattern}' has no operation of its own in the graph, "
                "expected one that computes there (its arithmetic was folded into a neighbour's): "
                f"name one of {', '.join(known)}"
            )
        near = difflib.get_close_matches(pattern, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"the layers are {', '.join(known)}"
        return OptionError(
            f"no layer to keep in float is called '{pattern}', expected the name of a Keras "
            f"layer or a pattern: {hint}"
        )


def _sources(node: ir.Node, known: Collection[ir.Node]) -> list[ir.Node]:
    """Return the nodes of the same graph that a node reads."""
    made = [None if value is None else value.producer() for value in node.inputs]
    return [source for source in made if source is not None and source in known]
