"""Time limits: a timer's thread that nothing replaces, and what happens where there is none."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import slow
from examples import Child

from edgeport import OptionError, Predictor
from edgeport.engine.watchdog import TimeLimit

FOREVER = 10**9  # turns


def _happens(condition: Any) -> bool:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return bool(condition())


def test_a_run_that_begins_before_the_end_is_stopped_at_the_end() -> None:
    stopped = threading.Event()
    with TimeLimit(0.01) as limit:
        limit.stop_by(stopped.set)
        assert stopped.wait(60)
        assert limit.is_over


def test_a_run_that_begins_after_the_end_is_stopped_at_once() -> None:
    stopped = threading.Event()
    with TimeLimit(1e-6) as limit:
        assert _happens(lambda: limit.is_over)
        limit.stop_by(stopped.set)
        assert stopped.is_set()


def test_nothing_is_stopped_in_time() -> None:
    for seconds in (60, 1e300, float("inf")):
        with TimeLimit(seconds) as limit:
            limit.stop_by(lambda: pytest.fail("stopped"))
        assert not limit.is_over


@pytest.mark.parametrize("timeout", [0, -1, True, "1", b"1", float("nan"), None, [1], 10**400])
def test_a_limit_is_a_number_above_zero(timeout: Any) -> None:
    if timeout == 10**400:
        assert TimeLimit.of(timeout).seconds == float("inf")
        return
    with pytest.raises(OptionError, match="expected seconds above 0"):
        TimeLimit.of(timeout)


def test_a_system_without_threads_left_refuses_the_limit_alone(child: Child, tmp_path: Any) -> None:
    """As under RLIMIT_NPROC, which root is not held to."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(slow.looping())
    code = f"""
import _thread, sys
import numpy as np
import edgeport
from edgeport.engine import watchdog
class Thread:
    allocate_lock, TIMEOUT_MAX = staticmethod(_thread.allocate_lock), _thread.TIMEOUT_MAX
    @staticmethod
    def start_new_thread(*_):
        raise RuntimeError("can't start new thread")
watchdog.native_thread = lambda: Thread
x = np.ones(({slow.SIDE}, {slow.SIDE}), "f4")
with edgeport.Predictor.load(sys.argv[1]) as predictor:
    try:
        predictor.predict(x, 3, timeout=60)
    except edgeport.InferenceError as error:
        print(error)
    print((predictor.predict(x, 3) == 1).all())
"""
    result = child(code, path)
    assert result.stderr == ""
    refusal, answered = result.stdout.splitlines()
    assert refusal.startswith("no thread can be started to watch the time (can't start new")
    assert answered == "True"


REPLACED = {
    "nothing": "",
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "gevent, later": "import edgeport; from gevent import monkey; monkey.patch_all()",
    "eventlet": """
import warnings
warnings.simplefilter("ignore")  # that it is no longer developed
import eventlet; eventlet.monkey_patch()""",
    "eventlet, later": """
import warnings
warnings.simplefilter("ignore")
import edgeport, eventlet; eventlet.monkey_patch()""",
    "others": """
import _thread
def start_new_thread(function, arguments, keywords={}):
    raise AssertionError("the replaced one was called")
_thread.start_new_thread = start_new_thread""",
}


@pytest.mark.parametrize("replace", REPLACED.values(), ids=REPLACED)
def test_the_time_is_up_also_where_an_event_loop_replaces_threads(
    replace: str, child: Child, tmp_path: Any
) -> None:
    path = tmp_path / "slow.onnx"
    path.write_bytes(slow.looping())
    code = f"""{replace}
import sys, time
import numpy as np, edgeport
x = np.ones(({slow.SIDE}, {slow.SIDE}), "f4")
with edgeport.Predictor.load(sys.argv[1]) as predictor:
    for _ in range(3):
        started = time.monotonic()
        try:
            predictor.predict(x, {FOREVER}, timeout=0.05)
        except edgeport.InferenceError as error:
            print(str(error)[:40], time.monotonic() - started < 30)
        print((predictor.predict(x, 2, timeout=60) == 1).all())
        print(len(list(predictor.stream([(x[0], 2)] * 3))))
"""
    result = child(code, path)
    wanted = "the run was stopped after 0.05 s because True\nTrue\n3\n"
    assert (result.stdout, result.stderr, result.returncode) == (wanted * 3, "", 0)


def test_a_small_stack_does_no_harm(child: Child, tmp_path: Any) -> None:
    """The engine runs in the caller's thread; the timer's own needs next to nothing."""
    path = tmp_path / "slow.onnx"
    path.write_bytes(slow.looping())
    code = f"""
import sys, threading
threading.stack_size(64 * 1024)
import numpy as np, edgeport
x = np.ones(({slow.SIDE}, {slow.SIDE}), "f4")
with edgeport.Predictor.load(sys.argv[1]) as predictor:
    print((predictor.predict(x, 2) == 1).all(), (predictor.predict(x, 2, timeout=60) == 1).all())
    print(len(list(predictor.stream([(x[0], 2)] * 3))))
"""
    result = child(code, path)
    assert (result.stdout, result.stderr, result.returncode) == ("True True\n3\n", "", 0)


def test_the_timers_thread_ends_with_the_call() -> None:
    with Predictor.load(slow.looping()) as predictor:
        for _ in range(50):
            predictor.predict(slow.x(1), 1, timeout=3600)
    assert threading.active_count() == 1
