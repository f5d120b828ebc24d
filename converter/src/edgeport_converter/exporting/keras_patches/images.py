"""Image layers for a free size: the graph computes with the size at run time.

Sizes are (height, width) as int32 (2,); images are (N, H, W, C) or (H, W, C) unless they are
said to be channels first.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from edgeport_converter.exporting.patching import function_patch
from edgeport_converter.exporting.placeholders import Placeholders


@function_patch
def up_sampling(original: Any, placeholders: Placeholders, self: Any, inputs: Any) -> Any:
    """Multiply free sizes in the graph, where Keras multiplies them in Python."""
    is_last = self.data_format == "channels_last"
    spatial = inputs.shape[1:3] if is_last else inputs.shape[2:4]
    if self.interpolation == "nearest" or None not in spatial.as_list():
        return original(self, inputs)
    x = inputs if is_last else _channels_last(inputs)
    sizes = tf.shape(x)[1:3] * tf.constant(self.size)
    result = tf.cast(tf.image.resize(x, sizes, method=self.interpolation), inputs.dtype)
    pairs = zip(x.shape[1:3].as_list(), self.size, strict=True)
    known = [None if size is None else size * factor for size, factor in pairs]
    result.set_shape([x.shape[0], *known, x.shape[3]])
    return result if is_last else _channels_first(result)


@function_patch
def resize(
    original: Any, placeholders: Placeholders, images: Any, size: Any, *args: Any, **options: Any
) -> Any:
    """Pad an image of a free size to an aspect ratio with one Pad, before it is resized.

    Source of the formula: ``resize`` in keras/src/backend/tensorflow/image.py.
    """
    layout = options.get("data_format") or keras.config.image_data_format()
    is_last = layout == "channels_last"
    is_padded = options.get("pad_to_aspect_ratio", False)
    if args or not is_padded or not _is_free(images, is_last):
        return original(images, size, *args, **options)
    images = images if is_last else _channels_last(images)
    sizes, wanted = tf.shape(images)[-3:-1], tf.constant(size)
    border = (tf.maximum(sizes, _same_aspect(sizes, wanted)) - sizes) // 2
    around = tf.stack([border, border], axis=1)
    lead = [[[0, 0]]] * (images.shape.rank - 3)
    value = tf.cast(options.pop("fill_value", 0.0), images.dtype)
    paddings = tf.concat([*lead, around, [[0, 0]]], axis=0)
    padded = tf.pad(images, paddings, constant_values=value)
    options |= {"pad_to_aspect_ratio": False, "data_format": "channels_last"}
    result = original(padded, size, **options)
    return result if is_last else _channels_first(result)


@function_patch
def center_crop(
    original: Any,
    placeholders: Placeholders,
    self: Any,
    images: Any,
    transformation: Any = None,
    training: bool = True,
) -> Any:
    """Cut the middle out of an image that is large enough, else resize the middle of its aspect.

    Both are one cut and one resizing, which leaves an image of the wanted size as it is. In a graph
    Keras cuts also where the image is too small. Source of the formula: ``CenterCrop`` and
    ``smart_resize`` in Keras.
    """
    is_last = self.data_format == "channels_last"
    if not _is_free(images, is_last):
        return original(self, images, transformation, training)
    images = tf.cast(images, self.compute_dtype)
    images = images if is_last else _channels_last(images)
    sizes, wanted = tf.shape(images)[-3:-1], tf.constant([self.height, self.width])
    aspect = tf.maximum(tf.minimum(sizes, _same_aspect(sizes, wanted)), 1)
    box = tf.where(tf.reduce_all(sizes >= wanted), wanted, aspect)
    top, left = tf.unstack((sizes - box) // 2)
    height, width = tf.unstack(box)
    cut = images[..., top : top + height, left : left + width, :]
    result = tf.cast(tf.image.resize(cut, (self.height, self.width)), images.dtype)
    return result if is_last else _channels_first(result)


def _is_free(images: Any, is_last: bool) -> bool:
    """Whether height or width of a tensor in a traced graph is unknown."""
    if not tf.is_tensor(images) or images.shape.rank not in (3, 4):
        return False
    spatial = images.shape[-3:-1] if is_last else images.shape[-2:]
    return None in spatial.as_list()


def _same_aspect(sizes: Any, wanted: Any) -> Any:
    """Return the height that fits the width in the wanted aspect, and the other way round."""
    product = tf.cast(tf.reverse(sizes, [0]) * wanted, tf.float32)
    return tf.cast(product / tf.cast(tf.reverse(wanted, [0]), tf.float32), tf.int32)


def _channels_last(images: Any) -> Any:
    return tf.transpose(images, [0, 2, 3, 1] if images.shape.rank == 4 else [1, 2, 0])


def _channels_first(images: Any) -> Any:
    return tf.transpose(images, [0, 3, 1, 2] if images.shape.rank == 4 else [2, 0, 1])
