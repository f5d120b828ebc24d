"""The range of every activation over the calibration data, flat in memory.

``minmax`` takes one pass: the graph itself reduces each tensor to its minimum and maximum, so no
activation leaves the engine. The other methods take a second pass over a few samples at a time,
into one histogram a tensor, and ``clipping`` chooses a narrower range from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from edgeport import ConversionError, OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.options import RANGE_METHODS
from edgeport_converter.quantization.calibration.histograms import Histogram, choose_range
from edgeport_converter.verification.runners import Batches

Ranges = dict[str, tuple[float, float]]

_REDUCING_BATCH = 16
_HISTOGRAM_BATCH = 4

_FLOAT_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def collect_ranges(model: onnx.ModelProto, batches: Batches, method: str = "minmax") -> Ranges:
    """Return (lowest, highest) by name for every float input and activation of the graph.

    Args:
        model: the float graph, with the types of its inner tensors.
        batches: the calibration data; it is read once for ``minmax``, else twice.
        method: ``minmax`` keeps every value; ``percentile``, ``entropy`` and ``mse`` clip rare
            large ones, see ``clipping``.

    Raises:
        OptionError: there is no such method.
        ConversionError: an activation became NaN or infinite.
    """
    if method not in RANGE_METHODS:
        raise OptionError(
            f"the range method is {method!r}, expected one of {', '.join(RANGE_METHODS)}: "
            "minmax keeps every value"
        )
    watched = float_tensors(model)
    ranges = _reduce(model, watched, batches(_REDUCING_BATCH))
    if method == "minmax":
        return ranges
    histograms = _count(model, ranges, batches(_HISTOGRAM_BATCH))
    return {name: choose_range(histogram, method) for name, histogram in histograms.items()}


def float_tensors(model: onnx.ModelProto) -> list[str]:
    """Return the names of the graph's float inputs and activations, in running order."""
    graph = model.graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    produced = [name for node in graph.node for name in node.output if name]
    names = [value.name for value in graph.input] + produced
    return [name for name in dict.fromkeys(names) if types.get(name) in _FLOAT_TYPES]


def open_with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> Any:
    """Return an onnxruntime session of the graph that can answer with these inner tensors."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    present = {value.name for value in result.graph.output}
    types = {value.name: value for value in (*model.graph.input, *model.graph.value_info)}
    result.graph.output.extend(types[name] for name in names if name not in present)
    return onnxruntime.InferenceSession(
        result.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def _reduce(
    model: onnx.ModelProto, watched: list[str], batches: Iterable[Mapping[str, Array]]
) -> Ranges:
    session = onnxruntime.InferenceSession(
        _with_reductions(model, watched).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [f"{kind}/{name}" for name in watched for kind in ("low", "high")]
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


def _with_reductions(model: onnx.ModelProto, watched: list[str]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.output[:]
    for name in watched:
        for kind, operator in (("low", "ReduceMin"), ("high", "ReduceMax")):
            reduced = f"{kind}/{name}"
            result.graph.node.append(helper.make_node(operator, [name], [reduced], keepdims=0))
            result.graph.output.append(
                helper.make_tensor_value_info(reduced, onnx.TensorProto.FLOAT, [])
            )
    return result


def _count(
    model: onnx.ModelProto, ranges: Ranges, batches: Iterable[Mapping[str, Array]]
) -> dict[str, Histogram]:
    histograms = {name: Histogram(low, high) for name, (low, high) in ranges.items()}
    inputs = {value.name for value in model.graph.input}
    inner = [name for name in ranges if name not in inputs]
    session = open_with_outputs(model, inner)
    for batch in batches:
        for name in inputs & ranges.keys():
            histograms[name].add(batch[name])
        for name, values in zip(inner, session.run(inner, dict(batch)), strict=True):
            histograms[name].add(values)
    return histograms
