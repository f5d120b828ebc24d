"""What a call of ``predict`` costs beside the best code by hand for the same: JSON to stdout.

    python tests/benchmarks/whole_calls.py assets/digits.onnx build/bench/*/edgeport.onnx

For each artifact of one input, ratios of times; below 1, edgeport is faster:

- ``batches``: ``predict`` / ``InferenceSession.run`` of the same file, one thread, by batch size.
- ``threads``: two threads, batches of 1, 32 and 1,000: ``predict`` / a plain session with and
  without spinning, and / ``predict`` on one thread; ``cpu`` is the CPU time of the latter. The same
  with one CPU taken by another process (``busy``), and with a pause of 20 ms between calls
  (``paused``).
- ``kinds``: from a caller's array of another kind to the answer, one sample and 64, beside numpy's
  own conversion and ``run``.
- ``load``: a load and the first answer / those of a plain session, passed and CPU time.

All ways of a ratio stand in one process and run by turns, many short rounds. A ratio is that of the
smallest times; ``median`` is the median over rounds, which other programs disturb more.
"""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import Predictor
from edgeport.inputs.examples import example

# isort: split
import onnxruntime  # after edgeport, which turns its telemetry off

SIZES = (1, 2, 8, 32, 128, 1_000, 10_000)
LARGEST_BYTES, LONGEST_S = 2**28, 2.0  # larger or slower batches are left out
ROUND_S, ROUNDS, LOADS = 0.002, 40, 9

Ways = dict[str, Callable[[], Any]]


def session(path: str, threads: int = 1, *, spinning: bool = True) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def by_turns(
    ways: Ways, rounds: int = ROUNDS, pause: float = 0.0
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return the passed and the CPU seconds of a call in each round."""
    began = time.perf_counter()
    for call in ways.values():
        call()
        call()
    took = (time.perf_counter() - began) / 2 / len(ways)
    calls = 1 if pause else max(1, int(ROUND_S / took))
    rounds = max(5, min(rounds, int(LONGEST_S * 2 / (took * calls + pause))))
    passed: dict[str, list[float]] = {way: [] for way in ways}
    used: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in list(ways)[:: 1 if number % 2 else -1]:
            call, cpu, began = ways[way], time.process_time(), time.perf_counter()
            for _ in range(calls):
                call()
            passed[way].append((time.perf_counter() - began) / calls)
            time.sleep(pause)  # a thread that spins does so now, and its CPU time counts
            used[way].append((time.process_time() - cpu) / calls)
    return passed, used


def ratio(times: dict[str, list[float]], over: str, under: str) -> dict[str, float]:
    each = [a / b for a, b in zip(times[over], times[under], strict=True)]
    return {
        "min": round(min(times[over]) / min(times[under]), 3),
        "median": round(statistics.median(each), 3),
    }


def batches(path: str) -> dict[int, Any]:
    plain, found = session(path), {}
    with Predictor.load(path, threads=1) as predictor:
        for size in SIZES:
            ((name, x),) = example(predictor.card, size).items()
            began = time.perf_counter()
            plain.run(None, {name: x})
            if x.nbytes > LARGEST_BYTES or time.perf_counter() - began > LONGEST_S:
                break
            run = functools.partial(plain.run, None, {name: x})
            ours = functools.partial(predictor.predict, x)
            found[size] = ratio(by_turns({"run": run, "predict": ours})[0], "predict", "run")
    return found


def threads(path: str) -> dict[str, Any]:
    """Sessions that spin are made for their own rounds, since they slow everything else down."""
    found: dict[str, Any] = {}
    with Predictor.load(path, threads=1) as one, Predictor.load(path, threads=2) as two:
        for size in (1, 32, 1_000):
            ((name, x),) = example(one.card, size).items()
            ways: Ways = {
                "one": functools.partial(one.predict, x),
                "two": functools.partial(two.predict, x),
            }
            for state in ("alone", "busy", "paused"):
                with taking_a_cpu() if state == "busy" else contextlib.nullcontext():
                    pause = 0.02 if state == "paused" else 0.0
                    passed, used = by_turns(ways, 20, pause)
                    row = {"one": ratio(passed, "two", "one"), "cpu": ratio(used, "two", "one")}
                    for kind in ("spinning", "waiting"):
                        plain = session(path, 2, spinning=kind == "spinning")
                        run = functools.partial(plain.run, None, {name: x})
                        alike, cpu = by_turns({"two": ways["two"], kind: run}, 20, pause)
                        row[kind] = ratio(alike, "two", kind)
                        if pause:
                            row[f"{kind}_cpu"] = ratio(cpu, "two", kind)
                        del plain, run
                found[f"{size} {state}"] = row
            if passed["one"][0] > LONGEST_S / 30:
                break
    return found


@contextlib.contextmanager
def taking_a_cpu() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def kinds(path: str) -> dict[str, Any]:
    plain, found = session(path), {}
    with Predictor.load(path, threads=1) as predictor:
        (spec,) = predictor.card.inputs
        for size in (1, 64):
            ((name, x),) = example(predictor.card, size).items()
            wide = np.repeat(x, 2, axis=-1)
            low, high = max(float(x.min()), 0), min(float(x.max()), 255)
            given: dict[str, Any] = {
                "float64": x.astype("f8"),
                "uint8": x.clip(low, high).astype("u1"),
                "view": wide[..., ::2],
                "fortran": np.asfortranarray(x),
                "list": x.tolist(),
            }
            for kind, value in given.items():

                def by_hand(name: str = name, value: Any = value) -> Any:
                    return plain.run(None, {name: np.ascontiguousarray(value, spec.dtype)})

                ways: Ways = {"hand": by_hand, "ours": functools.partial(predictor.predict, value)}
                found[f"{kind} {size}"] = ratio(by_turns(ways)[0], "ours", "hand")
    return found


def load(path: str) -> dict[str, Any]:
    with Predictor.load(path, threads=1) as predictor:
        ((name, x),) = example(predictor.card, 1).items()

    def ours() -> None:
        with Predictor.load(path, threads=1) as predictor:
            predictor.predict(x)

    ways: Ways = {"plain": lambda: session(path).run(None, {name: x}), "ours": ours}
    passed, used = by_turns(ways, LOADS)
    return {"passed": ratio(passed, "ours", "plain"), "cpu": ratio(used, "ours", "plain")}


def main(paths: list[str]) -> None:
    result = {}
    for path in paths:
        with Predictor.load(path, threads=1) as predictor:
            name, size = predictor.card.name, Path(path).stat().st_size
        result[path] = {
            "name": name,
            "bytes": size,
            **{part.__name__: part(path) for part in (batches, threads, kinds, load)},
        }
        print(f"{path} is done", file=sys.stderr)
    print(json.dumps({"onnxruntime": onnxruntime.__version__, "artifacts": result}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
