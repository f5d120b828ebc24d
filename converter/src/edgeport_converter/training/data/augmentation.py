"""Augmentation: each epoch sees each sample moved, turned, noisy or mixed by chance.

Batches are changed on their way to the model, with seeds made from the recipe's seed, the epoch and
the batch. The model itself is not changed, so nothing of this reaches the artifact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from edgeport_converter.training.data.reading import IMAGE
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.recipe.tables import AugmentationTable

Augment = Callable[[dict[str, Any], Any, Any], tuple[dict[str, Any], Any]]
"""Inputs by name, targets and a seed (2,) int32 to other inputs and targets."""


def augmentation(
    recipe: TrainingRecipe, read: TrainingData, train: TrainingSamples
) -> Augment | None:
    """Return what changes a batch; raises OptionError for what this data cannot have."""
    chosen = recipe.augmentation
    if chosen is None or not any(
        (chosen.shift, chosen.rotate, chosen.zoom, chosen.noise, chosen.mixup)
    ):
        return None
    _check(recipe, read, train, chosen)
    scales = {name: _noise_scale(name, x) for name, x in train.inputs.items() if x.dtype != object}
    limits = {
        name: (float(x.min()), float(x.max())) for name, x in train.inputs.items() if name == IMAGE
    }

    def augment(inputs: dict[str, Any], targets: Any, seed: Any) -> tuple[dict[str, Any], Any]:
        inputs = dict(inputs)
        if chosen.shift or chosen.rotate or chosen.zoom:
            inputs[IMAGE] = _moved(tf.cast(inputs[IMAGE], tf.float32), chosen, seed)
        if chosen.noise:
            for number, (name, scale) in enumerate(scales.items()):
                x = tf.cast(inputs[name], tf.float32)
                drawn = tf.random.stateless_normal(tf.shape(x), _seed(seed, 10 + number))
                x += drawn * tf.constant(scale * chosen.noise, tf.float32)
                inputs[name] = tf.clip_by_value(x, *limits[name]) if name in limits else x
        if chosen.mixup:
            inputs, targets = _mixed(inputs, targets, chosen.mixup, seed)
        return inputs, targets

    return augment


def _seed(seed: Any, number: int) -> Any:
    """Return the seed of one draw of a batch."""
    return seed + tf.constant([0, number])


def _check(
    recipe: TrainingRecipe, read: TrainingData, train: TrainingSamples, chosen: AugmentationTable
) -> None:
    for name in ("shift", "rotate", "zoom"):
        if getattr(chosen, name) and not read.is_images:
            found = getattr(chosen, name)
            raise recipe.refuse(
                f"augmentation.{name}", found, "images to move", "use noise or mixup"
            )
    categories = [name for name, x in train.inputs.items() if x.dtype == object]
    if chosen.mixup and categories:
        raise recipe.refuse(
            "augmentation.mixup",
            chosen.mixup,
            f"numbers only, and '{categories[0]}' is a category",
            "use noise, or leave it out",
        )


def _noise_scale(name: str, x: Any) -> Any:
    """Return what one unit of noise is: an image's value range, a feature's deviation."""
    if name == IMAGE:
        return np.float32(255 if x.dtype == np.uint8 else x.max() - x.min())
    return np.nanstd(x, axis=0, dtype=np.float64)  # missing numbers stay so under noise


def _moved(images: Any, chosen: AugmentationTable, seed: Any) -> Any:
    """Return (N, H, W, C) images, each turned, zoomed and shifted by its own draw.

    The transform maps a pixel of the result to the place in the image that it is taken from.
    """
    shape = tf.shape(images)
    count, height, width = shape[0], tf.cast(shape[1], tf.float32), tf.cast(shape[2], tf.float32)

    def draw(number: int, reach: float) -> Any:
        return tf.random.stateless_uniform((count,), _seed(seed, number), -reach, reach)

    angle = draw(1, math.radians(chosen.rotate))
    scale = 1 / (1 + draw(2, chosen.zoom))
    down, right = draw(3, chosen.shift) * height, draw(4, chosen.shift) * width
    cos, sin = tf.cos(angle) * scale, tf.sin(angle) * scale
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    from_x = middle_x - cos * (middle_x + right) + sin * (middle_y + down)
    from_y = middle_y - sin * (middle_x + right) - cos * (middle_y + down)
    zero = tf.zeros_like(cos)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([cos, -sin, from_x, sin, cos, from_y, zero, zero], axis=1),
        output_shape=shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )


def _mixed(
    inputs: Mapping[str, Any], targets: Any, alpha: float, seed: Any
) -> tuple[dict[str, Any], Any]:
    """Return each sample mixed with the one that lies opposite in the batch.

    Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018.
    """
    count = tf.shape(targets)[0]
    first = tf.random.stateless_gamma((count,), _seed(seed, 5), alpha)
    second = tf.random.stateless_gamma((count,), _seed(seed, 6), alpha)
    # Gamma draws underflow to zero for a small alpha; half and half is then as good as any.
    total = first + second
    share = tf.where(total > 0, first / tf.where(total > 0, total, 1.0), 0.5)

    def mix(value: Any) -> Any:
        value = tf.cast(value, tf.float32)
        part = tf.reshape(share, [-1] + [1] * (len(value.shape) - 1))
        return value * part + tf.reverse(value, [0]) * (1 - part)

    return {name: mix(value) for name, value in inputs.items()}, mix(targets)
