"""How fast an artifact is on this device: figures for ``edgeport bench``.

Latency is measured call by call with everything on that ``predict`` does; a cold start is a fresh
process from its first line to its first answer.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.artifact.card import TensorSpec
from edgeport.artifact.golden import Array
from edgeport.cli.trial import Trial, one_value
from edgeport.cli.writing import write_arrays
from edgeport.device import cpus
from edgeport.engine.session import engine_version
from edgeport.errors import InferenceError, OptionError
from edgeport.inputs.examples import free_axes
from edgeport.predictor import Predictor
from edgeport.signals import reraise_signal

_BATCH_SIZES = (1, 8, 64)
_COLD_STARTS = 5
_WARM_UP_CALLS = 3

_COLD_START = """
import sys
_, file, threads, data, *sys.path = sys.argv
import numpy
from edgeport import Predictor
with Predictor.load(file, threads=int(threads) or None) as predictor:
    with numpy.load(data) as arrays:
        predictor.predict(dict(arrays))
"""


def bench(
    path: str,
    *,
    threads: int | None,
    batch_sizes: Sequence[int] | None,
    seconds: float,
    trial: Trial,
) -> dict[str, Any]:
    """Return the figures; times in milliseconds, one call after the other.

    Throughput is measured for ``seconds`` at each of ``batch_sizes``, None for a few that fit the
    model; a call that was begun is ended.

    Raises:
        OptionError: the model takes one sample a run and larger sizes were given.
        InferenceError: the model does not run on it, or a fresh process gives no answer.
    """
    before = resident_bytes()
    started = time.perf_counter()
    predictor = Predictor.load(path, threads=threads)
    load_ms = (time.perf_counter() - started) * 1e3
    with predictor:
        card = predictor.card
        sizes = _sizes(card.inputs, batch_sizes)
        trial.check(predictor)
        feed = trial.feed(card)
        single = _measure(predictor, feed, seconds)
        throughput = {
            str(size): size
            / (np.median(_measure(predictor, trial.feed(card, size), seconds)) / 1e3)
            for size in sizes
        }
        after = resident_bytes()
        return {
            "file": path,
            "onnxruntime": engine_version(),
            "threads": predictor.threads,
            "usable_cpus": cpus.usable_cpus(),
            "inputs": {name: list(array.shape) for name, array in feed.items()},
            "free_axes": free_axes(card.inputs),
            "samples_interact": card.samples_interact,
            "cold_start_ms": _cold_start_ms(path, threads, feed, seconds),
            "load_ms": load_ms,
            "calls": len(single),
            "p50_ms": float(np.percentile(single, 50)),
            "p95_ms": float(np.percentile(single, 95)),
            "p99_ms": float(np.percentile(single, 99)),
            "samples_per_second": throughput,
            "memory_bytes": None if before is None or after is None else after - before,
            "process_bytes": after,
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
    except OSError as cause:
        reraise_signal(cause)
    return None


def _measure(predictor: Predictor, feed: dict[str, Array], seconds: float) -> list[float]:
    """Return the milliseconds of each call but the first few; of a slow model, of the last one."""
    value = one_value(feed)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        started = time.perf_counter()
        predictor.predict(value)
        times.append((time.perf_counter() - started) * 1e3)
    return times[min(_WARM_UP_CALLS, len(times) - 1) :]


def _cold_start_ms(
    path: str, threads: int | None, feed: Mapping[str, Array], seconds: float
) -> float:
    """Return the median of a few starts; further ones begin within the seconds only."""
    # Text in numpy's own kind needs no pickling.
    plain = {name: x.astype(str) if x.dtype.kind == "O" else x for name, x in feed.items()}
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "feed.npz")
        with data.open("wb") as file:
            write_arrays(file, plain)
        # With this path, so that the child imports this edgeport and no other.
        command = [sys.executable, "-c", _COLD_START, path, str(threads or 0), str(data), *sys.path]
        end = time.perf_counter() + seconds
        while not times or (len(times) < _COLD_STARTS and time.perf_counter() < end):
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - ours
            times.append((time.perf_counter() - started) * 1e3)
            if done.returncode:
                reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
                raise InferenceError(
                    f"a fresh process gave no answer ({''.join(reason) or done.returncode}), "
                    "expected one as in this process: run 'edgeport verify' on the artifact, and "
                    "free memory"
                )
    return float(np.median(times))
