"""Frames as a camera gives them, for the inputs of which the card says that they take these.

A frame is uint8: of a dark picture, nobody can tell whether its floats go up to 1 or to 255. Dtype
and shape decide before any memory is asked for, and no array is copied or looked through here. What
the graph then does to a frame was proven when the model was converted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgeport.artifact.card import TensorSpec
from edgeport.artifact.frame_format import FrameFormat
from edgeport.artifact.golden import Array
from edgeport.errors import InputError
from edgeport.inputs.casting import as_exact_array, is_unknown_sequence, read_array, unreadable
from edgeport.inputs.pictures import frame_pixels, is_picture

_UINT8 = np.dtype(np.uint8)
_VGA = (480, 640)


def as_frames(spec: TensorSpec, frames: FrameFormat, value: Any) -> Array:
    """Return uint8 (H, W, C) for one frame, (N, H, W, C) for a batch; arrays are not copied.

    Args:
        spec: the input.
        frames: what the card says of its frames.
        value: an array, whatever numpy reads as one, a picture of Pillow, or a list of these.

    Raises:
        InputError: it is no such frame, it has another size than the card allows, or a batch has
            frames of several sizes.
    """
    if type(value) is not np.ndarray:
        try:
            value = _read(spec, frames, value)
        except (InputError, MemoryError):
            raise
        except Exception as cause:
            raise unreadable(spec, value, cause) from cause
    _check(frames, value.dtype, value.shape, _subject(spec))
    array: Array = value if value.ndim > 2 else value[..., np.newaxis]
    return array


def is_frame(frames: FrameFormat, shape: tuple[int, ...]) -> bool:
    """Whether ``as_frames`` takes a uint8 array of this shape as one frame."""
    return (
        len(shape) == 3
        and shape[2] == frames.channels
        and 0 < shape[0] * shape[1] <= frames.most_pixels
        and frames.size in (None, shape[:2])
    )


def picture_as_frame(frames: FrameFormat, image: Any, subject: str) -> Array:
    """Return the pixels of a picture of Pillow, uint8 (H, W, C), upright, in the card's order.

    Args:
        frames: what the card says of its frames.
        image: it is decoded only if it has no more pixels than the card allows.
        subject: what messages call it.

    Raises:
        InputError: as for ``as_frames``, or the picture is of a kind that is not converted.
        Exception: what Pillow raises about a file that it cannot read.
    """
    width, height = image.size
    _check_pixels(frames, height, width, subject)
    pixels = frame_pixels(frames, image, subject)
    _check_size(frames, pixels.shape[0], pixels.shape[1], subject)
    return pixels


def usual_size(frames: FrameFormat) -> tuple[int, int]:
    """Return (H, W) of a frame to try the model with: the card's size, else that of many cameras.

    Where the card allows no frame as large as that, it is a square.
    """
    side = math.isqrt(frames.most_pixels)
    return frames.size or (_VGA if math.prod(_VGA) <= frames.most_pixels else (side, side))


def _subject(spec: TensorSpec) -> str:
    return f"input '{spec.name}'"


def _read(spec: TensorSpec, frames: FrameFormat, value: Any) -> Array:
    """Return the value as an array of its own dtype; what has another size is not read."""
    subject = _subject(spec)
    if is_unknown_sequence(value):
        value = list(value)
    if is_picture(value):
        return picture_as_frame(frames, value, subject)
    if not isinstance(value, (list, tuple)):
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape):
            _check(frames, _UINT8, shape, subject)
        return read_array(spec, value)
    if value and _may_be_frame(frames, value[0]):
        return _join(frames, [as_frames(spec, frames, item) for item in value], subject)
    # Nested lists of numbers or rows. One of them may stand there many times without any memory.
    _check(frames, _UINT8, _nested_shape(value), subject)
    array = read_array(spec, value)
    # Python's own whole numbers have no dtype that could be another one than the camera's.
    return as_exact_array(spec, array) if array.dtype == np.asarray(0).dtype else array


def _may_be_frame(frames: FrameFormat, item: Any) -> bool:
    """Whether an item of a list is a frame for itself, not a number or a row of pixels."""
    if isinstance(item, (list, tuple, int, float)):
        return False
    lowest_rank = 2 if frames.channels == 1 else 3
    return len(getattr(item, "shape", range(lowest_rank))) >= lowest_rank


def _nested_shape(value: Any) -> tuple[int, ...]:
    """Return the shape of nested lists, as their first items have it, or more axes than any has."""
    sizes: list[int] = []
    while isinstance(value, (list, tuple)) and len(sizes) < 5:  # a list may hold itself
        sizes.append(len(value))
        value = value[0] if value else None
    return (*sizes, *getattr(value, "shape", ()))


def _join(frames: FrameFormat, items: list[Array], subject: str) -> Array:
    """Return single frames of one size as a batch."""
    if items[0].ndim > 3:
        raise _wrong_shape(frames, (len(items), *items[0].shape), subject)
    sizes = list(dict.fromkeys(item.shape for item in items))
    if len(sizes) > 1:
        first, second = (_in_words(*shape[-3:-1]) for shape in sizes[:2])
        raise InputError.of(
            f"{subject} is",
            f"a batch with frames of {first} and of {second}",
            "one size in a batch",
            "pass them one by one, or to stream",
        )
    return np.stack(items)


def _check(frames: FrameFormat, dtype: np.dtype[Any], shape: tuple[int, ...], subject: str) -> None:
    """Refuse what is no frame and no batch of frames."""
    if dtype is not _UINT8 and dtype != _UINT8:
        raise _wrong_dtype(dtype, subject)
    if len(shape) == 2 and frames.channels == 1:
        _check_size(frames, shape[0], shape[1], subject)
    elif len(shape) in (3, 4) and shape[-1] == frames.channels:
        _check_size(frames, shape[-3], shape[-2], subject)
    else:
        raise _wrong_shape(frames, shape, subject)


def _check_pixels(frames: FrameFormat, height: int, width: int, subject: str) -> None:
    found = f"a frame of {_in_words(height, width)}"
    if not height * width:
        raise InputError.of(f"{subject} is", found, "at least one pixel", "leave it out")
    if height * width > frames.most_pixels:
        raise InputError.of(
            f"{subject} is",
            f"{found}, which are {height * width:,} pixels",
            f"at most {frames.most_pixels:,}",
            "crop it, or convert the model again with a larger most_pixels",
        )


def _check_size(frames: FrameFormat, height: int, width: int, subject: str) -> None:
    _check_pixels(frames, height, width, subject)
    if frames.size is not None and (height, width) != frames.size:
        raise InputError.of(
            f"{subject} is",
            f"a frame of {_in_words(height, width)}",
            f"{_in_words(*frames.size)}, the only size of this model",
            "set the camera to it, or convert the model again without a size for its frames",
        )


def _in_words(height: int, width: int) -> str:
    return f"{height} x {width} (H x W)"


def _wrong_dtype(dtype: np.dtype[Any], subject: str) -> InputError:
    remedies = {
        "f": "pass the frame as it was before it was scaled, since the graph scales it",
        "b": "pass x.astype(np.uint8) * 255 if True is white",
        "u": "bring it to 8 bits first, as for the training",
        "i": "pass x.astype(np.uint8) if all of its levels are from 0 to 255",
    }
    remedy = remedies.get(dtype.kind, "decode it to an array of pixels first")
    expected = "uint8, levels from 0 to 255 as a camera gives them"
    return InputError.of(f"{subject} has", f"pixels of dtype {dtype}", expected, remedy)


def _wrong_shape(frames: FrameFormat, shape: tuple[int, ...], subject: str) -> InputError:
    count = frames.channels
    one = f"(H, W, {count})" + (" or (H, W)" if count == 1 else "")
    expected = f"a frame {one} in the order {frames.order}, or a batch (N, H, W, {count})"
    remedy = _shape_remedy(count, shape)
    return InputError.of(f"{subject} has", f"the shape {shape}", expected, remedy)


def _shape_remedy(channels: int, shape: tuple[int, ...]) -> str:
    """Return the likeliest next step for a shape that is no frame's."""
    rank, last = len(shape), shape[-1] if shape else 0
    if rank in (3, 4) and shape[-3] == channels:
        order = (1, 2, 0) if rank == 3 else (0, 2, 3, 1)
        return f"its channels stand first, x.transpose{order}"
    if channels == 1 and rank in (3, 4) and last in (3, 4):
        return "convert it to gray first, as for the training"
    if channels == 1 and rank == 3:
        return "add the channel axis, x[..., None]"
    if rank == 2 and last > 1:
        return f"it looks gray, np.repeat(x[..., None], {channels}, axis=-1)"
    if rank in (3, 4) and last == 1:
        return f"it looks gray, np.repeat(x, {channels}, axis=-1)"
    if rank in (3, 4) and last == 4:
        return "drop the fourth channel, x[..., :3], if it is alpha or unused"
    return "pass one decoded frame, or a batch of them"
