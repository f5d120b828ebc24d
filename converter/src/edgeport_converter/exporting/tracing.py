"""From a function over named tensors to a frozen TensorFlow graph.

The trace runs on the CPU, with Keras' recurrent layers and lookup tables leaving markers, and with
random seeds standing still: at inference nothing may depend on them, and ``exporting`` makes sure
of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import keras
import tensorflow as tf

from edgeport_converter.exporting import freezing, unsupported
from edgeport_converter.exporting.keras_patches import layers, lookups, recurrent
from edgeport_converter.exporting.keras_patches.placeholders import Markers
from edgeport_converter.loading import purity
from edgeport_converter.loading.model import LoadedModel, refuse_large

_OUTPUT_PREFIX = "edgeport_output"

# Source: the pattern in TensorFlow's message "is not a valid root scope name".
_NOT_IN_SCOPES = re.compile(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_.\\/>-]")


@dataclass(frozen=True, eq=False)
class FrozenGraph:
    """A TensorFlow graph without variables.

    Attributes:
        graph_def: the graph; in it, the large weights are empty constants.
        weights: the values of these by node name.
        inputs, outputs: tensor name in the graph -> the model's name.
        markers: what the graph's markers stand for.
        output_shapes: by the model's name, None for a free axis; None for an unknown rank.
    """

    graph_def: Any
    weights: dict[str, bytes]
    inputs: dict[str, str]
    outputs: dict[str, str]
    markers: Markers
    output_shapes: dict[str, tuple[int | None, ...] | None]


def trace(loaded: LoadedModel) -> FrozenGraph:
    """Return the model's graph as it computes at inference."""
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
    markers = Markers()
    # The CPU device keeps cuDNN's fused kernels, which ONNX has no word for, out of the trace.
    with tf.device("/cpu:0"), _inference(markers):
        concrete = tf.function(call, autograph=False).get_concrete_function(*signature)
        _refuse_writes(concrete, loaded.model)
        refuse_large(loaded.name, freezing.weight_bytes(concrete))
        graph_def, weights, inputs, outputs = freezing.freeze(concrete, markers)
    return FrozenGraph(
        graph_def,
        weights,
        dict(zip(inputs, (info.name for info in loaded.inputs), strict=True)),
        dict(zip(outputs, names, strict=True)),
        markers,
        {
            name: None if tensor.shape.rank is None else tuple(tensor.shape)
            for name, tensor in zip(names, concrete.outputs, strict=True)
        },
    )


@contextmanager
def _inference(markers: Markers) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(recurrent.substituted(markers))
        stack.enter_context(lookups.substituted(markers))
        stack.enter_context(layers.substituted(markers))
        stack.enter_context(
            patch.object(keras.random.SeedGenerator, "next", _constant_seed)
        )  # fmt: skip
        # Keras' data layers cast their inputs inside a graph, which they take for a data pipeline.
        stack.enter_context(
            patch.object(keras.src.utils.backend_utils, "in_tf_graph", lambda: False)
        )
        stack.enter_context(_plain_scopes())
        yield


def _constant_seed(self: Any, ordered: bool = True) -> Any:
    """Return a seed without drawing it, which would be a side effect of the graph."""
    return tf.constant([0, 0], dtype=self.state.dtype)


@contextmanager
def _plain_scopes() -> Iterator[None]:
    """Let operations bear their layers' names without numbers.

    Keras opens a layer's scope twice, so TensorFlow names it ``dense_1``, which may be another
    layer's name. A scope whose name ends in a slash is entered as it is. Layers may have names
    that TensorFlow does not take for a scope.
    """
    scope = keras.src.backend.tensorflow.core.name_scope

    def initialize(self: Any, name: str, **options: Any) -> None:
        super(scope, self).__init__(name, **options)
        name = _NOT_IN_SCOPES.sub("_", name)
        outer = tf.get_current_name_scope()
        full = f"{outer}/{name}" if outer else name
        self._tf_name_scope = tf.name_scope(f"{full}/")

    with patch.object(scope, "__init__", initialize):
        yield


def _refuse_writes(concrete: Any, model: Any) -> None:
    """Refuse a graph that changes a variable, which no constant can stand for."""
    written = purity.WRITES.find_in(concrete.graph.as_graph_def())
    if written:
        raise unsupported.operation_refusal(model, written)
