"""One image file as an input: for the command line, scoring, and the converter's data.

Pillow, the extra ``edgeport[images]``, decodes; it is imported where it is needed. What a picture
must be to be taken is the business of ``inputs.frames`` and ``inputs.pictures``.
"""

from __future__ import annotations

from typing import IO

from edgeport.artifact.card import ModelCard, format_shape
from edgeport.artifact.golden import Array
from edgeport.errors import InputError, OptionError
from edgeport.inputs.frames import picture_as_frame
from edgeport.inputs.pictures import pixels_of

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def read_image(path: str, card: ModelCard, content: IO[bytes] | None = None) -> Array:
    """Return an image as the model's only input: 8 bits a channel, upright, never resized here.

    Args:
        path: of the file, which messages name.
        card: what the model takes.
        content: the file, where it is open already.

    Raises:
        InputError: the model does not take such pixels, or such a size.
        OptionError: Pillow is not installed.
        Exception: what Pillow raises about a file that it cannot read.
    """
    spec = card.inputs[0]
    if len(card.inputs) != 1 or not {"H", "W"} <= set(spec.axes):
        listed = ", ".join(f"{s.name} {format_shape(s.shape)}" for s in card.inputs)
        raise InputError(f"'{path}' is an image, the model takes {listed}: use .npy or .npz")
    try:
        from PIL import Image
    except ImportError as cause:
        raise OptionError(
            "images need the package 'pillow', which is not installed: "
            "pip install 'edgeport[images]'"
        ) from cause
    frames = card.frames.get(spec.name)
    if frames is None:
        with Image.open(content or path) as image:
            return pixels_of(spec, image, f"'{path}'")
    limit = Image.MAX_IMAGE_PIXELS
    try:
        Image.MAX_IMAGE_PIXELS = None  # the card has a limit of its own, checked before decoding
        with Image.open(content or path) as image:
            return picture_as_frame(frames, image, f"'{path}'")
    finally:
        Image.MAX_IMAGE_PIXELS = limit
