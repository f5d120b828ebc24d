"""Pictures of Pillow as inputs: the pixels as they are, upright, or a refusal.

``predict`` and the command line use this one path. A picture is recognised by its attributes,
since a device need not have Pillow. Nothing is converted, resized or scaled here: a palette's
indices, the hues of HSV or the high bytes of 16-bit pixels would be taken for brightness without a
complaint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeport.artifact.card import TensorSpec, format_shape
from edgeport.artifact.golden import Array
from edgeport.errors import InputError

# Pillow's modes by number of channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

_ORIENTATION = 0x0112  # the tag of EXIF, which Pillow also fills from XMP


def pixels_in(spec: TensorSpec, value: Any) -> Any:
    """Return the value with the pixels in place of each picture in it, lists of them included.

    Raises:
        InputError: a picture's pixels are not the numbers that the model takes, one for one.
    """
    if isinstance(value, (list, tuple)):
        # One item of each type is enough to look at: a list may hold a million numbers.
        kinds = {type(item): item for item in value}.values()
        if any(_is_picture(item) or isinstance(item, (list, tuple)) for item in kinds):
            return [pixels_in(spec, item) for item in value]
    elif _is_picture(value):
        return pixels_of(spec, value, f"input '{spec.name}'")
    return value


def _is_picture(value: Any) -> bool:
    """Whether it is an image of Pillow."""
    is_likely = hasattr(value, "getexif") and hasattr(value, "convert")
    return is_likely and isinstance(getattr(value, "mode", None), str)


def pixels_of(spec: TensorSpec, image: Any, subject: str) -> Array:
    """Return a picture as one sample of an input: 8 bits a channel, turned as its camera says.

    Where the input's axes are known, the channels are put where it has them.

    Raises:
        InputError: its pixels are not the numbers that the model takes, one for one.
        Exception: what Pillow raises about a file that it cannot read.
    """
    axes = spec.axes[1:] if spec.has_batch_axis else spec.axes
    sizes = dict(zip(axes, spec.sample_shape, strict=False))
    is_known = {"H", "W"} <= sizes.keys()
    channels = sizes.get("C", 1 if is_known else "any")
    modes = list(_MODES.values()) if isinstance(channels, str) else [_MODES.get(channels, "")]
    if "" in modes:
        raise InputError.of(
            f"{subject} is", "a picture", f"{channels} channels", "pass an array of them"
        )
    _refuse_conversion(image, modes, subject)
    pixels = _turned(np.asarray(image), image.getexif().get(_ORIENTATION))
    if not is_known:
        return pixels
    for axis, have in zip("HW", pixels.shape, strict=False):
        if isinstance(sizes[axis], int) and sizes[axis] != have:
            raise InputError.of(
                f"{subject} is",
                f"{pixels.shape[0]} x {pixels.shape[1]} pixels (H x W)",
                f"{sizes['H']} x {sizes['W']}",
                "resize it as for the training",
            )
    letters = "HWC" if "C" in axes else "HW"
    if sorted(axes) != sorted(letters):
        shape = format_shape(spec.shape)
        raise InputError.of(f"{subject} is", "a picture", shape, "pass an array of that shape")
    if "C" in axes:
        pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels.transpose([letters.index(axis) for axis in axes])


def _refuse_conversion(image: Any, modes: Sequence[str], subject: str) -> None:
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise InputError.of(
            f"{subject} holds", f"{pages} pages", "one image", "save each as a file of its own"
        )
    if image.mode not in modes:
        expected = f"{' or '.join(modes)} of 8 bits"
        remedy = f"convert it to mode {modes[0]} first, as for the training"
        raise InputError.of(f"{subject} has", f"the mode {image.mode}", expected, remedy)
    # Pillow widens or narrows other depths without a word. Until the pixels are read, the decoder's
    # own mode, such as "RGB;16B", shows it.
    stored = str([tile[3] for tile in getattr(image, "tile", ())])
    depth = re.search(r"\w+;\d+\w*", stored)
    if depth or "transparency" in image.info:
        found = f"channels of other than 8 bits ({depth[0]})" if depth else "a transparent colour"
        expected = f"{image.mode} of 8 bits"
        raise InputError.of(
            f"{subject} has", found, expected, "convert it first, as for the training"
        )


def _turned(pixels: Array, orientation: Any) -> Array:
    """Return the pixels of ``(H, W[, C])`` upright.

    Source:
        EXIF 2.32, tag Orientation: which side of the scene row 0 and column 0 are.
    """
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
