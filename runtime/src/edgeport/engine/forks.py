"""Forks of the process: they wait while an engine is made, and the child makes its own.

A fork copies only the thread that calls it, so in the child an engine would have no threads, and
locks that nobody releases. ``session`` registers itself here; ``loading`` holds the lock.
"""

from __future__ import annotations

import _thread
import itertools
import os
import weakref


class Forked:
    """An object that a forked child cannot use before it has been repaired."""

    def after_fork(self) -> None:
        """Repair the object; called in the child, before anything else runs there."""
        raise NotImplementedError


# No WeakSet: it runs Python code whenever a member goes, and an exception that a signal's handler
# raised there would be lost.
_watched: dict[int, weakref.ref[Forked]] = {}
_numbers = itertools.count()

# A thread holds one of these locks while it makes an engine and tries it; a fork takes all of them.
# The engine takes locks of its own meanwhile, which nobody would release in the child. A thread
# always takes the same lock, since a signal's handler may load a model in the middle of a load.
_MAKING = tuple(_thread.RLock() for _ in range(8))


def making() -> _thread.RLock:
    """Return a context in which an engine is made: forks of other threads wait for its end."""
    # Threads differ in the page of their stack.
    return _MAKING[_thread.get_ident() // 4096 % len(_MAKING)]


def watch(thing: Forked) -> None:
    """Have ``after_fork`` called in each child, as long as the thing lives."""
    for number, one in list(_watched.items()):
        if one() is None:
            _watched.pop(number, None)
    _watched[next(_numbers)] = weakref.ref(thing)


def _tell() -> None:
    for one in list(_watched.values()):
        thing = one()
        if thing is not None:
            thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell)
    for _lock in _MAKING:
        os.register_at_fork(
            before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
        )
