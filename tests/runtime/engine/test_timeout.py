"""Time: a limit stops a run, and the predictor stays usable."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
import slow
from examples import mlp_artifact

from edgeport import InferenceError, OptionError, Predictor

FOREVER = 10**9  # turns


def test_a_run_is_stopped_when_its_time_is_up() -> None:
    with Predictor.load(slow.looping()) as predictor:
        started = time.monotonic()
        for answer in (predictor.predict, predictor.classify):
            with pytest.raises(InferenceError, match=r"because its time was up.*allow more time"):
                answer(slow.x(), FOREVER, timeout=0.2)
        assert 0.2 <= time.monotonic() - started < 20
        assert (predictor.predict(slow.x(), 3, timeout=60) == 1).all()
        assert threading.active_count() == 1


def test_the_time_counts_for_all_chunks_together() -> None:
    with Predictor.load(slow.looping(), chunk_bytes=1) as predictor:
        started = time.monotonic()
        with pytest.raises(InferenceError, match="time was up"):
            predictor.predict(slow.x(1000), 2000, timeout=0.3)
        assert time.monotonic() - started < 20


def test_a_run_in_time_gives_its_answer() -> None:
    x = np.random.default_rng(0).random((4, 6)).astype("f4")
    with Predictor.load(mlp_artifact()) as predictor:
        assert predictor.predict(x, timeout=60).tobytes() == predictor.predict(x).tobytes()
        assert predictor.predict(x[0], timeout=60).shape == (3,)


def test_other_threads_have_times_of_their_own() -> None:
    answers: list[Any] = []
    with Predictor.load(slow.looping()) as predictor:

        def work() -> None:
            answers.append(predictor.predict(slow.x(), 300, timeout=60))

        thread = threading.Thread(target=work)
        thread.start()
        with pytest.raises(InferenceError, match="time was up"):
            predictor.predict(slow.x(), FOREVER, timeout=0.05)
        thread.join()
    assert (answers[0] == 1).all()


@pytest.mark.parametrize("timeout", [0, -1, True, "1", float("nan")])
def test_an_impossible_timeout_is_refused(timeout: Any) -> None:
    with (
        Predictor.load(mlp_artifact()) as predictor,
        pytest.raises(OptionError, match="expected seconds above 0"),
    ):
        predictor.predict(np.ones(6), timeout=timeout)


def test_the_signal_handler_of_the_program_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Predictor.load(mlp_artifact()) as predictor:
        predictor.predict(np.ones(6), timeout=5)
    assert signal.getsignal(signal.SIGINT) is before
