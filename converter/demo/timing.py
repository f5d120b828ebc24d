"""Median times of calls that are compared, robust against a machine that is busy otherwise."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

_ROUNDS = 15

Call = Callable[[], object]


def medians_us(calls: Mapping[str, tuple[Call, int]]) -> dict[str, float]:
    """Return microseconds a call by name: the medians of 15 rounds.

    The rounds go through all calls in turn, so that what else the machine does hits each alike.

    Args:
        calls: what to call, and how many times a round, by name.
    """
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    for call, _ in calls.values():
        call()
    for _ in range(_ROUNDS):
        for name, (call, count) in calls.items():
            start = time.perf_counter()
            for _ in range(count):
                call()
            rounds[name].append((time.perf_counter() - start) / count * 1e6)
    return {name: statistics.median(times) for name, times in rounds.items()}
