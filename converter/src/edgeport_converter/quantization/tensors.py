"""Tensors of a graph in onnx-ir: floats, readers, constants, sessions that answer with them.

All of quantization works on ``onnx_ir.Model``. A ``ModelProto`` comes in from ``optimizing`` and
goes out to the engine and to stamping; ``search.candidates`` and ``evaluation.layer_report`` are
the borders.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import onnxruntime

from edgeport.artifact.golden import Array
from edgeport_converter.verification.runners import limit_threads


def replace_constant(value: ir.Value | None, array: Array) -> None:
    """Give a constant another value of the same number format, for all that read it."""
    assert value is not None and value.const_value is not None  # noqa: S101, PT018 - it was read
    kind = value.const_value.dtype.numpy()
    value.const_value = ir.tensor(np.asarray(array, kind, order="C"), name=value.name)
    value.shape = ir.Shape(array.shape)


def only_use(value: ir.Value) -> tuple[ir.Node | None, int]:
    """Return the node that alone reads a tensor and at which place, None where it goes elsewhere.

    What a subgraph reads counts, and so does an output of the graph.
    """
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None, -1
    return uses[0].node, uses[0].idx


def float_values(graph: ir.Graph) -> list[ir.Value]:
    """Return the graph's inputs and activations of float32 or float16, in running order."""
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    return [
        value
        for value in values
        if value.name and value.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)
    ]


def open_session(
    model: ir.Model, outputs: Sequence[ir.Value] | None = None, *, optimized: bool = True
) -> onnxruntime.InferenceSession:
    """Return a session of the graph.

    ``outputs`` are inner tensors to answer with, in place of the graph's own; without ``optimized``
    the engine computes as ONNX defines each node. The model is left as it is.
    """
    own = list(model.graph.outputs)
    if outputs is not None:
        model.graph.outputs[:] = list(dict.fromkeys(outputs))
    try:
        text = ir.to_proto(model).SerializeToString()
    finally:
        model.graph.outputs[:] = own
    options = onnxruntime.SessionOptions()
    limit_threads(options)
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(text, options, providers=["CPUExecutionProvider"])
