"""The range of every activation, in memory that does not grow with the calibration data.

``minmax`` takes one pass: the graph itself reduces each tensor to its minimum and maximum, so no
activation leaves the engine. ``mse`` takes a second pass over a few samples at a time, into one
histogram a tensor, and ``histograms`` chooses a narrower range from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from edgeport import ConversionError, OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.options import RANGE_METHODS
from edgeport_converter.quantization.calibration.histograms import Histogram, choose_range
from edgeport_converter.quantization.tensors import float_values, open_session
from edgeport_converter.verification.runners import Batches

Ranges = dict[str, tuple[float, float]]

_REDUCING_BATCH = 16
_HISTOGRAM_BATCH = 4


def collect_ranges(model: ir.Model, batches: Batches, method: str = "minmax") -> Ranges:
    """Return (lowest, highest) by name for every float input and activation of the graph.

    ``minmax`` keeps every value and reads the data once; ``mse`` clips rare large ones and reads it
    twice.

    Raises:
        OptionError: there is no such method.
        ConversionError: an activation became NaN or infinite.
    """
    if method not in RANGE_METHODS:
        raise OptionError(
            f"the range method is {method!r}, expected one of {', '.join(RANGE_METHODS)}: "
            "minmax keeps every value"
        )
    ranges = _reduce(model, batches(_REDUCING_BATCH))
    if method == "minmax":
        return ranges
    histograms = _count(model, ranges, batches(_HISTOGRAM_BATCH))
    return {name: choose_range(histogram) for name, histogram in histograms.items()}


def _reduce(model: ir.Model, batches: Iterable[Mapping[str, Array]]) -> Ranges:
    """Return the ranges by a graph that answers with each tensor's minimum and maximum."""
    watching = model.clone()
    watched = [value.name or "" for value in float_values(watching.graph)]
    ends = []
    for value in float_values(watching.graph):
        for operator in ("ReduceMin", "ReduceMax"):
            node = ir.node(operator, [value], {"keepdims": 0})
            watching.graph.append(node)
            ends.append(node.outputs[0])
            ends[-1].type, ends[-1].shape = value.type, ir.Shape([])
    session = open_session(watching, ends)
    names = [value.name for value in ends]
    low = np.full(len(watched), np.inf)
    high = np.full(len(watched), -np.inf)
    for batch in batches:
        values = np.array(session.run(names, dict(batch)), dtype=np.float64).reshape(-1, 2)
        if not np.isfinite(values).all():
            bad = watched[int(np.argwhere(~np.isfinite(values))[0, 0])]
            raise ConversionError(
                f"the activation '{bad}' became NaN or infinite on the calibration data, "
                "expected finite numbers: check the scale of the data"
            )
        low, high = np.minimum(low, values[:, 0]), np.maximum(high, values[:, 1])
    return {name: (float(a), float(b)) for name, a, b in zip(watched, low, high, strict=True)}


def _count(
    model: ir.Model, ranges: Ranges, batches: Iterable[Mapping[str, Array]]
) -> dict[str, Histogram]:
    """Return the values' counts by tensor, between the ends of its range."""
    histograms = {name: Histogram(low, high) for name, (low, high) in ranges.items()}
    inner = [value for value in float_values(model.graph) if not value.is_graph_input()]
    inputs = [value.name or "" for value in model.graph.inputs if value.name in histograms]
    names = [value.name or "" for value in inner]
    session = open_session(model, inner)
    for batch in batches:
        for name in inputs:
            histograms[name].add(batch[name])
        for name, values in zip(names, session.run(names, dict(batch)), strict=True):
            histograms[name].add(values)
    return histograms
