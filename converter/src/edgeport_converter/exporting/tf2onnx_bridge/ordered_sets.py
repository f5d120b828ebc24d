"""Sets in the order of insertion, so that files are the same in every process.

tf2onnx goes over sets of names and of nodes in the order of their hashes: when it rewrites the
consumers of a tensor, and when it lists the nodes of a graph. Hashes differ from process to
process, and with them the numbers in new names, the order of constants, and which of two equal
constants stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import Any


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
        """Add an element at the end, unless it is there."""
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


def ordered_set(original: Any, node_names: Any) -> type[OrderedSet]:
    """Return what a module of tf2onnx finds under the name ``set``."""
    return OrderedSet
