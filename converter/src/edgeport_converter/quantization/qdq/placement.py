"""Which nodes are computed in int8 and which in float.

``quantize`` and ``search.candidates`` call it. Scales and codes are chosen elsewhere: ranges by
``calibration``, weights by ``weights``; ``insertion`` adds the conversions.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgeport_converter.optimizing.constants import array_of, constant, known
from edgeport_converter.quantization.weights.forms import groups_of, is_transposed

WEIGHTED_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

# Operators that clip. If the lowest and the highest code stand for their bounds, quantizing their
# input clips it the same way, and the node is not needed.
LIMITS = ("Clip", "Relu")

# Operators whose int8 kernel is faster than float, and those that only move int8 values. Softmax
# is left out on purpose: int8 makes it slower, and can wrap a probability of 1.0 to the smallest
# code (microsoft/onnxruntime#29727). So are Sigmoid and Tanh: near their limits one code would
# stand for many different values.
STATIC_OPERATORS = (
    *WEIGHTED_OPERATORS, *LIMITS,
    "Add", "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Mul", "Pad",
    "Reshape", "Squeeze", "Transpose", "Unsqueeze",
)  # fmt: skip

# Operators that stay in float after the last layer with weights. In int8 they would round the
# answer once more: a Concat of boxes and scores with one scale for both, a mean over many positions
# to a step that is coarser than its own precision.
_FLOAT_AT_THE_END = (
    "AveragePool", "Concat", "Flatten", "GlobalAveragePool", "Pad", "Reshape", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip

# Operators that compute new values, so that each rounds once more in int8. Before the first layer
# with weights the features of a table may not be normalized yet: with one scale for all of them,
# the small ones would be rounded to zero.
_ROUNDING = ("Add", "AveragePool", "Clip", "Concat", "GlobalAveragePool", "Mul", "Relu")

# Operators whose int8 kernels can write float, so that the next node in float reads values that
# have not been rounded to codes.
FLOAT_OUTPUT_OPERATORS = ("Gemm", "MatMul")

# In a graph a gelu is an Erf or a Tanh with simple arithmetic before and after it. onnxruntime
# fuses all of its nodes into one float kernel. It has no such kernel for int8: there each node
# would round, and would take as long as the fused kernel.
_CURVES = ("Erf", "Tanh")
_STEPS = ("Add", "Div", "Mul", "Neg", "Pow", "Sub")
_MOST_AFTER = 3
_MOST_STEPS = 12


def gains_nothing(graph: ir.Graph, float_nodes: Collection[str]) -> frozenset[str]:
    """Return the names of the nodes without weights that stay in float, since int8 gains nothing.

    For these int8 would only add rounding and conversions: nodes after the last int8 layers, nodes
    before the first ones, nodes between layers that stay in float, and the nodes of a gelu.
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
            or _clips_float_output(node)
            or (float_nodes and node.op_type not in WEIGHTED_OPERATORS)
        ):
            after.add(node.name or "")
    if not float_nodes:
        return frozenset(after) | in_float
    # A relu in float after an int8 layer would be a node of its own; in int8 the layer's own scale
    # clips (see LIMITS).
    for node in graph:
        before = _producer(node)
        if (
            node.op_type in LIMITS
            and before is not None
            and before.op_type in STATIC_OPERATORS
            and not _clips_float_output(node)
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


def _clips_float_output(node: ir.Node) -> bool:
    """Whether a node is a Relu or Clip after a layer whose int8 kernel can write float.

    A float output has no codes that could clip in place of the node (see LIMITS).
    """
    before = _producer(node)
    return (
        node.op_type in LIMITS and before is not None and before.op_type in FLOAT_OUTPUT_OPERATORS
    )


def _before_the_first_layers(graph: ir.Graph, float_nodes: Collection[str]) -> frozenset[str]:
    """Return the nodes without weights that are computed from the inputs before any int8 layer.

    In float they need one rounding, of their output, which an int8 layer reads; in int8 their
    inputs would be rounded, too. Nodes that only move values stay in float as long as a node that
    computes comes after them; the last ones move int8, which is a quarter of the bytes.
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
    """Return the nodes of each gelu: its Erf or Tanh, and the arithmetic before and after it.

    A bias Add before the gelu is among them. An Erf or Tanh that belongs to no gelu is computed in
    float as well, so its neighbours lose nothing in float. onnxruntime fuses a gelu only if all of
    its nodes read the same tensor, so no conversion may stand between them and the layer before.
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
        for node in steps:  # the list grows by nodes before it whose readers are all inside
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

    onnxruntime's pass WeightBiasQuantization (seen in 1.32) quantizes the float weights of a layer
    that reads a DequantizeLinear with a single scale, when it loads the file: one scale for all
    channels, and all 8 bits, which saturate on AVX2. It ignores a DequantizeLinear with one scale
    for each channel, so each such layer gets one of its own, with the same number for all channels.
    Remove this when no supported onnxruntime has that pass.
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
        inputs = [source.inputs[0]]
        for value in source.inputs[1:]:
            single = known(value)
            repeated = np.full(channels, single, single.dtype)
            inputs.append(constant(graph, f"{value.name if value else ''}/{channels}", repeated))
        reading = ir.node("DequantizeLinear", inputs, {"axis": 1}, domain=source.domain, name="")
        node.replace_input_with(0, reading.outputs[0])
        graph.insert_before(node, reading)
