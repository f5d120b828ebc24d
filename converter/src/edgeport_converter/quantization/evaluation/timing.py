"""How long a finished graph takes: one sample by the runtime, and each node by the engine.

Only times of one process are compared, and graphs by turns, so that what else the machine does
hits each of them alike.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from edgeport import ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.progress import track
from edgeport_converter.verification.runners import open_graph

# The time that this process computes: what else runs on the machine does not count. Not this
# thread's: a long run has a thread of its own. Where the clock is too coarse, the wall's.
_IS_FINE = time.get_clock_info("process_time").resolution <= 1e-6
_clock = time.process_time if _IS_FINE else time.perf_counter

_ROUNDS = 9
_ROUND_SECONDS = 0.02
_MAX_CALLS = 200

_PROFILED_RUNS = 50
_PROFILED_SECONDS = 0.5


def median_latencies_us(
    graphs: Sequence[onnx.ModelProto], card: ModelCard, sample: Mapping[str, Array]
) -> list[float]:
    """Return the median computing time of one call of each graph in microseconds, on one thread.

    Args:
        graphs: finished graphs.
        card: their inputs and outputs.
        sample: one sample with its batch axis, by input name.
    """
    predictors = [open_graph(graph, card, threads=1) for graph in graphs]
    feed: dict[str, Any] = dict(sample)
    calls = []
    for predictor in predictors:
        predictor.predict(feed)
        start = _clock()
        predictor.predict(feed)
        once = max(_clock() - start, 1e-7)
        calls.append(max(1, min(_MAX_CALLS, int(_ROUND_SECONDS / once))))
    rounds: list[list[float]] = [[] for _ in predictors]
    for _ in track(range(_ROUNDS), "time of candidates"):
        for predictor, count, times in zip(predictors, calls, rounds, strict=True):
            start = _clock()
            for _ in range(count):
                predictor.predict(feed)
            times.append((_clock() - start) / count * 1e6)
    for predictor in predictors:
        predictor.close()
    return [statistics.median(times) for times in rounds]


def node_times_us(graph: onnx.ModelProto, sample: Mapping[str, Array]) -> dict[str, float]:
    """Return the median time of each node in microseconds, one sample on one thread.

    Args:
        graph: its nodes' names are the keys. What the engine has fused counts for one of the nodes,
            and what it has added, as changes of layout, for "".
        sample: by input name, with the batch axis.
    """
    runs = 0
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        session.run(None, dict(sample))
        started = time.monotonic()
        while runs < _PROFILED_RUNS and (
            runs == 0 or time.monotonic() - started < _PROFILED_SECONDS
        ):
            session.run(None, dict(sample))
            runs += 1
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    # The engine names a convolution in blocked layout after its output.
    names = {name: node.name for node in graph.graph.node for name in node.output}
    names |= {node.name: node.name for node in graph.graph.node}
    durations: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            durations[event["name"]].append(event["dur"])
    totals: dict[str, float] = defaultdict(float)
    for event_name, times in durations.items():
        # In a loop, or where names repeat, a run has several.
        totals[names.get(_origin(event_name), "")] += (
            statistics.median(times) * len(times) / (runs + 1)
        )
    return totals


def _origin(event: str) -> str:
    """Return an event's name without the marks of what onnxruntime has rewritten."""
    name = event.removesuffix("_kernel_time").removeprefix("fused ")
    return re.sub(r"(_token_\d+|_nchwc)+$", "", name)
