"""How much a graph computes: its multiply-accumulates for one sample.

The card holds the figure, and the runtime chooses its number of threads by it.
"""

from __future__ import annotations

import math

import onnx

Sizes = list["int | None"]


def count_multiply_accumulates(model: onnx.ModelProto) -> int | None:
    """Return the multiply-accumulates of all layers with weights, for one sample.

    Args:
        model: a float graph whose first input axis is the batch.

    Returns:
        None where a size is free or only known at a run, or where the graph has a loop or a
        branch: how often their bodies run depends on the values.

    Source:
        MatMul and Gemm: outputs times the length of the sums. Conv: outputs times kernel size
        times input channels a group. ConvTranspose: inputs times the weights that each is
        multiplied with. LSTM, GRU and RNN: sequences (TimeDistributed makes several of a sample)
        times steps times all weights, each of which is used once a step; steps that a mask skips
        are counted, too.
        Fourier transforms and what computes value by value are no multiply-accumulates.
    """
    single = onnx.ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    for value in (*single.graph.input, *single.graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if axis == 0 and dimension.dim_param == "N":
                dimension.dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    sizes = _sizes(graph)
    total = 0
    for node in graph.node:
        if node.op_type in ("Loop", "Scan", "If", "Einsum"):
            return None
        terms = _terms(node, sizes)
        if terms is None:
            continue
        # No tensor of a sample is empty. A size of 0 is an error of onnx, which infers it where a
        # graph computes the shape of a spectrogram's frames.
        if not all(terms):
            return None
        total += math.prod(size for size in terms if size is not None)
    return total


def _sizes(graph: onnx.GraphProto) -> dict[str, Sizes]:
    found: dict[str, Sizes] = {
        value.name: [
            dimension.dim_value if dimension.HasField("dim_value") else None
            for dimension in value.type.tensor_type.shape.dim
        ]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    return found | {tensor.name: list(tensor.dims) for tensor in graph.initializer}


def _terms(node: onnx.NodeProto, sizes: dict[str, Sizes]) -> Sizes | None:
    """Return the factors of one node's count; [None] where unknown, None for a node without."""
    if node.op_type in ("MatMul", "Gemm"):
        left = sizes.get(node.input[0])
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        length = None if not left else left[0] if transposed else left[-1]
        return [*sizes.get(node.output[0], [None]), length]
    if node.op_type == "Conv":
        return [*sizes.get(node.output[0], [None]), *sizes.get(node.input[1], [0, None])[1:]]
    if node.op_type == "ConvTranspose":
        return [*sizes.get(node.input[0], [None]), *sizes.get(node.input[1], [0, None])[1:]]
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return _recurrent_terms(node, sizes)
    return None


def _recurrent_terms(node: onnx.NodeProto, sizes: dict[str, Sizes]) -> Sizes:
    """Return sequences and steps, directions, the rows of all gates, and the length of their sums.

    The node reads samples (T, N, F), or (N, T, F) in its layout 1, weights (directions, rows, F)
    and recurrent weights (directions, rows, units).
    """
    samples, weights, recurrent = (sizes.get(name, []) for name in node.input[:3])
    if not len(samples) == len(weights) == len(recurrent) == 3:
        return [None]
    features, units = weights[2], recurrent[2]
    length = None if features is None or units is None else features + units
    return [*samples[:2], *weights[:2], length]
