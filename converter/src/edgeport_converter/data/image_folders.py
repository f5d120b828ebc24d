"""Folders of images: frames as the device sees them, or resized to the model's input.

For an input that takes frames a file is decoded and turned upright by the device's own code, so
that what is measured here is what a device answers. Else images are resized as Keras'
``image_dataset_from_directory`` does.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import InputError, OptionError, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.inputs.folders import list_folder, say_left_out
from edgeport.inputs.frames import picture_as_frame
from edgeport.inputs.images import IMAGES
from edgeport.inputs.pictures import stored_as
from edgeport_converter.data.chunks import LABEL_KEY, SINGLE_KEY, Chunk, Chunks
from edgeport_converter.sensors.frame_inputs import FrameInput
from edgeport_converter.sensors.reference import resize_pixels

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}

# What Pillow calls pixels of more than 8 bits. It hands on grey values of 16 bits as they are and
# cuts or clips the others to 8 bits without a word.
_DEEP = re.compile(r"\b(?!BGR)\w*;(1[0-9]|32|64)\w*")  # BGR;16 is one pixel in 16 bits
_GREY_16 = re.compile(r"I;16[BLN]?")
_LEVELS = 65535 / 255  # of 16 bits, for each level of 8 bits


def read_image_folder(
    folder: Path,
    specs: Sequence[TensorSpec],
    purpose: str,
    image_range: tuple[float, float],
    class_names: Sequence[str] | None = None,
    *,
    frames: Sequence[FrameInput] = (),
) -> Chunks:
    """Read a folder of images, or of one folder of images for each class.

    Files and folders whose names begin with a dot are no data.

    Args:
        folder: of the images, read in name order.
        specs: the model's only input, which gives the size.
        purpose: for messages. An image that lies beside the folders of the classes is a sample for
            calibration, which needs no class, and refused elsewhere.
        image_range: the values of black and white.
        class_names: number the classes; without them the folders are numbered in name order, as
            Keras' ``image_dataset_from_directory`` does it.
        frames: the model's only input, if it takes frames: each image is then (1, H, W, C) uint8.

    Raises:
        OptionError: there is no image, a folder that is no class, or an image of no class.
    """
    files = find_classes(folder, IMAGES, "image", purpose, class_names)
    read = _reader(specs, purpose, image_range, frames)

    def chunks() -> Iterator[Chunk]:
        for path, label in files:
            chunk = {SINGLE_KEY: read(path)[None]}
            if label is not None:
                chunk[LABEL_KEY] = np.array([label])
            yield chunk

    return chunks


def note_left_out(folder: Path, suffixes: Sequence[str] = IMAGES) -> tuple[str, ...]:
    """Return a note that names the files of a folder that are not read; () where all are."""
    _, left = list_folder(folder, suffixes)
    return (say_left_out(folder, left, suffixes),) if left else ()


def find_classes(
    folder: Path,
    suffixes: Sequence[str],
    kind: str,
    purpose: str,
    class_names: Sequence[str] | None = None,
) -> list[tuple[Path, int | None]]:
    """Return the files of a folder in name order, each with its class; None where it has none.

    Args:
        folder: of the files, or of one folder of files for each class.
        suffixes: of the files.
        kind: what a file is, for messages.
        purpose: as for ``read_image_folder``.
        class_names: as for ``read_image_folder``.

    Raises:
        OptionError: there is no file, a folder that is no class, or a file of no class.
    """
    files = [(path, path.relative_to(folder).parts) for path in list_folder(folder, suffixes)[0]]
    if not files:
        raise OptionError(
            f"the {purpose} folder '{folder}' holds no {kind}, expected "
            f"{', '.join(suffixes)}: choose the folder that holds them"
        )
    stray = next((path for path, parts in files if len(parts) == 1), None)
    folders = sorted({parts[0] for _, parts in files if len(parts) > 1})
    if stray is not None and folders and purpose != "calibration":
        raise OptionError(
            f"the {purpose} folder '{folder}' has the {kind} '{stray.name}' beside the folder "
            f"'{folders[0]}', expected each {kind} in the folder of its class: sort it, or remove "
            "it"
        )
    if purpose != "calibration" and class_names is None and len(folders) == 1 and stray is None:
        inner = sorted({parts[1] for _, parts in files if len(parts) > 2})
        if len(inner) > 1 and all(len(parts) > 2 for _, parts in files):
            raise OptionError(
                f"the {purpose} folder '{folder}' has every {kind} in the folder '{folders[0]}', "
                f"in the folders {', '.join(map(repr, inner[:3]))} there, expected a folder for "
                f"each class: pass '{folder / folders[0]}'"
            )
    classes = list(class_names or [])
    if class_names is None:
        entries = sorted(path for path in folder.iterdir() if path.is_dir())
        classes = [path.name for path in entries if not path.name.startswith(".")]
    unknown = [name for name in folders if name not in classes] if stray is None else []
    if unknown:
        raise OptionError(
            f"the {purpose} folder '{folder}' has the class '{unknown[0]}', expected the labels "
            f"{', '.join(map(repr, classes))}: name the folders as the labels"
        )
    return [(path, None if stray is not None else classes.index(parts[0])) for path, parts in files]


def _reader(
    specs: Sequence[TensorSpec],
    purpose: str,
    image_range: tuple[float, float],
    frames: Sequence[FrameInput],
) -> Callable[[Path], Array]:
    """Return what reads one image."""
    if len(specs) == 1 and frames:
        return lambda path: _guarded(path, purpose, lambda: _read_frame(path, frames[0], purpose))
    height, width, mode = _image_form(specs, purpose)
    is_whole = specs[0].dtype.kind in "iu"

    def read(path: Path) -> Array:
        pixels = _guarded(
            path, purpose, lambda: _read_image(path, height, width, mode, image_range, purpose)
        )
        return np.rint(pixels) if is_whole else pixels

    return read


def _read_frame(path: Path, wanted: FrameInput, purpose: str) -> Array:
    """Return (H, W, C) uint8 as ``edgeport predict`` hands it to the artifact."""
    from PIL import Image

    with Image.open(path) as image:
        return np.ascontiguousarray(
            picture_as_frame(wanted.format, image, f"the {purpose} image '{path}'")
        )


def _guarded(path: Path, purpose: str, read: Callable[[], Array]) -> Array:
    """Return what is read; whatever a decoder raises becomes an OptionError."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images and damaged tags
            return read()
    except OptionError:
        raise
    except InputError as cause:
        raise OptionError(str(cause)) from cause
    except Exception as cause:  # Pillow's decoders raise nearly anything
        is_large = isinstance(cause, Image.DecompressionBombError)
        step = "make it smaller" if is_large else "repair or remove it"
        raise OptionError(
            f"the {purpose} image '{path}' cannot be read ({cause}): {step}"
        ) from cause


def _image_form(specs: Sequence[TensorSpec], purpose: str) -> tuple[int, int, str]:
    shape = specs[0].shape
    if len(specs) == 1 and len(shape) == 4:
        _, height, width, channels = shape
        if isinstance(height, int) and isinstance(width, int) and channels in _MODES:
            return height, width, _MODES[int(channels)]
    raise OptionError(
        f"the {purpose} data is a folder of images, but the model's input is no image of fixed "
        "size with 1, 3 or 4 channels: pass arrays instead, in a .npz file"
    )


def _read_image(
    path: Path, height: int, width: int, mode: str, image_range: tuple[float, float], purpose: str
) -> Array:
    """Return (H, W, C) float32, resized as Keras does it, 0 to 255 mapped to ``image_range``."""
    picture = _open_upright(path, mode, purpose)
    low, high = image_range
    pixels = np.asarray(picture)
    pixels = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    pixels = resize_pixels(pixels, height, width)
    if picture.mode == "F" and mode != "L":  # grey of 16 bits
        pixels = np.repeat(pixels, 3, axis=-1)
        if mode == "RGBA":
            pixels = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], axis=-1)
    return pixels * np.float32((high - low) / 255) + np.float32(low)


def _open_upright(path: Path, mode: str, purpose: str) -> Any:
    """Return a picture as its camera was held, in ``mode``; grey of 16 bits in "F", 0 to 255.

    Raises:
        OptionError: its depth would be cut, or it has several pages.
        Exception: what Pillow raises about a file that it cannot read.
    """
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        # Until the pixels are read, the decoder's own mode shows the depth in the file.
        deep = _DEEP.search(stored_as(image)) or re.fullmatch("[IF]", image.mode)
        is_grey_16 = deep is not None and _GREY_16.fullmatch(deep[0]) is not None
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        found = f"{pages} pages" if pages > 1 else None
        if deep is not None and not is_grey_16:
            found = f"pixels of more than 8 bits ({deep[0]})"
        if found is not None:
            raise OptionError(
                f"the {purpose} image '{path}' has {found}, expected one picture of 8 bits a "
                "channel, or of 16 bits in grey: convert it as for the training"
            )
        upright = ImageOps.exif_transpose(image)
    if is_grey_16:
        return Image.fromarray(np.asarray(upright).astype(np.float32) / np.float32(_LEVELS))
    return upright.convert(mode)
