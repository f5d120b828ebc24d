"""Signals in the middle of every kind of call, and forks in the middle of loads, as many as wanted.

    python tests/runtime/scripts/interruptions.py signals 1000    for each kind of call
    python tests/runtime/scripts/interruptions.py forks 2000

Both print JSON: how often the very exception that the handler raised came out ("right") or what
happened instead; and the exit codes of the children, where -14 is one that hung.
"""

from __future__ import annotations

import collections
import contextlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import numpy as np
from examples import mlp_artifact

from edgeport import InferenceError, Predictor
from edgeport.cli.main import main as command


class LateError(Exception):
    """Like a task queue's soft time limit."""


class LateTimeoutError(TimeoutError):
    """An OSError, as most recipes for time limits raise."""


RAISED = (LateError, TimeoutError, LateTimeoutError, RuntimeError, ValueError, InferenceError)
X = np.random.default_rng(1).random((512, 6)).astype("f4")
MANY = np.tile(X, (8, 1))


@contextlib.contextmanager
def kinds_of_call() -> Iterator[dict[str, Callable[[], Any]]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, data = folder / "m.onnx", folder / "x.npy"
        path.write_bytes(mlp_artifact())
        np.save(data, X)
        (folder / "x.csv").write_text("\n".join(",".join(map(str, row)) for row in X[:40]))
        predictor = Predictor.load(path)
        graphs = folder / "graphs"
        with Predictor.load(path, cache_dir=graphs):
            pass

        def cli(*arguments: object) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                code = command([str(argument) for argument in arguments])
            if code:
                raise SystemExit(f"exit code {code}")

        yield {
            "one sample": lambda: predictor.predict(X[0]),
            "a list": lambda: predictor.predict(X[0].tolist()),
            "small batch": lambda: predictor.predict(X),  # in kept buffers, as one sample
            "batch": lambda: predictor.predict(MANY),
            "timeout": lambda: predictor.predict(X, timeout=60),
            "classify": lambda: predictor.classify(X[:20]),
            "stream": lambda: list(predictor.stream(X[:100], batch_size=8)),
            "load": lambda: Predictor.load(path),
            "load of a kept graph": lambda: Predictor.load(path, cache_dir=graphs),
            "reload": predictor.reload,
            "predict on the command line": lambda: cli("predict", path, data),
            "a table on the command line": lambda: cli("predict", path, folder / "x.csv"),
            "verify on the command line": lambda: cli("verify", path),
        }


def signals(count: int) -> dict[str, dict[str, int]]:
    """Raise in the middle of each kind of call, so many times, at moments drawn by chance."""
    raised: list[BaseException] = []
    kind: type[Exception] = LateError

    def handler(*_: object) -> None:
        raised.append(kind("by the handler"))
        raise raised[-1]

    # An exception that strikes while Python frees an object is Python's to report: it goes on.
    freed: list[BaseException | None] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda found: freed.append(found.exc_value)
    before = signal.signal(signal.SIGALRM, handler)

    def until_raised(call: Callable[[], Any]) -> None:
        # In a function of its own: CPython 3.13 does not guard the jump of a loop by its `try`.
        signal.setitimer(signal.ITIMER_REAL, 2e-4 + moments.random() * 2e-3)
        while not raised:
            call()

    def interrupted(call: Callable[[], Any]) -> BaseException | None:
        """Return what came out of the call in the middle of which the handler raised."""
        raised.clear()
        try:
            until_raised(call)
        except BaseException as caught:
            return caught
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return interrupted(call) if raised[-1] in freed else None

    results = {}
    moments = random.Random(7)  # noqa: S311 - moments
    with kinds_of_call() as calls:
        for name, call in calls.items():
            seen: collections.Counter[str] = collections.Counter()
            for number in range(count):
                # The standard library itself goes on after an OSError while the command line is
                # read (gettext), and onnxruntime's wrapper of bound runs after a RuntimeError.
                few = {"command line": RAISED[:1], "one sample": RAISED[:3]}
                few["small batch"] = few["one sample"]
                kinds = next((some for text, some in few.items() if text in name), RAISED)
                kind = kinds[number % len(kinds)]
                error = interrupted(call)
                if error is None:
                    seen["lost"] += 1
                elif error is raised[-1]:
                    seen["right"] += 1
                else:
                    seen[f"{kind.__name__} became {type(error).__name__}: {error}"] += 1
            results[name] = dict(seen)
    signal.signal(signal.SIGALRM, before)
    sys.unraisablehook = hook
    return results


def forks(count: int) -> dict[int, int]:
    """Fork while other threads load and reload; each child loads, answers and exits."""
    path = Path(tempfile.mkdtemp()) / "m.onnx"
    path.write_bytes(mlp_artifact())
    predictor = Predictor.load(path)
    wanted = predictor.predict(X).tobytes()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            Predictor.load(path).close()

    def reload() -> None:
        while not stop.is_set():
            predictor.reload()

    workers = [threading.Thread(target=work) for work in (load, load, reload)]
    for worker in workers:
        worker.start()
    codes: collections.Counter[int] = collections.Counter()
    for _ in range(count):
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            code = 1
            try:
                with Predictor.load(path) as other:
                    right = other.predict(X).tobytes() == wanted
                code = 0 if right and predictor.predict(X).tobytes() == wanted else 7
            finally:
                os._exit(code)
        codes[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    stop.set()
    for worker in workers:
        worker.join()
    path.unlink()
    path.parent.rmdir()
    return dict(codes)


if __name__ == "__main__":
    what, number = {"signals": signals, "forks": forks}[sys.argv[1]], int(sys.argv[2])
    print(json.dumps(what(number), indent=2))
