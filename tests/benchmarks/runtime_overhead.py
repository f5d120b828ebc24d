"""What the runtime's checks cost beside bare onnxruntime, on one artifact: JSON to stdout.

    python tests/benchmarks/runtime_overhead.py assets/digits.onnx

Per call: one sample, one thread, the same process, both ways by turns, the smallest mean of 300
calls out of 40 rounds. Cold start: fresh processes by turns, from their start to their end after
one answer; the bare one has telemetry off; median.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
import timeit

import numpy as np

from edgeport import Predictor
from edgeport.benching import example

# isort: split
import onnxruntime  # after edgeport, which turns its telemetry off

ROUNDS, CALLS, STARTS = 40, 300, 21

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


def per_call_us(path: str) -> dict[str, float]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    with Predictor.load(path, threads=1) as predictor:
        ((name, batch),) = example(predictor.card.inputs, 1).items()
        sample = batch[0]
        ways = {
            "session_run": lambda: session.run(None, {name: batch}),
            "predict_batch_of_one": lambda: predictor.predict(batch),
            "predict_one_sample": lambda: predictor.predict(sample),
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(ROUNDS):
            for way, call in ways.items():
                best[way] = min(best[way], timeit.timeit(call, number=CALLS) / CALLS * 1e6)
    return best


def cold_start_ms(path: str) -> dict[str, float]:
    times: dict[str, list[float]] = {"bare": [], "edgeport": []}
    for _ in range(STARTS):
        for way, code in (("bare", BARE), ("edgeport", OURS)):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code, path], check=True)
            times[way].append((time.perf_counter() - started) * 1e3)
    return {way: statistics.median(values) for way, values in times.items()}


def main(path: str) -> None:
    calls, starts = per_call_us(path), cold_start_ms(path)
    result = {
        "artifact": path,
        "machine": f"{platform.machine()} {platform.python_implementation()} "
        f"{platform.python_version()}, onnxruntime {onnxruntime.__version__}, "
        f"numpy {np.__version__}",
        "per_call_us": calls,
        "per_call_ratio": calls["predict_one_sample"] / calls["session_run"],
        "per_call_batch_ratio": calls["predict_batch_of_one"] / calls["session_run"],
        "cold_start_ms": starts,
        "cold_start_ratio": starts["edgeport"] / starts["bare"],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(sys.argv[1])
