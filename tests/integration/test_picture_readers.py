"""Picture files: the runtime's frames are what the readers of training code make of them."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import tensorflow as tf
from examples import camera
from PIL import Image

from edgeport.inputs.frames import as_frames

RANDOM = np.random.default_rng(6)
COLOUR = RANDOM.integers(0, 256, (24, 32, 3), np.uint8)
GRAY = RANDOM.integers(0, 256, (24, 32), np.uint8)
OPAQUE = np.full((24, 32), 255, np.uint8)

PICTURES: dict[str, Callable[[], Image.Image]] = {
    "colours": lambda: Image.fromarray(COLOUR),
    "gray": lambda: Image.fromarray(GRAY),
    "one bit": lambda: Image.fromarray(GRAY > 99),
    "palette": lambda: Image.fromarray(COLOUR).quantize(16),
    "opaque": lambda: Image.fromarray(np.dstack([COLOUR, OPAQUE])),
    "opaque gray": lambda: Image.fromarray(np.dstack([GRAY, OPAQUE])),
}
FORMATS = {
    "PNG": tuple(PICTURES),
    "BMP": ("colours", "gray"),  # TensorFlow reads no palette and no single bits in a BMP
    "GIF": ("gray", "palette"),
    "WEBP": ("colours", "gray", "opaque"),
}
LOSSY = ("colours", "gray")


def frame_of(data: bytes) -> np.ndarray:
    card = camera().card
    return as_frames(card.inputs[0], card.frames["image"], Image.open(io.BytesIO(data)))


def by_tensorflow(data: bytes) -> np.ndarray:
    """As ``keras.utils.image_dataset_from_directory`` reads a file."""
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def by_opencv(data: bytes) -> np.ndarray:
    """As ``cv2.imread`` does, with red first."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("kind", "picture"), [(kind, picture) for kind in FORMATS for picture in FORMATS[kind]]
)
def test_a_file_without_loss_is_read_as_by_the_training_code(kind: str, picture: str) -> None:
    data = saved(PICTURES[picture](), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(frame_of(data), by_tensorflow(data))
    np.testing.assert_array_equal(frame_of(data), by_opencv(data))


@pytest.mark.parametrize("picture", LOSSY)
def test_a_jpeg_is_read_as_by_opencv(picture: str) -> None:
    """TensorFlow decodes a JPEG with a faster, coarser transform, of its own accord."""
    data = saved(PICTURES[picture](), "JPEG", quality=90)
    np.testing.assert_array_equal(frame_of(data), by_opencv(data))
    gap = frame_of(data).astype(int) - by_tensorflow(data)
    assert np.abs(gap).max() <= 12
    assert np.abs(gap).mean() < 2
