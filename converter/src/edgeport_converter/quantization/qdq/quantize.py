"""One recipe -> one quantized graph, with onnxruntime's own quantizer.

Which recipe is right for a model is ``searching``'s business. The ranges come from
``calibrating``; weights alone are stored smaller by ``weight_storage``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_dynamic
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgeport_converter.quantization.calibration.ranges import Ranges
from edgeport_converter.quantization.qdq.average_pools import rescale_pools
from edgeport_converter.quantization.qdq.hard_sigmoid import bound_codes
from edgeport_converter.quantization.qdq.pixel_inputs import (
    prepare_pixel_inputs,
    read_pixels_as_codes,
)
from edgeport_converter.quantization.qdq.placement import (
    STATIC_OPERATORS,
    WEIGHTED_OPERATORS,
    answer_in_float,
    gains_nothing,
    keep_float_layers,
    read_in_float,
    separate_float_weights,
)
from edgeport_converter.quantization.qdq.subgraphs import read_through_copies
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.quantization.weights.int8_layers import store_rounded
from edgeport_converter.quantization.weights.weight_only import store_weights_as_int8
from edgeport_converter.quiet import quiet_logging
from edgeport_converter.targets import Target

# Never Conv: its dynamic form, ConvInteger, is slow or does not load (microsoft/onnxruntime#15888).
_DYNAMIC_OPERATORS = ("MatMul", "Gemm", "LSTM")

# Their weights are the larger part of many a text or sound model.
_WITHOUT_INT8_KERNEL = ("Gather", "GRU", "LSTM", "RNN")

_PAIRED = "two of one sign add up to 128 at most"


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A quantized graph and what it is.

    Attributes:
        graph: the ONNX model.
        weights, activations: number formats, for the card.
        float_layers: node name -> why it stayed in float.
    """

    graph: onnx.ModelProto
    weights: str
    activations: str
    float_layers: dict[str, str] = field(default_factory=dict)


def quantize(
    model: onnx.ModelProto,
    recipe: Recipe,
    ranges: Ranges,
    target: Target,
    rounder: Rounder | None = None,
) -> QuantizedGraph:
    """Return the graph after the recipe.

    Args:
        model: the optimized float graph; it is not changed.
        recipe: ``none`` gives the graph back as it is.
        ranges: (lowest, highest) by tensor name; needed by the static kinds.
        target: decides which weights its kernels compute right.
        rounder: rounds the weights by what their layers read; without one they go to the nearest
            code.
    """
    if recipe.kind == "none":
        return QuantizedGraph(model, "float32", "float32")
    with quiet_logging():
        return _quantize(model, recipe, ranges, target, rounder or Rounder())


def _quantize(
    model: onnx.ModelProto,
    recipe: Recipe,
    ranges: Ranges,
    target: Target,
    rounder: Rounder,
) -> QuantizedGraph:
    if recipe.kind == "weights":
        return QuantizedGraph(
            store_weights_as_int8(model, recipe.float_nodes, rounder), "int8 per channel", "float32"
        )
    if recipe.kind == "dynamic":
        return _quantize_dynamic(model, recipe)
    return _quantize_static(model, recipe, ranges, target, rounder)


def weighted_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes that int8 can store smaller, in running order."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type in WEIGHTED_OPERATORS and constants.intersection(node.input[1:2])
    ]


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether any constant is stored in int8."""
    return any(
        tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) and len(tensor.dims) > 1
        for tensor in model.graph.initializer
    )


def _quantize_static(
    model: onnx.ModelProto,
    recipe: Recipe,
    ranges: Ranges,
    target: Target,
    rounder: Rounder,
) -> QuantizedGraph:
    is_wide = recipe.kind == "int16"
    # 16-bit activations have no int8 kernel that could saturate.
    saturates = target.saturates and not is_wide
    prepared = _copy(model)
    read_through_copies(prepared.graph)
    separate_float_weights(prepared.graph, recipe.float_nodes)
    pixel_inputs = prepare_pixel_inputs(prepared.graph)
    in_float = recipe.float_nodes | gains_nothing(model.graph, recipe.float_nodes)
    in_float = in_float.union(*(found.nodes for found in pixel_inputs))
    in_int8 = [
        node.name
        for node in model.graph.node
        if node.op_type in STATIC_OPERATORS and node.name not in in_float
    ]
    ranges = {**ranges, **{found.value: found.range for found in pixel_inputs}}
    quantizer = QDQQuantizer(
        _copy(prepared),
        per_channel=True,  # one scale for all channels ruins depthwise convolutions
        reduce_range=saturates,
        weight_qType=QuantType.QInt8,
        # int8 activations take twice the time of uint8 on x86.
        activation_qType=QuantType.QUInt16 if is_wide else QuantType.QUInt8,
        tensors_range=_as_tensors_data(ranges),
        nodes_to_quantize=in_int8,
        nodes_to_exclude=sorted(in_float),
        op_types_to_quantize=list(STATIC_OPERATORS),
        extra_options={
            "WeightSymmetric": True,
            "ActivationSymmetric": False,
            "UseQDQContribOps": is_wide,  # ONNX has 16-bit QuantizeLinear from opset 21 on only
        },
    )
    quantizer.quantize_model()
    graph: onnx.ModelProto = quantizer.model.model
    read_pixels_as_codes(graph.graph, pixel_inputs)
    limited = _dropped_outputs(prepared.graph, graph.graph)
    bounded: frozenset[str] = frozenset()
    if not is_wide:
        rescale_pools(graph.graph, ranges)
        bounded = bound_codes(graph.graph, in_float, limited)
    store_rounded(graph, prepared, rounder, pairs=saturates, one_scale=recipe.one_scale)
    answer_in_float(graph.graph, in_float, limited)
    read_in_float(graph.graph, in_float)
    if not is_wide:
        keep_float_layers(graph.graph)
    _drop_unused(graph.graph)
    quantizer.model.topological_sort()  # it appends its nodes at the end
    if recipe.stores_rest:
        done = {node.name for node in graph.graph.node if node.op_type not in _WITHOUT_INT8_KERNEL}
        graph = store_weights_as_int8(graph, recipe.float_nodes | done, rounder)
    return QuantizedGraph(
        graph,
        weights=f"int8 per channel, {_PAIRED if saturates else 'all 8 bits used'}",
        activations="uint16" if is_wide else "uint8",
        float_layers=_float_layers(model, recipe, STATIC_OPERATORS, in_float, bounded),
    )


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


def _quantize_dynamic(model: onnx.ModelProto, recipe: Recipe) -> QuantizedGraph:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dynamic.onnx"
        quantize_dynamic(
            _copy(model),
            path,
            op_types_to_quantize=list(_DYNAMIC_OPERATORS),
            per_channel=True,
            # Also where the target's own kernels take 8: which CPU will judge it here is not known,
            # and MatMulInteger has no other definition than its kernel.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            # It makes MatMul and Add of Gemm first, and gives them names of their own.
            nodes_to_exclude=sorted(
                recipe.float_nodes | {f"{name}_MatMul" for name in recipe.float_nodes}
            ),
        )
        graph = onnx.load(path)
    return QuantizedGraph(
        graph,
        weights="int8 per channel, 7 bits used",
        activations="uint8, range measured at each run",
        float_layers=_float_layers(model, recipe, _DYNAMIC_OPERATORS),
    )


def _float_layers(
    model: onnx.ModelProto,
    recipe: Recipe,
    operators: Sequence[str],
    in_float: frozenset[str] = frozenset(),
    bounded: frozenset[str] = frozenset(),
) -> dict[str, str]:
    reasons = {}
    for node in model.graph.node:
        if node.name in recipe.float_nodes:
            reasons[node.name] = "kept in float for the budget, for speed, or on request"
        elif node.name in in_float:
            reasons[node.name] = "int8 would gain nothing there"
        elif node.op_type not in operators and node.name not in bounded:
            reasons[node.name] = f"{node.op_type} is computed in float by this recipe"
    return reasons


def _as_tensors_data(ranges: Ranges) -> TensorsData:
    return TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for name, (low, high) in ranges.items()
        },
    )


def _dropped_outputs(before: onnx.GraphProto, after: onnx.GraphProto) -> set[str]:
    """Return what the nodes gave that onnxruntime's quantizer has left out, relus and clips.

    Another node gives them now; an output of the graph under a name of the quantizer's.
    """
    kept = {node.name for node in after.node}
    dropped = {name for node in before.node if node.name not in kept for name in node.output}
    made = {node.output[0]: node for node in after.node if node.op_type == "QuantizeLinear"}
    return dropped | {
        made[node.input[0]].input[0]
        for node in after.node
        if node.op_type == "DequantizeLinear"
        and node.output[0] in dropped
        and node.input[0] in made
    }


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    used |= {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        if node.output[0] not in used:
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
