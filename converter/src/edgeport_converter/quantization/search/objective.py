"""Which candidate that keeps the budget is the best, by an objective: time, size, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Differences in time below this are noise on a shared machine; among equals the first kind wins,
# which is the one that gains most on batches and on CPUs with int8 instructions.
TIE = {"latency": 0.10, "balanced": 0.05, "size": 0.0}
_PREFERENCE = ("static", "int16", "dynamic", "weights", "none")

# The same for two graphs of one kind, which are timed by turns in one process; closer ones are told
# apart by what they lose.
_NOISE = 0.02

# A share of the file that is worth coarser weights, or of the cost that is worth another graph.
WORTHWHILE = 0.03


@dataclass(frozen=True)
class Contender:
    """A graph that keeps the budget.

    Attributes:
        kind: of its recipe.
        time, size: over float's.
        loss: by how many budgets it stays below the budget, as ``Verdict.excess``; smaller is
            better.
    """

    kind: str
    time: float
    size: float
    loss: float = 0.0

    def beats(self, other: Contender) -> bool:
        """Whether it is better in time, size and loss at once."""
        return self.time < other.time and self.size < other.size and self.loss < other.loss


def cost(objective: str, time: float, size: float) -> float:
    """Return what is to be least, of a time and a size that are ratios to the float graph's."""
    return {"latency": time, "size": size, "balanced": (time + size) / 2}[objective]


def best_of(contenders: Sequence[Contender], objective: str) -> int:
    """Return the place of the best one.

    Among equals the preferred kind wins, of that the one with the least cost, and of those that are
    within noise of it the one that loses least, then the smaller file. What another one beats in
    time, size and loss at once is out, however preferred its kind.
    """
    costs = [cost(objective, one.time, one.size) for one in contenders]
    limit = min(costs) * (1 + TIE[objective])
    equal = [
        place
        for place, each in enumerate(contenders)
        if costs[place] <= limit and not any(other.beats(each) for other in contenders)
    ]
    kind = min((contenders[place].kind for place in equal), key=_PREFERENCE.index)
    same = [place for place in equal if contenders[place].kind == kind]
    noise = (1 + _NOISE) * min(costs[place] for place in same)
    close = [place for place in same if costs[place] <= noise]
    return min(close, key=lambda place: (contenders[place].loss, contenders[place].size))


def explain_choice(
    contenders: Sequence[Contender], names: Sequence[str], best: int, objective: str
) -> str:
    """Return why the best one was chosen, "" where it is the fastest or the smallest of all.

    Args:
        contenders: the candidates that keep the budget.
        names: their recipes in words.
        best: the place of the one that was chosen.
        objective: as for ``cost``.
    """
    places = range(len(contenders))
    fastest = min(places, key=lambda place: contenders[place].time)
    smallest = min(places, key=lambda place: contenders[place].size)
    chosen = contenders[best]
    if chosen.time <= contenders[fastest].time or chosen.size <= contenders[smallest].size:
        return ""
    others = [
        f"the {what} ({names[place]}) takes {contenders[place].time / chosen.time:.2f} of its time "
        f"and {contenders[place].size / chosen.size:.2f} of its bytes"
        for what, place in (("fastest", fastest), ("smallest", smallest))
    ]
    if fastest == smallest:
        others = [others[0].replace("the fastest", "the fastest and smallest", 1)]
    costs = [cost(objective, one.time, one.size) for one in contenders]
    reason = {
        "balanced": "has the least mean of time and size",
        "latency": "is as fast as any within the noise of timing",
        "size": "has the fewest bytes",
    }[objective]
    if costs[best] > min(costs):
        reason = (
            f"is within {TIE[objective]:.0%} of the least "
            + ("time" if objective == "latency" else "mean of time and size")
            + f", where '{chosen.kind}' is preferred, since it gains most on batches and on CPUs "
            "with int8 instructions"
        )
    return f"{names[best]} {reason}; {' and '.join(others)}"
