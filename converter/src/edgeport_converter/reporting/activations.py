"""What enters each quantizer of an int8 graph, beside the range that its codes cover.

The range comes from the scale and the zero point of the finished graph, the values from a run of
the same graph as ONNX defines it: so the picture is that of the file, however it was made. Zeros
are left out of the counts, as in ``quantization.calibration.histograms``. Where the codes begin at
zero, the quantizer is also the relu of its layer: what is negative counts as zero, not as clipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.quantization.tensors import open_session
from edgeport_converter.reporting.records import ActivationHistogram

BATCH = 4
"""Samples a run: all watched activations of a batch are in memory at once."""

_BINS = 64
_MARGIN = 0.15  # of the range, at each end, where clipped values show
_LIMITS = {
    ir.DataType.UINT8: (0, 255, "uint8"),
    ir.DataType.INT8: (-128, 127, "int8"),
    ir.DataType.UINT16: (0, 65535, "uint16"),
    ir.DataType.INT16: (-32768, 32767, "int16"),
}


@dataclass(eq=False)
class _Watched:
    """One quantizer: its tensor, its range, and what was counted so far."""

    value: ir.Value
    layer: str
    number_format: str
    low: float
    high: float
    lowest: float = np.inf
    highest: float = -np.inf
    clipped: int = 0
    seen: int = 0
    counts: Array = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))

    @property
    def edges(self) -> Array:
        """The ends of the bins: the range with a margin for what it clips."""
        width = (self.high - self.low) or 1.0
        found: Array = np.linspace(
            self.low - _MARGIN * width, self.high + _MARGIN * width, _BINS + 1
        )
        return found

    def add(self, values: Array) -> None:
        flat = values.reshape(-1).astype(np.float64)
        if not flat.size:
            return
        if self.low == 0:
            flat = np.maximum(flat, 0)
        self.lowest, self.highest = (
            min(self.lowest, float(flat.min())),
            max(self.highest, float(flat.max())),
        )
        # Half a step beyond the last code still rounds to it.
        half = (self.high - self.low) / (2 * (_code_count(self.number_format) - 1))
        self.clipped += int(np.sum((flat < self.low - half) | (flat > self.high + half)))
        self.seen += flat.size
        edges = self.edges
        inside = np.clip(flat[flat != 0], edges[0], edges[-1])
        self.counts += np.histogram(inside, edges)[0]

    def result(self) -> ActivationHistogram:
        return ActivationHistogram(
            self.layer,
            self.number_format,
            self.low,
            self.high,
            self.lowest,
            self.highest,
            self.clipped / max(self.seen, 1),
            tuple(float(edge) for edge in self.edges),
            tuple(int(count) for count in self.counts),
        )


def _code_count(number_format: str) -> int:
    return 2**16 if number_format.endswith("16") else 2**8


def count_activations(
    artifact: onnx.ModelProto, layers: KerasLayers, batches: Iterable[Mapping[str, Array]]
) -> tuple[ActivationHistogram, ...]:
    """Return a histogram of each quantized activation, in running order; () where there is none.

    Args:
        artifact: a finished graph.
        layers: name the layers by the names of the graph's nodes.
        batches: some samples by input name, a few at a time; one pass.
    """
    graph = ir.from_proto(artifact)
    watched = _find_quantizers(graph.graph, layers)
    if not watched:
        return ()
    inner = [one for one in watched if not one.value.is_graph_input()]
    session = open_session(graph, [one.value for one in inner], optimized=False) if inner else None
    names = [one.value.name for one in inner]
    for batch in batches:
        for one in watched:
            if one.value.is_graph_input():
                one.add(batch[one.value.name or ""])
        if session is not None:
            for one, values in zip(inner, session.run(names, dict(batch)), strict=True):
                one.add(values)
    return tuple(one.result() for one in watched if one.seen)


def _find_quantizers(graph: ir.Graph, layers: KerasLayers) -> list[_Watched]:
    """Return the quantizers of activations with one scale, the first one of each tensor."""
    owners = dict(zip(graph, layers.owners(graph), strict=True))
    found: dict[ir.Value, _Watched] = {}
    for node in graph:
        value = node.inputs[0] if node.inputs else None
        if node.op_type != "QuantizeLinear" or value is None or value in found:
            continue
        scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
        if scale is None or scale.const_value is None or scale.const_value.size != 1:
            continue
        kind = ir.DataType.UINT8 if zero is None else zero.dtype
        if kind not in _LIMITS or (zero is not None and zero.const_value is None):
            continue
        bottom, top, number_format = _LIMITS[kind]
        step = float(scale.const_value.numpy().reshape(()))
        offset = 0
        if zero is not None and zero.const_value is not None:
            offset = int(zero.const_value.numpy().reshape(()))
        producer = value.producer()
        layer = value.name or "" if producer is None else owners.get(producer, "")
        found[value] = _Watched(
            value,
            layer or "(between layers)",
            number_format,
            (bottom - offset) * step,
            (top - offset) * step,
        )
    return list(found.values())
