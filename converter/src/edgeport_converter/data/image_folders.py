"""Folders of images: each image resized to the model's input, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.data.chunks import LABEL_KEY, SINGLE_KEY, Chunk, Chunks

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


def read_image_folder(
    folder: Path,
    specs: Sequence[TensorSpec],
    purpose: str,
    image_range: tuple[float, float],
    class_names: Sequence[str] | None = None,
) -> Chunks:
    """Read a folder of images, or of one folder of images for each class.

    Args:
        folder: of the images, read in name order.
        specs: the model's only input, which gives the size.
        purpose: for messages.
        image_range: the values of black and white.
        class_names: number the classes; without them the folders are numbered in name order.

    Raises:
        OptionError: there is no image, or a folder that is no class.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _IMAGE_SUFFIXES)
    if not files:
        raise OptionError(
            f"the {purpose} folder '{folder}' holds no image, expected "
            f"{', '.join(_IMAGE_SUFFIXES)}: choose the folder that holds them"
        )
    height, width, mode = _image_form(specs, purpose)
    folders = sorted({path.relative_to(folder).parts[0] for path in files})
    has_classes = all(len(path.relative_to(folder).parts) > 1 for path in files)
    classes = folders if class_names is None else list(class_names)
    unknown = [name for name in folders if name not in classes] if has_classes else []
    if unknown:
        raise OptionError(
            f"the {purpose} folder '{folder}' has the class '{unknown[0]}', expected the labels "
            f"{', '.join(map(repr, classes))}: name the folders as the labels"
        )

    def chunks() -> Iterator[Chunk]:
        for path in files:
            chunk = {SINGLE_KEY: _read_image(path, height, width, mode, image_range, purpose)[None]}
            if has_classes:
                label = classes.index(path.relative_to(folder).parts[0])
                chunk[LABEL_KEY] = np.array([label])
            yield chunk

    return chunks


def _image_form(specs: Sequence[TensorSpec], purpose: str) -> tuple[int, int, str]:
    modes = {1: "L", 3: "RGB", 4: "RGBA"}
    shape = specs[0].shape
    if len(specs) == 1 and len(shape) == 4:
        _, height, width, channels = shape
        if isinstance(height, int) and isinstance(width, int) and channels in modes:
            return height, width, modes[int(channels)]
    raise OptionError(
        f"the {purpose} data is a folder of images, but the model's input is no image of fixed "
        "size with 1, 3 or 4 channels: pass arrays instead, in a .npz file"
    )


def _read_image(
    path: Path, height: int, width: int, mode: str, image_range: tuple[float, float], purpose: str
) -> Array:
    """Return (H, W, C) float32, resized bilinearly, 0 to 255 mapped to ``image_range``."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            resized = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, UnidentifiedImageError) as cause:
        raise OptionError(
            f"the {purpose} image '{path}' cannot be read ({cause}): repair or remove it"
        ) from cause
    low, high = image_range
    pixels = np.asarray(resized, dtype=np.float32).reshape(height, width, -1)
    return pixels * np.float32((high - low) / 255) + np.float32(low)
