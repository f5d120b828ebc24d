"""From a function over named tensors to a frozen TensorFlow graph.

The trace runs on the CPU, under the patches of ``keras_patches``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from edgeport import ConversionError
from edgeport_converter.exporting import freezing, keras_patches, unsupported
from edgeport_converter.exporting.patching import applied, refuse_missing_name
from edgeport_converter.exporting.placeholders import Placeholders
from edgeport_converter.loading import purity
from edgeport_converter.loading.model import LoadedModel, refuse_large

_OUTPUT_PREFIX = "edgeport_output"


@dataclass(frozen=True, eq=False)
class FrozenGraph:
    """A TensorFlow graph without variables.

    Attributes:
        graph_def: the graph; in it, the large weights are empty constants.
        weights: the values of these by node name.
        inputs, outputs: tensor name in the graph -> the model's name.
        placeholders: what the graph's placeholder ops stand for.
        output_shapes: by the model's name, None for a free axis; None for an unknown rank.
    """

    graph_def: Any
    weights: dict[str, bytes]
    inputs: dict[str, str]
    outputs: dict[str, str]
    placeholders: Placeholders
    output_shapes: dict[str, tuple[int | None, ...] | None]


def trace(loaded: LoadedModel) -> FrozenGraph:
    """Return the model's graph as it computes at inference.

    Raises:
        UnsupportedModelError: Keras cannot trace the model, or the model changes a variable, or its
            weights are more than an ONNX file holds.
        ConversionError: the installed Keras lacks something that is patched, or the traced graph
            could not be frozen.
    """
    names = [info.name for info in loaded.outputs]

    def call(*tensors: Any) -> list[Any]:
        given = {info.name: tensor for info, tensor in zip(loaded.inputs, tensors, strict=True)}
        results = loaded.call(given)
        # An operation for each output, even where two of them, or an input, are one tensor.
        return [
            tf.identity(tf.convert_to_tensor(results[name]), name=f"{_OUTPUT_PREFIX}_{number}")
            for number, name in enumerate(names)
        ]

    signature = [
        tf.TensorSpec(info.shape, tf.as_dtype(info.dtype), name=f"edgeport_input_{number}")
        for number, info in enumerate(loaded.inputs)
    ]
    placeholders = Placeholders()
    # On the CPU Keras chooses no fused kernels of cuDNN, which have no ONNX form.
    with tf.device("/cpu:0"), applied(keras_patches.PATCHES, placeholders):
        try:
            concrete = tf.function(call, autograph=False).get_concrete_function(*signature)
        except (ConversionError, MemoryError):
            raise
        except Exception as cause:
            refuse_missing_name(cause)
            raise unsupported.trace_refusal(loaded.model, cause, "trace") from cause
        kept = [tensor.name for tensor in concrete.outputs]
        written = purity.WRITES.find_in(concrete.graph.as_graph_def(), kept)
        if written:  # no constant can replace a variable that changes
            raise unsupported.operation_refusal(loaded.model, written)
        refuse_large(loaded.name, freezing.weight_bytes(concrete))
        try:
            graph_def, weights, inputs, outputs = freezing.freeze(concrete, placeholders)
        except (ConversionError, MemoryError):
            raise
        except Exception as cause:
            refuse_missing_name(cause)
            raise unsupported.translation_failure(loaded.model, [], cause) from cause
    return FrozenGraph(
        graph_def,
        weights,
        dict(zip(inputs, (info.name for info in loaded.inputs), strict=True)),
        dict(zip(outputs, names, strict=True)),
        placeholders,
        {
            name: None if tensor.shape.rank is None else tuple(tensor.shape)
            for name, tensor in zip(names, concrete.outputs, strict=True)
        },
    )
