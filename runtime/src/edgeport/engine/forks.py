"""What a fork leaves behind: locks that nobody will release, threads that are not there."""

from __future__ import annotations

import os
import weakref


class Forked:
    """What a forked child has to put right before it uses it."""

    def after_fork(self) -> None:
        """Do so; called in the child, before anything else runs there."""
        raise NotImplementedError


_watched: weakref.WeakSet[Forked] = weakref.WeakSet()
_is_registered = False


def watch(thing: Forked) -> None:
    """Have ``after_fork`` called in each child, as long as the thing lives."""
    global _is_registered
    _watched.add(thing)
    if not _is_registered and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_tell)
        _is_registered = True


def _tell() -> None:
    for thing in list(_watched):
        thing.after_fork()
