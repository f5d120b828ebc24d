"""One recipe -> one quantized graph, with onnxruntime's own quantizer.

Which recipe is right for a model is not decided here. The ranges come from ``calibrating``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgeport_converter.calibrating import Ranges
from edgeport_converter.targets import Target

# Operators with an int8 kernel that pays, and those that only pass int8 values on. Softmax is
# left out on purpose: int8 makes it slower, and can wrap a probability of 1.0 to the smallest
# code (microsoft/onnxruntime#29727). So are Sigmoid and Tanh, whose tails saturate.
_OPERATORS = (
    "Add", "AveragePool", "Clip", "Concat", "Conv", "Flatten", "Gemm", "GlobalAveragePool",
    "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip

# Their int8 kernels can answer in float, so nothing is lost by rounding what a float layer reads.
_FLOAT_OUTPUT_OPERATORS = ("Gemm", "MatMul")

_WEIGHTED_OPERATORS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A graph in QDQ form.

    Attributes:
        graph: the ONNX model.
        float_layers: node name -> why it stayed in float.
        weights, activations: number formats, for the card.
    """

    graph: onnx.ModelProto
    weights: str
    activations: str
    float_layers: dict[str, str] = field(default_factory=dict)


def quantize_static(model: onnx.ModelProto, ranges: Ranges, target: Target) -> QuantizedGraph:
    """Return the graph with int8 weights and uint8 activations, scales fixed by the ranges.

    Args:
        model: the optimized float graph; it is not changed.
        ranges: (lowest, highest) by tensor name.
        target: decides how many bits of a weight are used.
    """
    nodes = [node.name for node in model.graph.node if node.op_type in _OPERATORS]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,  # one scale for all channels ruins depthwise convolutions
        reduce_range=target.weight_bits == 7,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,  # int8 activations take twice the time on x86
        tensors_range=_as_tensors_data(ranges),
        nodes_to_quantize=nodes,
        nodes_to_exclude=[],
        op_types_to_quantize=list(_OPERATORS),
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
    )
    quantizer.quantize_model()
    graph: onnx.ModelProto = quantizer.model.model
    _answer_in_float(graph.graph)
    _drop_unused_initializers(graph.graph)
    quantizer.model.topological_sort()  # it appends its nodes at the end
    return QuantizedGraph(
        graph,
        weights=f"int8 per channel, {target.weight_bits} bits used",
        activations="uint8",
        float_layers={
            node.name: f"{node.op_type} loses more in int8 than it gains"
            for node in model.graph.node
            if node.op_type not in _OPERATORS
        },
    )


def has_quantized_layers(graph: onnx.ModelProto) -> bool:
    """Whether any weighted operator computes in int8."""
    dequantized = {
        name
        for node in graph.graph.node
        if node.op_type == "DequantizeLinear"
        for name in node.output
    }
    return any(
        node.op_type in _WEIGHTED_OPERATORS and dequantized.issuperset(node.input[:2])
        for node in graph.graph.node
    )


def _as_tensors_data(ranges: Ranges) -> TensorsData:
    return TensorsData(
        CalibrationMethod.MinMax,
        {
            name: TensorData(lowest=np.float32(low), highest=np.float32(high))
            for name, (low, high) in ranges.items()
        },
    )


def _answer_in_float(graph: onnx.GraphProto) -> None:
    """Take away QuantizeLinear -> DequantizeLinear behind a layer that only float nodes read."""
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    for quantize in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        source = quantize.input[0]
        producer = producers.get(source)
        pairs = readers.get(quantize.output[0], [])
        if (
            producer is None
            or producer.op_type not in _FLOAT_OUTPUT_OPERATORS
            or len(readers[source]) != 1
            or source in outputs
            or any(node.op_type != "DequantizeLinear" for node in pairs)
        ):
            continue
        ends = [node.output[0] for node in pairs]
        consumers = [node for end in ends for node in readers.get(end, [])]
        if any(node.op_type in _OPERATORS for node in consumers):
            continue
        kept = next((end for end in ends if end in outputs), ends[0])
        for node in consumers:
            node.input[:] = [kept if name in ends else name for name in node.input]
        producer.output[:] = [kept if name == source else name for name in producer.output]
        for node in (quantize, *pairs):
            graph.node.remove(node)


def _drop_unused_initializers(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
