"""One image file as an input: the pixels as they are, or a refusal.

Pillow, the extra ``edgeport[images]``, decodes; it is imported where it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeport.artifact.card import ModelCard, format_shape
from edgeport.artifact.golden import Array
from edgeport.errors import InputError, OptionError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# Pillow's modes by number of channels.
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_image(path: str, card: ModelCard) -> Array:
    """Return an image as the model's only input: its size, 8 bits a channel, upright.

    Raises:
        InputError: its pixels are not the numbers that the model takes, one for one.
        OptionError: Pillow is not installed.
        Exception: what Pillow raises about a file that it cannot read.
    """
    spec = card.inputs[0]
    axes = spec.axes[1:] if spec.has_batch_axis else spec.axes
    sizes = dict(zip(axes, spec.sample_shape, strict=False))
    if len(card.inputs) != 1 or not {"H", "W"} <= sizes.keys():
        listed = ", ".join(f"{s.name} {format_shape(s.shape)}" for s in card.inputs)
        raise InputError(f"'{path}' is an image, the model takes {listed}: use .npy or .npz")
    try:
        from PIL import Image, ImageOps
    except ImportError as cause:
        raise OptionError(
            "images need the package 'pillow', which is not installed: "
            "pip install 'edgeport[images]'"
        ) from cause
    channels = sizes.get("C", 1)
    modes = _MODES if isinstance(channels, str) else {channels: _MODES.get(channels, "")}
    if "" in modes.values():
        raise InputError(f"'{path}' is an image, the model takes {channels} channels: use .npy")
    with Image.open(path) as image:
        _refuse_conversion(path, image, list(modes.values()))
        pixels = np.asarray(ImageOps.exif_transpose(image))
    for axis, have in zip("HW", pixels.shape, strict=False):
        if isinstance(sizes[axis], int) and sizes[axis] != have:
            raise InputError(
                f"'{path}' is {pixels.shape[0]} x {pixels.shape[1]} pixels (H x W), expected "
                f"{sizes['H']} x {sizes['W']}: resize it as for the training"
            )
    if "C" not in axes:
        return pixels
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels.transpose(["HWC".index(axis) for axis in axes if axis in "HWC"])


def _refuse_conversion(path: str, image: Any, modes: Sequence[str]) -> None:
    """Refuse an image whose pixels are not the numbers that the model takes, one for one."""
    pages = getattr(image, "n_frames", 1)
    if pages > 1:
        raise InputError(
            f"'{path}' holds {pages} pages, expected one image: save each as a file of its own"
        )
    if image.mode not in modes:
        raise InputError(
            f"'{path}' has the mode {image.mode}, expected {' or '.join(modes)} of 8 bits: convert "
            f"it to mode {modes[0]} first, as for the training"
        )
    # Pillow widens or narrows other depths unseen; only the decoder's own mode tells, as "RGB;16B".
    stored = str([tile[3] for tile in image.tile])
    depth = re.search(r"\w+;\d+\w*", stored)
    if depth or "transparency" in image.info:
        found = f"channels of other than 8 bits ({depth[0]})" if depth else "a transparent colour"
        raise InputError(
            f"'{path}' has {found}, expected {image.mode} of 8 bits: convert it first, as for the "
            "training"
        )
