"""The parts of a large batch, in this thread and in helpers that end with the call.

Between calls there is no thread that would wait busily, take memory or hang a forked child. The
engine lets go of Python while it runs, so that one-thread runs of one session stand side by side.
``inputs/batching`` decides what the parts are.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable

from edgeport.engine.watchdog import native_thread
from edgeport.signals import reraise_signal


def share(work: Callable[[int], None], parts: Iterable[int], threads: int) -> None:
    """Call ``work`` with each part once, and return when all have ended.

    Each thread takes the next part when it is done with one, so that a helper that gets no CPU
    beside a busy process keeps nobody waiting for more than one part. Where the system allows no
    further thread, this one does it all.

    Raises:
        BaseException: the first that ``work`` raised; parts that were not begun by then are left.
    """
    waiting = deque(parts)
    total = len(waiting)
    failures: list[BaseException] = []
    ended = itertools.count(1)  # its steps, like those of a deque, need no lock
    thread = native_thread()
    all_ended = thread.allocate_lock()
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
                    work(part)
            except BaseException as error:
                failures.append(error)
            if next(ended) == total:
                all_ended.release()

    try:
        for _ in range(min(threads, total) - 1):
            try:
                thread.start_new_thread(take, ())
            except RuntimeError as error:
                reraise_signal(error)
                break
        take()
        all_ended.acquire()
    except BaseException:  # of a signal's handler
        waiting.clear()
        raise
    if failures:
        raise failures[0]
