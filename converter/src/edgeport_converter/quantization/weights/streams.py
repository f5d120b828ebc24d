"""Cross-layer equalization of residual streams: tensors whose channels additions tie together.

``equalization`` rescales what one layer gives and one layer reads. Where an Add joins a layer's
answer with what the layer read, as in every residual network, all of these tensors need the same
factors: those of each layer that writes into the stream are multiplied in, those of each layer that
reads it are divided out.

Steps of ``equalize_streams``:

1. Join the tensors before and after each relu, pooling and Add to streams. A stream ends at layers
   with constant weights; one that touches anything else, or an input or output of the graph, is
   left as it is.
2. Take each channel's largest share of a tensor's range over all tensors of the stream.
3. Choose factors and move them as ``equalization`` does.

Where ranges differ little between channels, the weights that it makes uneven cost more than the
tensors win. So the search tries it only where int8 misses the budget, and training, which moves
those weights, begins with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of
from edgeport_converter.quantization.weights import equalization

_POOLS = ("AveragePool", "GlobalAveragePool", "MaxPool")
_CURVES = ("LeakyRelu", "Relu")
_RESHAPES = ("Flatten", "Reshape", "Squeeze")


@dataclass(eq=False)
class _Stream:
    """Tensors whose channels have one factor each, and the layers that write and read them."""

    writers: dict[ir.Node, None] = field(default_factory=dict)
    readers: dict[ir.Node, None] = field(default_factory=dict)
    tensors: dict[ir.Value, None] = field(default_factory=dict)
    is_closed: bool = True

    def take(self, other: _Stream) -> None:
        self.writers |= other.writers
        self.readers |= other.readers
        self.tensors |= other.tensors
        self.is_closed = self.is_closed and other.is_closed


def equalize_streams(model: ir.Model, batches: Iterable[Mapping[str, Array]]) -> ir.Model | None:
    """Return the graph with the same answers and channels of like ranges in its residual streams.

    None where it has no such stream. The given model is not changed.
    """
    result = model.clone()
    streams = find_streams(result.graph)
    # What a layer or an Add reads is rounded to codes.
    rounded = [
        [value for value in stream.tensors if any(_rounds(use.node) for use in value.uses())]
        for stream in streams
    ]
    if not streams:
        return None
    found = equalization.channel_ranges(result, [v for each in rounded for v in each], batches)
    for stream, values in zip(streams, rounded, strict=True):
        ranges, found = found[: len(values)], found[len(values) :]
        tops = [each.max() for each in ranges]
        if not np.isfinite(tops).all() or min(tops) == 0:
            continue
        shares = np.max([each / top for each, top in zip(ranges, tops, strict=True)], axis=0)
        factors = equalization.choose_factors(shares, _strengths(stream))
        for node in stream.writers:
            equalization.multiply_outputs(node, factors)
        for node in stream.readers:
            equalization.divide_inputs(node, factors)
    return result


def _strengths(stream: _Stream) -> Array | None:
    """Return the largest relative weight that reads each channel, None where all are depthwise."""
    found = [equalization.strengths_of(node) for node in stream.readers]
    shares = [each / max(each.max(), 1e-300) for each in found if each is not None]
    return np.max(shares, axis=0) if shares else None


def _rounds(node: ir.Node) -> bool:
    return node.op_type == "Add" or equalization.is_layer(node)


def find_streams(graph: ir.Graph) -> list[_Stream]:
    """Return the streams that several layers write or read, and nothing else does."""
    streams: dict[ir.Value, _Stream] = {}

    def stream_of(value: ir.Value | None) -> _Stream:
        if value is None or array_of(value) is not None:
            return _Stream(is_closed=False)
        if value not in streams:
            streams[value] = _Stream(tensors={value: None})
        return streams[value]

    def join(values: Iterable[ir.Value | None]) -> None:
        first, *others = (stream_of(value) for value in values)
        for other in others:
            if other is not first:
                first.take(other)
                streams.update(dict.fromkeys(other.tensors, first))

    for node in graph:
        if equalization.is_layer(node):
            stream_of(node.inputs[0]).readers[node] = None
            stream_of(node.outputs[0]).writers[node] = None
        elif _ties(node):
            join([*node.inputs[: 2 if node.op_type == "Add" else 1], node.outputs[0]])
        else:
            for value in (*node.inputs, *node.outputs):
                stream_of(value).is_closed = False
    for value, stream in streams.items():
        outside = any(use.node.graph is not graph for use in value.uses())
        if value.is_graph_input() or value.is_graph_output() or outside:
            stream.is_closed = False
    return [each for each in dict.fromkeys(streams.values()) if _is_open_to_factors(each)]


def _is_open_to_factors(stream: _Stream) -> bool:
    several = len(stream.writers) > 1 or len(stream.readers) > 1
    if not stream.is_closed or not several or not stream.writers or not stream.readers:
        return False
    channels = {equalization.output_channels(node) for node in stream.writers}
    channels |= {equalization.input_channels(node) for node in stream.readers}
    return len(channels) == 1


def _ties(node: ir.Node) -> bool:
    """Whether factors of a node's input channels may be those of its output's."""
    if node.op_type in (*_POOLS, *_CURVES):
        return True
    shapes = [_shape(value) for value in (*node.inputs[:2], node.outputs[0])]
    if node.op_type == "Add":
        return shapes[0] is not None and shapes[0][1:] == (shapes[1] or ())[1:]
    given, answer = shapes[0], shapes[-1]
    return (
        node.op_type in _RESHAPES
        and given is not None
        and answer is not None
        and len(answer) == 2
        and given[1:] == (answer[1], *[1] * (len(given) - 2))
    )


def _shape(value: ir.Value | None) -> tuple[object, ...] | None:
    return None if value is None or value.shape is None else tuple(value.shape)
