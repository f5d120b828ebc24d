"""The parts of a large batch, in this thread and in helpers of this process.

The engine lets go of Python while it runs, so that one-thread runs of one session stand side by
side. Helpers are started by the first batch that is worth one and sleep between calls: a sleeping
thread is woken sooner beside a busy process than a new one begins there (mini XCEPTION, 32 samples:
0.53 of one thread's time, 0.72 with new threads). A forked child starts its own.
``fast_path`` decides what the parts are.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from edgeport.engine.watchdog import native_thread
from edgeport.signals import reraise_signal

_helpers: list[None] = []  # one entry for each that was started; all take from one queue
_calls: Any = None


def share(work: Callable[[int], None], parts: Iterable[int], threads: int) -> None:
    """Call ``work`` with each part once, and return when all have ended.

    Each thread takes the next part when it is done with one, so that a helper that gets no CPU
    keeps nobody waiting for more than one part. Where the system allows no further thread, this
    one does it all.

    Raises:
        BaseException: the first that ``work`` raised; parts that were not begun by then are left.
    """
    waiting = deque(parts)
    total = len(waiting)
    job = [work]  # emptied at the end: a helper may hear of this call only later
    failures: list[BaseException] = []
    ended = itertools.count(1)  # its steps, like those of a deque, need no lock
    all_ended = native_thread().allocate_lock()
    all_ended.acquire()

    def take() -> None:
        while waiting:
            try:
                part = waiting.popleft()
            except IndexError as error:  # another thread was faster
                reraise_signal(error)
                return
            try:
                if not failures:
                    job[0](part)
            except BaseException as error:
                failures.append(error)
            if next(ended) == total:
                all_ended.release()

    try:
        for _ in range(_start(min(threads, total) - 1)):
            _calls.put(take)
        take()
        all_ended.acquire()
    except BaseException:  # of a signal's handler
        waiting.clear()
        raise
    job.clear()
    if failures:
        raise failures[0]


def _start(wanted: int) -> int:
    """Return how many helpers there are, at most those wanted, after starting what is missing."""
    global _calls
    if _calls is None:
        from _queue import SimpleQueue  # the plain one, which gevent and eventlet do not replace

        _calls = SimpleQueue()
    calls = _calls

    def help_for_ever() -> None:
        while True:
            calls.get()()

    try:
        while len(_helpers) < wanted:
            native_thread().start_new_thread(help_for_ever, ())
            _helpers.append(None)
    except RuntimeError as error:
        reraise_signal(error)
    return min(wanted, len(_helpers))


def _forget() -> None:
    global _calls
    _calls = None
    _helpers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
