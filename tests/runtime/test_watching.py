"""Calls in a thread of their own: their results, their errors, and a signal at any moment."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time

import pytest

from edgeport import InferenceError
from edgeport.watching import run_watched


class Endless:
    """A call that runs until it is stopped."""

    def __init__(self) -> None:
        self.stopped = threading.Lock()
        self.stopped.acquire()
        self.has_ended = False

    def __call__(self) -> None:
        self.stopped.acquire()
        self.has_ended = True
        raise RuntimeError("stopped")


def test_the_result_and_the_error_are_the_calls() -> None:
    assert run_watched(lambda: 7, lambda: None, None) == 7

    def fail() -> None:
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        run_watched(fail, lambda: None, None)


def test_a_deadline_stops_the_call() -> None:
    call = Endless()
    with pytest.raises(InferenceError, match="its time was up"):
        run_watched(call, call.stopped.release, time.monotonic() + 0.05)
    assert call.has_ended


class Struck(Exception):  # noqa: N818 - what a signal's handler raises
    pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timer that sends a signal")
def test_a_signal_at_any_moment_stops_the_call_and_hangs_nothing() -> None:
    """Also while the thread is being started, where Python's own Thread.start() breaks."""

    def strike(number: int, frame: object) -> None:
        raise Struck

    def run_with_alarm(seconds: float) -> None:
        call = Endless()
        signal.setitimer(signal.ITIMER_REAL, seconds)
        run_watched(call, call.stopped.release, None)

    before = signal.signal(signal.SIGALRM, strike)
    moments = random.Random(1)  # noqa: S311 - no secret
    try:
        for _ in range(1000):
            with pytest.raises(Struck):
                run_with_alarm(1e-6 + moments.random() * 2e-4)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
