"""Faster forms of one int8 recipe, found by timing: blocks, swish in float, layers in float.

``selection`` makes and judges what is proposed here; ``float_fallback`` says which layers may be
faster in float.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from edgeport import ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.quantization.evaluation import float_fallback, timing
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.search.candidates import Candidate, CandidateFactory
from edgeport_converter.quantization.search.objective import WORTHWHILE, cost

# So many are proposed, each to be made only where the one before missed the budget.
_PROPOSALS = 2


def propose_faster(
    candidate: Candidate,
    factory: CandidateFactory,
    card: ModelCard,
    sample: Mapping[str, Array],
    objective: str,
) -> list[Recipe]:
    """Return recipes like a candidate's with layers in faster forms, the best first.

    1. Time each node of the float graph, of the int8 graph, and of the same with convolutions
       over blocks of pixels, which has the same answers.
    2. Take those convolutions that are faster over blocks, and swish in float if that is
       faster; propose sets of layers that may be faster in float.
    3. Time a draft of each proposal as a whole, and keep what gains a worthwhile share.

    Args:
        candidate: with a static recipe.
        factory: drafts the proposals' graphs.
        card: of the model.
        sample: one, by input name, that graphs are timed on.
        objective: as for ``cost``.
    """
    recipe, int8_graph = candidate.recipe, candidate.graph
    source = factory.source_of(recipe).graph
    float_us, plain_us = (
        timing.node_times_us(graph, sample) for graph in (ir.to_proto(source), int8_graph)
    )
    in_blocks_us = _faster_in_blocks(recipe, factory, plain_us, sample)
    start = replace(recipe, in_blocks=frozenset(in_blocks_us))
    int8_us = {**plain_us, **in_blocks_us}
    swish_us = _faster_swish(start, factory, card, int8_us, sample)
    start = replace(start, float_swish=bool(swish_us))
    recipes = [start] if start != recipe else []
    recipes += [
        replace(
            start,
            float_nodes=recipe.float_nodes | layers,
            in_blocks=start.in_blocks - layers,
        )
        for layers in float_fallback.proposals(source.graph, float_us, {**int8_us, **swish_us})
    ]
    graphs = [int8_graph, *map(factory.draft, recipes)]
    times = timing.median_latencies_us(graphs, card, sample)
    # The float graph's time by its nodes' is near enough to weigh time against size.
    float_time = times[0] * sum(float_us.values()) / max(sum(plain_us.values()), 1e-9)
    float_bytes = ir.to_proto(source).ByteSize()
    costs = [
        cost(objective, us / max(float_time, 1e-9), graph.ByteSize() / float_bytes)
        for us, graph in zip(times, graphs, strict=True)
    ]
    worth = [place for place in range(1, len(costs)) if costs[place] <= (1 - WORTHWHILE) * costs[0]]
    return [recipes[place - 1] for place in sorted(worth, key=costs.__getitem__)[:_PROPOSALS]]


def _faster_in_blocks(
    recipe: Recipe,
    factory: CandidateFactory,
    int8_us: Mapping[str, float],
    sample: Mapping[str, Array],
) -> dict[str, float]:
    """Return the convolutions that are faster over blocks, with their times."""
    possible = factory.find_blocks(recipe)
    if not possible:
        return {}
    draft = factory.draft(replace(recipe, in_blocks=possible))
    found = timing.node_times_us(draft, sample)
    in_blocks = {
        name: sum(us for node, us in found.items() if node == name or node.startswith(f"{name}/"))
        for name in possible
    }
    return {name: us for name, us in in_blocks.items() if us < int8_us.get(name, 0.0)}


def _faster_swish(
    recipe: Recipe,
    factory: CandidateFactory,
    card: ModelCard,
    int8_us: Mapping[str, float],
    sample: Mapping[str, Array],
) -> dict[str, float]:
    """Return the times of the swishes' nodes in float, none where that is not faster.

    A profile does not tell which conversions belong to which swish, so that whole graphs are
    timed: each node gets its share of what is saved.
    """
    nodes = factory.find_swishes(recipe)
    before = sum(int8_us.get(name, 0.0) for name in nodes)
    if before == 0:
        return {}
    drafts = [factory.draft(replace(recipe, float_swish=each)) for each in (False, True)]
    in_int8, in_float = timing.median_latencies_us(drafts, card, sample)
    if in_float >= in_int8:
        return {}
    left = max(0.0, 1 - (in_int8 - in_float) / before)
    return {name: left * int8_us.get(name, 0.0) for name in nodes}
