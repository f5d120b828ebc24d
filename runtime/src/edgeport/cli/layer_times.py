"""`edgeport bench --layers FLOAT INT8`: how long each layer takes in either format on this device.

`edgeport convert --layer-times` composes a graph from it, with each layer in the format and form
that is faster here. The steps:

1. All files are loaded with all checks, and must be siblings: one model, one kind of conversion.
2. They are run by turns with the engine's profile (``profiles``).
3. Each line of a profile is attributed to a node that the float file has (``attribute``).
4. Among several int8 files, each layer's fastest form counts: they differ in which convolutions
   stand over blocks of pixels, and in whether a swish is one node in float.
5. What a change of format costs between layers is measured (``conversion_times``).
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
from edgeport.cli.tune import UNTUNED, difference
from edgeport.device import cpus, identity
from edgeport.engine.session import engine_version
from edgeport.errors import OptionError
from edgeport.loading import load_model
from edgeport.predictor import Predictor

FORMAT = 1
"""Raised when a reader of an older format could misread the file; additions do not raise it."""

KIND = "edgeport layer times"

_ROUNDS = 7
_CONVERSION_SHARE = 0.5  # of the seconds for each file, for all conversions together
_CALL_SECONDS = 0.2

BLOCKS, SWISH = "blocks", "swish"
"""Forms of a layer in int8 other than the plain one, ``""``."""

_SWISH = "QuickGelu"  # what the converter makes of a swish between int8 layers

_CHANGES = ("QuantizeLinear", "DequantizeLinear")
_BETWEEN = (*_CHANGES, "ReorderInput", "ReorderOutput")
_MARKS = re.compile(r"(_token_\d+|_nchwc|_nhwc)+$")
_NEIGHBOURS = 3  # lines around a swish in which its conversions stand
_FARTHEST = 12  # nodes that one kernel takes in, a swish or a gelu the most


def measure_layers(
    float_path: str,
    int8_paths: Sequence[str],
    *,
    threads: int | None,
    seconds: float,
    trial: Trial,
) -> dict[str, Any]:
    """Return the content of the file of layer times, as JSON-ready data; times in seconds.

    Args:
        float_path: the float artifact.
        int8_paths: its siblings in static int8, one or several.
        threads: as for ``Predictor.load``. The profile is that of one sample as ``predict`` runs
            it, so on one thread where only parts of a batch share threads.
        seconds: how long for each file; what was begun is ended.
        trial: the input.

    Raises:
        OptionError: the files are no siblings, or not one in float and one in static int8.
        EdgeportError: as ``Predictor.load`` and ``predict`` do.
    """
    paths = [float_path, *int8_paths]
    forms = ["float", "int8", *(f"int8_{number}" for number in range(2, len(paths)))]
    cards, count = _load_siblings(paths, threads, trial)
    feed = _whole_feed(cards[0], trial)
    models = [seal.read(path) for path in paths]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call_seconds = measure_call(count, _CALL_SECONDS, folder)
        graphs = [
            ProfiledGraph(model, feed, count, folder, form)
            for model, form in zip(models, forms, strict=True)
        ]
        for number in range(_ROUNDS):
            for graph in graphs[:: 1 if number % 2 else -1]:
                graph.run_round(seconds / _ROUNDS, _ROUNDS)
        profiles = [graph.read(call_seconds) for graph in graphs]
        del graphs
        made = [read_nodes(model) for model in models]
        layers = Layers(made, [times for times, _ in profiles])
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
            for form, path, card, (_, whole) in zip(forms, paths, cards, profiles, strict=True)
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
        "between": {form: dict(found) for form, found in zip(forms, layers.between, strict=True)},
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
    paths: Sequence[str], threads: int | None, trial: Trial
) -> tuple[list[ModelCard], int]:
    """Return all cards and how many threads the engine takes; each file has run once."""
    cards: list[ModelCard] = []
    count = 1
    for path in paths:
        model = load_model(path, UNTUNED._replace(threads=threads))
        with Predictor(model) as predictor:
            trial.check(predictor)
        threads, count = model.threads, model.session.threads
        cards.append(model.card)
    for path, card in zip(paths[1:], cards[1:], strict=True):
        found = difference(cards[0], card)
        if found:
            raise OptionError(
                f"'{path}' is no sibling of '{paths[0]}', it has {found}: pass files that one "
                "conversion wrote, such as 'edgeport convert --quantize static --also none' does"
            )
    wanted_recipes = ["none", *(["static"] * (len(paths) - 1))]
    for path, card, wanted in zip(paths, cards, wanted_recipes, strict=True):
        recipe = card.quantization.recipe if card.quantization else "none"
        if recipe != wanted:
            raise OptionError(
                f"'{path}' has the recipe '{recipe}', expected '{wanted}' there: pass the float "
                "file first and then the int8 one, which 'edgeport convert --quantize static "
                "--also none' writes"
            )
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
        """Whether a node reads codes and, with weights, has weights as codes, too.

        The Clip that does a hard sigmoid's work reads them without a DequantizeLinear.
        """
        if any(maker.operator == "QuantizeLinear" for maker in self.sources(node)):
            return True
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

    def swish_after(self, name: str) -> str:
        """Return the Mul of the swish that reads a node's answer, "" for none."""
        made = self.by_name[name].outputs if name in self.by_name else ()
        for sigmoid in (reader for value in made for reader in self.readers[value]):
            if sigmoid.operator == "Sigmoid":
                products = (each for value in sigmoid.outputs for each in self.readers[value])
                return next((each.name for each in products if each.operator == "Mul"), "")
        return ""

    def is_own_swish(self, name: str) -> bool:
        """Whether the converter, not the engine, made a swish of it."""
        return name in self.by_name and self.by_name[name].operator == _SWISH

    def form_of(self, node: Node, in_float: _Graph) -> str | None:
        """Return in which form this int8 graph computes a node of the float one, None in float.

        It is "blocks" for a convolution over blocks of pixels, "swish" for the nodes of a swish
        that is one node in float, and "" for any other: nodes that it needs no more, too.
        """
        found = self.by_name.get(node.name)
        if found is None:
            readers = [other for name in node.outputs for other in in_float.readers[name]]
            ours = (self.by_name.get(reader.name) for reader in readers)
            is_swish = any(each is not None and each.operator == _SWISH for each in ours)
            return SWISH if node.operator == "Sigmoid" and is_swish else ""
        if not self.is_int8(found):
            return None
        if found.operator == _SWISH:
            return SWISH
        return BLOCKS if f"{node.name}/blocks" in self.by_name else ""


def attribute(times: Sequence[NodeTimes], artifact: Nodes) -> list[str]:
    """Return the name of the artifact's node that each line of a profile belongs to, "" for none.

    The engine fuses nodes, and gives the result another name; versions differ in that.

    1. A line with the name of a node, or of a node's output, without the engine's marks, is that
       node's. Up to 1.19 a QLinearConv has no such name: then its outputs in the optimized graph,
       then the weights that it reads, lead to the node.
    2. A kernel that has taken in the nodes after it has the name of the last one; it belongs to
       the nearest node before that with the operator that the kernel has.
    3. The conversions around a swish in float between int8 layers belong to it. They have no
       names: they stand beside it in the order of the run. A swish that the engine itself has
       made one node has none either, and belongs to the product after the node before it.
    4. All other changes of format and layout that the engine adds belong to no node.
    """
    graph = _Graph(artifact)
    taken = {one.node.name for one in times}
    names = [_node_of(one, graph, taken) for one in times]
    for place, one in enumerate(times):
        if one.node.operator != _SWISH:
            continue
        if not names[place]:
            named = (name for name in reversed(names[:place]) if name)
            names[place] = graph.swish_after(next(named, ""))
        elif graph.is_own_swish(names[place]):
            before = range(place - 1, max(-1, place - 1 - _NEIGHBOURS), -1)
            after = range(place + 1, min(len(times), place + 1 + _NEIGHBOURS))
            for kind, places in (("DequantizeLinear", before), ("QuantizeLinear", after)):
                found = (each for each in places if _converts(times[each], kind, one))
                names[next(found, place)] = names[place]
    return names


def _converts(line: NodeTimes, operator: str, swish: NodeTimes) -> bool:
    """Whether a line is a conversion of as many values; the engine gives it no name, nor ends."""
    return line.node.operator == operator and sorted(line.shape) == sorted(swish.shape)


def _node_of(one: NodeTimes, graph: _Graph, taken: set[str]) -> str:
    operator = one.node.operator
    if operator in _BETWEEN:
        return ""
    base = _MARKS.sub("", one.node.name.removeprefix("fused "))
    if operator == "Transpose" and base not in graph.by_name:
        return ""
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


class Layers:
    """The nodes of the float artifact, with the times of all files.

    Args:
        artifacts: the float one first.
        times: the lines of their profiles.

    Attributes:
        between: seconds by operator, of each file, that belong to no layer.
        shapes: of the nodes' outputs.
        blocked: the nodes whose float channels the engine keeps in blocks.
    """

    def __init__(self, artifacts: Sequence[Nodes], times: Sequence[Sequence[NodeTimes]]) -> None:
        self._float, *self._int8 = map(_Graph, artifacts)
        self.between: list[dict[str, float]] = [defaultdict(float) for _ in artifacts]
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.blocked: set[str] = set()
        self._rounds: list[dict[str, list[tuple[float, ...]]]] = [
            defaultdict(list) for _ in artifacts
        ]
        # The float one at last: its shapes have the channels first.
        for place in reversed(range(len(artifacts))):
            names = attribute(times[place], artifacts[place])
            for one, found in zip(times[place], names, strict=True):
                name = self._layer_of(found)
                if not name:
                    self.between[place][one.node.operator] += one.seconds
                    continue
                self._rounds[place][name].append(one.rounds)
                if name == found and one.node.operator not in _CHANGES:
                    self.shapes[name] = one.shape
                if one.node.name.endswith("_nchwc") or _is_blocked(one):
                    self.blocked.add(name)
        self._fastest_swish = self._find_fastest_swish()

    def rows(self, conversions: Mapping[tuple[int, ...], ConversionTimes]) -> list[dict[str, Any]]:
        """Return a row for each named node, in running order."""
        return [
            {
                "node": node.name,
                "operator": node.operator,
                "float": _figures(self._rounds[0][node.name]),
                **self._fastest_int8(node),
                "blocked": node.name in self.blocked,
                "shape": list(self.shapes.get(node.name, ())),
                "conversions": conversions[self.shapes[node.name]].to_dict()
                if self.shapes.get(node.name) in conversions
                else None,
            }
            for node in self._float.nodes.nodes
            if node.name
        ]

    def _layer_of(self, name: str) -> str:
        """Return the node of the float artifact that a name is of, "" for none.

        A convolution over blocks of pixels has nodes around it, named by it and a slash.
        """
        while name and name not in self._float.by_name:
            name = name.rpartition("/")[0]
        return name

    def _fastest_int8(self, node: Node) -> dict[str, Any]:
        """Return the figures of a node's fastest int8 form, and the form's name."""
        found = []
        for place, graph in enumerate(self._int8):
            form = graph.form_of(node, self._float)
            if form == SWISH and place != self._fastest_swish:
                continue
            if form == "" and self._is_swish_elsewhere(node):
                continue
            if form == "" and place and node.name not in graph.by_name:
                continue  # its layer may be in float there: only the first file is all in int8
            if form is not None:
                found.append((_figures(self._rounds[place + 1][node.name]), form))
        if not found:
            return {"int8": None, "form": ""}
        figures, form = min(found, key=lambda one: one[0]["seconds"])
        return {"int8": figures, "form": form}

    def _is_swish_elsewhere(self, node: Node) -> bool:
        """Whether the file with the fastest swishes has this node in one of them."""
        if self._fastest_swish is None:
            return False
        return self._int8[self._fastest_swish].form_of(node, self._float) == SWISH

    def _find_fastest_swish(self) -> int | None:
        """Return the int8 file whose swishes in float take less than the others' in codes.

        All swishes of a graph have one form, so that their sums are compared.
        """
        nodes = self._float.nodes.nodes
        for place, graph in enumerate(self._int8):
            swishes = [node for node in nodes if graph.form_of(node, self._float) == SWISH]
            if not swishes:
                continue
            sums = {
                other: sum(
                    _figures(self._rounds[other + 1][node.name])["seconds"] for node in swishes
                )
                for other, each in enumerate(self._int8)
                if all(each.form_of(node, self._float) is not None for node in swishes)
            }
            if sums and min(sums, key=sums.__getitem__) == place:
                return place
        return None


def _is_blocked(one: NodeTimes) -> bool:
    return any(name.startswith("reorder_token") for name in one.node.outputs)


def _figures(rounds: Sequence[tuple[float, ...]]) -> dict[str, float]:
    sums = [sum(parts) for parts in zip(*rounds, strict=True)] or [0.0]
    return {"seconds": _median(sums), "spread": spread_of(sums)}
