"""From the Keras layers that users name to the graph's nodes, and back.

The export names a node after the scopes it was traced in, ``model/layer/operation``, where a scope
may bear a number behind the layer's name.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Sequence

from edgeport import OptionError

_NUMBER = re.compile(r"_\d+$")


def layer_of(node: str) -> str:
    """Return the innermost layer's name in a node's name, as far as it can be told."""
    parts = node.split("/")
    return _NUMBER.sub("", parts[-2] if len(parts) > 1 else parts[0])


def find_nodes(patterns: Iterable[str], nodes: Sequence[str]) -> frozenset[str]:
    """Return the nodes of the layers that the patterns name.

    Args:
        patterns: Keras layer names, or shell patterns of them such as ``block_1*``.
        nodes: the names of the graph's nodes.

    Raises:
        OptionError: a pattern names no layer.
    """
    found: set[str] = set()
    for pattern in patterns:
        matching = [node for node in nodes if _matches(pattern, node)]
        if not matching:
            known = sorted({layer_of(node) for node in nodes})
            near = difflib.get_close_matches(pattern, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"the layers are {', '.join(known)}"
            raise OptionError(
                f"no layer to keep in float is called '{pattern}', expected the name of a Keras "
                f"layer or a pattern: {hint}"
            )
        found.update(matching)
    return frozenset(found)


def _matches(pattern: str, node: str) -> bool:
    parts = node.split("/")
    names = {node, *parts, *(_NUMBER.sub("", part) for part in parts)}
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)
