"""The stage: from a loaded model to its float ONNX graph and the reference to compare it with."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx
import tensorflow as tf

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.exporting import interface, tracing, unsupported
from edgeport_converter.exporting.logits import Logits, logits_of
from edgeport_converter.exporting.reference import reference_of
from edgeport_converter.exporting.tf2onnx_bridge import translate
from edgeport_converter.exporting.tf_ops import signal
from edgeport_converter.exporting.tracing import FrozenGraph
from edgeport_converter.loading import purity
from edgeport_converter.loading.model import LoadedModel

# A loop over time as TensorFlow writes it, or the placeholder op of a recurrent layer.
_LOOPS = ("LoopCond", "PyFunc", "StatelessWhile", "While")
# Collecting garbage takes as long as exporting a small network.
_LARGE_BYTES = 2**27

_COMPLEX = (tf.complex64.as_datatype_enum, tf.complex128.as_datatype_enum)


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A float ONNX graph, and the Keras model that it has to agree with.

    Attributes:
        graph: the ONNX model.
        inputs, outputs: in the Keras model's declared order.
        reference: runs the Keras model itself: arrays by input name, each with the batch axis N,
            to arrays by output name.
        logits: the same, with the values before the last function of each output.
    """

    graph: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reference: Callable[[Mapping[str, Array]], dict[str, Array]]
    logits: Logits


def export(loaded: LoadedModel, *, opset: int, ir_version: int) -> ExportedModel:
    """Return the model as a float ONNX graph.

    Raises:
        UnsupportedModelError: a layer or an operation has no ONNX form, or Keras itself cannot
            run the model.
        ConversionError: the installed Keras or tf2onnx lacks something that is patched, or
            tf2onnx failed.
    """
    unsupported.refuse_layers(loaded.model)
    inputs = interface.describe_inputs(loaded.inputs)
    frozen = tracing.trace(loaded)
    _require_pure(frozen, loaded.model)
    loops = any(node.op in _LOOPS for node in frozen.graph_def.node)
    graph = translate.translate(frozen, loaded.model, opset)
    graph.ir_version = ir_version
    graph.graph.name = loaded.name
    outputs = interface.write(graph, inputs, loaded.outputs, frozen)
    if graph.ByteSize() > _LARGE_BYTES:
        del frozen
        gc.collect()  # tf2onnx's graphs are cycles of references, which keep their weights
    return ExportedModel(
        graph, inputs, outputs, reference_of(loaded, loops=loops), logits_of(loaded)
    )


def with_one_sample(exported: ExportedModel) -> ExportedModel:
    """Return the model with a batch of one sample in place of a free number.

    Raises:
        OptionError: the model insists on another number.
    """
    inputs, outputs = (
        tuple(interface.one_sample(spec) for spec in specs)
        for specs in (exported.inputs, exported.outputs)
    )
    interface.write_shapes(exported.graph.graph.input, inputs)
    interface.write_shapes(exported.graph.graph.output, outputs)
    return replace(exported, inputs=inputs, outputs=outputs)


def _require_pure(frozen: FrozenGraph, model: Any) -> None:
    """Refuse random operations, and those on complex numbers that have no handler."""
    impure = purity.RANDOM.find_in(frozen.graph_def)
    if impure:
        raise unsupported.operation_refusal(model, impure)
    complex_nodes = [
        (node.name, node.op)
        for node in frozen.graph_def.node
        if node.op not in signal.COMPLEX_OPS
        and any(value.type in _COMPLEX for value in node.attr.values())
    ]
    if complex_nodes:
        raise unsupported.operation_refusal(model, complex_nodes, "complex numbers")
