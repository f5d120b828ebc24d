"""What a call of ``predict`` costs beside the best code by hand for the same: JSON to stdout.

    python tests/benchmarks/whole_calls.py assets/digits.onnx build/bench/*/edgeport.onnx
    python tests/benchmarks/whole_calls.py --parts kinds --into build/calls.json a.onnx

With ``--into`` a run can be made bit by bit: the file keeps what was measured before, and
``--sizes`` measures single batch sizes again. For each artifact of one input, ratios of times;
below 1, edgeport is faster:

- ``batches``: ``predict`` / ``InferenceSession.run`` of the same file, one thread, by batch size.
- ``threads``: two threads, batches of 1, 32 and 10,000: ``predict`` / ``predict`` on one thread, /
  plain sessions with and without spinning (``waiting``), and ratios of CPU time. The same with one
  CPU taken by another process (``busy``), and with a pause of 20 ms between calls (``paused``),
  but for calls of more than 0.2 s.
- ``kinds``: from a caller's array of another kind to the answer, one sample and 64, beside numpy's
  own conversion and ``run``.
- ``load``: a load and the first answer / those of a plain session, passed and CPU time.

All ways of a ratio stand in one process and run by turns, in many short rounds, those of
``threads`` ten rounds each. ``min`` is the ratio of the smallest times, ``median`` that of the
medians, which other programs disturb more.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers import machine

from edgeport import ModelCard, Predictor
from edgeport.inputs.examples import example, free_axes

# isort: split
import onnxruntime  # after edgeport, which turns its telemetry off

SIZES, SHARED_SIZES = (1, 2, 8, 32, 128, 1_000, 10_000), (1, 32, 10_000)
LARGEST_BYTES, LONGEST_S = 2**28, 2.0  # larger or slower batches are left out unless asked for
ROUND_S, ROUNDS, BLOCKS, LOADS = 0.002, 40, 4, 9

Ways = dict[str, Callable[[], Any]]


def made(card: ModelCard, size: int) -> tuple[str, Any]:
    """Return the input's name and a batch; free axes are a picture's."""
    ((name, x),) = example(card, size, dict.fromkeys(free_axes(card.inputs), 224)).items()
    return name, x


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
    fewest = 5 if took < 1 else 3
    rounds = max(fewest, min(rounds, int(LONGEST_S * 2 / (took * calls + pause))))
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


def in_blocks(
    makers: dict[str, Callable[[], Callable[[], Any]]], pause: float
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return what ``by_turns`` does, each way by itself for some rounds.

    A session's threads may spin after its calls, so it is made for its rounds and goes with them.
    """
    passed: dict[str, list[float]] = {way: [] for way in makers}
    used: dict[str, list[float]] = {way: [] for way in makers}
    for _ in range(BLOCKS):
        for way, make in makers.items():
            call = make()
            seconds, cpu = by_turns({way: call}, ROUNDS // BLOCKS, pause)
            passed[way] += seconds[way]
            used[way] += cpu[way]
            del call
    return passed, used


def ratio(times: dict[str, list[float]], over: str, under: str) -> dict[str, float]:
    return {
        "min": round(min(times[over]) / min(times[under]), 3),
        "median": round(statistics.median(times[over]) / statistics.median(times[under]), 3),
    }


def batches(path: str, sizes: Sequence[int] = ()) -> dict[str, Any]:
    plain, found = session(path), {}
    with Predictor.load(path, threads=1) as predictor:
        for size in sizes or SIZES:
            name, x = made(predictor.card, size)
            began = time.perf_counter()
            plain.run(None, {name: x})
            is_large = x.nbytes > LARGEST_BYTES or time.perf_counter() - began > LONGEST_S
            if is_large and not sizes:
                break
            run = functools.partial(plain.run, None, {name: x})
            ours = functools.partial(predictor.predict, x)
            found[str(size)] = ratio(by_turns({"run": run, "predict": ours})[0], "predict", "run")
    return found


def threads(path: str, sizes: Sequence[int] = ()) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with Predictor.load(path, threads=1) as one, Predictor.load(path, threads=2) as two:
        for size in sizes or SHARED_SIZES:
            name, x = made(one.card, size)

            def plain(name: str = name, x: Any = x, *, spinning: bool) -> Callable[[], Any]:
                return functools.partial(session(path, 2, spinning=spinning).run, None, {name: x})

            makers: dict[str, Callable[[], Callable[[], Any]]] = {
                "one": lambda x=x: functools.partial(one.predict, x),  # type: ignore[misc]
                "two": lambda x=x: functools.partial(two.predict, x),  # type: ignore[misc]
                "waiting": functools.partial(plain, spinning=False),
                "spinning": functools.partial(plain, spinning=True),
            }
            one.predict(x)
            began = time.perf_counter()
            one.predict(x)
            is_slow = time.perf_counter() - began > LONGEST_S / 10
            for state in ("alone",) if is_slow else ("alone", "busy", "paused"):
                with taking_a_cpu() if state == "busy" else contextlib.nullcontext():
                    passed, used = in_blocks(makers, 0.02 if state == "paused" else 0.0)
                row = {under: ratio(passed, "two", under) for under in makers if under != "two"}
                row |= {f"cpu/{under}": ratio(used, "two", under) for under in row}
                found[f"{size} {state}"] = row
            if not sizes and size > 1 and min(passed["one"]) / size * 10_000 > LONGEST_S / 15:
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


def kinds(path: str, _: Sequence[int] = ()) -> dict[str, Any]:
    plain, found = session(path), {}
    with Predictor.load(path, threads=1) as predictor:
        (spec,) = predictor.card.inputs
        for size in (1, 64):
            name, x = made(predictor.card, size)
            if size > 1 and x.nbytes > LARGEST_BYTES / 32:
                break
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


def load(path: str, _: Sequence[int] = ()) -> dict[str, Any]:
    with Predictor.load(path, threads=1) as predictor:
        name, x = made(predictor.card, 1)

    def ours() -> None:
        with Predictor.load(path, threads=1) as predictor:
            predictor.predict(x)

    ways: Ways = {"plain": lambda: session(path).run(None, {name: x}), "ours": ours}
    passed, used = by_turns(ways, LOADS)
    return {"passed": ratio(passed, "ours", "plain"), "cpu": ratio(used, "ours", "plain")}


PARTS: dict[str, Callable[[str, Sequence[int]], dict[str, Any]]] = {
    part.__name__: part for part in (batches, threads, kinds, load)
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("paths", nargs="*", help="artifacts of one input")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", nargs="+", type=int, help="of batches, however long they take")
    parser.add_argument("--into", type=Path, help="a run to add to, which is written again")
    asked = parser.parse_args()
    result: dict[str, Any] = {"artifacts": {}}
    if asked.into and asked.into.exists():
        result = json.loads(asked.into.read_text("utf-8"))
    result |= {"machine": machine.describe(), "onnxruntime": onnxruntime.__version__}
    for path in asked.paths:
        file = Path(path)  # `make bench` keeps each network in a folder of its name
        name = file.parent.name if file.name == "edgeport.onnx" else file.stem
        row = result["artifacts"].setdefault(name, {})
        row["bytes"] = file.stat().st_size
        for part in asked.parts:
            kept = row.get(part, {}) if asked.sizes else {}
            row[part] = kept | PARTS[part](path, asked.sizes or ())
        text = json.dumps(result, indent=2)
        if asked.into:
            asked.into.write_text(text + "\n", "utf-8")
        print(f"{name} is done", file=sys.stderr)
    if not asked.into:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
