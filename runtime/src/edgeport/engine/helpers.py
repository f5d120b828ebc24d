"""The parts of a large batch, in this thread and in helpers of this process.

The engine lets go of Python while it runs, so that one-thread runs of one session stand side by
side. Helpers are started by the first batch that is worth one and sleep between calls: a sleeping
thread is woken sooner beside a busy process than a new one begins there (mini XCEPTION, 32 samples:
0.53 of one thread's time, 0.72 with new threads). A forked child starts its own.
``fast_path`` decides what the parts are.
"""

from __future__ import annotations

import os
from _queue import SimpleQueue  # the plain one, which gevent and eventlet do not replace
from collections import deque
from collections.abc import Callable, Iterable

from edgeport.engine.watchdog import native_thread
from edgeport.signals import reraise_signal

_helpers: list[None] = []  # one entry for each that was started; all take from one queue
_calls: SimpleQueue[Callable[[], None]] = SimpleQueue()


def share(work: Callable[[int], None], parts: Iterable[int], threads: int) -> None:
    """Call ``work`` with each part once, and return when all have ended.

    Each thread takes the next part when it is done with one, so that a helper that gets no CPU
    keeps nobody waiting for more than one part. Where the system allows no further thread, this
    one does it all.

    Raises:
        BaseException: what ``work`` or a signal's handler raised in this thread, else the first
            that it raised in a helper. No part is in work any more, unless another signal's
            handler raised meanwhile; parts that were not begun by then are left.
    """
    waiting = deque(parts)
    total = len(waiting)
    job = [work]  # emptied at the end: a helper may hear of this call only later
    failures: list[BaseException] = []
    helping: list[None] = []  # one entry for each helper that may be in a part
    ended: SimpleQueue[None] = SimpleQueue()  # told after an entry is gone

    def take() -> None:
        while waiting and not failures:
            try:
                part = waiting.popleft()
            except IndexError as error:  # another thread was faster
                reraise_signal(error)
                return
            job[0](part)

    def help_out() -> None:
        helping.append(None)
        try:
            take()
        except BaseException as error:
            failures.append(error)
        helping.pop()
        ended.put(None)

    def wait() -> None:
        while helping:
            ended.get()

    try:
        for _ in range(_start(min(threads, total) - 1)):
            _calls.put(help_out)
        take()
        wait()
    except BaseException:
        # A helper that is in the engine while the interpreter ends would abort the process.
        waiting.clear()
        wait()
        raise
    finally:
        job.clear()
    if failures:
        raise failures.pop(0)


def _start(wanted: int) -> int:
    """Return how many helpers there are, at most those wanted, after starting what is missing."""
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
    _calls = SimpleQueue()
    _helpers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
