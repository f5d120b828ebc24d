"""A model that takes uint8 pixels instead of floats, scaled inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from edgeport import OptionError
from edgeport_converter.loading.model import LoadedModel, TensorInfo


def take_pixels(
    loaded: LoadedModel, scale: float | Sequence[float], mean: float | Sequence[float]
) -> LoadedModel:
    """Return the model with uint8 pixels as its image, scaled by ``(pixel - mean) * scale`` first.

    Args:
        loaded: a model with one input, or with one image (N, H, W, C) among its inputs.
        scale: one number, or one for each channel, the input's last axis.
        mean: the same, in the pixels' own unit, 0 to 255.

    Raises:
        OptionError: there is no such input, or the numbers do not fit its channels.
    """
    image = _find_image(loaded)
    scales, means = (
        _check_numbers(name, numbers, image) for name, numbers in (("scale", scale), ("mean", mean))
    )
    if not np.all(scales.astype(np.float32) > 0):
        raise OptionError(
            f"scale is {scale!r}, expected numbers above zero: pass 1/255 for 0 to 1, for instance"
        )

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        pixels = tf.cast(tensors[image.name], image.dtype)
        if np.any(means):
            pixels -= tf.constant(means, pixels.dtype)
        if np.any(scales != 1):
            pixels *= tf.constant(scales, pixels.dtype)
        return loaded.call({**tensors, image.name: pixels})

    inputs = tuple(
        replace(info, dtype="uint8") if info is image else info for info in loaded.inputs
    )
    words = f"'{image.name}': uint8 pixels, (pixel - {_in_words(means)}) * {_in_words(scales)}"
    return replace(loaded, call=call, inputs=inputs, preprocessing=(words, *loaded.preprocessing))


def _find_image(loaded: LoadedModel) -> TensorInfo:
    floats = [info for info in loaded.inputs if info.dtype.startswith("float")]
    images = floats if len(loaded.inputs) == 1 else [i for i in floats if len(i.shape) == 4]
    if len(images) != 1:
        listed = ", ".join(f"'{i.name}' {i.dtype} {i.shape}" for i in loaded.inputs)
        raise OptionError(
            f"input_uint8 is for the one image that a model takes, found {len(images)} float "
            f"images among the inputs {listed}: leave it out, or put a Rescaling layer into the "
            "model"
        )
    return images[0]


def _in_words(numbers: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    words = ", ".join(f"{number:.6g}" for number in numbers)
    return words if len(numbers) == 1 else f"({words})"


def _check_numbers(
    name: str, numbers: float | Sequence[float], image: TensorInfo
) -> np.ndarray[Any, np.dtype[np.float64]]:
    channels = image.shape[-1]
    try:
        array = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.array([])
    with np.errstate(over="ignore"):
        is_finite = np.isfinite(array.astype(np.float32)).all()  # as the graph will hold them
    if not (array.size == 1 or array.shape == (channels,)) or not is_finite:
        raise OptionError(
            f"{name} is {numbers!r}, expected a finite number, or one for each of the "
            f"{channels} channels of '{image.name}': pass these"
        )
    return array.reshape(-1)
