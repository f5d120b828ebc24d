"""Where in a graph int8 begins and ends: the operators that gain from it, and the borders to float.

``quantizing`` asks; nothing here knows scales or codes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

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

# They compute new values, so in int8 each rounds once more. One scale for all features of a table
# drowns the small ones where they are not normalized yet.
_ROUNDING = ("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "Mul", "Relu")

# Their int8 kernels can answer in float, so nothing is lost by rounding what a float layer reads.
_FLOAT_OUTPUT_OPERATORS = ("Gemm", "MatMul")

_LIMITS = ("Clip", "Relu")

# A gelu is one of these curves between simple steps. onnxruntime has one kernel for all of it in
# float and none in int8, where each step would be rounded and take as long as the whole.
_CURVES = ("Erf", "Tanh")
_STEPS = ("Add", "Div", "Mul", "Neg", "Pow", "Sub")
_MOST_BEHIND = 3
_MOST_STEPS = 12

_CONVERSIONS = ("DequantizeLinear", "QuantizeLinear")


def gains_nothing(graph: onnx.GraphProto, float_nodes: frozenset[str]) -> frozenset[str]:
    """Return the nodes without weights that int8 would only cost: rounding, and conversions.

    These are the ones that no int8 layer reads behind the last layers, those that read none in
    front of the first ones, those between layers that stay in float, and the steps of a gelu.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    producers = {name: node for node in graph.node for name in node.output}
    in_float = _in_front(graph, float_nodes, readers) | _in_gelus(graph, producers, readers)
    behind: set[str] = set()
    for node in reversed(graph.node):
        after = [reader for name in node.output for reader in readers.get(name, [])]
        ends = all(
            reader.name in behind
            or reader.name in float_nodes
            or reader.op_type not in STATIC_OPERATORS
            for reader in after
        )
        if ends and (
            node.op_type in _FLOAT_AT_THE_END
            or _follows_a_float_answer(node, producers)
            or (float_nodes and node.op_type not in WEIGHTED_OPERATORS)
        ):
            behind.add(node.name)
    if not float_nodes:
        return frozenset(behind) | in_float
    # A relu that is left alone in float would keep the int8 layer before it from taking it in.
    for node in graph.node:
        before = producers.get(node.input[0]) if node.input else None
        if (
            node.op_type in _LIMITS
            and before is not None
            and before.op_type in STATIC_OPERATORS
            and not _follows_a_float_answer(node, producers)
            and before.name not in float_nodes | behind
        ):
            behind.discard(node.name)
    return frozenset(behind) | in_float


def _follows_a_float_answer(node: onnx.NodeProto, producers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether it limits what a layer answers whose int8 kernel can answer in float.

    onnxruntime's quantizer drops a relu that its output's scale stands for. Without that scale,
    as ``answer_in_float`` leaves the layer, the relu would be lost.
    """
    before = producers.get(node.input[0]) if node.input else None
    return (
        node.op_type in _LIMITS and before is not None and before.op_type in _FLOAT_OUTPUT_OPERATORS
    )


def _in_front(
    graph: onnx.GraphProto,
    float_nodes: frozenset[str],
    readers: Mapping[str, Sequence[onnx.NodeProto]],
) -> frozenset[str]:
    """Return the nodes without weights that compute from what is there in float.

    What they answer is rounded once, for the int8 layer that reads it, instead of what they read as
    well. Behind the last of them, what only moves values is cheaper on bytes.
    """
    in_float = {"", *(tensor.name for tensor in graph.initializer)}
    in_float.update(value.name for value in graph.input)
    found: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type in STATIC_OPERATORS and node.name not in float_nodes:
            if node.op_type in WEIGHTED_OPERATORS or not in_float.issuperset(node.input):
                continue
            found.append(node)
        in_float.update(node.output)
    kept: set[str] = set()
    for node in reversed(found):
        after = {reader.name for name in node.output for reader in readers.get(name, [])}
        if node.op_type in _ROUNDING or not kept.isdisjoint(after):
            kept.add(node.name)
    return frozenset(kept)


def _in_gelus(
    graph: onnx.GraphProto,
    producers: Mapping[str, onnx.NodeProto],
    readers: Mapping[str, Sequence[onnx.NodeProto]],
) -> frozenset[str]:
    """Return the steps of each gelu: those behind its curve, and those before, with a bias.

    Of a curve that is no gelu these are the steps around it, which compute with floats anyway. The
    layer before answers in float: what is read twice has to come from one place to be fused.
    """
    found: set[str] = set()
    for curve in [node for node in graph.node if node.op_type in _CURVES]:
        steps = [curve]
        for _ in range(_MOST_BEHIND):
            after = readers.get(steps[-1].output[0], ())
            if len(after) != 1 or after[0].op_type not in _STEPS:
                break
            steps.append(after[0])
        names = {node.name for node in steps}
        for node in steps:  # it grows by the steps before, each when all its readers are there
            for step in [producers[name] for name in node.input if name in producers]:
                inside = {reader.name for reader in readers[step.output[0]]} <= names
                if step.op_type in _STEPS and inside and len(names) < _MOST_STEPS:
                    names.add(step.name)
                    steps.append(step)
        found |= names
    return frozenset(found)


def separate_float_weights(graph: onnx.GraphProto, float_nodes: frozenset[str]) -> None:
    """Give layers that stay in float constants of their own, in place.

    Shared ones would be quantized for the int8 layer that reads them too, and the layer in float
    would compute with the rounded ones.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shared = {
        name
        for node in graph.node
        if node.name not in float_nodes
        for name in node.input
        if name in constants
    }
    for node in graph.node:
        if node.name not in float_nodes or node.op_type not in WEIGHTED_OPERATORS:
            continue
        for place, name in enumerate(node.input):
            if name in shared:
                own = f"{node.name}/{name}"
                if own not in constants:
                    constants[own] = graph.initializer.add()
                    constants[own].CopyFrom(constants[name])
                    constants[own].name = own
                node.input[place] = own


def read_in_float(graph: onnx.GraphProto, float_nodes: Collection[str]) -> None:
    """Let nodes in float read what is there in float: the graph's inputs, and each other's answers.

    onnxruntime's quantizer gives all readers of a tensor the rounded one as soon as an int8 layer
    reads it. A mask that is looked up by its value would be lost that way. What an int8 layer
    answers stays rounded, since its kernel has no other answer.
    """
    producers = {name: node for node in graph.node for name in node.output}
    computes_in_float = {
        place
        for place, node in enumerate(graph.node)
        if node.op_type not in _CONVERSIONS
        and (node.op_type not in STATIC_OPERATORS or node.name in float_nodes)
    }
    in_float = {value.name for value in graph.input}
    in_float.update(name for place in computes_in_float for name in graph.node[place].output)
    for place in computes_in_float:
        node = graph.node[place]
        for number, name in enumerate(node.input):
            back = producers.get(name)
            there = producers.get(back.input[0]) if back is not None and back.input else None
            if (
                back is not None
                and there is not None
                and back.op_type == "DequantizeLinear"
                and there.op_type == "QuantizeLinear"
                and there.input[0] in in_float
            ):
                node.input[number] = there.input[0]


def answer_in_float(
    graph: onnx.GraphProto, float_nodes: Collection[str] = (), limited: Collection[str] = ()
) -> None:
    """Take away QuantizeLinear -> DequantizeLinear behind a layer that only float nodes read.

    Args:
        graph: the quantized graph, changed in place.
        float_nodes: names of nodes in float whose operator might be in int8.
        limited: tensors whose scale stands for a relu or a clip, which would go with it.
    """
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
            or source in limited
            or any(node.op_type != "DequantizeLinear" for node in pairs)
        ):
            continue
        ends = [node.output[0] for node in pairs]
        consumers = [node for end in ends for node in readers.get(end, [])]
        if any(
            node.op_type in STATIC_OPERATORS and node.name not in float_nodes for node in consumers
        ):
            continue
        kept = next((end for end in ends if end in outputs), ends[0])
        for node in consumers:
            node.input[:] = [kept if name in ends else name for name in node.input]
        producer.output[:] = [kept if name == source else name for name in producer.output]
        for node in (quantizer, *pairs):
            graph.node.remove(node)


def keep_float_layers(graph: onnx.GraphProto) -> None:
    """Keep onnxruntime from quantizing the layers that are to stay in float.

    Its WeightBiasQuantization (seen in 1.32) takes a layer with float weights behind a
    DequantizeLinear with one scale for a mistake, and rounds the weights to int8 when it loads the
    file: one scale for all channels, and all 8 bits, which saturate on AVX2. It passes over a scale
    a channel, so that is what such a layer reads; all of them are the same number. To be removed
    when no onnxruntime that we support does it.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    sources = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    for place, node in reversed(list(enumerate(graph.node))):
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm"):
            continue
        source, weights = sources.get(node.input[0]), constants.get(node.input[1])
        if source is None or weights is None or source.input[1] not in constants:
            continue
        options = {a.name: a.i for a in node.attribute}
        channels = weights.dims[0]
        if node.op_type == "Conv":
            channels = weights.dims[1] * options.get("group", 1)
        elif node.op_type == "Gemm" and options.get("transB"):
            channels = weights.dims[1]
        inputs = [source.input[0]]
        for name in source.input[1:]:
            value = numpy_helper.to_array(constants[name])
            own = f"{name}/{channels}"
            if own not in constants:
                tensor = numpy_helper.from_array(np.full(channels, value, value.dtype), own)
                constants[own] = tensor
                graph.initializer.append(tensor)
            inputs.append(own)
        output = f"{node.name}/input"
        reading = helper.make_node("DequantizeLinear", inputs, [output], axis=1)
        node.input[0] = output
        graph.node.insert(place, reading)
