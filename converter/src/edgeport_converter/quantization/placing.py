"""Where in a graph int8 begins and ends: the operators that gain from it, and the borders to float.

``quantizing`` asks; nothing here knows scales or codes.
"""

from __future__ import annotations

import onnx

WEIGHTED_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

# Operators with an int8 kernel that pays, and those that only pass int8 values on. Softmax is
# left out on purpose: int8 makes it slower, and can wrap a probability of 1.0 to the smallest
# code (microsoft/onnxruntime#29727). So are Sigmoid and Tanh, whose tails saturate.
STATIC_OPERATORS = (
    *WEIGHTED_OPERATORS,
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Mul", "Pad",
    "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip

# Behind the last layer with weights these would only add the rounding of one more scale: joined
# boxes and scores would share it, and a mean over many places would lose what averaging gained.
_FLOAT_AT_THE_END = (
    "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "Pad", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip

# Their int8 kernels can answer in float, so nothing is lost by rounding what a float layer reads.
_FLOAT_OUTPUT_OPERATORS = ("Gemm", "MatMul")


def gains_nothing(graph: onnx.GraphProto, float_nodes: frozenset[str]) -> frozenset[str]:
    """Return the nodes without weights that int8 would only cost: rounding, and conversions.

    These are the ones that no int8 layer reads behind the last layers, and those between layers
    that stay in float.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    behind: set[str] = set()
    for node in reversed(graph.node):
        after = [reader for name in node.output for reader in readers.get(name, [])]
        ends = all(
            reader.name in behind
            or reader.name in float_nodes
            or reader.op_type not in STATIC_OPERATORS
            for reader in after
        )
        if ends and (node.op_type in _FLOAT_AT_THE_END or (
            float_nodes and node.op_type not in WEIGHTED_OPERATORS
        )):  # fmt: skip
            behind.add(node.name)
    if not float_nodes:
        return frozenset(behind)
    # A relu that is left alone in float would keep the int8 layer before it from taking it in.
    producers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        before = producers.get(node.input[0]) if node.input else None
        if (
            node.op_type in ("Clip", "Relu")
            and before is not None
            and before.op_type in STATIC_OPERATORS
            and before.name not in float_nodes | behind
        ):
            behind.discard(node.name)
    return frozenset(behind)


def answer_in_float(graph: onnx.GraphProto) -> None:
    """Take away QuantizeLinear -> DequantizeLinear behind a layer that only float nodes read."""
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    for quantizer in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
        source = quantizer.input[0]
        producer = producers.get(source)
        pairs = readers.get(quantizer.output[0], [])
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
        if any(node.op_type in STATIC_OPERATORS for node in consumers):
            continue
        kept = next((end for end in ends if end in outputs), ends[0])
        for node in consumers:
            node.input[:] = [kept if name in ends else name for name in node.input]
        producer.output[:] = [kept if name == source else name for name in producer.output]
        for node in (quantizer, *pairs):
            graph.node.remove(node)
