"""What each Keras layer became: its number format, its error, its share of time and bytes.

The error is taken where the layer's last operation answers, in the artifact beside the float
graph, so it is what all layers up to there have lost. The time is the engine's own profile of the
artifact: of fused operations, the first one's layer gets it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.quantization.evaluation.node_profile import node_times_us
from edgeport_converter.quantization.qdq.placement import WEIGHTED_OPERATORS
from edgeport_converter.verification.runners import cut_into_batches, run_as_defined

BETWEEN_LAYERS = "(between layers)"
"""The line for what belongs to no layer: changes of format and layout that the engine adds."""

_ERROR_SAMPLES = 16  # enough to tell 20 dB from 30, and seconds for a network of a hundred layers
_ERROR_BATCH = 4

_FORMATS = {
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.INT16: "int16",
    TensorProto.UINT16: "int16",
}
_WEIGHTED = (*WEIGHTED_OPERATORS, "LSTM", "GRU", "RNN")
_DYNAMIC = ("MatMulInteger", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "ConvInteger")
_CHANGES = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


@dataclass(frozen=True)
class LayerReport:
    """One Keras layer in the artifact.

    Attributes:
        name: of the layer.
        operators: ONNX operators it became, in running order.
        number_format: what its weights and activations are, in words.
        signal_to_noise_db: of its output against the float graph, None where it has none to
            compare, or is equal.
        time_share: of one sample on one thread on this machine, 0 to 1.
        weight_bytes: of its constants in the file.
    """

    name: str
    operators: tuple[str, ...]
    number_format: str
    signal_to_noise_db: float | None
    time_share: float
    weight_bytes: int


def report_layers(
    float_graph: onnx.ModelProto,
    artifact: onnx.ModelProto,
    layers: KerasLayers,
    samples: Mapping[str, Array],
    inputs: Sequence[TensorSpec],
) -> tuple[LayerReport, ...]:
    """Return a line for each layer in running order, and one for what lies between them.

    Args:
        float_graph: what the artifact was made of.
        artifact: the finished graph; its computing nodes bear the float graph's names.
        layers: the model's layers.
        samples: by input name; the first few are enough.
        inputs: the model's.
    """
    graph = artifact.graph
    owners = layers.owners(graph)
    nodes: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node, owner in zip(graph.node, owners, strict=True):
        if node.op_type not in _CHANGES:
            nodes[owner or BETWEEN_LAYERS].append(node)
    formats = _Formats(graph)
    sizes = _weight_bytes(graph, owners)
    few = {name: array[:_ERROR_SAMPLES] for name, array in samples.items()}
    errors = _errors(float_graph, artifact, nodes, cut_into_batches(few, _ERROR_BATCH, inputs))
    owner_of = dict(zip([node.name for node in graph.node], owners, strict=True))
    times = _time_shares(artifact, owner_of, next(cut_into_batches(few, 1, inputs)))
    running_order = [*layers.owners(float_graph.graph), *nodes]
    names = [*(n for n in dict.fromkeys(running_order) if n in nodes and n != BETWEEN_LAYERS),
             BETWEEN_LAYERS]  # fmt: skip
    return tuple(
        LayerReport(
            name,
            tuple(dict.fromkeys(node.op_type for node in nodes[name])),
            formats.describe(nodes[name]),
            errors.get(name),
            times[name],
            sizes[name],
        )
        for name in names
        if nodes[name] or times[name] or sizes[name]
    )


class _Formats:
    """What numbers the nodes of a graph compute with."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._producers = {name: node for node in graph.node for name in node.output}
        self._types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        self._types |= {value.name: value.type.tensor_type.elem_type for value in graph.input}

    def describe(self, nodes: Sequence[onnx.NodeProto]) -> str:
        """Return the formats of the nodes that do the work: those with weights, else all."""
        weighted = [node for node in nodes if node.op_type in (*_WEIGHTED, *_DYNAMIC)]
        return " and ".join(dict.fromkeys(map(self._of, weighted or nodes)))

    def _of(self, node: onnx.NodeProto) -> str:
        if node.op_type in _DYNAMIC:
            return "int8, ranges at each run"
        stored = [self._stored(name) for name in node.input]
        if node.op_type in _WEIGHTED and node.input[1] in self._types:
            return "float32"  # whatever it reads, it computes with the weights as they are
        if node.op_type not in _WEIGHTED or (stored and stored[0]):
            return next(filter(None, stored), "float32")
        weights = next(filter(None, stored), None)
        return f"{weights} weights, float32 arithmetic" if weights else "float32"

    def _stored(self, name: str) -> str | None:
        """Return the format that a tensor is dequantized from, None where it is not."""
        node = self._producers.get(name)
        # The recipe for weights alone scales with Cast and Mul, which is all that LSTM can fuse.
        while node is not None and node.op_type in ("Mul", "Cast"):
            if node.op_type == "Cast":
                return _FORMATS.get(self._types.get(node.input[0], 0))
            node = self._producers.get(node.input[0])
        if node is None or node.op_type != "DequantizeLinear":
            return None
        # A zero point has the type of what it is the zero point of.
        zero = node.input[2] if len(node.input) > 2 else node.input[0]
        return _FORMATS.get(self._types.get(zero, 0))


def _weight_bytes(graph: onnx.GraphProto, owners: Sequence[str]) -> Counter[str]:
    """Return the bytes of constants by layer; one that several use counts where it is met first."""
    sizes = {tensor.name: tensor.ByteSize() for tensor in graph.initializer}
    result: Counter[str] = Counter()
    for node, owner in zip(graph.node, owners, strict=True):
        for name in node.input:
            result[owner or BETWEEN_LAYERS] += sizes.pop(name, 0)
    return result


def _errors(
    float_graph: onnx.ModelProto,
    artifact: onnx.ModelProto,
    nodes: Mapping[str, Sequence[onnx.NodeProto]],
    batches: Iterable[Mapping[str, Array]],
) -> dict[str, float]:
    """Return the signal-to-noise ratio in dB at each layer's last float output that both have."""
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*float_graph.graph.value_info, *float_graph.graph.output)
    }
    exact = {
        node.name: node.output[0]
        for node in float_graph.graph.node
        if node.name and types.get(node.output[0]) == TensorProto.FLOAT
    }
    places = {
        layer: next(((exact[n.name], n.output[0]) for n in reversed(own) if n.name in exact), None)
        for layer, own in nodes.items()
    }
    pairs = {layer: pair for layer, pair in places.items() if pair is not None}
    if not pairs:
        return {}
    expected = run_as_defined(float_graph, [pair[0] for pair in pairs.values()])
    actual = run_as_defined(artifact, [pair[1] for pair in pairs.values()])
    signal = np.zeros(len(pairs))
    noise = np.zeros(len(pairs))
    for batch in batches:
        exact_values, values = expected(batch), actual(batch)
        for place, (exact_name, name) in enumerate(pairs.values()):
            wide = exact_values[exact_name].astype(np.float64)
            signal[place] += np.sum(wide**2)
            noise[place] += np.sum((wide - values[name]) ** 2)
    return {
        layer: float(10 * np.log10(signal[place] / noise[place]))
        for place, layer in enumerate(pairs)
        if noise[place] > 0 and signal[place] > 0
    }


def _time_shares(
    artifact: onnx.ModelProto, owners: Mapping[str, str], sample: Mapping[str, Array]
) -> dict[str, float]:
    """Return each layer's share of the time of one sample."""
    totals: dict[str, float] = defaultdict(float)
    for node, time in node_times_us(artifact, sample).items():
        totals[owners.get(node) or BETWEEN_LAYERS] += time
    whole = max(sum(totals.values()), 1e-9)
    return defaultdict(float, {name: time / whole for name, time in totals.items()})
