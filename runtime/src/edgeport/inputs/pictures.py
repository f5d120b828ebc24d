"""Pictures of Pillow as inputs: their pixels, upright, or a refusal.

``predict`` and the command line use this one path. A picture is recognised by its attributes,
since a device need not have Pillow. Nothing is resized or scaled here.

Where the card knows frames, a picture is brought to their channels as every library does that
reads pictures for a training: gray, a palette, one bit, an alpha channel that hides nothing.
TensorFlow, Pillow and OpenCV disagree about CMYK and about more than 8 bits, and of a transparent
pixel all take a colour that nobody sees, so these are refused. Without frames, nothing is
converted: a palette's indices or the hues of HSV would be taken for brightness without a complaint.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeport.artifact.card import TensorSpec, format_shape
from edgeport.artifact.golden import Array
from edgeport.errors import InputError

if TYPE_CHECKING:
    from edgeport.artifact.frame_format import FrameFormat

# Pillow's modes by number of channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# Modes that bring the same levels to a frame by every library.
_CONVERTED = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")

_ORIENTATION = 0x0112  # the tag of EXIF, which Pillow also fills from XMP


def pixels_in(spec: TensorSpec, value: Any) -> Any:
    """Return the value with the pixels in place of each picture in it, lists of them included.

    Raises:
        InputError: a picture's pixels are not the numbers that the model takes, one for one.
    """
    if isinstance(value, (list, tuple)):
        # One item of each type is enough to look at: a list may hold a million numbers.
        kinds = {type(item): item for item in value}.values()
        if any(is_picture(item) or isinstance(item, (list, tuple)) for item in kinds):
            return [pixels_in(spec, item) for item in value]
    elif is_picture(value):
        return pixels_of(spec, value, f"input '{spec.name}'")
    return value


def is_picture(value: Any) -> bool:
    """Whether it is an image of Pillow."""
    is_likely = hasattr(value, "getexif") and hasattr(value, "convert")
    return is_likely and isinstance(getattr(value, "mode", None), str)


def frame_pixels(frames: FrameFormat, image: Any, subject: str) -> Array:
    """Return a picture as one frame: uint8 (H, W, C), upright, its channels in the card's order.

    Raises:
        InputError: it is of a kind that is not converted (see above), or has colours and the
            card's frames are gray.
        Exception: what Pillow raises about a file that it cannot read.
    """
    _refuse_pages(image, subject)
    depth = re.search(r"(\w+);(\d+)\w*", stored_as(image))
    if image.mode not in _CONVERTED or (depth and (depth[1] == "BGR" or int(depth[2]) > 8)):
        found = f"channels of other than 8 bits ({depth[0]})" if depth else f"the mode {image.mode}"
        expected = "gray or colours of 8 bits a channel"
        raise InputError.of(f"{subject} has", found, expected, "convert it as for the training")
    image.load()  # of a TIFF this turns the picture, too, and its tag says so only afterwards
    orientation = image.getexif().get(_ORIENTATION)
    has_alpha = getattr(image.palette, "mode", "") == "RGBA"
    if has_alpha or "transparency" in image.info:  # of a palette, or one colour of all
        image = image.convert("RGBA")
    if image.mode.endswith("A") and image.getchannel("A").getextrema()[0] < 255:
        remedy = "paste it on the background that the pictures of the training had"
        raise InputError.of(f"{subject} has", "transparent pixels", "none", remedy)
    is_gray = image.mode in ("1", "L", "LA")
    pixels = np.asarray(image.convert("L" if is_gray else "RGB"))
    if frames.order == "gray":
        if not is_gray and (pixels != pixels[..., :1]).any():
            remedy = "convert it to gray first, as for the training"
            raise InputError.of(f"{subject} has", "colours", "a gray picture", remedy)
        pixels = pixels if is_gray else pixels[..., 0]
        return _turned(pixels, orientation)[..., np.newaxis]
    if is_gray:
        pixels = np.repeat(pixels[..., np.newaxis], 3, axis=2)
    elif frames.order == "bgr":
        pixels = pixels[..., ::-1]
    return _turned(pixels, orientation)


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


def _refuse_pages(image: Any, subject: str) -> None:
    pages = getattr(image, "n_frames", 1)
    # A JPEG of a camera may bring smaller previews of the same picture after it.
    if pages > 1 and getattr(image, "format", None) != "MPO":
        raise InputError.of(
            f"{subject} holds", f"{pages} pages", "one image", "save each as a file of its own"
        )


def stored_as(image: Any) -> str:
    """Return what the decoder turns into 8 bits, such as "RGB;16B", until the pixels are read."""
    kinds = []
    for decoder, _, _, kind in getattr(image, "tile", ()):
        if decoder.startswith("ppm"):  # is told the highest level, 1023 for 10 bits
            kind = f"{kind[0]};{kind[1].bit_length()}"
        kinds.append(kind)
    return str(kinds)


def _refuse_conversion(image: Any, modes: Sequence[str], subject: str) -> None:
    _refuse_pages(image, subject)
    if image.mode not in modes:
        expected = f"{' or '.join(modes)} of 8 bits"
        remedy = f"convert it to mode {modes[0]} first, as for the training"
        raise InputError.of(f"{subject} has", f"the mode {image.mode}", expected, remedy)
    # Pillow widens or narrows other depths without a word.
    depth = re.search(r"\w+;\d+\w*", stored_as(image))
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
