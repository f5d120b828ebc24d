"""A long call that must hear Ctrl-C and a clock: it runs in a thread of its own.

Python delivers signals between two of the main thread's instructions, and a call into the engine
is a single one. Nothing here knows the engine.
"""

from __future__ import annotations

import _thread
import math
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from edgeport.errors import InferenceError, OptionError

_LONGEST_WAIT_S = 0.2

Result = TypeVar("Result")


class Deadline:
    """A time of ``time.monotonic`` at which runs are stopped; it may be moved while they run."""

    def __init__(self, at: float = math.inf) -> None:
        self.at = at


def is_main_thread() -> bool:
    """Whether this thread is the one that signals are delivered to, or nobody can tell."""
    # Its import costs a cold start 2 ms, and where it is imported first, it takes the thread for
    # the main one. While nobody has, this thread may be it.
    main_thread = getattr(sys.modules.get("threading"), "main_thread", None)
    return main_thread is None or _thread.get_ident() == main_thread().ident


def run_watched(call: Callable[[], Result], stop: Callable[[], None], deadline: Deadline) -> Result:
    """Return what the call returns, or raise what it raises; a thread costs some 50 us.

    Args:
        call: runs in another thread; when this function returns or raises, it has ended, or it
            begins only now and finds itself stopped.
        stop: asks the call to end soon, whether it has begun or not.
        deadline: when the call is stopped.

    Raises:
        InferenceError: the deadline passed, or the system allows no further thread.
        KeyboardInterrupt: or whatever else a signal's handler raises; the call was stopped.
    """
    results: list[Result] = []
    errors: list[BaseException] = []
    began: list[None] = []
    # A bare lock: Ctrl-C may strike between any two lines of an Event.
    end = _thread.allocate_lock()
    end.acquire()

    def work() -> None:
        began.append(None)
        try:
            results.append(call())
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)
        finally:
            end.release()

    started = time.monotonic()
    was_stopped = False
    try:
        # Not Thread.start(): it waits for the new thread in Python, and Ctrl-C in the middle of
        # that leaves a thread that counts as alive but never runs, or a lock that is held for ever
        # (seen with Python 3.11: KeyError in _bootstrap_inner). This is one call into C.
        try:
            _thread.start_new_thread(work, ())
        except RuntimeError as cause:
            raise InferenceError(
                f"no thread can be started to watch the run ({cause}), expected the system to "
                "allow one more: end some, or raise the limit"
            ) from cause
        # On Windows no wait can be interrupted, so each is short.
        while not end.acquire(timeout=_wait_s(deadline)):
            if time.monotonic() >= deadline.at:
                break
    finally:
        if not (results or errors):
            was_stopped = True
            stop()
        while began and not (results or errors):
            end.acquire(timeout=_LONGEST_WAIT_S)
    if errors and not was_stopped:
        raise errors[0]
    if not results:
        raise InferenceError(
            f"the run was stopped after {time.monotonic() - started:.3g} s because its time "
            "was up, expected an answer by then: allow more time, or feed fewer samples"
        )
    return results[0]


def _wait_s(deadline: Deadline) -> float:
    return min(_LONGEST_WAIT_S, max(0.0, deadline.at - time.monotonic()))


def deadline_after(timeout: float | None) -> Deadline | None:
    """Return the time at which so many seconds are over.

    Raises:
        OptionError: the timeout is no number above 0.
    """
    if timeout is None:
        return None
    try:
        seconds = 0.0 if isinstance(timeout, (bool, str, bytes)) else float(timeout)
    except OverflowError:
        seconds = float("inf")
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise OptionError(
            f"timeout is {timeout!r}, expected seconds above 0: leave it out to wait for the answer"
        )
    return Deadline(time.monotonic() + seconds)
