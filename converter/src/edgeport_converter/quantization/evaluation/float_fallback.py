"""Which layers to leave in float because int8 is slower there.

An int8 kernel does not always pay: convolutions of few input channels and narrow depthwise ones
often take longer than in float, which differs by CPU, hence by measurement. Nor does a change of
format come free, so that what counts is a run of layers and its two borders. Node times only
propose; the caller measures the whole graph.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from edgeport_converter.quantization.qdq.placement import WEIGHTED_OPERATORS

# What a border costs beyond the layers: QuantizeLinear or DequantizeLinear, and the change of
# layout that comes with it on either side. Measured with onnxruntime 1.32 on AVX2; an estimate,
# which is several times too high for a CPU with AVX-512, so that cheaper ones are tried as well.
_BORDER_NODES = 3
_NODE_US = 3.5
_VALUE_US = 0.0005
_BORDER_SHARES = (1.0, 0.25)

# How much of a layer's int8 time float has to save. A profile sees each node alone and errs by some
# tenths, so several answers are proposed, from many layers in float to the few that matter most.
_SHARES = (0.0, 0.15, 0.3, 0.5)


def proposals(
    graph: ir.Graph, float_us: Mapping[str, float], int8_us: Mapping[str, float]
) -> list[frozenset[str]]:
    """Return sets of layers that may be faster in float, of several estimates.

    Args:
        graph: the float graph, in running order, with the shapes of its inner tensors.
        float_us: the time of each of its nodes.
        int8_us: the time of each node with all layers in int8.
    """
    layers = [node for node in graph if node.op_type in WEIGHTED_OPERATORS]
    if len(layers) < 2:
        return []
    borders = [_border_us(node) for node in layers]
    in_float, in_int8 = (_by_layer(graph, times) for times in (float_us, int8_us))
    found = []
    for share, border_share in itertools.product(_SHARES, _BORDER_SHARES):
        gains = {
            name: in_int8[name] * (1 - share) - in_float[name]
            for name in (node.name or "" for node in layers)
        }
        cheaper = [border_share * border for border in borders]
        found.append(frozenset(_best_runs(layers, gains, cheaper)))
    return [names for names in dict.fromkeys(found) if 0 < len(names) < len(layers)]


def _by_layer(graph: ir.Graph, times: Mapping[str, float]) -> dict[str, float]:
    """Return the time by layer; a node without weights belongs to the layer before it."""
    totals: dict[str, float] = defaultdict(float)
    layer = ""
    for node in graph:
        if node.op_type in WEIGHTED_OPERATORS:
            layer = node.name or ""
        totals[layer] += times.get(node.name or "", 0.0)
    return totals


def _border_us(layer: ir.Node) -> float:
    """Return what a border before the layer costs."""
    value = layer.inputs[0]
    if value is None or value.shape is None:
        return _BORDER_NODES * _NODE_US
    sizes = [size if isinstance(size, int) else 1 for size in value.shape]
    return _BORDER_NODES * (_NODE_US + _VALUE_US * math.prod(sizes))


def _best_runs(
    layers: Sequence[ir.Node], gains: Mapping[str, float], borders: Sequence[float]
) -> list[str]:
    """Return the layers to leave in float at the least total time, by dynamic programming.

    The graph's input is in float, so a run from the first layer on has one border.
    """
    # Per format of the layer last seen, the gain so far and the layers in float.
    in_float: tuple[float, list[str]] = (0.0, [])
    in_int8: tuple[float, list[str]] = (-math.inf, [])
    for border, layer in zip(borders, layers, strict=True):
        stay, enter = in_float, (in_int8[0] - border, in_int8[1])
        gain, names = max(stay, enter, key=lambda state: state[0])
        leave = (in_float[0] - border, in_float[1])
        in_int8 = max(in_int8, leave, key=lambda state: state[0])
        in_float = (gain + gains[layer.name or ""], [*names, layer.name or ""])
    return max(in_float, in_int8, key=lambda state: state[0])[1]
