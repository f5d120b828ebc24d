"""`edgeport bench --layers FLOAT INT8`: how long each layer takes in either format on this device.

`edgeport convert --layer-times` composes a graph from it, with each layer in the format that is
faster here. The steps:

1. Both files are loaded with all checks, and must be siblings: one conversion with `--also`.
2. Both are run by turns with the engine's profile (``profiles``).
3. Each line of a profile is attributed to a node that both files have (``attribute``).
4. What a change of format costs between layers is measured (``conversion_times``).
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeport.artifact import seal
from edgeport.artifact.card import ModelCard
from edgeport.artifact.golden import Array
from edgeport.artifact.graph_nodes import Node, Nodes, read_nodes
from edgeport.cli.conversion_times import ConversionTimes, measure_conversions
from edgeport.cli.profiles import NodeTimes, ProfiledGraph, measure_call, spread_of
from edgeport.cli.trial import Trial
from edgeport.cli.tune import difference
from edgeport.device import cpus, identity
from edgeport.engine.session import engine_version
from edgeport.errors import OptionError
from edgeport.predictor import Predictor

FORMAT = 1
"""Raised when a reader of an older format could misread the file; additions do not raise it."""

KIND = "edgeport layer times"

_ROUNDS = 7
_CONVERSION_SHARE = 0.5  # of the seconds for each file, for all conversions together
_CALL_SECONDS = 0.2

_CHANGES = ("QuantizeLinear", "DequantizeLinear")
_BETWEEN = (*_CHANGES, "ReorderInput", "ReorderOutput")
_IS_INT8 = re.compile(r"QLinear[A-Z]|QGemm")
_MARKS = re.compile(r"(_token_\d+|_nchwc|_nhwc)+$")
_FARTHEST = 12  # nodes that one kernel takes in, a swish or a gelu the most


def measure_layers(
    float_path: str, int8_path: str, *, threads: int | None, seconds: float, trial: Trial
) -> dict[str, Any]:
    """Return the content of the file of layer times, as JSON-ready data; times in seconds.

    Args:
        float_path: the float artifact.
        int8_path: its sibling in static int8.
        threads: of a run; None for as many as ``Predictor.load`` takes for the float artifact.
        seconds: how long for each file; what was begun is ended.
        trial: the input.

    Raises:
        OptionError: the files are no siblings, or not one in float and one in static int8.
        EdgeportError: as ``Predictor.load`` and ``predict`` do.
    """
    cards, count = _load_siblings(float_path, int8_path, threads, trial)
    feed = _whole_feed(cards[0], trial)
    models = [seal.read(path) for path in (float_path, int8_path)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call_seconds = measure_call(count, _CALL_SECONDS, folder)
        graphs = [
            ProfiledGraph(model, feed, count, folder, form)
            for model, form in zip(models, ("float", "int8"), strict=True)
        ]
        for number in range(_ROUNDS):
            for graph in graphs[:: 1 if number % 2 else -1]:
                graph.run_round(seconds / _ROUNDS, _ROUNDS)
        profiles = [graph.read(call_seconds) for graph in graphs]
        del graphs
        made = [read_nodes(model) for model in models]
        layers = _Layers(made[0], made[1], profiles[0][0], profiles[1][0])
        shapes = [*layers.shapes.values(), *(array.shape for array in _numbers(feed))]
        conversions = measure_conversions(
            filter(None, shapes),
            count,
            seconds * _CONVERSION_SHARE,
            folder,
            call_seconds,
            blocks=bool(layers.blocked),
        )
    return {
        "kind": KIND,
        "format": FORMAT,
        "machine": machine(),
        "threads": count,
        "rounds": _ROUNDS,
        "call_seconds": call_seconds,
        "model": {"name": cards[0].name, "source_sha256": source_digest(cards[0])},
        "artifacts": {
            form: {
                "file": path,
                "sha256": card.sha256,
                "recipe": card.quantization.recipe if card.quantization else "none",
                "run": {"seconds": _median(whole), "spread": spread_of(whole)},
            }
            for form, path, card, (_, whole) in zip(
                ("float", "int8"), (float_path, int8_path), cards, profiles, strict=True
            )
        },
        "inputs": {
            key: {
                "shape": list(array.shape),
                "conversions": conversions[array.shape].to_dict()
                if array.dtype.kind in "fiu" and array.shape in conversions
                else None,
            }
            for key, array in feed.items()
        },
        "layers": layers.rows(conversions),
        "between": {
            form: dict(found) for form, found in zip(("float", "int8"), layers.between, strict=True)
        },
    }


def machine() -> dict[str, Any]:
    """Return which device this is, for people and for notes."""
    return {
        "cpu": identity.cpu_name(),
        "identity": identity.cpu_identity(),
        "onnxruntime": engine_version(),
        "usable_cpus": cpus.usable_cpus(),
    }


def source_digest(card: ModelCard) -> str:
    """Return the digest of the Keras file that an artifact was made of; "" for one in memory."""
    return str(card.provenance.get("source_sha256", ""))


def _load_siblings(
    float_path: str, int8_path: str, threads: int | None, trial: Trial
) -> tuple[list[ModelCard], int]:
    """Return both cards and the number of threads; both files have run once."""
    cards, count = [], threads
    for path in (float_path, int8_path):
        with Predictor.load(path, threads=count, tuning=False) as predictor:
            trial.check(predictor)
            count = predictor.threads
            cards.append(predictor.card)
    found = difference(*cards)
    if found:
        raise OptionError(
            f"'{int8_path}' is no sibling of '{float_path}', it has {found}: pass files that one "
            "conversion wrote, such as 'edgeport convert --quantize static --also none' does"
        )
    for path, card, wanted in zip((float_path, int8_path), cards, ("none", "static"), strict=True):
        recipe = card.quantization.recipe if card.quantization else "none"
        if recipe != wanted:
            raise OptionError(
                f"'{path}' has the recipe '{recipe}', expected '{wanted}' there: pass the float "
                "file first and then the int8 one, which 'edgeport convert --quantize static "
                "--also none' writes"
            )
    assert count is not None  # noqa: S101 - both were loaded
    return cards, count


def _whole_feed(card: ModelCard, trial: Trial) -> dict[str, Array]:
    """Return one sample; as many as a run takes where the model fixes that."""
    sizes = [spec.shape[0] for spec in card.inputs if spec.has_batch_axis]
    fixed = [size for size in sizes if isinstance(size, int)]
    return trial.feed(card, fixed[0] if fixed else 1)


def _numbers(feed: Mapping[str, Array]) -> Iterable[Array]:
    return (array for array in feed.values() if array.dtype.kind in "fiu")


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


class _Graph:
    """The nodes of an artifact by what leads to them."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.by_name = {node.name: node for node in nodes.nodes if node.name}
        self.makers = {name: node for node in nodes.nodes for name in node.outputs}
        self.readers: dict[str, list[Node]] = defaultdict(list)
        for node in nodes.nodes:
            for name in node.inputs:
                self.readers[name].append(node)

    def sources(self, node: Node) -> list[Node]:
        return [self.makers[name] for name in node.inputs if name in self.makers]

    def constants(self, node: Node) -> set[str]:
        """Return the constants that a node reads, also through a DequantizeLinear."""
        found = set()
        for name in node.inputs:
            maker = self.makers.get(name)
            if maker is not None and maker.operator == "DequantizeLinear":
                name = maker.inputs[0]
            if name in self.nodes.constants:
                found.add(name)
        return found

    def is_int8(self, node: Node) -> bool:
        """Whether a node reads codes and, with weights, has weights as codes, too."""
        kept = self.nodes.constants
        sources = [
            maker
            for maker in self.sources(node)
            if maker.operator == "DequantizeLinear" and maker.inputs[0] not in kept
        ]
        if not sources or any(
            name in kept
            and node.operator in ("Conv", "ConvTranspose", "Gemm", "MatMul")
            and place == 1
            for place, name in enumerate(node.inputs)
        ):
            return False
        after = [reader for name in node.outputs for reader in self.readers[name]]
        writes_codes = any(reader.operator == "QuantizeLinear" for reader in after)
        return writes_codes or node.operator in ("Gemm", "MatMul")


def attribute(times: Sequence[NodeTimes], artifact: Nodes) -> list[str]:
    """Return the name of the artifact's node that each line of a profile belongs to, "" for none.

    The engine fuses nodes, and gives the result another name; versions differ in that.

    1. A line with the name of a node, or of a node's output, without the engine's marks, is that
       node's. Up to 1.19 a QLinearConv has no such name: then its outputs in the optimized graph,
       then the weights that it reads, lead to the node.
    2. A kernel that has taken in the nodes after it has the name of the last one; it belongs to
       the nearest node before that with the operator that the kernel has.
    3. Changes of format and layout that the engine adds belong to no node.
    """
    graph = _Graph(artifact)
    taken = {one.node.name for one in times}
    return [_node_of(one, graph, taken) for one in times]


def _node_of(one: NodeTimes, graph: _Graph, taken: set[str]) -> str:
    operator = one.node.operator
    if operator in _BETWEEN:
        return ""
    base = _MARKS.sub("", one.node.name.removeprefix("fused "))
    found = graph.by_name.get(base) or graph.makers.get(base)
    if found is None:
        outputs = (_MARKS.sub("", name) for name in one.node.outputs)
        found = next((graph.makers[name] for name in outputs if name in graph.makers), None)
    if found is None or (found.operator in _CHANGES and not _nearest(found, operator, graph)):
        found = _by_weights(one.node, graph)
    if found is None:
        return ""
    nearest = found if found.name == base else _nearest(found, operator, graph, taken)
    chosen = nearest or found
    return "" if chosen.operator in _CHANGES else chosen.name


def _nearest(last: Node, operator: str, graph: _Graph, taken: Iterable[str] = ()) -> Node | None:
    """Return the nearest node with an operator, at or before the given one."""
    wanted, seen = _family(operator), [last]
    for node in seen:  # it grows by the nodes before
        if _family(node.operator) == wanted and (node is last or node.name not in taken):
            return node
        if len(seen) < _FARTHEST:
            seen += [source for source in graph.sources(node) if source not in seen]
    return None


def _by_weights(node: Node, graph: _Graph) -> Node | None:
    """Return the node with the same operator that reads most of the same constants."""
    read, best, most = set(node.inputs), None, 0
    for other in graph.nodes.nodes:
        if _family(other.operator) == _family(node.operator):
            shared = len(read & graph.constants(other))
            if shared > most:
                best, most = other, shared
    return best


def _family(operator: str) -> str:
    """Return the operator without the marks of int8 and of fusions."""
    return re.sub(r"^(QLinear|Q(?=[A-Z])|Fused|Nhwc)", "", operator)


class _Layers:
    """The nodes that both artifacts have, with the times of both."""

    def __init__(
        self,
        in_float: Nodes,
        in_int8: Nodes,
        float_times: Sequence[NodeTimes],
        int8_times: Sequence[NodeTimes],
    ) -> None:
        self._float, self._int8 = _Graph(in_float), _Graph(in_int8)
        self.between: tuple[dict[str, float], dict[str, float]]
        self.between = (defaultdict(float), defaultdict(float))
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.blocked: set[str] = set()
        self._rounds: list[dict[str, list[tuple[float, ...]]]] = []
        for times, artifact, between in zip(
            (int8_times, float_times), (in_int8, in_float), self.between[::-1], strict=True
        ):
            rounds: dict[str, list[tuple[float, ...]]] = defaultdict(list)
            for one, name in zip(times, attribute(times, artifact), strict=True):
                if name not in self._float.by_name:
                    between[one.node.operator] += one.seconds
                    continue
                rounds[name].append(one.rounds)
                self.shapes[name] = one.shape  # the float one's at last: channels come first
                if one.node.name.endswith("_nchwc") or _is_blocked(one):
                    self.blocked.add(name)
            self._rounds.insert(0, rounds)

    def rows(self, conversions: Mapping[tuple[int, ...], ConversionTimes]) -> list[dict[str, Any]]:
        """Return a row for each named node, in running order."""
        return [
            {
                "node": node.name,
                "operator": node.operator,
                "float": _figures(self._rounds[0][node.name]),
                "int8": _figures(self._rounds[1][node.name]) if self._may_be_int8(node) else None,
                "blocked": node.name in self.blocked,
                "shape": list(self.shapes.get(node.name, ())),
                "conversions": conversions[self.shapes[node.name]].to_dict()
                if self.shapes.get(node.name) in conversions
                else None,
            }
            for node in self._float.nodes.nodes
            if node.name
        ]

    def _may_be_int8(self, node: Node) -> bool:
        """Whether the int8 artifact computes it in int8, or needs no such node any more."""
        found = self._int8.by_name.get(node.name)
        return found is None or self._int8.is_int8(found)


def _is_blocked(one: NodeTimes) -> bool:
    return any(name.startswith("reorder_token") for name in one.node.outputs)


def _figures(rounds: Sequence[tuple[float, ...]]) -> dict[str, float]:
    sums = [sum(parts) for parts in zip(*rounds, strict=True)] or [0.0]
    return {"seconds": _median(sums), "spread": spread_of(sums)}
