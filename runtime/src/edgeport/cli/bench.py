"""How fast an artifact is on this device: figures for ``edgeport bench``.

Latency is measured call by call with everything on that ``predict`` does; a cold start is a fresh
process from its first line to its first answer.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeport.artifact.card import TensorSpec
from edgeport.artifact.golden import Array
from edgeport.device import cpus
from edgeport.engine.session import engine_version
from edgeport.errors import InferenceError, OptionError
from edgeport.inputs.examples import example
from edgeport.predictor import Predictor

_BATCH_SIZES = (1, 8, 64)
_COLD_STARTS = 5
_FEWEST_CALLS = 20

_COLD_START = """
import sys
_, file, threads, *sys.path = sys.argv
from edgeport import Predictor
from edgeport.inputs.examples import example
with Predictor.load(file, threads=int(threads) or None) as predictor:
    predictor.predict(example(predictor.card.inputs, 1))
"""


def bench(
    path: str, *, threads: int | None, batch_sizes: Sequence[int] | None, seconds: float
) -> dict[str, Any]:
    """Return the figures; times in milliseconds, one call after the other.

    Args:
        path: the artifact.
        threads: as for ``Predictor.load``.
        batch_sizes: the sizes to measure throughput at, None for a few that fit the model.
        seconds: how long to measure each size.

    Raises:
        OptionError: the model takes one sample a run and larger sizes were given.
        InferenceError: a fresh process gives no answer.
    """
    before = resident_bytes()
    started = time.perf_counter()
    predictor = Predictor.load(path, threads=threads)
    load_ms = (time.perf_counter() - started) * 1e3
    with predictor:
        inputs = predictor.card.inputs
        sizes = _sizes(inputs, batch_sizes)
        single = _measure(predictor, example(inputs, 1), seconds)
        throughput = {
            str(size): size / (np.median(_measure(predictor, example(inputs, size), seconds)) / 1e3)
            for size in sizes
        }
        after = resident_bytes()
        return {
            "file": path,
            "onnxruntime": engine_version(),
            "threads": predictor.threads,
            "usable_cpus": cpus.usable_cpus(),
            "cold_start_ms": _cold_start_ms(path, threads),
            "load_ms": load_ms,
            "calls": len(single),
            "p50_ms": float(np.percentile(single, 50)),
            "p95_ms": float(np.percentile(single, 95)),
            "p99_ms": float(np.percentile(single, 99)),
            "samples_per_second": throughput,
            "memory_bytes": None if before is None or after is None else after - before,
        }


def _sizes(inputs: Sequence[TensorSpec], given: Sequence[int] | None) -> Sequence[int]:
    if any(spec.has_batch_axis for spec in inputs):
        return given or _BATCH_SIZES
    if given and max(given) > 1:
        raise OptionError(
            f"--batch-sizes are {list(given)}, but no input of the model has a batch axis, so that "
            "each run is one sample: leave them out"
        )
    return (1,)


def resident_bytes() -> int | None:
    """Return the memory that this process holds, None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - a kernel file
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _measure(predictor: Predictor, feed: dict[str, Array], seconds: float) -> list[float]:
    """Return the milliseconds of each call, after a few to warm up."""
    # One array is what most callers pass, and it has a shorter way than a dict.
    value: Any = next(iter(feed.values())) if len(feed) == 1 else feed
    for _ in range(3):
        predictor.predict(value)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _FEWEST_CALLS or time.perf_counter() < end:
        started = time.perf_counter()
        predictor.predict(value)
        times.append((time.perf_counter() - started) * 1e3)
    return times


def _cold_start_ms(path: str, threads: int | None) -> float:
    # With this path, lest another edgeport than this one is measured, or none is found.
    command = [sys.executable, "-c", _COLD_START, path, str(threads or 0), *sys.path]
    times = []
    for _ in range(_COLD_STARTS):
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - as above
        times.append((time.perf_counter() - started) * 1e3)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise InferenceError(
                f"a fresh process gave no answer ({''.join(reason) or done.returncode}), expected "
                "one as in this process: run 'edgeport verify' on the artifact, and free memory"
            )
    return float(np.median(times))
