"""From a recipe to a measured graph; and the layers in the order of their sensitivity.

``selection`` chooses the recipes, ``qdq.quantize`` makes the graph, ``evaluation.evaluator``
measures it. Here is the border of quantization: float graphs come in as ``ModelProto`` and
finished ones go out as such; between them a graph is an ``onnx_ir.Model``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from edgeport import ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter import optimizing
from edgeport_converter.progress import say, track
from edgeport_converter.quantization.calibration.ranges import Ranges, collect_ranges
from edgeport_converter.quantization.evaluation.agreement import noise_to_signal
from edgeport_converter.quantization.evaluation.evaluator import Answered, Evaluation, Evaluator
from edgeport_converter.quantization.evaluation.paired import PairedTest
from edgeport_converter.quantization.qdq import quantize
from edgeport_converter.quantization.qdq.average_pools import convolve_pools, find_small_pools
from edgeport_converter.quantization.qdq.pixel_blocks import find_blocks
from edgeport_converter.quantization.qdq.placement import gains_nothing
from edgeport_converter.quantization.qdq.quantize import QuantizedGraph
from edgeport_converter.quantization.qdq.swish import find_swishes
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.weights.equalization import equalize
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.quantization.weights.moments import measure_moments
from edgeport_converter.quantization.weights.streams import equalize_streams, find_streams
from edgeport_converter.targets import Target
from edgeport_converter.verification import runners
from edgeport_converter.verification.runners import Batches, Run, Runner

if TYPE_CHECKING:  # they import TensorFlow
    from edgeport_converter.quantization.finetuning.finetune import Finetuned, Finetuner

MOMENTS_BATCH = 16
"""Samples that activation statistics are taken from at once."""

# A few dozen samples tell layers apart; of large images a quarter of them does, since each of their
# tensors has many more values. All layers are run with all of them.
_RANKING_SAMPLES, _FEWEST_RANKING_SAMPLES = 32, 8
_RANKING_VALUES = 2**20


@dataclass(frozen=True, eq=False)
class Candidate:
    """A finished graph that was measured.

    Attributes:
        recipe: how it was made.
        graph: with short inner names, as it is stamped.
        weights, activations: number formats, for the card.
        float_layers: node name -> why it stayed in float.
        measured: its agreement with the float graph, and its metric.
        source: what it was made from, with the same answers as the model's own float graph.
    """

    recipe: Recipe
    graph: onnx.ModelProto
    weights: str
    activations: str
    float_layers: dict[str, str]
    measured: Evaluation
    source: ir.Model

    @property
    def float_graph(self) -> onnx.ModelProto:
        """What it was made from, for those who read or run it."""
        return ir.to_proto(self.source)


@dataclass(frozen=True, eq=False)
class Tried:
    """What trying a recipe gives: the finished graph, what it is, and what it answers."""

    graph: onnx.ModelProto
    weights: str
    activations: str
    float_layers: dict[str, str]
    answered: Answered


def try_recipe(
    source: ir.Model,
    recipe: Recipe,
    ranges: Ranges,
    rounder: Rounder | None,
    card: ModelCard,
    evaluator: Evaluator,
    target: Target,
) -> Tried:
    """Return the graph that a recipe makes of a float graph, and its answers.

    Args:
        source: what is quantized.
        recipe: how.
        ranges: of its activations; {} for recipes without any.
        rounder: of its weights; None for recipes without any.
        card: the model's inputs and outputs.
        evaluator: compares the answers with the float graph's.
        target: decides how many bits of a weight are used.
    """
    made = quantize.quantize(source, recipe, ranges, target, rounder)
    graph = _finish(made.graph)
    with Runner(card, recipe.kind, target).open(graph) as run:
        answered = evaluator.answer(run)
    return Tried(graph, made.weights, made.activations, made.float_layers, answered)


def measure_noise(
    source: ir.Model,
    layers: Sequence[str],
    ranges: Ranges,
    rounder: Rounder,
    target: Target,
    float_graph: ir.Model,
    samples: Mapping[str, Array],
) -> dict[str, float]:
    """Return the noise / signal in the outputs of each layer alone in int8."""
    names = [node.name or "" for node in source.graph]

    def run_with_one_in_int8(layer: str) -> Run:
        recipe = Recipe("static", float_nodes=frozenset(names) - {layer})
        made = quantize.quantize(source, recipe, ranges, target, rounder)
        return runners.run_as_defined(ir.to_proto(made.graph))

    expected = runners.run_as_defined(ir.to_proto(float_graph))(samples)
    return rank_by_error(layers, run_with_one_in_int8, expected, samples)


class CalibratedGraph:
    """A float graph with what the calibration data says of it, each measured once, when asked.

    Args:
        graph: with the types of its inner tensors.
        calibration: starts a pass over the data.
    """

    def __init__(self, graph: ir.Model, calibration: Batches) -> None:
        self.graph, self._calibration = graph, calibration
        self._ranges: dict[str, Ranges] = {}

    @cached_property
    def rounder(self) -> Rounder:
        """Rounds the weights of its layers by what these read."""
        say("measure activation statistics, to round weights by GPTQ")
        layers = quantize.weighted_nodes(self.graph.graph)
        return Rounder(measure_moments(self.graph, layers, self._calibration(MOMENTS_BATCH)))

    def ranges_by(self, method: str) -> Ranges:
        """Return the ranges of its activations by that method."""
        if method not in self._ranges:
            say(f"measure activation ranges by {method}")
            self._ranges[method] = collect_ranges(self.graph, self._calibration, method)
        return self._ranges[method]


class CandidateFactory:
    """Makes candidates of one model.

    Args:
        float_graph: optimized, with the types of its inner tensors.
        card: the model's inputs and outputs.
        calibration: starts a pass over the calibration data.
        evaluator: measures agreement and metric of a candidate.
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
        self._card, self._calibration = card, calibration
        self._evaluator, self._target = evaluator, target
        self._plain = CalibratedGraph(ir.from_proto(float_graph), calibration)
        self._convolved: dict[tuple[CalibratedGraph, frozenset[str]], CalibratedGraph] = {}
        self.finetuned: Finetuned | None = None

    @property
    def has_streams(self) -> bool:
        """Whether additions tie channels together, as in residual networks."""
        return bool(find_streams(self.float_graph.graph))

    @property
    def float_graph(self) -> ir.Model:
        """The graph that all candidates are made from."""
        return self._plain.graph

    def make(self, recipe: Recipe) -> Candidate:
        """Return the measured candidate of one recipe."""
        tried = self._try(recipe)
        return Candidate(
            recipe,
            tried.graph,
            tried.weights,
            tried.activations,
            tried.float_layers,
            self._evaluator.judge(tried.answered),
            self.source_of(recipe).graph,
        )

    def compare(self, before: Candidate, after: Candidate) -> PairedTest | None:
        """Test whether one candidate answers better than another, on the samples that judge."""
        with (
            Runner(self._card, before.recipe.kind, self._target).open(before.graph) as first,
            Runner(self._card, after.recipe.kind, self._target).open(after.graph) as second,
        ):
            return self._evaluator.compare(first, second)

    def expect(self, recipes: Sequence[Recipe]) -> None:
        """Note which recipes may be asked for next, the likeliest first; here nothing begins."""

    def stop(self) -> None:
        """End what was begun and not asked for."""

    def close(self) -> None:
        """End all of it; no candidate is made any more."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said of how candidates were tried."""
        return ()

    def _try(self, recipe: Recipe) -> Tried:
        start = self.source_of(recipe)
        return try_recipe(
            start.graph,
            recipe,
            self._ranges_of(start, recipe.ranges) if recipe.is_static else {},
            start.rounder if recipe.rounds else None,
            self._card,
            self._evaluator,
            self._target,
        )

    def _ranges_of(self, start: CalibratedGraph | Finetuned, method: str) -> Ranges:
        return start.ranges_by(method)

    def draft(self, recipe: Recipe) -> onnx.ModelProto:
        """Return the recipe's graph with weights at the nearest codes, which has its time and size.

        How the data would round them costs time to find, and none to run.
        """
        return _finish(self._quantize(recipe).graph)

    def finetune(self, recipe: Recipe, finetuner: Finetuner) -> None:
        """Train the weights of a static recipe's graph; recipes with ``finetuned`` have them.

        Training starts from channels of like ranges, also where additions tie tensors together.

        Raises:
            CannotFinetuneError: the model cannot be trained, or not proven.
        """
        start = self.source_of(replace(recipe, equalizes_streams=True))

        def make(graph: ir.Model, ranges: Ranges, rounder: Rounder) -> ir.Model:
            return quantize.quantize(graph, recipe, ranges, self._target, rounder).graph

        self.finetuned = finetuner.finetune(
            start.graph,
            start.ranges_by(recipe.ranges),
            start.rounder,
            make,
            pairs=self._target.saturates,
        )

    def source_of(self, recipe: Recipe) -> CalibratedGraph | Finetuned:
        """Return the float graph that a recipe quantizes."""
        if recipe.finetuned and self.finetuned is not None:
            return self.finetuned
        # Equalized activations make weights uneven, for which one scale would be too coarse.
        if recipe.kind in ("dynamic", "none"):
            return self._plain
        if recipe.one_scale:
            start = self._plain
        else:
            start = self._equalized_streams if recipe.equalizes_streams else self._equalized
        return self._with_convolved_pools(start, recipe) if recipe.kind == "static" else start

    def _with_convolved_pools(self, start: CalibratedGraph, recipe: Recipe) -> CalibratedGraph:
        # A pool before the first int8 layers or after the last would only be rounded.
        graph = start.graph.graph
        in_float = recipe.float_nodes | gains_nothing(graph, recipe.float_nodes)
        pools = find_small_pools(graph, in_float)
        if not pools:
            return start
        if (start, pools) not in self._convolved:
            convolved = CalibratedGraph(convolve_pools(start.graph, pools), self._calibration)
            self._convolved[start, pools] = convolved
        return self._convolved[start, pools]

    def stores_int8(self, kind: str, float_nodes: frozenset[str]) -> bool:
        """Whether a kind of recipe finds anything in this graph to store smaller."""
        recipe = Recipe(kind, float_nodes=float_nodes)
        return quantize.is_quantized(self._quantize(recipe).graph.graph)

    def find_blocks(self, recipe: Recipe) -> frozenset[str]:
        """Return the convolutions of a recipe's graph that can be computed over blocks."""
        return find_blocks(self._quantize(recipe).graph.graph)

    def find_swishes(self, recipe: Recipe) -> frozenset[str]:
        """Return the nodes of the swishes between int8 layers of a recipe's graph."""
        pairs = find_swishes(self._quantize(recipe).graph.graph)
        return frozenset(node.name or "" for pair in pairs for node in pair)

    def rank_layers(self, recipe: Recipe) -> dict[str, float]:
        """Return the weighted layers and the noise of each alone in int8, the largest first.

        Only what the recipe says of equalizing counts.
        """
        values = sum(array.size for array in next(iter(self._calibration(1))).values())
        count = min(_RANKING_SAMPLES, max(_FEWEST_RANKING_SAMPLES, _RANKING_VALUES // values))
        layers = [node.name or "" for node in quantize.weighted_nodes(self.float_graph.graph)]
        start = Recipe("static", equalizes_streams=recipe.equalizes_streams)
        return self._measure_noise(
            self.source_of(start), layers, next(iter(self._calibration(count)))
        )

    def _measure_noise(
        self,
        start: CalibratedGraph | Finetuned,
        layers: list[str],
        samples: Mapping[str, Array],
    ) -> dict[str, float]:
        ranges = self._ranges_of(start, "minmax")
        return measure_noise(
            start.graph, layers, ranges, start.rounder, self._target, self.float_graph, samples
        )

    def _quantize(self, recipe: Recipe) -> QuantizedGraph:
        """Return the recipe's graph with weights at the nearest codes."""
        start = self.source_of(recipe)
        ranges = self._ranges_of(start, recipe.ranges) if recipe.is_static else {}
        return quantize.quantize(start.graph, recipe, ranges, self._target)

    @cached_property
    def _equalized(self) -> CalibratedGraph:
        say("equalize the ranges of channels across layers")
        graph = equalize(self.float_graph, self._calibration(MOMENTS_BATCH))
        return CalibratedGraph(graph, self._calibration)

    @cached_property
    def _equalized_streams(self) -> CalibratedGraph:
        graph = equalize_streams(self._equalized.graph, self._calibration(MOMENTS_BATCH))
        return self._equalized if graph is None else CalibratedGraph(graph, self._calibration)


def rank_by_error(
    layers: Sequence[str],
    run_with_one_in_int8: Callable[[str], Run],
    expected: Mapping[str, Array],
    samples: Mapping[str, Array],
) -> dict[str, float]:
    """Return the layers' noise / signal in the outputs, the layer that disturbs most first.

    Args:
        layers: node names.
        run_with_one_in_int8: the graph with this layer alone in int8, as a function.
        expected: the float graph's outputs for the samples.
        samples: by input name; a few dozen are enough to tell layers apart.
    """
    errors = {}
    for layer in track(layers, "sensitivity of layers"):
        found = run_with_one_in_int8(layer)(samples)
        # By the measure that the budget takes, so that no output and no channel drowns another.
        errors[layer] = sum(noise_to_signal(found[name], y) for name, y in expected.items())
    return largest_first(layers, errors)


def largest_first(layers: Sequence[str], errors: Mapping[str, float]) -> dict[str, float]:
    """Return the layers' errors, the largest first; of equal ones the earlier layer is first."""
    return {layer: errors[layer] for layer in sorted(layers, key=lambda layer: -errors[layer])}


def _finish(graph: ir.Model) -> onnx.ModelProto:
    return optimizing.compact(ir.to_proto(graph))
