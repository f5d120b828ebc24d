"""From a loaded model to a float ONNX graph that bears the user's names.

One route: trace the model on the CPU (``tracing``, with ``recurrent``, ``lookups`` and
``paraphrases`` in Keras' place), freeze its variables (``freezing``), let tf2onnx translate the
frozen graph with its errors raised and with our own conversions beside its own (``translating``,
``tf_*``), name inputs, outputs and axes (``interface``). Rewriting the graph for speed is
``optimizing``'s business, proving it ``verifying``'s, which compares with the reference outputs
made here.

    freezing         from a traced function to a TensorFlow graph whose variables are constants
    interface        names and letters for the axes of inputs and outputs, and their place in the
                     graph
    tracing          from a function over named tensors to a frozen TensorFlow graph
    unsupported      what ONNX cannot say, by the Keras layer that wants it: every refusal's
                     sentence
    keras_patches/   what Keras is made to do otherwise while a model is traced, each patch with
                     its reason
    tf2onnx_bridge/  from a frozen TensorFlow graph to ONNX by tf2onnx, and what is changed in
                     tf2onnx for it
    tf_ops/          TensorFlow operators that tf2onnx does not translate, or translates wrongly
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from edgeport import TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.exporting import interface, tracing, unsupported
from edgeport_converter.exporting.tf2onnx_bridge import translate
from edgeport_converter.exporting.tf_ops import signal
from edgeport_converter.exporting.tracing import FrozenGraph
from edgeport_converter.loading import purity
from edgeport_converter.loading.model import Call, LoadedModel, TensorInfo

# A loop over time, as TensorFlow writes it, or the marker of a recurrent layer.
_LOOPS = ("LoopCond", "PyFunc", "StatelessWhile", "While")
# Collecting garbage takes as long as exporting a small network.
_LARGE_BYTES = 2**27

_COMPLEX = (tf.complex64.as_datatype_enum, tf.complex128.as_datatype_enum)


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A float ONNX graph and its oracle.

    Attributes:
        graph: the ONNX model.
        inputs, outputs: in the Keras model's declared order.
        reference: runs the Keras model itself: arrays by input name, each with the batch axis N,
            to arrays by output name.
    """

    graph: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    reference: Callable[[Mapping[str, Array]], dict[str, Array]]


def export(loaded: LoadedModel, *, opset: int, ir_version: int) -> ExportedModel:
    """Return the model as a float ONNX graph.

    Args:
        loaded: the model as a function over named tensors.
        opset: the ONNX opset to export for.
        ir_version: the IR version to stamp.

    Raises:
        UnsupportedModelError: a layer or an operation has no ONNX form, or Keras itself cannot
            run the model.
    """
    unsupported.refuse_layers(loaded.model)
    inputs = interface.describe_inputs(loaded.inputs)
    frozen = _trace(loaded)
    _require_pure(frozen, loaded.model)
    loops = any(node.op in _LOOPS for node in frozen.graph_def.node)
    graph = translate.translate(frozen, loaded.model, opset)
    graph.ir_version = ir_version
    graph.graph.name = loaded.name
    outputs = interface.write(graph, inputs, loaded.outputs, frozen)
    if graph.ByteSize() > _LARGE_BYTES:
        del frozen
        gc.collect()  # tf2onnx's graphs refer to themselves, so that their weights would stay
    return ExportedModel(graph, inputs, outputs, reference_of(loaded, loops=loops))


def _trace(loaded: LoadedModel) -> FrozenGraph:
    try:
        return tracing.trace(loaded)
    except (UnsupportedModelError, MemoryError):
        raise
    except Exception as cause:
        raise unsupported.trace_refusal(loaded.model, cause, "trace") from cause


def reference_of(
    loaded: LoadedModel, *, loops: bool = False
) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    """Return the Keras model as a function of arrays by input name, each with the batch axis N.

    Args:
        loaded: the model.
        loops: whether it loops over time: op by op, a hundred steps take seconds a batch, so such a
            model runs as one function, as Keras' own ``predict`` does it.
    """
    call = _as_one_function(loaded) if loops else loaded.call

    def reference(arrays: Mapping[str, Array]) -> dict[str, Array]:
        with tf.device("/cpu:0"):
            tensors = {info.name: _as_tensor(arrays[info.name], info) for info in loaded.inputs}
            try:
                results = call(tensors)
            except tf.errors.OpError as cause:
                raise unsupported.trace_refusal(loaded.model, cause, "run") from cause
        return {name: _as_array(tensor) for name, tensor in results.items()}

    return reference


def _as_one_function(loaded: LoadedModel) -> Call:
    """Return the model's call, traced when first asked and once for all sizes of free axes."""

    def listed(*tensors: Any) -> list[Any]:
        named = zip(loaded.inputs, tensors, strict=True)
        results = loaded.call({info.name: tensor for info, tensor in named})
        return [results[info.name] for info in loaded.outputs]

    @cache
    def traced() -> Any:
        signature = [tf.TensorSpec(info.shape, tf.as_dtype(info.dtype)) for info in loaded.inputs]
        return tf.function(listed, autograph=False).get_concrete_function(*signature)

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        answers = traced()(*[tensors[info.name] for info in loaded.inputs])
        return {info.name: answer for info, answer in zip(loaded.outputs, answers, strict=True)}

    return call


def _as_tensor(array: Array, info: TensorInfo) -> Any:
    # numpy's text arrays hold Python objects, which TensorFlow takes as lists only.
    return tf.constant(array.tolist() if array.dtype.kind == "O" else array, dtype=info.dtype)


def _as_array(tensor: Any) -> Array:
    array = np.asarray(tensor)
    if array.dtype.kind in "OS":
        array = np.vectorize(lambda text: text.decode("utf-8"), otypes=[object])(array)
    return array


def _require_pure(frozen: FrozenGraph, model: Any) -> None:
    """Refuse operations that draw numbers, and complex ones that have no conversion."""
    impure = purity.RANDOM.find_in(frozen.graph_def)
    if impure:
        raise unsupported.operation_refusal(model, impure)
    strange = [
        (node.name, node.op)
        for node in frozen.graph_def.node
        if node.op not in signal.COMPLEX_OPS
        and any(value.type in _COMPLEX for value in node.attr.values())
    ]
    if strange:
        raise unsupported.operation_refusal(model, strange, "complex numbers")
