"""What a signal's handler raises passes unchanged. ``interruptions.py`` tries it by thousands."""

from __future__ import annotations

import functools
import gc
import itertools
import json
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import Child, mlp_artifact

from edgeport import EdgeportError, InferenceError, InputError, Predictor
from edgeport.artifact.seal import metadata_entry
from edgeport.artifact.signature import KEY, read_signature
from edgeport.atomic_files import replacing
from edgeport.cli.bench import resident_bytes
from edgeport.signals import is_from_signal, passing_signals, reraise_signal

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no timer that sends a signal"
)
SCRIPT = Path(__file__).parent / "scripts" / "interruptions.py"


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


def raised_at_line(nth: int, kind: type[BaseException], call: Callable[[], Any]) -> str | None:
    """Have a signal's handler raise at the n-th line of edgeport that the call runs.

    Returns:
        The line at which what came out was not what the handler raised; "" where it was, and None
        where the call runs fewer lines.
    """
    raised: list[BaseException] = []
    lines: list[str] = []

    def handler(*_: Any) -> None:
        raised.append(kind("by the handler"))
        raise raised[0]

    def follow(frame: Any, event: str, _: Any) -> Any:
        if not str(frame.f_globals.get("__name__")).startswith("edgeport."):
            return None
        if event == "line":
            lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            if len(lines) == nth:
                sys.settrace(None)
                signal.raise_signal(signal.SIGUSR1)
        return follow

    error = None
    tracer, before = sys.gettrace(), signal.signal(signal.SIGUSR1, handler)
    sys.settrace(follow)
    try:
        call()
    except BaseException as caught:
        error = caught
    finally:
        sys.settrace(tracer)
        signal.signal(signal.SIGUSR1, before)
    if not raised:
        return None
    return "" if error is raised[0] else f"{lines[-1]}: {kind.__name__} became {error!r}"


# In turns. Some are kinds that edgeport itself goes on after, or translates.
KINDS = (TimeoutError, FileNotFoundError, ValueError, OverflowError, IndexError, InferenceError)


@pytest.mark.parametrize(
    ("name", "step"), [("write", 1), ("timeout", 1), ("load", 7), ("sign", 1), ("bench", 1)]
)
def test_a_handlers_exception_passes_at_each_line(name: str, step: int, tmp_path: Path) -> None:
    path, target = tmp_path / "m.onnx", tmp_path / "out"
    path.write_bytes(mlp_artifact())

    def write() -> None:
        with replacing(target, reads=[tmp_path]) as file:
            file.write(b"new")

    with Predictor.load(path) as predictor:
        calls: dict[str, Callable[[], Any]] = {
            "write": write,
            "timeout": lambda: predictor.predict(np.zeros(6), timeout=9),
            "load": lambda: Predictor.load(path),
            "sign": lambda: read_signature(mlp_artifact() + metadata_entry(KEY, b'{"version": 1}')),
            "bench": resident_bytes,
        }
        wrong = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of a file that the signal left open
            for nth in itertools.count(1, step):
                for kind in KINDS if step == 1 else (KINDS[nth % len(KINDS)],):
                    target.unlink(missing_ok=True)
                    found = raised_at_line(nth, kind, calls[name])
                    if found:
                        wrong.append(found)
                if found is None:
                    break
            gc.collect()
    assert wrong == []
    assert nth > 10
    target.unlink(missing_ok=True)
    write()  # and removes what a signal left between making a file and knowing it
    assert {file.name for file in tmp_path.iterdir()} == {"m.onnx", "out"}


RUN = """
import runpy, sys, warnings
warnings.simplefilter("ignore", ResourceWarning)  # of a file that the signal left open
warnings.simplefilter("ignore", DeprecationWarning)  # that a process with threads forks
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], None, "__main__")
"""


def test_no_signal_is_lost_or_renamed(child: Child) -> None:
    result = child(RUN, SCRIPT, "signals", 50)
    assert (result.returncode, result.stderr) == (0, "")
    results = json.loads(result.stdout)
    assert results == {name: {"right": 50} for name in results}
    assert len(results) == 13


def test_a_fork_amid_loads_hangs_no_child(child: Child) -> None:
    result = child(RUN, SCRIPT, "forks", 100)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {"0": 100}
