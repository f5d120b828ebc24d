"""Parts shared with helpers: each is done once, and the first error is raised."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest

from edgeport.engine import helpers


def test_sharing_does_each_part_once_and_raises_the_first_error() -> None:
    done: list[int] = []
    helpers.share(done.append, range(1000), 4)
    assert sorted(done) == list(range(1000))
    seen: list[int] = []

    def failing(part: int) -> None:
        seen.append(part)
        raise ValueError(f"part {part}")

    with pytest.raises(ValueError, match="part"):
        helpers.share(failing, range(1000), 3)
    assert len(seen) <= 3


def test_where_no_thread_can_be_started_the_caller_does_it_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full:
        allocate_lock = staticmethod(threading.Lock)

        @staticmethod
        def start_new_thread(*_: Any) -> None:
            raise RuntimeError("can't start new thread")

    helpers._forget()
    monkeypatch.setattr(helpers, "native_thread", lambda: Full)
    done: list[int] = []
    helpers.share(done.append, range(5), 4)
    assert done == [0, 1, 2, 3, 4]


@pytest.fixture
def soft_limit() -> Any:
    """A soft time limit, as a task queue sets it: a handler that raises in the main thread."""

    def stop(*_: Any) -> None:
        raise TimeoutError("soft limit")

    before = signal.signal(signal.SIGUSR1, stop)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
@pytest.mark.usefixtures("soft_limit")
def test_what_a_signal_raises_comes_when_no_helper_is_in_a_part() -> None:
    """A thread that is in the engine while the interpreter ends aborts the process."""
    begun, ended = threading.Event(), threading.Event()
    main = threading.get_ident()

    def work(_: int) -> None:
        if threading.get_ident() == main:
            begun.wait(10)
            return
        begun.set()
        time.sleep(0.05)  # so that the caller waits for this part
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.1)
        ended.set()

    with pytest.raises(TimeoutError, match="soft limit"):
        helpers.share(work, range(2), 2)
    assert ended.is_set()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal")
@pytest.mark.usefixtures("soft_limit")
def test_what_a_signal_raises_goes_before_the_failure_of_a_part() -> None:
    failing = threading.Event()
    main = threading.get_ident()

    def work(_: int) -> None:
        if threading.get_ident() != main:
            failing.set()
            raise ValueError("a part failed")
        failing.wait(10)
        time.sleep(0.05)  # so that the other failure comes first
        os.kill(os.getpid(), signal.SIGUSR1)
        for _ in range(100):
            time.sleep(0.01)

    with pytest.raises(TimeoutError, match="soft limit"):
        helpers.share(work, range(2), 2)
