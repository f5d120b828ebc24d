"""TensorFlow's own functions in users' layers, as in code that is older than keras.ops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from layer_cases.case import Registry

CASES = Registry()


class Function(layers.Layer):
    """A user's layer that calls TensorFlow."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, *tensors):
        return self.function(*tensors)


def _add(
    name: str, function: Callable[..., Any], *shapes: Sequence[int | None], **options: Any
) -> None:
    """Add a case of a function of inputs of these shapes."""

    def build() -> Any:
        inputs = [keras.Input(tuple(shape), name=f"x{n}") for n, shape in enumerate(shapes)]
        return keras.Model(inputs, Function(function)(*inputs))

    CASES.model(f"tf {name}", build, **options)


_IMAGE, _FREE = (12, 10, 3), (None, None, 3)

for _name, _options in {
    "same": ([1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], "SAME"),
    "valid with a rate": ([1, 3, 2, 1], [1, 1, 1, 1], [1, 2, 2, 1], "VALID"),
    "with gaps": ([1, 1, 1, 1], [1, 5, 4, 1], [1, 1, 1, 1], "VALID"),
    "of one window": ([1, 4, 4, 1], [1, 9, 9, 1], [1, 1, 1, 1], "SAME"),
    "side by side": ([1, 4, 4, 1], [1, 4, 4, 1], [1, 1, 1, 1], "VALID"),
}.items():
    _add(f"extract_patches {_name}", lambda x, o=_options: tf.image.extract_patches(x, *o), _IMAGE)
    _add(
        f"extract_patches {_name} free",
        lambda x, o=_options: tf.image.extract_patches(x, *o),
        _FREE,
    )


def _crop(size: tuple[int, int], **options: Any) -> Callable[[Any, Any], Any]:
    """Return a function that crops boxes (N, boxes, 4) of images; a box may leave its image."""

    def crop(images, boxes):
        count = boxes.shape[1]
        owners = tf.repeat(tf.range(tf.shape(images)[0]), count)
        boxes = tf.reshape(boxes, (-1, 4))
        crops = tf.image.crop_and_resize(images, boxes, owners, size, **options)
        return tf.reshape(crops, (-1, count, *size, 3))

    return crop


def _crop_inside(images, boxes):
    return _crop((4, 5))(images, tf.clip_by_value(boxes, 0.0, 1.0))


_add("crop_and_resize", _crop((4, 5)), _IMAGE, (3, 4))
_add("crop_and_resize nearest", _crop((4, 5), method="nearest"), _IMAGE, (3, 4))
_add("crop_and_resize free", _crop((1, 5), extrapolation_value=-2.0), _FREE, (3, 4))
# Rounding decides whether the last point of such a box is a pixel or beyond the image.
_add("crop_and_resize up to the borders", _crop_inside, _IMAGE, (200, 4))


def _slots(places: Any) -> Any:
    """Return whole numbers from 0 to 3 of normal ones."""
    return tf.cast(tf.abs(places), tf.int32) % 4


def _add_up(values, places):
    samples, steps = tf.shape(values)[0], values.shape[1]
    owners = tf.repeat(tf.range(samples)[:, None], steps, axis=1)
    return tf.scatter_nd(tf.stack([owners, _slots(places)], -1), values, [samples, 4])


def _segments(values, places):
    samples = tf.shape(values)[0]
    slots = _slots(places)
    numbers = tf.where(slots > 0, slots - 1 + 3 * tf.range(samples)[:, None], -1)
    return tf.reshape(tf.math.unsorted_segment_sum(values, numbers, 3 * samples), (-1, 3, 2))


def _unpool(x):
    pooled, places = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME", include_batch_in_index=True)
    size = tf.reshape(tf.size(x, out_type=tf.int64), (1,))
    flat = tf.scatter_nd(tf.reshape(places, (-1, 1)), tf.reshape(pooled, (-1,)), size)
    return tf.reshape(flat, tf.shape(x))


_add("scatter_nd of values that meet", _add_up, (7,), (7,))
_add("unsorted_segment_sum without segment -1", _segments, (6, 2), (6,))


def _extremes(values, places):
    """Reduce segments of which the last one is empty; whole numbers and missing ones beside it."""
    numbers = _slots(places) - 1
    whole = tf.cast(values * 8, tf.int32)
    return tf.stack(
        [
            tf.math.unsorted_segment_max(values, numbers, 4),
            tf.math.unsorted_segment_min(values, numbers, 4),
            tf.cast(tf.math.unsorted_segment_max(whole, numbers, 4) // 2, tf.float32),
            tf.math.unsorted_segment_prod(values, numbers, 4),
        ]
    )


def _gaps(values, places):
    """Reduce segments of which some are empty, by sorted numbers."""
    numbers = tf.cumsum(_slots(places))
    functions = (
        tf.math.segment_sum,
        tf.math.segment_mean,
        tf.math.segment_prod,
        tf.math.segment_max,
        tf.math.segment_min,
    )
    return tf.stack([function(values, numbers) for function in functions])


_add("unsorted_segment_max and others without segment -1", _extremes, (3,), ())
_add("segment_max and others with empty segments", _gaps, (3,), ())
_add("max_pool_with_argmax and its reverse", _unpool, _IMAGE)
_add("diag", tf.linalg.diag, (5,))
_add("diag above", lambda x: tf.linalg.diag(x, k=2, padding_value=7.0), (5,))
_add("diag below", lambda x: tf.linalg.diag(x, k=-1), (2, 5))
_add("diag below free", lambda x: tf.linalg.diag(x, k=-2, padding_value=7.0), (None,))
_add("set_diag", lambda x, y: tf.linalg.set_diag(x, y), (5, 5), (5,))
_add("set_diag wide", lambda x, y: tf.linalg.set_diag(x, y), (3, 5), (3,))
_add("set_diag tall", lambda x, y: tf.linalg.set_diag(x, y), (5, 3), (3,))


def _ones_on_diagonal(x):
    rows, columns = tf.shape(x)[1], tf.shape(x)[2]
    return tf.linalg.set_diag(x, tf.ones([tf.shape(x)[0], tf.minimum(rows, columns)]))


_add("set_diag of free width", _ones_on_diagonal, (7, None))
_add("set_diag of free height", _ones_on_diagonal, (None, 4))
_add(
    "set_diag free",
    lambda x: tf.linalg.set_diag(x @ tf.transpose(x, (0, 2, 1)), tf.zeros(tf.shape(x)[:2])),
    (None, 4),
)


def _first_axis(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that works on steps, (T, N, F), as a function of (N, T, F)."""
    return lambda x: tf.transpose(function(tf.transpose(x, (1, 0, 2))), (1, 0, 2))


def _scan(steps: Any, **options: Any) -> Any:
    return tf.scan(lambda total, step: total * 0.5 + step, steps, **options)


_THIRDS = [0, 0, 1, 1, 2, 2]
_add("segment_mean", _first_axis(lambda x: tf.math.segment_mean(x, _THIRDS)), (6, 3))
_add("scan", _first_axis(lambda x: _scan(x, initializer=tf.zeros_like(x[0]))), (6, 3))
_add(
    "scan without a beginning",
    _first_axis(_scan),
    (6, 3),
    refused="Function.* runs a loop that does not write .*: give tf.scan an initializer",
)
_add(
    "ssim",
    lambda x, y: tf.image.ssim(x, y, 1.0),
    (16, 16, 3),
    (16, 16, 3),
    refused="Function.* whose number of channels is not known .*, as tf.image.ssim does: make",
)
_add("rot90", lambda x: tf.image.rot90(tf.image.flip_left_right(x)), _IMAGE)

for _name, _function in {
    "xlogy": lambda x: tf.math.xlogy(tf.nn.relu(x), tf.nn.relu(x)),
    "xdivy": lambda x: tf.math.xdivy(tf.nn.relu(x), tf.nn.relu(x)),
    "multiply_no_nan": lambda x: tf.math.multiply_no_nan(tf.math.log(x), tf.nn.relu(x)),
    "reduce_euclidean_norm": lambda x: tf.math.reduce_euclidean_norm(x, axis=1, keepdims=True),
    "reduce_euclidean_norm of no axes": lambda x: tf.math.reduce_euclidean_norm(x, axis=[]),
    "floormod of large numbers": lambda x: tf.math.floormod(x * 1e6, 0.7),
    "floormod of a negative": lambda x: tf.math.floormod(x * 1e6, -6.3),
    "truncatediv": lambda x: tf.truncatediv(x, 0.3),
    "truncatemod": lambda x: tf.truncatemod(x, 0.7),
    "fake_quant args": lambda x: tf.quantization.fake_quant_with_min_max_args(x, -2, 2, 8),
    "fake_quant vars": lambda x: tf.quantization.fake_quant_with_min_max_vars(
        x, -0.6, 1.9, num_bits=4, narrow_range=True
    ),
    "fake_quant channels": lambda x: tf.quantization.fake_quant_with_min_max_vars_per_channel(
        x, -tf.range(1.0, 7.0), tf.range(1.0, 7.0) / 3.0
    ),
}.items():
    _add(_name, _function, (6,))
