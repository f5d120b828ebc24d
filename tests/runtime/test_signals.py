"""What a signal's handler raises passes unchanged. ``interruptions.py`` tries it by thousands."""

from __future__ import annotations

import functools
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import Child, mlp_artifact

from edgeport import EdgeportError, InferenceError, InputError, Predictor
from edgeport.signals import is_from_signal, passing_signals, reraise_signal

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no timer that sends a signal"
)
SCRIPT = Path(__file__).with_name("interruptions.py")


class Late(Exception):  # noqa: N818 - as task queues name theirs
    pass


def by_name(number: int, frame: Any) -> None:
    raise Late


def by_star(*_: Any) -> None:
    raise Late


def deeper(*arguments: Any) -> None:
    by_name(*arguments)


class Bound:
    def method(self, number: int, frame: Any) -> None:
        raise Late

    def __call__(self, number: int, frame: Any) -> None:
        raise Late


def extra(more: int, number: int, frame: Any) -> None:
    raise Late


HANDLERS = {
    "names": by_name,
    "star": by_star,
    "lambda": lambda number, frame: by_star(),
    "deeper": deeper,
    "method": Bound().method,
    "object": Bound(),
    "partial": functools.partial(extra, 1),
}


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
def test_a_handlers_exception_is_told_from_others(handler: Any) -> None:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Late) as caught:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert is_from_signal(caught.value)
    try:
        raise InputError("made of it") from caught.value
    except InputError as error:
        with pytest.raises(Late) as again:
            reraise_signal(error)
    assert again.value is caught.value


def test_other_exceptions_are_no_handlers() -> None:
    def holds(*arrays: Any) -> None:
        raise Late

    for arguments in ((), (np.zeros(3),), (1, None), (np.zeros(3), (np.ones(2), 5))):
        with pytest.raises(Late) as caught:
            holds(*arguments)
        assert not is_from_signal(caught.value)
        reraise_signal(caught.value)
    assert not is_from_signal(Late())


def test_an_error_within_the_handling_of_a_signal_is_its_own() -> None:
    """Whoever predicts in an ``except`` block gets the error of that call."""
    before = signal.signal(signal.SIGUSR1, by_name)
    try:
        signal.raise_signal(signal.SIGUSR1)
    except Late:
        with Predictor.load(mlp_artifact()) as predictor, pytest.raises(InputError):
            predictor.predict([1])
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("kind", [Late, TimeoutError, InferenceError, KeyboardInterrupt])
def test_an_array_that_is_made_meanwhile(kind: type[BaseException]) -> None:
    """``__array__`` runs Python code, in which the handler may strike."""

    class Slow:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            signal.raise_signal(signal.SIGUSR1)

    error = kind("late")

    def handler(*_: Any) -> None:
        raise error

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with Predictor.load(mlp_artifact()) as predictor:
            for call in (
                lambda: predictor.predict(Slow()),
                lambda: predictor.classify(Slow()),
                lambda: list(predictor.stream([np.zeros(6), Slow()])),
            ):
                with pytest.raises(kind) as caught:
                    call()
                assert caught.value is error
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_edgeports_own_errors_stay() -> None:
    @passing_signals
    def fails() -> None:
        raise EdgeportError("own")

    with pytest.raises(EdgeportError, match="own"):
        fails()


RUN = """
import runpy, sys, warnings
warnings.simplefilter("ignore", ResourceWarning)  # of a file that the signal left open
warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], None, "__main__")
"""


def test_no_signal_is_lost_or_renamed(child: Child) -> None:
    result = child(RUN, SCRIPT, "signals", 50)
    assert result.stderr == ""
    results = json.loads(result.stdout)
    assert results == {name: {"right": 50} for name in results}
    assert len(results) == 12


def test_a_fork_amid_loads_hangs_no_child(child: Child) -> None:
    result = child(RUN, SCRIPT, "forks", 100)
    assert (json.loads(result.stdout), result.stderr) == ({"0": 100}, "")
