"""One picture prepared by the library that the training code called: the truth for all others.

The readers of pictures and ``proof`` call ``read_frame``. Each library is imported when it is
needed. Nothing here knows ONNX.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.sensors.frames import Frames

_PACKAGES = {
    "keras": ("tensorflow", "tensorflow"),
    "pillow": ("PIL.Image", "pillow"),
    "opencv": ("cv2", "opencv-python-headless"),
}


def read_frame(frame: Array, frames: Frames, picture: Sequence[int]) -> Array:
    """Return what the training code made of a picture.

    Args:
        frame: (H, W, C) uint8, C as ``frames.order`` says; gray ones may be (H, W).
        frames: what the training code did.
        picture: (h, w, c) of the model's input.

    Returns:
        (h, w, c) float32.

    Raises:
        OptionError: a frame of another type, shape or size, or one of an aspect that the library
            itself refuses, or the library is not installed.
    """
    height, width, channels = (int(side) for side in picture)
    frames.require_channels(channels)
    frame = check_frame(frame, frames)
    if frames.order == "bgr":
        frame = np.ascontiguousarray(frame[..., ::-1])
    read = {"keras": _by_keras, "pillow": _by_pillow, "opencv": _by_opencv}[frames.library]
    try:
        small = read(frame, frames, (height, width), channels == 1).reshape(height, width, -1)
    except OptionError:
        raise
    except Exception as cause:  # each library has its own
        raise OptionError(
            f"the frame is {frame.shape[0]} × {frame.shape[1]}, which {frames.library} cannot "
            f"bring to {height} × {width} with fit='{frames.fit}' ({cause}): leave such pictures "
            "out"
        ) from cause
    if channels == 3:
        small = np.repeat(small, 3, axis=2) if small.shape[2] == 1 else small
        if frames.model_order == "bgr":
            small = small[..., ::-1]
    pixels = _padded(small.astype(np.float32), frames, (height, width), frame.shape[:2])
    mean, scale = (np.array(frames.numbers(name), np.float32) for name in ("mean", "scale"))
    result: Array = (pixels - mean) * scale
    return result


def resize_pixels(pixels: Array, height: int, width: int) -> Array:
    """Return (h, w, C) float32 as ``image_dataset_from_directory`` resizes (H, W, C), any C."""
    tf = require_library(Frames())
    return np.asarray(tf.image.resize(pixels, (height, width)), np.float32)


def check_frame(frame: Array, frames: Frames) -> Array:
    """Return a frame as (H, W, C), or refuse it.

    Raises:
        OptionError: it is none, or larger than ``frames.most_pixels``.
    """
    channels = 1 if frames.order == "gray" else 3
    if isinstance(frame, np.ndarray) and frame.ndim == 2 and channels == 1:
        frame = frame[..., None]
    if not (
        isinstance(frame, np.ndarray)
        and frame.dtype == np.uint8
        and frame.ndim == 3
        and frame.shape[2] == channels
        and frame.size
    ):
        found = (
            f"{frame.dtype} {frame.shape}"
            if isinstance(frame, np.ndarray)
            else type(frame).__name__
        )
        raise OptionError(
            f"the frame is {found}, expected uint8 (H, W, {channels}) in the order "
            f"'{frames.order}': convert it first"
        )
    height, width = frame.shape[:2]
    if height * width > frames.most_pixels:
        raise OptionError(
            f"the frame is {height} × {width}, expected at most {frames.most_pixels} pixels: make "
            "it smaller first, or raise most_pixels"
        )
    if frames.size not in (None, (height, width)):
        raise OptionError(
            f"the frame is {height} × {width}, expected the declared size {frames.size}: resize "
            "it, or leave the size out of frames"
        )
    return frame


def require_library(frames: Frames) -> Any:
    """Return the library's module.

    Raises:
        OptionError: it is not installed.
    """
    module, package = _PACKAGES[frames.library]
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        raise OptionError(
            f"frames have resize='{frames.resize}', which is proven against {package}, and that is "
            f"not installed: pip install {package}"
        ) from cause


def _padded(
    pixels: Array, frames: Frames, target: tuple[int, int], sides: tuple[int, ...]
) -> Array:
    """Paint TensorFlow's black padding in the colour that was asked for."""
    if frames.fit != "pad" or frames.library == "pillow" or not any(frames.numbers("pad")):
        return pixels
    tf = require_library(frames)
    white = tf.ones((*sides, 1), tf.float32)
    inside = tf.image.resize_with_pad(white, *target, method="nearest").numpy() > 0
    return np.where(inside, pixels, np.array(frames.numbers("pad"), np.float32))


def _by_keras(frame: Array, frames: Frames, target: tuple[int, int], is_gray: bool) -> Array:
    tf = require_library(frames)
    method = {"bicubic": "bicubic", "nearest": "nearest"}.get(frames.kind, frames.kind)
    pixels = tf.constant(frame)
    if is_gray and frame.shape[2] == 3:
        pixels = tf.image.rgb_to_grayscale(pixels)
    options = {"method": method, "antialias": frames.antialias}
    if frames.fit == "pad":
        return np.asarray(tf.image.resize_with_pad(pixels, *target, **options))
    if frames.fit == "crop":
        height, width = frame.shape[:2]
        rows = max(min(height, int(float(width * target[0]) / target[1])), 1)
        columns = max(min(width, int(float(height * target[1]) / target[0])), 1)
        top, left = int(float(height - rows) / 2), int(float(width - columns) / 2)
        pixels = pixels[top : top + rows, left : left + columns]
    return np.asarray(tf.image.resize(pixels, target, **options))


def _by_pillow(frame: Array, frames: Frames, target: tuple[int, int], is_gray: bool) -> Array:
    image_module = require_library(frames)
    from PIL import ImageOps

    kind = image_module.Resampling[frames.kind.upper()]
    image = image_module.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame)
    if is_gray:
        image = image.convert("L")
    height, width = target
    if frames.fit == "pad":
        color = tuple(int(level) for level in frames.numbers("pad"))
        if frames.model_order == "bgr":
            color = color[::-1]
        if not is_gray:
            image = image.convert("RGB")
            color = color * 3 if len(color) == 1 else color
        image = ImageOps.pad(image, (width, height), kind, color[0] if is_gray else color)
    elif frames.fit == "crop" and frames.resize.startswith("pillow"):
        image = ImageOps.fit(image, (width, height), kind)
    elif image.size != (width, height):  # as keras.utils.load_img goes on after opening a file
        box = None
        if frames.fit == "crop":
            rows = min(image.height, image.width * height // width)
            columns = min(image.width, image.height * width // height)
            if not rows or not columns:  # Pillow's nearest would read nothing, and answer
                raise ValueError("nothing remains of it")
            top, left = (image.height - rows) // 2, (image.width - columns) // 2
            box = (left, top, left + columns, top + rows)
        image = image.resize((width, height), kind, box=box)
    return np.asarray(image)


def _by_opencv(frame: Array, frames: Frames, target: tuple[int, int], is_gray: bool) -> Array:
    cv2 = require_library(frames)
    if is_gray and frame.shape[2] == 3:
        frame = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    if frames.fit == "crop":
        height, width = frame.shape[:2]
        rows = max(min(height, width * target[0] // target[1]), 1)
        columns = max(min(width, height * target[1] // target[0]), 1)
        top, left = (height - rows) // 2, (width - columns) // 2
        frame = frame[top : top + rows, left : left + columns]
    method = getattr(cv2, f"INTER_{frames.kind.upper()}")
    return np.asarray(cv2.resize(np.ascontiguousarray(frame), target[::-1], interpolation=method))
