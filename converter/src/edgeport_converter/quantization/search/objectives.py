"""What the user wants most, as numbers: latency, size, or both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

# Differences in time below this are noise on a shared machine; among equals the first kind wins,
# which is the one that gains most on batches and on CPUs with int8 instructions.
_TIE = {"latency": 0.10, "balanced": 0.05, "size": 0.0}
_PREFERENCE = ("static", "int16", "dynamic", "weights", "none")

# A share of the file that is worth coarser weights, or of the cost that is worth another graph.
WORTHWHILE = 0.03


class Contender(NamedTuple):
    """A graph that keeps the budget: its kind of recipe, its time and size over float's."""

    kind: str
    time: float
    size: float


def cost(objective: str, time: float, size: float) -> float:
    """Return what is to be least, of a time and a size that are ratios to the same graph's."""
    return {"latency": time, "size": size, "balanced": math.sqrt(time * size)}[objective]


def best_of(contenders: Sequence[Contender], objective: str) -> int:
    """Return the place of the best one; among equals the preferred kind, then the smaller file."""
    costs = [cost(objective, one.time, one.size) for one in contenders]
    limit = min(costs) * (1 + _TIE[objective])
    equal = [place for place, each in enumerate(costs) if each <= limit]
    return min(
        equal,
        key=lambda place: (_PREFERENCE.index(contenders[place].kind), contenders[place].size),
    )
