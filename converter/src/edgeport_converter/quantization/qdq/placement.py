"""Where in a graph int8 begins and ends: the operators that gain from it, and the borders to float.

``quantize`` asks; nothing here chooses scales or codes.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgeport_converter.optimizing.constants import array_of
from edgeport_converter.quantization.tensors import constant
from edgeport_converter.quantization.weights.forms import groups_of, is_transposed

WEIGHTED_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

# They bound what they read; a scale whose codes end at the bounds does the same.
LIMITS = ("Clip", "Relu")

# Operators with an int8 kernel that pays, and those that only pass int8 values on. Softmax is
# left out on purpose: int8 makes it slower, and can wrap a probability of 1.0 to the smallest
# code (microsoft/onnxruntime#29727). So are Sigmoid and Tanh, whose tails saturate.
STATIC_OPERATORS = (
    *WEIGHTED_OPERATORS, *LIMITS,
    "Add", "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Mul", "Pad",
    "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip

# After the last layer with weights these would only add the rounding of one more scale: joined
# boxes and scores would share it, and a mean over many places would lose what averaging gained.
_FLOAT_AT_THE_END = (
    "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "Pad", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip

# They compute new values, so in int8 each rounds once more. One scale for all features of a table
# drowns the small ones where they are not normalized yet.
_ROUNDING = ("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "Mul", "Relu")

# Their int8 kernels can answer in float, so nothing is lost by rounding what a float layer reads.
FLOAT_OUTPUT_OPERATORS = ("Gemm", "MatMul")

# A gelu is one of these curves between simple steps. onnxruntime has one kernel for all of it in
# float and none in int8, where each step would be rounded and take as long as the whole.
_CURVES = ("Erf", "Tanh")
_STEPS = ("Add", "Div", "Mul", "Neg", "Pow", "Sub")
_MOST_AFTER = 3
_MOST_STEPS = 12


def gains_nothing(graph: ir.Graph, float_nodes: Collection[str]) -> frozenset[str]:
    """Return the nodes without weights that int8 would only cost: rounding, and conversions.

    These are the nodes after the last int8 layers, those before the first ones, those between
    layers that stay in float, and the steps of a gelu.

    Args:
        graph: a float graph.
        float_nodes: names of the nodes that stay in float anyway.
    """
    in_float = _before_the_first_layers(graph, float_nodes) | _in_gelus(graph)
    after: set[str] = set()
    for node in reversed(graph):
        ends = all(
            reader.name in after or reader.name in float_nodes or not _may_be_int8(graph, reader)
            for reader in _readers(node)
        )
        if ends and (
            node.op_type in _FLOAT_AT_THE_END
            or _follows_a_float_answer(node)
            or (float_nodes and node.op_type not in WEIGHTED_OPERATORS)
        ):
            after.add(node.name or "")
    if not float_nodes:
        return frozenset(after) | in_float
    # A relu that is left alone in float would keep the int8 layer before it from taking it in.
    for node in graph:
        before = _producer(node)
        if (
            node.op_type in LIMITS
            and before is not None
            and before.op_type in STATIC_OPERATORS
            and not _follows_a_float_answer(node)
            and before.name not in float_nodes
            and before.name not in after
        ):
            after.discard(node.name or "")
    return frozenset(after) | in_float


def _readers(node: ir.Node) -> list[ir.Node]:
    return [use.node for value in node.outputs for use in value.uses()]


def _producer(node: ir.Node) -> ir.Node | None:
    value = node.inputs[0] if node.inputs else None
    return None if value is None else value.producer()


def _may_be_int8(graph: ir.Graph, node: ir.Node) -> bool:
    """Whether a node may become int8: subgraphs of branches and loops stay in float."""
    return node.op_type in STATIC_OPERATORS and node.graph is graph


def _follows_a_float_answer(node: ir.Node) -> bool:
    """Whether it limits what a layer answers whose int8 kernel can answer in float.

    Without a scale of its own, such an answer could not do the work of the relu.
    """
    before = _producer(node)
    return (
        node.op_type in LIMITS and before is not None and before.op_type in FLOAT_OUTPUT_OPERATORS
    )


def _before_the_first_layers(graph: ir.Graph, float_nodes: Collection[str]) -> frozenset[str]:
    """Return the nodes without weights that compute from what is there in float.

    What they answer is rounded once, for the int8 layer that reads it, instead of what they read as
    well. After the last of them, what only moves values is cheaper on bytes.
    """
    in_float = {None, *graph.inputs, *graph.initializers.values()}
    found: list[ir.Node] = []
    for node in graph:
        if node.op_type in STATIC_OPERATORS and node.name not in float_nodes:
            if node.op_type in WEIGHTED_OPERATORS or not in_float.issuperset(node.inputs):
                continue
            found.append(node)
        in_float.update(node.outputs)
    kept: set[str] = set()
    for node in reversed(found):
        after = {reader.name for reader in _readers(node)}
        if node.op_type in _ROUNDING or not kept.isdisjoint(after):
            kept.add(node.name or "")
    return frozenset(kept)


def _in_gelus(graph: ir.Graph) -> frozenset[str]:
    """Return the steps of each gelu: those after its curve, and those before, with a bias.

    Around a curve that is no gelu these are the steps that compute with its floats anyway. The
    layer before answers in float: what is read twice has to come from one place to be fused.
    """
    found: set[str] = set()
    for curve in [node for node in graph if node.op_type in _CURVES]:
        steps = [curve]
        for _ in range(_MOST_AFTER):
            after = [use.node for use in steps[-1].outputs[0].uses()]
            if len(after) != 1 or after[0].op_type not in _STEPS:
                break
            steps.append(after[0])
        inside = set(steps)
        for node in steps:  # it grows by the steps before, each when all its readers are there
            for value in node.inputs:
                step = None if value is None else value.producer()
                if step is None or step.op_type not in _STEPS or len(inside) >= _MOST_STEPS:
                    continue
                if step not in inside and inside.issuperset(_readers(step)):
                    inside.add(step)
                    steps.append(step)
        found.update(node.name or "" for node in inside)
    return frozenset(found)


def keep_float_layers(graph: ir.Graph) -> None:
    """Keep onnxruntime from quantizing the layers that are to stay in float.

    Its WeightBiasQuantization (seen in 1.32) takes a layer with float weights after a
    DequantizeLinear with one scale for a mistake, and rounds the weights to int8 when it loads the
    file: one scale for all channels, and all 8 bits, which saturate on AVX2. It passes over a scale
    a channel, so that is what such a layer reads; all of them are the same number. To be removed
    when no onnxruntime that we support does it.

    Args:
        graph: a quantized graph, changed in place.
    """
    for node in [node for node in graph if node.op_type in ("Conv", "ConvTranspose", "Gemm")]:
        source, weights = _producer(node), array_of(node.inputs[1])
        if source is None or source.op_type != "DequantizeLinear" or weights is None:
            continue
        channels = weights.shape[0]
        if node.op_type == "Conv":
            channels = weights.shape[1] * groups_of(node)
        elif node.op_type == "Gemm" and is_transposed(node):
            channels = weights.shape[1]
        own = [_repeated(graph, value, channels) for value in source.inputs[1:]]
        reading = ir.node(
            "DequantizeLinear",
            [source.inputs[0], *own],
            {"axis": 1},
            domain=source.domain,
            name="",
        )
        node.replace_input_with(0, reading.outputs[0])
        graph.insert_before(node, reading)


def _repeated(graph: ir.Graph, value: ir.Value | None, count: int) -> ir.Value:
    single = array_of(value)
    assert single is not None and value is not None  # noqa: S101, PT018 - scales are constants
    return constant(graph, f"{value.name}/{count}", np.full(count, single, single.dtype))
