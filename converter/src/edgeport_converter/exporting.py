"""From a loaded model to a float ONNX graph that bears the user's names.

One route: trace the model on the CPU, freeze its variables, let tf2onnx translate the frozen
graph with its errors raised. Rewriting the graph for speed is ``optimizing``'s business, proving
it ``verifying``'s, which compares with the reference outputs made here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
from tf2onnx import optimizer, tf_loader, tfonnx

from edgeport import ConversionError, TensorSpec
from edgeport.golden import Array
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loaded import LoadedModel, TensorInfo

# Axis letters by rank, channels last, as Keras lays out its tensors; see edgeport.card.
_AXES_BY_RANK = {
    0: (),
    1: ("N",),
    2: ("N", "F"),
    3: ("N", "T", "F"),
    4: ("N", "H", "W", "C"),
    5: ("N", "D", "H", "W", "C"),
}

# What an activation's formula bounds its output by.
_OUTPUT_RANGES = {"softmax": (0.0, 1.0), "sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


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
        loaded: a function over named tensors, and what goes in and out of it.
        opset: the ONNX opset to export for.
        ir_version: the IR version to stamp.

    Raises:
        UnsupportedModelError: an operation has no ONNX form.
    """
    inputs = tuple(_spec(info) for info in loaded.inputs)

    def call(*tensors: Any) -> dict[str, Any]:
        return loaded.call(dict(zip((spec.name for spec in inputs), tensors, strict=True)))

    signature = [
        tf.TensorSpec([size if isinstance(size, int) else None for size in spec.shape],
                      tf.as_dtype(spec.dtype), name=spec.name)
        for spec in inputs
    ]  # fmt: skip
    # The CPU device keeps cuDNN's fused kernels, which ONNX has no word for, out of the trace.
    with tf.device("/cpu:0"):
        concrete = tf.function(call, autograph=False).get_concrete_function(*signature)
        graph_def, input_tensors, output_tensors = _freeze(concrete)
        graph = _translate(
            graph_def,
            dict(zip(input_tensors, (spec.name for spec in inputs), strict=True)),
            dict(zip(output_tensors, _traced_order(concrete), strict=True)),
            opset,
        )
    graph.ir_version = ir_version
    graph.graph.name = loaded.name
    outputs = _order_outputs(graph, loaded.outputs)
    _name_axes(graph, inputs)

    def reference(arrays: Mapping[str, Array]) -> dict[str, Array]:
        with tf.device("/cpu:0"):
            results = call(*(tf.constant(arrays[spec.name]) for spec in inputs))
        return {name: np.asarray(tensor) for name, tensor in results.items()}

    return ExportedModel(graph, inputs, outputs, reference)


def _spec(info: TensorInfo) -> TensorSpec:
    letters = _AXES_BY_RANK.get(len(info.shape))
    if letters is None:
        letters = tuple(f"A{axis}" for axis in range(len(info.shape)))
    sizes = tuple(
        letter if size is None else size for letter, size in zip(letters, info.shape, strict=True)
    )
    return TensorSpec(info.name, np.dtype(info.dtype), sizes, axes=letters)


def _traced_order(concrete: Any) -> list[str]:
    """TensorFlow flattens a dict of outputs by sorted key."""
    return sorted(concrete.structured_outputs)


def _freeze(concrete: Any) -> tuple[Any, list[str], list[str]]:
    """Return the graph with variables as constants, and its inputs' and outputs' tensor names."""
    frozen = convert_variables_to_constants_v2(
        concrete, lower_control_flow=False, aggressive_inlining=True
    )
    input_tensors = [tensor.name for tensor in frozen.inputs]
    output_tensors = [tensor.name for tensor in frozen.outputs]
    graph_def = frozen.graph.as_graph_def(add_shapes=True)
    with tf.Graph().as_default():
        tf.import_graph_def(graph_def, name="")
        graph_def = tf_loader.tf_optimize(input_tensors, output_tensors, graph_def)
    return graph_def, input_tensors, output_tensors


def _translate(
    graph_def: Any, inputs: dict[str, str], outputs: dict[str, str], opset: int
) -> onnx.ModelProto:
    """Return tf2onnx's translation; inputs and outputs map tensor names to the user's names."""
    try:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
            # continue_on_error=False: by default tf2onnx logs what it cannot translate and goes
            # on to write an invalid file.
            translated = tfonnx.process_tf_graph(
                graph,
                continue_on_error=False,
                opset=opset,
                input_names=list(inputs),
                output_names=list(outputs),
                tensors_to_rename=inputs | outputs,
            )
            translated = optimizer.optimize_graph(translated, catch_errors=False)
            model: onnx.ModelProto = translated.make_model("edgeport")
    except Exception as cause:
        reason = str(cause).strip().splitlines() or [type(cause).__name__]
        raise UnsupportedModelError(
            f"tf2onnx cannot translate the model ({reason[0][:300]}): "
            "replace the layer it names by one that ONNX has"
        ) from cause
    return model


def _order_outputs(
    graph: onnx.ModelProto, outputs: tuple[TensorInfo, ...]
) -> tuple[TensorSpec, ...]:
    """Put the graph's outputs into the declared order and describe them."""
    by_name = {value.name: value for value in graph.graph.output}
    missing = [info.name for info in outputs if info.name not in by_name]
    if missing:
        raise ConversionError(f"the export lost the outputs {missing}: report this model")
    ordered = [by_name[info.name] for info in outputs]
    del graph.graph.output[:]
    graph.graph.output.extend(ordered)
    specs = []
    for info, value in zip(outputs, ordered, strict=True):
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        described = _spec(info)
        axes = described.axes
        if len(axes) == 2:
            axes = ("N", "C")
        shape = tuple(
            letter if not isinstance(size, int) else size
            for letter, size in zip(axes, described.shape, strict=True)
        )
        known_range = _OUTPUT_RANGES.get(info.activation or "")
        specs.append(TensorSpec(info.name, dtype, shape, axes, known_range))
    return tuple(specs)


def _name_axes(graph: onnx.ModelProto, inputs: tuple[TensorSpec, ...]) -> None:
    """Give the free axes of the graph's inputs and outputs their letters."""
    specs = {spec.name: spec for spec in inputs}
    for value in (*graph.graph.input, *graph.graph.output):
        dimensions = value.type.tensor_type.shape.dim
        letters = specs[value.name].axes if value.name in specs else None
        letters = letters or _AXES_BY_RANK.get(len(dimensions))
        for axis, dimension in enumerate(dimensions):
            if not dimension.HasField("dim_value") or dimension.dim_value <= 0:
                dimension.dim_param = letters[axis] if letters else f"{value.name}_{axis}"
