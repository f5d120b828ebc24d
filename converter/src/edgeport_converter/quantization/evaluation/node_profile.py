"""How long each node of a graph takes, by the engine's own profile."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnxruntime

from edgeport.artifact.golden import Array

_RUNS = 50
_SECONDS = 1.0


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
        while runs < _RUNS and (runs == 0 or time.monotonic() - started < _SECONDS):
            session.run(None, dict(sample))
            runs += 1
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    # A convolution in blocked layout bears the name of its output.
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
