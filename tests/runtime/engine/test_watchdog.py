"""Calls in a thread of their own: their results, their errors, and a signal at any moment."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from examples import Child

from edgeport import InferenceError
from edgeport.engine.watchdog import Deadline, run_watched


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
    assert run_watched(lambda: 7, lambda: None, Deadline()) == 7

    def fail() -> None:
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        run_watched(fail, lambda: None, Deadline())


def test_a_foreign_thread_is_not_taken_for_the_main_one(child: Child) -> None:
    """As of a program that embeds Python: threading takes the thread that imports it for main."""
    code = """
import _thread
from edgeport.engine.watchdog import Deadline, is_main_thread, run_watched
ended = _thread.allocate_lock()
ended.acquire()
def work():
    is_main_thread()
    run_watched(lambda: None, lambda: None, Deadline())
    ended.release()
_thread.start_new_thread(work, ())
ended.acquire()
print(is_main_thread())
import threading
print(is_main_thread(), threading.current_thread() is threading.main_thread())
other = threading.Thread(target=lambda: print(is_main_thread()))
other.start()
other.join()
"""
    assert child(code).stdout.split() == ["True", "True", "True", "False"]


def test_a_deadline_stops_the_call() -> None:
    call = Endless()
    with pytest.raises(InferenceError, match="its time was up"):
        run_watched(call, call.stopped.release, Deadline(time.monotonic() + 0.05))
    assert call.has_ended


STRIKES = """
import random, signal, threading
from edgeport.engine.watchdog import Deadline, run_watched

class Struck(Exception):
    pass

def strike(number, frame):
    raise Struck

def run_with_alarm(seconds):
    stopped = threading.Lock()
    stopped.acquire()
    signal.setitimer(signal.ITIMER_REAL, seconds)
    run_watched(stopped.acquire, stopped.release, Deadline())

signal.signal(signal.SIGALRM, strike)
moments = random.Random(1)
struck = 0
for _ in range(200):
    try:
        run_with_alarm(1e-6 + moments.random() * 2e-4)
    except Struck:
        struck += 1
print(struck)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timer that sends a signal")
def test_a_signal_at_any_moment_stops_the_call_and_hangs_nothing(child: Child) -> None:
    """Also while the thread is being started, where Python's own Thread.start() breaks."""
    result = child(STRIKES)
    assert (result.stdout, result.stderr) == ("200\n", "")


def test_a_system_without_threads_left_is_an_inference_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    with pytest.raises(InferenceError, match="no thread can be started to watch the run"):
        run_watched(lambda: 7, lambda: None, Deadline())
