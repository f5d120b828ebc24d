"""Sets that remember the order in which they were filled, in place of tf2onnx's.

tf2onnx walks over sets of names and of nodes: it rewrites the consumers of a tensor, and lists the
nodes of a graph, in the order of their hashes, which are other ones in every process. So the
numbers in new names, the order of constants and which of two equal ones stays were left to chance,
and the same model gave other bytes each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, MutableSet
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch


class OrderedSet(MutableSet[Any]):
    """A set whose elements come in the order in which they were first added."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items = dict.fromkeys(items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"OrderedSet({list(self._items)})"

    def __and__(self, other: Iterable[Any]) -> OrderedSet:
        wanted = dict.fromkeys(other)  # the mixin would take the order of the other one
        return OrderedSet(item for item in self._items if item in wanted)

    def add(self, item: Any) -> None:
        """Add an element behind the others, unless it is there."""
        self._items[item] = None

    def discard(self, item: Any) -> None:
        """Take an element out if it is there."""
        self._items.pop(item, None)

    def pop(self) -> Any:
        """Take out the last element and return it."""
        return self._items.popitem()[0]

    def copy(self) -> OrderedSet:
        """Return another set with the same elements."""
        return OrderedSet(self._items)

    def update(self, *others: Iterable[Any]) -> None:
        """Add the elements of others."""
        for other in others:
            self._items.update(dict.fromkeys(other))

    def union(self, *others: Iterable[Any]) -> OrderedSet:
        """Return the elements of this one, then those of the others."""
        result = self.copy()
        result.update(*others)
        return result

    def intersection(self, *others: Iterable[Any]) -> OrderedSet:
        """Return the elements that all others have, too."""
        result = self
        for other in others:
            result = result & other
        return result.copy() if result is self else result

    def difference(self, *others: Iterable[Any]) -> OrderedSet:
        """Return the elements that no other one has."""
        unwanted = OrderedSet().union(*others)
        return OrderedSet(item for item in self._items if item not in unwanted)

    def issubset(self, other: Iterable[Any]) -> bool:
        """Return whether the other one has all elements of this one."""
        return self._items.keys() <= dict.fromkeys(other).keys()


@contextmanager
def in_tf2onnx() -> Iterator[None]:
    """Let tf2onnx's modules, wherever they say ``set``, use sets that keep an order."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "tf2onnx":
                stack.enter_context(patch.object(module, "set", OrderedSet, create=True))
        yield
