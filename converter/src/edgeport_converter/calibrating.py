"""The range of every activation over the calibration data, in one pass and flat in memory.

The graph itself reduces each tensor to its minimum and maximum, so no activation leaves the
engine and memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from edgeport import ConversionError
from edgeport.golden import Array

Ranges = dict[str, tuple[float, float]]

_FLOAT_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def collect_ranges(
    model: onnx.ModelProto,
    batches: Iterable[Mapping[str, Array]],
    on_batch: Callable[[int], None] | None = None,
) -> Ranges:
    """Return (lowest, highest) by name for every float input and activation of the graph.

    Args:
        model: the float graph, with the types of its inner tensors.
        batches: arrays by input name, each with the batch axis N.
        on_batch: is told the number of samples of each batch once it is done.

    Raises:
        ConversionError: an activation became NaN or infinite.
    """
    watched = _float_tensors(model)
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
        if on_batch:
            on_batch(len(next(iter(batch.values()))))
    return {name: (float(a), float(b)) for name, a, b in zip(watched, low, high, strict=True)}


def _float_tensors(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    produced = [name for node in graph.node for name in node.output if name]
    names = [value.name for value in graph.input] + produced
    return [name for name in dict.fromkeys(names) if types.get(name) in _FLOAT_TYPES]


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
