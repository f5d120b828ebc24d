"""Median time of a call, robust against a machine that is busy with something else."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

_ROUNDS = 15


def median_us(call: Callable[[], object], *, calls: int) -> float:
    """Return microseconds a call: the median of 15 rounds of ``calls`` calls each."""
    call()
    rounds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        rounds.append((time.perf_counter() - start) / calls * 1e6)
    return statistics.median(rounds)
