"""Keras functions said in other words while a model is traced.

What Keras does with its tensors stays the same to the bit or to rounding; only TensorFlow
operations without an ONNX form, loops over steps that do not depend on each other, and Python code
that fails on a free size are gone round. ``verifying`` compares the result with the unchanged
Keras model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import keras
import tensorflow as tf


@contextmanager
def substituted() -> Iterator[None]:
    """Use the paraphrases while the block traces a model."""
    numpy = keras.src.backend.tensorflow.numpy
    layers = keras.layers
    with ExitStack() as stack:
        for owner, name, make in (
            (numpy, "signbit", _signbit),
            (layers.TimeDistributed, "call", _time_distributed),
            (layers.UpSampling2D, "call", _up_sampling),
        ):
            stack.enter_context(patch.object(owner, name, make(getattr(owner, name))))
        yield


def _signbit(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell -0.0 by its reciprocal; Keras looks at the bits. argmax and argmin ask for it."""

    def signbit(x: Any) -> Any:
        x = tf.convert_to_tensor(x)
        if not x.dtype.is_floating:
            return original(x)
        return tf.logical_or(x < 0, tf.math.divide(tf.ones_like(x), x) < 0)

    return signbit


def _time_distributed(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make the steps a part of the batch; Keras runs the layer once for each."""

    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if not tf.is_tensor(inputs) or inputs.shape.rank is None or getattr(
            self.layer, "stateful", False
        ):  # fmt: skip
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


def _up_sampling(original: Callable[..., Any]) -> Callable[..., Any]:
    """Multiply free sizes in the graph; Keras' resize asks Python about them and fails."""

    def call(self: Any, inputs: Any) -> Any:
        spatial = inputs.shape[1:3] if self.data_format == "channels_last" else inputs.shape[2:4]
        if self.interpolation == "nearest" or None not in spatial.as_list():
            return original(self, inputs)
        is_last = self.data_format == "channels_last"
        x = inputs if is_last else tf.transpose(inputs, [0, 2, 3, 1])
        sizes = tf.shape(x)[1:3] * tf.constant(self.size)
        result = tf.cast(tf.image.resize(x, sizes, method=self.interpolation), inputs.dtype)
        known = [None if size is None else size * factor
                 for size, factor in zip(x.shape[1:3].as_list(), self.size, strict=True)]  # fmt: skip
        result.set_shape([x.shape[0], *known, x.shape[3]])
        return result if is_last else tf.transpose(result, [0, 3, 1, 2])

    return call
