"""What the runtime's checks cost beside bare onnxruntime, on one artifact: JSON to stdout.

    python tests/benchmarks/runtime_overhead.py assets/digits.onnx

Per call: one sample, one thread, the same process, both ways by turns; the smallest mean of 300
calls out of 40 rounds. Batch: the same for 10,000 samples in one call, out of 15 rounds.

Cold start: fresh processes by turns, from their start to their end after one answer; the bare one
has telemetry off, both find their modules compiled, as a device does. Medians of the time that
passed, and of the CPU time (user and system), which other programs on the machine disturb less.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource  # not on Windows
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeport import Predictor
from edgeport.inputs.examples import example

# isort: split
import onnxruntime  # after edgeport, which turns its telemetry off

ROUNDS, CALLS, STARTS = 40, 300, 41
BATCH, BATCH_ROUNDS = 10_000, 15

BARE = """
import os, sys
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
(node,) = session.get_inputs()
kind = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}[node.type]
shape = [size if isinstance(size, int) else 1 for size in node.shape]
session.run(None, {node.name: np.zeros(shape, kind)})
"""
OURS = """
import sys
import numpy as np
from edgeport import Predictor
with Predictor.load(sys.argv[1], threads=1) as predictor:
    (spec,) = predictor.card.inputs
    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    predictor.predict(np.zeros(shape, spec.dtype))
"""


def by_turns(ways: dict[str, Callable[[], Any]], rounds: int, calls: int) -> dict[str, float]:
    """Return the smallest mean of each way, in microseconds a call."""
    best = dict.fromkeys(ways, float("inf"))
    for number in range(rounds):
        for way in list(ways)[:: 1 if number % 2 else -1]:
            best[way] = min(best[way], timeit.timeit(ways[way], number=calls) / calls * 1e6)
    return best


def per_call_us(path: str) -> tuple[dict[str, float], dict[str, float]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    with Predictor.load(path, threads=1) as predictor:
        ((name, one),) = example(predictor.card, 1).items()
        sample = one[0]
        calls = {
            "session_run": lambda: session.run(None, {name: one}),
            "predict_batch_of_one": lambda: predictor.predict(one),
            "predict_one_sample": lambda: predictor.predict(sample),
        }
        many = example(predictor.card, BATCH)[name]
        batches = {
            "session_run": lambda: session.run(None, {name: many}),
            "predict": lambda: predictor.predict(many),
        }
        return by_turns(calls, ROUNDS, CALLS), by_turns(batches, BATCH_ROUNDS, 1)


def cold_start_ms(path: str) -> tuple[dict[str, float], dict[str, float]]:
    """Return wall times and CPU times."""
    ways = {"bare": BARE, "edgeport": OURS}
    passed: dict[str, list[float]] = {way: [] for way in ways}
    used: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(STARTS + 1):
            for way in list(ways)[:: 1 if number % 2 else -1]:
                before, started = _children_s(), time.perf_counter()
                command = [sys.executable, "-c", ways[way], path]
                subprocess.run(command, check=True, env=environment)
                if number:  # the first start compiles the modules
                    passed[way].append((time.perf_counter() - started) * 1e3)
                    used[way].append((_children_s() - before) * 1e3)
    return (
        {way: statistics.median(times) for way, times in passed.items()},
        {way: statistics.median(times) for way, times in used.items()},
    )


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def load_average() -> float | None:
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def main(path: str) -> None:
    load = load_average()
    (calls, batches), (passed, used) = per_call_us(path), cold_start_ms(path)
    result = {
        "artifact": path,
        "machine": f"{platform.machine()} {platform.python_implementation()} "
        f"{platform.python_version()}, onnxruntime {onnxruntime.__version__}, "
        f"numpy {np.__version__}",
        "load_average_before": load,
        "per_call_us": calls,
        "per_call_ratio": calls["predict_one_sample"] / calls["session_run"],
        "per_call_batch_of_one_ratio": calls["predict_batch_of_one"] / calls["session_run"],
        f"batch_of_{BATCH}_us": batches,
        "batch_throughput_ratio": batches["session_run"] / batches["predict"],
        "cold_start_ms": passed,
        "cold_start_ratio": passed["edgeport"] / passed["bare"],
        "cold_start_cpu_ms": used,
        "cold_start_cpu_ratio": used["edgeport"] / used["bare"],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(sys.argv[1])
