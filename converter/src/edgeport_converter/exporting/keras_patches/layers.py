"""Keras layers and functions, written with TensorFlow operations that ONNX has.

Each function returns the replacement of one Keras call; ``PATCHES`` gives the reasons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from edgeport_converter.exporting.keras_patches.products import are_floats
from edgeport_converter.exporting.placeholders import Emit, Placeholders
from edgeport_converter.exporting.tf_ops.builder import replace


def signbit(original: Callable[..., Any], placeholders: Placeholders) -> Callable[..., Any]:
    """Recognize -0.0 by its reciprocal, which is -inf."""

    def is_negative(x: Any) -> Any:
        x = tf.convert_to_tensor(x)
        if not x.dtype.is_floating:
            return original(x)
        return tf.logical_or(x < 0, tf.math.divide(tf.ones_like(x), x) < 0)

    return is_negative


def time_distributed(
    original: Callable[..., Any], placeholders: Placeholders
) -> Callable[..., Any]:
    """Call the layer once, on (N * T, ...); Keras calls it for each step."""

    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if (
            not tf.is_tensor(inputs)
            or inputs.shape.rank is None
            or getattr(self.layer, "stateful", False)
        ):
            return original(self, inputs, training=training, mask=mask)
        lead = tf.shape(inputs)[:2]
        options: dict[str, Any] = {}
        if self.layer._call_has_mask_arg and mask is not None:
            options["mask"] = _merge(tf.convert_to_tensor(mask))
        if self.layer._call_has_training_arg:
            options["training"] = training
        # Keras calls the layer's call, so that losses and masks are not recorded per step.
        result = self.layer.call(_merge(inputs), **options)

        def split(tensor: Any) -> Any:
            whole = tf.reshape(tensor, tf.concat([lead, tf.shape(tensor)[1:]], axis=0))
            whole.set_shape([*inputs.shape[:2], *tensor.shape[1:]])
            return whole

        return keras.tree.map_structure(split, result)

    return call


def _merge(tensor: Any) -> Any:
    """Return (N * T, ...) of (N, T, ...)."""
    merged = tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))
    lead = tensor.shape[:2]
    size = None if None in lead.as_list() else lead.num_elements()
    merged.set_shape([size, *tensor.shape[2:]])
    return merged


def layer_normalization(
    original: Callable[..., Any], placeholders: Placeholders
) -> Callable[..., Any]:
    """Use ONNX's LayerNormalization where the axes are the last ones."""

    def call(self: Any, inputs: Any) -> Any:
        axes = self.axis if isinstance(self.axis, (list, tuple)) else [self.axis]
        rank = inputs.shape.rank if tf.is_tensor(inputs) else None
        if rank is None or not are_floats(inputs) or self.rms_scaling:
            return original(self, inputs)
        places = sorted(axis % rank for axis in axes)
        sizes = [inputs.shape[place] for place in places]
        if places != list(range(rank - len(places), rank)) or None in sizes:
            return original(self, inputs)
        tensors = [
            inputs,
            tf.ones(sizes)
            if self.gamma is None
            else tf.reshape(tf.convert_to_tensor(self.gamma), sizes),
        ]
        if self.beta is not None:
            tensors.append(tf.reshape(tf.convert_to_tensor(self.beta), sizes))
        (result,) = placeholders.place(
            tensors,
            [(tf.float32, inputs.shape)],
            _node("LayerNormalization", axis=-len(places), epsilon=float(self.epsilon)),
            "LayerNormalization",
        )
        return result

    return call


def p_relu(original: Callable[..., Any], placeholders: Placeholders) -> Callable[..., Any]:
    """Use ONNX's PRelu."""

    def call(self: Any, inputs: Any) -> Any:
        if not are_floats(inputs):
            return original(self, inputs)
        slope = tf.convert_to_tensor(self.alpha)
        (result,) = placeholders.place(
            [inputs, slope], [(tf.float32, inputs.shape)], _node("PRelu"), "PRelu"
        )
        return result

    return call


def _node(op: str, **attributes: Any) -> Emit:
    """Return what turns a placeholder op into the one ONNX node of that kind."""

    def emit(graph: Any, node: Any) -> None:
        replace(graph, node, op, list(node.input), attributes)

    return emit
