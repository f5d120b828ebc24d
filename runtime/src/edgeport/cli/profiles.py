"""How long each node of a graph takes, by the engine's own profile, in rounds.

``layer_times`` runs several graphs by turns and attributes the nodes' times to layers.

A profile tells whole microseconds, so a node's time is a mean of many runs. Each line also includes
a microsecond or two that the profile itself takes. So the same runs are measured without it: they
take less by what the profile adds, which is taken off in equal parts.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.artifact.golden import Array
from edgeport.artifact.graph_nodes import Node, read_nodes
from edgeport.cli.made_graphs import Step, chain
from edgeport.engine.session import Session

_MOST_EVENTS = 60_000  # of one profile: some 20 MB as JSON, and a few seconds to read
_EVENTS_OF_A_NODE = 3  # up to 1.19 the engine writes two more around each
_NANOSECONDS = 1e-9

_CHAIN = 64  # nodes
_CALL_ROUNDS = 3


@dataclass(frozen=True)
class NodeTimes:
    """One node of the graph that the engine runs.

    Attributes:
        node: name, operator, inputs and outputs in the optimized graph.
        shape: of its first output; () where the profile does not tell.
        rounds: seconds a run, by round.
    """

    node: Node
    shape: tuple[int, ...]
    rounds: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """The distance between the quartiles of the rounds."""
        return spread_of(self.rounds)


def spread_of(rounds: tuple[float, ...] | list[float]) -> float:
    """Return the distance between the quartiles, 0 of a single round."""
    if len(rounds) < 2:
        return 0.0
    low, _, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return high - low


class ProfiledGraph:
    """A graph that is run with and without a profile, by turns with others.

    Args:
        model: the bytes of an ONNX file.
        feed: what it is run on.
        threads: of a run.
        folder: where the engine writes; removed by the caller.
        name: of the files in it.
        optimization: how far the engine rewrites the graph, as for ``Session``.

    Raises:
        as ``Session`` does.
    """

    def __init__(
        self,
        model: bytes,
        feed: Mapping[str, Array],
        threads: int,
        folder: Path,
        name: str,
        optimization: str = "all",
    ) -> None:
        saved = folder / f"{name}.onnx"
        self._feed = feed
        self._plain = Session(model, threads=threads, optimization=optimization)
        self._profiled = Session(
            model,
            threads=threads,
            optimization=optimization,
            save_to=str(saved),
            profile_to=str(folder / name),
        )
        self._nodes = {node.name: node for node in read_nodes(saved.read_bytes()).nodes}
        saved.unlink()
        self._plain.run(feed)
        started = time.perf_counter()
        self._plain.run(feed)
        self._once = max(time.perf_counter() - started, 1e-6)
        self._profiled.run(feed)
        self._counts = [1]  # runs by round, that of the warm-up first
        self._whole: list[float] = []

    def run_round(self, seconds: float, rounds: int) -> None:
        """Run it for that long, half of it with the profile; ``rounds`` is how many there will be.

        A run that was begun is ended.
        """
        most = _MOST_EVENTS // (_EVENTS_OF_A_NODE * max(1, len(self._nodes)) * rounds)
        count = max(1, min(most, int(seconds / 2 / self._once)))
        times = []
        for _ in range(count):
            started = time.perf_counter_ns()
            self._plain.run(self._feed)
            times.append((time.perf_counter_ns() - started) * _NANOSECONDS)
        self._whole.append(_middle(times))
        for _ in range(count):
            self._profiled.run(self._feed)
        self._counts.append(count)

    def read(self, call_seconds: float) -> tuple[list[NodeTimes], tuple[float, ...]]:
        """Return the times of all nodes, and of a whole run by round, and end the profile.

        ``call_seconds`` is what a run takes beside its nodes.
        """
        path = Path(self._profiled.end_profile())
        try:
            events = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        finally:
            path.unlink()
        times, facts, lines = self._by_round(events)
        added = [  # to each line, by round
            max(0.0, sum(told) - (whole - call_seconds)) / max(1.0, sum(lines.values()))
            for whole, *told in zip(self._whole, *times.values(), strict=True)
        ]
        found = [
            NodeTimes(
                self._node(name, facts[name]),
                _shape(facts[name]),
                tuple(
                    max(0.0, told - lines[name] * extra)
                    for told, extra in zip(by_round, added, strict=True)
                ),
            )
            for name, by_round in times.items()
        ]
        return found, tuple(self._whole)

    def _node(self, name: str, facts: Mapping[str, Any]) -> Node:
        return self._nodes.get(name) or Node(name, str(facts.get("op_name", "")), (), ())

    def _by_round(
        self, events: list[Any]
    ) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]], dict[str, float]]:
        """Return each node's seconds a run, by round; what the profile tells of it; lines a run."""
        runs = sorted(
            (event["ts"], event["ts"] + event["dur"])
            for event in events
            if event.get("cat") == "Session" and event["name"] == "model_run"
        )
        round_of = [number for number, count in enumerate(self._counts) for _ in range(count)]
        facts: dict[str, dict[str, Any]] = {}
        spent: dict[str, list[dict[int, float]]] = defaultdict(
            lambda: [defaultdict(float) for _ in self._counts]
        )
        nodes = sorted(
            (
                event
                for event in events
                if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")
            ),
            key=lambda event: event["ts"],
        )
        run = 0
        for event in nodes:
            while run + 1 < len(runs) and event["ts"] > runs[run][1]:
                run += 1
            name = event["name"].removesuffix("_kernel_time")
            facts.setdefault(name, event.get("args", {}))
            # In a loop a node has several lines a run.
            spent[name][round_of[min(run, len(round_of) - 1)]][run] += event["dur"] * 1e-6
        times = {
            name: [
                _middle([*by_run.values()]) * len(by_run) / count
                for by_run, count in zip(rounds[1:], self._counts[1:], strict=True)
            ]
            for name, rounds in spent.items()
        }
        lines: dict[str, float] = defaultdict(float)
        for event in nodes:
            lines[event["name"].removesuffix("_kernel_time")] += 1 / len(runs)
        return times, facts, lines


def measure_call(threads: int, seconds: float, folder: Path) -> float:
    """Return what a run takes beside its nodes, in seconds.

    A chain of many Identity nodes takes longer than a single one by what the others take. A run of
    a single one without it is the call.
    """
    feed = {"x": np.zeros(1, np.float32)}
    least = []
    for length in (1, _CHAIN):
        steps = [Step(f"step{number}", "Identity") for number in range(length)]
        graph = ProfiledGraph(chain(steps, [1]), feed, threads, folder, "call", "none")
        for _ in range(_CALL_ROUNDS):
            graph.run_round(seconds / _CALL_ROUNDS / 2, _CALL_ROUNDS)
        least.append(min(graph.read(0.0)[1]))
    one, many = least
    return max(0.0, one - (many - one) / (_CHAIN - 1))


def _middle(values: list[float]) -> float:
    """Return the mean without the lowest and the highest quarter, 0 of none.

    The numbers are whole microseconds, whose median would be one, too.
    """
    if not values:
        return 0.0
    cut = len(values) // 4
    kept = sorted(values)[cut : len(values) - cut]
    return sum(kept) / len(kept)


def _shape(facts: Mapping[str, Any]) -> tuple[int, ...]:
    for each in facts.get("output_type_shape", ()):
        for shape in each.values():
            return tuple(int(size) for size in shape)
    return ()
