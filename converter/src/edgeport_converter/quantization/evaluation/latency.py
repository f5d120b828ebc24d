"""How long one sample takes, by the runtime itself, several graphs interleaved in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from edgeport import ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.verification.runners import open_graph

# The time that this process computes: what else runs on the machine does not count. Not this
# thread's: a long run has a thread of its own. Where the clock is too coarse, the wall's.
_IS_FINE = time.get_clock_info("process_time").resolution <= 1e-6
_clock = time.process_time if _IS_FINE else time.perf_counter

_ROUNDS = 9
_ROUND_SECONDS = 0.02
_MAX_CALLS = 200


def median_latencies_us(
    graphs: Sequence[onnx.ModelProto], card: ModelCard, sample: Mapping[str, Array]
) -> list[float]:
    """Return the median computing time of one call of each graph in microseconds, on one thread.

    Rounds go through all graphs in turn, so that what else the machine does hits each alike.

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
    for _ in range(_ROUNDS):
        for predictor, count, times in zip(predictors, calls, rounds, strict=True):
            start = _clock()
            for _ in range(count):
                predictor.predict(feed)
            times.append((_clock() - start) / count * 1e6)
    for predictor in predictors:
        predictor.close()
    return [statistics.median(times) for times in rounds]
