"""From a recipe to a finished graph that was measured; and the layers that lose most.

``choosing`` says which recipes, ``quantizing`` makes the graph, ``evaluating`` says what it lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import onnx

from edgeport import ModelCard
from edgeport_converter import optimizing
from edgeport_converter.quantization.evaluation.evaluator import Evaluator, Measured
from edgeport_converter.quantization.qdq import quantize
from edgeport_converter.quantization.qdq.average_pools import convolve_pools
from edgeport_converter.quantization.qdq.placement import gains_nothing
from edgeport_converter.quantization.qdq.quantize import QuantizedGraph
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.search import sensitivity
from edgeport_converter.quantization.search.calibrated_graph import Calibrated
from edgeport_converter.quantization.weights import equalization
from edgeport_converter.targets import Target
from edgeport_converter.verification import runners
from edgeport_converter.verification.runners import Batches, Runner

_EVENING_BATCH = 16
_RANKING_SAMPLES = 32


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


class Workshop:
    """Makes candidates of one model.

    Args:
        float_graph: optimized, with the types of its inner tensors.
        card: the model's inputs and outputs.
        calibration: starts a pass over the calibration data.
        evaluator: says what a candidate lost.
        target: decides how many bits of a weight are used.
    """

    def __init__(
        self,
        float_graph: onnx.ModelProto,
        card: ModelCard,
        calibration: Batches,
        evaluator: Evaluator,
        target: Target,
    ) -> None:
        self.float_graph, self._card, self._calibration = float_graph, card, calibration
        self._evaluator, self._target = evaluator, target
        self._convolved: dict[tuple[Calibrated, frozenset[str]], Calibrated] = {}

    def make(self, recipe: Recipe) -> Candidate:
        """Return the measured candidate of one recipe."""
        quantized = self._quantize(recipe)
        compact = replace(quantized, graph=optimizing.compact(quantized.graph))
        with Runner(self._card, recipe.kind, self._target).open(compact.graph) as run:
            measured = self._evaluator.measure(run)
        return Candidate(recipe, compact, measured, self.source_of(recipe).graph)

    def draft(self, recipe: Recipe) -> onnx.ModelProto:
        """Return the recipe's graph with weights at the nearest codes, which has its time and size.

        How the data would round them costs time to find, and none to run.
        """
        return optimizing.compact(self._quantize(recipe, rounds=False).graph)

    def source_of(self, recipe: Recipe) -> Calibrated:
        """Return the float graph that a recipe quantizes."""
        # Evened out activations make weights uneven, which one scale for all of them cannot bear.
        if recipe.kind in ("dynamic", "none"):
            return self._as_it_is
        start = self._as_it_is if recipe.one_scale else self._evened_out
        return self._with_convolved_pools(start, recipe) if recipe.kind == "static" else start

    def _with_convolved_pools(self, start: Calibrated, recipe: Recipe) -> Calibrated:
        # A pool in front of the first int8 layers or behind the last would only be rounded.
        in_float = recipe.float_nodes | gains_nothing(start.graph.graph, recipe.float_nodes)
        graph = convolve_pools(start.graph, in_float)
        if graph is start.graph:
            return start
        convolved = frozenset(
            before.name
            for before, after in zip(start.graph.graph.node, graph.graph.node, strict=True)
            if before.op_type != after.op_type
        )
        key = (start, convolved)
        if key not in self._convolved:
            self._convolved[key] = Calibrated(graph, self._calibration)
        return self._convolved[key]

    def stores_int8(self, kind: str, float_nodes: frozenset[str]) -> bool:
        """Whether a kind of recipe finds anything in this graph to store smaller."""
        recipe = Recipe(kind, float_nodes=float_nodes)
        return quantize.is_quantized(self._quantize(recipe, rounds=False).graph)

    def rank_layers(self) -> list[str]:
        """Return the weighted layers, the most disturbing first."""
        nodes = [node.name for node in quantize.weighted_nodes(self.float_graph)]
        start = self.source_of(Recipe("static"))
        ranges = start.ranges_by("minmax")
        samples = next(iter(self._calibration(_RANKING_SAMPLES)))
        expected = runners.run_as_defined(self.float_graph)(samples)

        def quantize_only(layer: str) -> onnx.ModelProto:
            others = frozenset(node.name for node in start.graph.graph.node if node.name != layer)
            recipe = Recipe("static", float_nodes=others)
            return quantize.quantize(start.graph, recipe, ranges, self._target, start.rounder).graph

        return sensitivity.rank_layers(
            nodes, quantize_only, runners.run_as_defined, expected, samples
        )

    def _quantize(self, recipe: Recipe, *, rounds: bool = True) -> QuantizedGraph:
        start = self.source_of(recipe)
        ranges = start.ranges_by(recipe.ranges) if recipe.is_static else {}
        rounder = start.rounder if rounds and recipe.kind not in ("dynamic", "none") else None
        return quantize.quantize(start.graph, recipe, ranges, self._target, rounder)

    @cached_property
    def _evened_out(self) -> Calibrated:
        graph = equalization.equalize(self.float_graph, self._calibration(_EVENING_BATCH))
        return Calibrated(graph, self._calibration)

    @cached_property
    def _as_it_is(self) -> Calibrated:
        return Calibrated(self.float_graph, self._calibration)
