"""What each Keras layer became: its number format, its error, its share of time and bytes.

The error is that of the layer's last operation, between the artifact and the float graph on the
same samples, so that it holds the errors of all layers before it. The time comes from the engine's
profile of the artifact; the time of fused operations counts for the layer of the first of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.progress import track
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.quantization.evaluation.timing import node_times_us
from edgeport_converter.quantization.qdq.pixel_blocks import as_pixels
from edgeport_converter.quantization.qdq.placement import WEIGHTED_OPERATORS
from edgeport_converter.quantization.tensors import open_session
from edgeport_converter.verification.runners import cut_into_batches

BETWEEN_LAYERS = "(between layers)"
"""The line for what belongs to no layer: changes of format and layout that the engine adds."""

_ERROR_SAMPLES = 16  # enough to tell 20 dB from 30, and seconds for a network of a hundred layers
_ERROR_BATCH = 4

_FORMATS: dict[ir.DataType | None, str] = {
    ir.DataType.INT8: "int8",
    ir.DataType.UINT8: "int8",
    ir.DataType.INT16: "int16",
    ir.DataType.UINT16: "int16",
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
        float_graph: what the artifact was made of; the artifact itself, if it is a float one.
        artifact: the finished graph; its computing nodes have the float graph's names.
        layers: the model's layers.
        samples: by input name; the first few are enough.
        inputs: the model's.
    """
    exact, made = ir.from_proto(float_graph), ir.from_proto(artifact)
    owners = dict(zip(made.graph, layers.owners(made.graph), strict=True))
    nodes: dict[str, list[ir.Node]] = defaultdict(list)
    for node, owner in owners.items():
        if node.op_type not in _CHANGES:
            nodes[owner or BETWEEN_LAYERS].append(node)
    sizes = _weight_bytes(owners)
    few = {name: array[:_ERROR_SAMPLES] for name, array in samples.items()}
    errors = {}
    if artifact is not float_graph:
        errors = _errors(exact, made, nodes, cut_into_batches(few, _ERROR_BATCH, inputs))
    owner_of = {node.name or "": owner for node, owner in owners.items()}
    times = _time_shares(artifact, owner_of, next(cut_into_batches(few, 1, inputs)))
    running_order = [*layers.owners(exact.graph), *nodes]
    names = [
        *(n for n in dict.fromkeys(running_order) if n in nodes and n != BETWEEN_LAYERS),
        BETWEEN_LAYERS,
    ]
    return tuple(
        LayerReport(
            name,
            tuple(dict.fromkeys(node.op_type for node in nodes[name])),
            _format_of(nodes[name]),
            errors.get(name),
            times[name],
            sizes[name],
        )
        for name in names
        if nodes[name] or times[name] or sizes[name]
    )


def _format_of(nodes: Sequence[ir.Node]) -> str:
    """Return what numbers the nodes that do the work compute with: those with weights, else all."""
    weighted = [node for node in nodes if node.op_type in (*_WEIGHTED, *_DYNAMIC)]
    return " and ".join(dict.fromkeys(map(_node_format, weighted or nodes)))


def _node_format(node: ir.Node) -> str:
    if node.op_type in _DYNAMIC:
        return "int8, ranges at each run"
    stored = [_stored(value) for value in node.inputs]
    if node.op_type in _WEIGHTED and _is_given(node.inputs[1]):
        return "float32"  # whatever it reads, it computes with the weights as they are
    if node.op_type not in _WEIGHTED or (stored and stored[0]):
        return next(filter(None, stored), "float32")
    weights = next(filter(None, stored), None)
    return f"{weights} weights, float32 arithmetic" if weights else "float32"


def _is_given(value: ir.Value | None) -> bool:
    return value is not None and value.producer() is None


def _stored(value: ir.Value | None) -> str | None:
    """Return the format that a tensor is dequantized from, None where it is not."""
    node = None if value is None else value.producer()
    # The recipe for weights alone scales with Cast and Mul, which is all that LSTM can fuse.
    while node is not None and node.op_type in ("Mul", "Cast"):
        source = node.inputs[0]
        if node.op_type == "Cast":
            return _FORMATS.get(source.dtype) if source is not None and _is_given(source) else None
        node = None if source is None else source.producer()
    if node is None or node.op_type != "DequantizeLinear":
        return None
    # A zero point has the type of what it is the zero point of.
    zero = node.inputs[2] if len(node.inputs) > 2 else node.inputs[0]
    return None if zero is None else _FORMATS.get(zero.dtype)


def _weight_bytes(owners: Mapping[ir.Node, str]) -> Counter[str]:
    """Return the bytes of constants by layer; one that several use counts where it is met first."""
    counted: set[ir.Value] = set()
    result: Counter[str] = Counter()
    for node, owner in owners.items():
        for value in node.inputs:
            if value is not None and value.const_value is not None and value not in counted:
                counted.add(value)
                result[owner or BETWEEN_LAYERS] += value.const_value.nbytes
    return result


def _errors(
    float_graph: ir.Model,
    artifact: ir.Model,
    nodes: Mapping[str, Sequence[ir.Node]],
    batches: Iterable[Mapping[str, Array]],
) -> dict[str, float]:
    """Return the signal-to-noise ratio in dB at each layer's last float output that both have."""
    exact = {
        node.name: node.outputs[0]
        for node in float_graph.graph
        if node.name and node.outputs[0].dtype == ir.DataType.FLOAT
    }
    pairs: dict[str, tuple[ir.Value, ir.Value]] = {}
    for layer, own in nodes.items():
        last = next((node for node in reversed(own) if node.name in exact), None)
        if last is not None:
            pairs[layer] = exact[last.name or ""], last.outputs[0]
    if not pairs:
        return {}
    signal, noise = np.zeros(len(pairs)), np.zeros(len(pairs))
    answers = [
        _answers(model, values)
        for model, values in zip(
            (float_graph, artifact), zip(*pairs.values(), strict=True), strict=True
        )
    ]
    for batch in track(batches, "errors of layers"):
        for place, (y, q) in enumerate(zip(*(answer(batch) for answer in answers), strict=True)):
            wide = y.astype(np.float64)
            signal[place] += np.sum(wide**2)
            found = q if q.shape == y.shape else as_pixels(q, y.shape)
            noise[place] += np.sum((wide - found) ** 2)
    return {
        layer: float(10 * np.log10(signal[place] / noise[place]))
        for place, layer in enumerate(pairs)
        if noise[place] > 0 and signal[place] > 0
    }


def _answers(
    model: ir.Model, values: Sequence[ir.Value]
) -> Callable[[Mapping[str, Array]], list[Array]]:
    """Return a function that answers with inner tensors, computed as ONNX defines the graph."""
    session = open_session(model, values, optimized=False)
    names = [value.name for value in values]
    return lambda batch: list(session.run(names, dict(batch)))


def _time_shares(
    artifact: onnx.ModelProto, owners: Mapping[str, str], sample: Mapping[str, Array]
) -> dict[str, float]:
    """Return each layer's share of the time of one sample."""
    totals: dict[str, float] = defaultdict(float)
    for node, time in node_times_us(artifact, sample).items():
        totals[owners.get(node) or BETWEEN_LAYERS] += time
    whole = max(sum(totals.values()), 1e-9)
    return defaultdict(float, {name: time / whole for name, time in totals.items()})
