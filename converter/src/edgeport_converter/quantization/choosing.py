"""The quantization half of the pipeline: build candidates, judge, measure, choose.

``searching`` says what to try next, ``quantizing`` builds it, ``evaluating`` says what it lost,
``timing`` how fast it is; here they meet, and the objective decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import onnx

from edgeport import ModelCard
from edgeport.golden import Array
from edgeport_converter import optimizing, verifying
from edgeport_converter.errors import QuantizationError
from edgeport_converter.fixed_batches import fill_batch, fixed_batch, run_in_parts
from edgeport_converter.graphs import open_graph
from edgeport_converter.quantization import (
    budget,
    equalizing,
    float_for_speed,
    quantizing,
    sensitivity,
    timing,
)
from edgeport_converter.quantization.calibrated import Calibrated
from edgeport_converter.quantization.evaluating import Evaluator, Measured
from edgeport_converter.quantization.node_times import node_times_us
from edgeport_converter.quantization.quantizing import QuantizedGraph, Recipe
from edgeport_converter.quantization.searching import Attempt, Search
from edgeport_converter.targets import Target

Batches = Callable[[int], Iterable[Mapping[str, Array]]]

_EVENING_BATCH = 16
_RANKING_SAMPLES = 32

# Differences in time below this are noise on a shared machine; among equals the first kind wins,
# which is the one that gains most on batches and on CPUs with int8 instructions.
_TIE = {"latency": 0.10, "balanced": 0.05, "size": 0.0}
# A share of the file that is worth coarser weights, or of the time that is worth another graph.
_WORTHWHILE = 0.03
_PREFERENCE = ("static", "int16", "dynamic", "weights", "none")


@dataclass(frozen=True, eq=False)
class Candidate:
    """A finished graph that was measured.

    Attributes:
        recipe: how it was made.
        quantized: the graph with its number formats; its inner names are short.
        measured: what it lost.
        float_graph: what it was made from, with the same answers as the model's own.
    """

    recipe: Recipe
    quantized: QuantizedGraph
    measured: Measured
    float_graph: onnx.ModelProto


@dataclass(frozen=True)
class Step:
    """One line of the search's report.

    Attributes:
        recipe: in words.
        loss, allowed: in the budget's unit: metric lost, share of changed classes, or minus dB.
        holds: whether the budget was kept.
        file_bytes: of the graph without card.
        latency_us: one sample, one thread, None where it was not timed.
    """

    recipe: str
    loss: float
    allowed: float
    holds: bool
    file_bytes: int
    latency_us: float | None = None

    def describe(self) -> str:
        """Return the line in words."""
        kept = "keeps the budget" if self.holds else "misses the budget"
        time = "" if self.latency_us is None else f", {self.latency_us:.1f} µs"
        return (
            f"{self.recipe}: loses {self.loss:.4g} of {self.allowed:.4g}, {kept}, "
            f"{self.file_bytes:,} bytes{time}"
        )


@dataclass(frozen=True, eq=False)
class Choice:
    """What was chosen, and its time beside the float graph's."""

    candidate: Candidate
    latency_us: float | None
    float_latency_us: float | None


class Quantizer:
    """All that a search over recipes needs of one model.

    Args:
        float_graph: optimized, with the types of its inner tensors.
        card: the model's inputs and outputs.
        calibration: starts a pass over the calibration data.
        evaluator: says what a candidate lost.
        target: decides how many bits of a weight are used.
        max_drop: the budget.
        on_step: is told each line of the report as it comes.
    """

    def __init__(
        self,
        float_graph: onnx.ModelProto,
        card: ModelCard,
        calibration: Batches,
        evaluator: Evaluator,
        target: Target,
        max_drop: float,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        self._float_graph, self._card, self._calibration = float_graph, card, calibration
        self._evaluator, self._target, self._max_drop = evaluator, target, max_drop
        self._on_step = on_step
        self._latencies: dict[str, float] = {}
        self._search: Search[Candidate] = Search(
            self.build, self._judge, self._rank_layers, self._tell
        )

    def choose(self, kind: str, ranges: str, objective: str, float_nodes: frozenset[str]) -> Choice:
        """Return the best candidate of a kind that keeps the budget; of all kinds for ``auto``.

        Raises:
            QuantizationError: none keeps it; the message carries the best one tried.
        """
        attempts: list[Attempt[Candidate]] = []
        for each in self._kinds(kind, float_nodes):
            # Ranges measured at each run depend on all samples of a batch, so the runtime takes
            # them one by one: that is for models that static int8 does not fit.
            is_last_resort = kind == "auto" and each == "dynamic"
            if is_last_resort and any(a.verdict.holds for a in attempts):
                continue
            start = Recipe(each, ranges if each in ("static", "int16") else "minmax", float_nodes)
            if each in ("static", "int16"):
                attempts.append(self._search.with_static_ranges(start))
            else:
                attempts.append(self._search.attempt(start))
        holding = [attempt for attempt in attempts if attempt.verdict.holds]
        if objective != "latency":
            holding = [self._with_one_scale(attempt) for attempt in holding]
        # Under a named recipe the same command gives the same file, unless speed is asked for.
        if objective == "latency" or (kind == "auto" and objective != "size"):
            holding += [
                faster
                for attempt in holding
                for faster in self._in_float_for_speed(attempt, objective)
            ]
        if not holding:
            best = min(attempts, key=lambda attempt: attempt.verdict.loss)
            raise QuantizationError(
                f"the best of {len(self._search.attempts)} attempts ({best.recipe}) "
                f"{best.verdict.sentence}: pass more calibration samples, a larger max_drop, or "
                "quantize='none'",
                measured=best.verdict.loss,
                allowed=best.verdict.allowed,
            )
        return self._choose_by_measurement(holding, objective)

    def _with_one_scale(self, attempt: Attempt[Candidate]) -> Attempt[Candidate]:
        """Return the same recipe with fewer scales, where that saves bytes worth the rounding."""
        if attempt.recipe.kind not in ("static", "int16"):
            return attempt
        recipe = replace(attempt.recipe, one_scale=True)
        graph = optimizing.compact(self._build_graph(recipe).graph)
        if graph.ByteSize() > (1 - _WORTHWHILE) * attempt.built.quantized.graph.ByteSize():
            return attempt
        smaller = self._search.attempt(recipe)
        return smaller if smaller.verdict.holds else attempt

    def _in_float_for_speed(
        self, attempt: Attempt[Candidate], objective: str
    ) -> list[Attempt[Candidate]]:
        """Return the same recipe with those layers in float that int8 makes slower, if any."""
        recipe = attempt.recipe
        if recipe.kind != "static":
            return []
        start = self._source_of(recipe)
        sample = next(iter(self._calibration(1)))
        filled = fill_batch(sample, fixed_batch(self._card.inputs) or 1)
        int8_graph = attempt.built.quantized.graph
        float_us, int8_us = (node_times_us(g, filled) for g in (start.graph, int8_graph))
        recipes = [
            replace(recipe, float_nodes=recipe.float_nodes | layers)
            for layers in float_for_speed.proposals(start.graph, float_us, int8_us)
        ]
        # How the weights are rounded costs time to find and none to run.
        drafts = [self._build_graph(one, rounds=False).graph for one in recipes]
        graphs = [int8_graph, *map(optimizing.compact, drafts)]
        times = timing.median_latencies_us(graphs, self._card, sample)
        costs = [
            _cost(objective, us / times[0], graph.ByteSize() / int8_graph.ByteSize())
            for us, graph in zip(times, graphs, strict=True)
        ]
        best = costs.index(min(costs))
        if costs[best] > 1 - _WORTHWHILE:
            return []
        faster = self._search.attempt(recipes[best - 1])
        return [faster] if faster.verdict.holds else []

    def siblings(
        self, kinds: Sequence[str], ranges: str, float_nodes: frozenset[str]
    ) -> dict[str, Candidate]:
        """Return a candidate of each kind for comparison, of those that keep the budget."""
        found = {}
        for kind in kinds:
            if kind != "none" and not self._stores_int8(kind, float_nodes):
                continue
            is_static = kind in ("static", "int16")
            recipe = Recipe(kind, ranges if is_static else "minmax", float_nodes)
            attempt = self._search.attempt(recipe)
            if attempt.verdict.holds:
                found[kind] = attempt.built
        return found

    def build(self, recipe: Recipe) -> Candidate:
        """Return the measured candidate of one recipe."""
        quantized = self._build_graph(recipe)
        compact = replace(quantized, graph=optimizing.compact(quantized.graph))
        with open_graph(compact.graph, self._card) as predictor:
            run = verifying.as_run(predictor)
            if recipe.kind != "none" and self._target.judged_as_defined:
                batch = fixed_batch(self._card.inputs)
                run = run_in_parts(verifying.run_as_defined(compact.graph), batch)
            if recipe.kind == "dynamic":
                run = one_by_one(run)
            measured = self._evaluator.measure(run)
        return Candidate(recipe, compact, measured, self._source_of(recipe).graph)

    def _build_graph(self, recipe: Recipe, *, rounds: bool = True) -> QuantizedGraph:
        start = self._source_of(recipe)
        ranges = start.ranges_by(recipe.ranges) if recipe.kind in ("static", "int16") else {}
        known = start.moments if rounds and recipe.kind not in ("dynamic", "none") else {}
        return quantizing.quantize(start.graph, recipe, ranges, self._target, known)

    def _source_of(self, recipe: Recipe) -> Calibrated:
        """Return the float graph that a recipe quantizes."""
        # Evened out activations make weights uneven, which one scale for all of them cannot bear.
        if recipe.kind in ("dynamic", "none") or recipe.one_scale:
            return self._as_it_is
        return self._evened_out

    @cached_property
    def _evened_out(self) -> Calibrated:
        graph = equalizing.equalize(self._float_graph, self._calibration(_EVENING_BATCH))
        return Calibrated(graph, self._calibration)

    @cached_property
    def _as_it_is(self) -> Calibrated:
        return Calibrated(self._float_graph, self._calibration)

    def _judge(self, candidate: Candidate) -> budget.Verdict:
        measured = candidate.measured
        return budget.judge(
            measured.agreement, self._evaluator.float_metric, measured.metric, self._max_drop
        )

    def _rank_layers(self) -> list[str]:
        """Return the weighted layers, the most disturbing first."""
        nodes = [node.name for node in quantizing.weighted_nodes(self._float_graph)]
        start = self._evened_out
        ranges = start.ranges_by("minmax")
        samples = next(iter(self._calibration(_RANKING_SAMPLES)))
        expected = verifying.run_as_defined(self._float_graph)(samples)

        def quantize_only(layer: str) -> onnx.ModelProto:
            others = frozenset(node.name for node in start.graph.graph.node if node.name != layer)
            recipe = Recipe("static", float_nodes=others)
            return quantizing.quantize(
                start.graph, recipe, ranges, self._target, start.moments
            ).graph

        return sensitivity.rank_layers(
            nodes, quantize_only, verifying.run_as_defined, expected, samples
        )

    def _kinds(self, kind: str, float_nodes: frozenset[str]) -> Sequence[str]:
        """Return the kinds to try: those that find something in this graph to store smaller."""
        wanted = ("static", "weights", "dynamic") if kind == "auto" else (kind,)
        found = [each for each in wanted if each == "none" or self._stores_int8(each, float_nodes)]
        if not found and kind != "auto":
            raise QuantizationError(
                f"the model has no layer that the recipe '{kind}' could store smaller, expected a "
                "Dense, convolution or recurrent layer with large weights that is not kept in "
                "float: pass another recipe, or quantize='none'"
            )
        return [*found, "none"] if kind == "auto" else found

    def _stores_int8(self, kind: str, float_nodes: frozenset[str]) -> bool:
        """Whether a recipe finds anything in this graph to store smaller."""
        recipe = Recipe(kind, float_nodes=float_nodes)
        return quantizing.is_quantized(self._build_graph(recipe).graph)

    def _choose_by_measurement(
        self, holding: Sequence[Attempt[Candidate]], objective: str
    ) -> Choice:
        """Time the candidates beside the float graph and weigh time and size."""
        sample = next(iter(self._calibration(1)))
        graphs = [attempt.built.quantized.graph for attempt in holding]
        float_graph = optimizing.compact(self._float_graph)
        float_us, *times = timing.median_latencies_us([float_graph, *graphs], self._card, sample)

        def cost(place: int) -> float:
            larger = graphs[place].ByteSize() / float_graph.ByteSize()
            return _cost(objective, times[place] / float_us, larger)

        least = min(map(cost, range(len(holding))))
        equal = [
            place for place in range(len(holding)) if cost(place) <= least * (1 + _TIE[objective])
        ]
        best = min(
            equal,
            key=lambda place: (
                _PREFERENCE.index(holding[place].recipe.kind), graphs[place].ByteSize(),
            ),
        )  # fmt: skip
        timed = {str(attempt.recipe): us for attempt, us in zip(holding, times, strict=True)}
        self._latencies |= timed
        return Choice(holding[best].built, times[best], float_us)

    @property
    def steps(self) -> tuple[Step, ...]:
        """All attempts so far, in order, siblings included."""
        return tuple(
            replace(_step(attempt), latency_us=self._latencies.get(str(attempt.recipe)))
            for attempt in self._search.attempts
        )

    def _tell(self, attempt: Attempt[Candidate]) -> None:
        if self._on_step:
            self._on_step(_step(attempt))


def _cost(objective: str, time: float, size: float) -> float:
    """Return what is to be least, of a time and a size that are ratios to the same graph's."""
    return {"latency": time, "size": size, "balanced": math.sqrt(time * size)}[objective]


def one_by_one(run: verifying.Run) -> verifying.Run:
    """Return ``run`` a sample at a time: with dynamic ranges, neighbours change an answer."""
    import numpy as np

    def apart(arrays: Mapping[str, Array]) -> dict[str, Array]:
        count = len(next(iter(arrays.values())))
        answers = [
            run({name: array[i : i + 1] for name, array in arrays.items()}) for i in range(count)
        ]
        return {name: np.concatenate([a[name] for a in answers]) for name in answers[0]}

    return apart


def _step(attempt: Attempt[Candidate]) -> Step:
    verdict = attempt.verdict
    return Step(
        str(attempt.recipe),
        verdict.loss,
        verdict.allowed,
        verdict.holds,
        attempt.built.quantized.graph.ByteSize(),
    )
