"""Keras layers and functions, written with TensorFlow operations that ONNX has.

Each function runs in the place of one Keras call; ``PATCHES`` gives the reasons.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from edgeport_converter.exporting.keras_patches.products import are_floats
from edgeport_converter.exporting.patching import function_patch
from edgeport_converter.exporting.placeholders import Emit, Placeholders
from edgeport_converter.exporting.tf_ops.builder import Builder


@function_patch
def signbit(original: Any, placeholders: Placeholders, x: Any) -> Any:
    """Recognize -0.0 by its reciprocal, which is -inf."""
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating:
        return original(x)
    return tf.logical_or(x < 0, tf.math.divide(tf.ones_like(x), x) < 0)


@function_patch
def slice_update(
    original: Any, placeholders: Placeholders, inputs: Any, start_indices: Any, updates: Any
) -> Any:
    """Scatter the update's elements into the tensor, each to its own place."""
    if tf.executing_eagerly():
        return original(inputs, start_indices, updates)
    inputs, updates = tf.convert_to_tensor(inputs), tf.convert_to_tensor(updates)
    sizes, rank = tf.shape(updates), len(inputs.shape)
    listed = tf.unstack(start_indices) if tf.is_tensor(start_indices) else start_indices
    starts = tf.stack([tf.cast(start, tf.int32) for start in listed])
    starts = tf.clip_by_value(starts, 0, tf.shape(inputs) - sizes)  # as XLA does
    places = []
    for axis in range(rank):
        row = starts[axis] + tf.range(sizes[axis])
        row = tf.reshape(row, [-1 if other == axis else 1 for other in range(rank)])
        places.append(tf.broadcast_to(row, sizes))
    updates = tf.cast(updates, inputs.dtype)
    return tf.tensor_scatter_nd_update(inputs, tf.stack(places, axis=-1), updates)


@function_patch
def time_distributed(
    original: Any,
    placeholders: Placeholders,
    self: Any,
    inputs: Any,
    training: Any = None,
    mask: Any = None,
) -> Any:
    """Call the layer once, on (N * T, ...); Keras calls it for each step."""
    is_known = tf.is_tensor(inputs) and inputs.shape.rank is not None
    if not is_known or getattr(self.layer, "stateful", False):
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


def _merge(tensor: Any) -> Any:
    """Return (N * T, ...) of (N, T, ...)."""
    merged = tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))
    lead = tensor.shape[:2]
    size = None if None in lead.as_list() else lead.num_elements()
    merged.set_shape([size, *tensor.shape[2:]])
    return merged


@function_patch
def layer_normalization(original: Any, placeholders: Placeholders, self: Any, inputs: Any) -> Any:
    """Use ONNX's LayerNormalization where the axes are the last ones."""
    axes = self.axis if isinstance(self.axis, (list, tuple)) else [self.axis]
    if not are_floats(inputs) or self.rms_scaling:
        return original(self, inputs)
    rank = inputs.shape.rank
    places = sorted(axis % rank for axis in axes)
    sizes = [inputs.shape[place] for place in places]
    if places != list(range(rank - len(places), rank)) or None in sizes:
        return original(self, inputs)
    gamma = tf.ones(sizes) if self.gamma is None else tf.convert_to_tensor(self.gamma)
    tensors = [inputs, tf.reshape(gamma, sizes)]
    if self.beta is not None:
        tensors.append(tf.reshape(tf.convert_to_tensor(self.beta), sizes))
    emit = _node("LayerNormalization", axis=-len(places), epsilon=float(self.epsilon))
    outputs = [(tf.float32, inputs.shape)]
    return placeholders.place(tensors, outputs, emit, "LayerNormalization")[0]


@function_patch
def p_relu(original: Any, placeholders: Placeholders, self: Any, inputs: Any) -> Any:
    """Use ONNX's PRelu."""
    if not are_floats(inputs):
        return original(self, inputs)
    slope = tf.convert_to_tensor(self.alpha)
    outputs = [(tf.float32, inputs.shape)]
    return placeholders.place([inputs, slope], outputs, _node("PRelu"), "PRelu")[0]


def _node(op: str, **attributes: Any) -> Emit:
    """Return what turns a placeholder op into the one ONNX node of that kind."""

    def emit(build: Builder) -> None:
        build.replace(op, *build.inputs, **attributes)

    return emit
