"""Pictures of Pillow given to ``predict``: what the command line makes of their files, or a no."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import Child, sealed, spec
from PIL import Image, ImageOps

from edgeport import InputError, ModelCard, Predictor
from edgeport.inputs.images import read_image

GRAY = np.random.default_rng(0).integers(0, 256, (4, 6), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def as_it_is(axes: str, *shape: int | str, card: bool = True) -> Predictor:
    """A model that answers its input with itself."""
    onnx = ow.model(
        ow.graph(
            [ow.node("Identity", ["x"], ["y"])],
            [("x", "uint8", ["N", *shape])],
            [("y", "uint8", ["N", *shape])],
        )
    )
    ports = [spec(name, "uint8", ("N", *shape), axes=("N", *axes)) for name in "xy"]
    whole = ModelCard("image", (ports[0],), (ports[1],))
    return Predictor.load(sealed(onnx, whole) if card else onnx)


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> Image.Image:
    """The picture after a way through a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    ("axes", "shape", "pixels", "expected"),
    [
        ("HW", (4, 6), GRAY, GRAY),
        ("HWC", (4, 6, 1), GRAY, GRAY[..., None]),
        ("CHW", (1, 4, 6), GRAY, GRAY[None]),
        ("HWC", (4, 6, 3), RGB, RGB),
        ("CHW", (3, 4, 6), RGB, RGB.transpose(2, 0, 1)),
        ("HWC", ("H", "W", "C"), RGB, RGB),
        ("HWC", (4, 6, 4), np.dstack([RGB, GRAY]), np.dstack([RGB, GRAY])),
        ("WH", (6, 4), GRAY, GRAY.T),
    ],
)
def test_pixels_are_put_where_the_model_has_them(
    axes: str, shape: tuple[int | str, ...], pixels: Any, expected: Any
) -> None:
    with as_it_is(axes, *shape) as predictor:
        for image in (Image.fromarray(pixels), saved(Image.fromarray(pixels))):
            np.testing.assert_array_equal(predictor.predict(image), expected)
            np.testing.assert_array_equal(
                predictor.predict([image, image]), np.stack([expected, expected])
            )
            np.testing.assert_array_equal(predictor.predict({"x": (image,)}), expected[None])


@pytest.mark.parametrize("orientation", [None, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize("pixels", [GRAY, RGB], ids=["gray", "colour"])
def test_a_turned_picture_is_put_upright_as_pillow_does(
    orientation: int | None, pixels: Any
) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image = saved(Image.fromarray(pixels), exif=exif.tobytes())
    expected = np.asarray(ImageOps.exif_transpose(image))
    axes = "HW" if pixels is GRAY else "HWC"
    with as_it_is(axes, "h", "w", *[3] * (len(axes) - 2)) as predictor:
        np.testing.assert_array_equal(predictor.predict(image), expected)
    with as_it_is(axes, "h", "w", *[3] * (len(axes) - 2), card=False) as predictor:
        np.testing.assert_array_equal(predictor.predict(image), expected)


# Everything that is no gray, RGB or RGBA of 8 bits, with and without a card.
REFUSED: dict[str, Callable[[], Image.Image]] = {
    "palette": lambda: Image.fromarray(RGB).quantize(16),
    "palette of grays": lambda: Image.fromarray(GRAY).convert("P"),
    "palette file": lambda: saved(Image.fromarray(RGB), "GIF"),
    "palette with alpha": lambda: Image.fromarray(GRAY).convert("PA"),
    "hsv": lambda: Image.fromarray(RGB).convert("HSV"),
    "lab": lambda: Image.new("LAB", (6, 4)),
    "ycbcr": lambda: Image.fromarray(RGB).convert("YCbCr"),
    "cmyk": lambda: saved(Image.fromarray(RGB).convert("CMYK"), "JPEG"),
    "16 bits": lambda: Image.fromarray(GRAY.astype("u2") * 257),
    "16 bits of a file": lambda: saved(Image.fromarray(GRAY.astype("u2") * 257)),
    "32 bits": lambda: Image.fromarray(GRAY.astype("i4")),
    "float": lambda: Image.fromarray(GRAY.astype("f4")),
    "one bit": lambda: Image.fromarray(GRAY > 99),
    "gray with alpha": lambda: Image.fromarray(GRAY).convert("LA"),
    "transparent colour": lambda: saved(Image.fromarray(RGB), transparency=(1, 2, 3)),
    "two pages": lambda: saved(
        Image.fromarray(GRAY), "TIFF", save_all=True, append_images=[Image.fromarray(GRAY + 1)]
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_what_is_no_gray_or_colour_of_8_bits_is_refused(kind: str, channels: int) -> None:
    shape, axes = (4, 6, *[channels] * bool(channels)), "HWC"[: 3 if channels else 2]
    for card in (True, False):
        with as_it_is(axes, *shape, card=card) as predictor:
            for value in (REFUSED[kind](), [REFUSED[kind]()], {"x": REFUSED[kind]()}):
                with pytest.raises(InputError, match=r"^input 'x' (has|holds) .*expected .*: "):
                    predictor.predict(value)


@pytest.mark.parametrize("kind", REFUSED)
def test_the_command_line_refuses_the_same(kind: str, tmp_path: Path) -> None:
    image = REFUSED[kind]()
    endings = dict.fromkeys(("HSV", "PA", "YCbCr")) | dict.fromkeys(
        ("LAB", "F", "I", "CMYK"), "tif"
    )
    ending = endings.get(image.mode, {"two pages": "tif"}.get(kind, "png"))
    if ending is None:
        return  # no file holds such pixels
    path = tmp_path / f"a.{ending}"
    image.save(path, save_all=kind == "two pages")
    port = spec("x", "uint8", ("N", 4, 6, 3), axes=("N", "H", "W", "C"))
    with pytest.raises(InputError, match=rf"^'{re.escape(str(path))}' (has|holds) "):
        read_image(str(path), ModelCard("image", (port,), (port,)))


def test_other_sizes_and_channels_are_refused() -> None:
    with as_it_is("HWC", 4, 6, 3) as predictor:
        with pytest.raises(InputError, match=r"is 6 x 4 pixels \(H x W\), expected 4 x 6: resize"):
            predictor.predict(Image.fromarray(RGB.transpose(1, 0, 2).copy()))
        with pytest.raises(InputError, match="has the mode L, expected RGB of 8 bits"):
            predictor.predict([Image.fromarray(RGB), Image.fromarray(GRAY)])
    with as_it_is("HWC", 4, 6, 2) as predictor, pytest.raises(InputError, match="2 channels"):
        predictor.predict(Image.fromarray(GRAY))


def test_a_gray_picture_for_a_plain_file_is_its_pixels() -> None:
    with as_it_is("HW", 4, 6, card=False) as predictor:
        image = Image.fromarray(GRAY)
        np.testing.assert_array_equal(predictor.predict(image), predictor.predict(GRAY))
        with pytest.raises(InputError, match="input 'x' has shape"):
            predictor.predict(Image.fromarray(RGB))


def test_a_stream_takes_pictures() -> None:
    with as_it_is("HWC", 4, 6, 3) as predictor:
        images = [Image.fromarray(RGB), saved(Image.fromarray(RGB))]
        for answer in predictor.stream(images):
            np.testing.assert_array_equal(answer, RGB)


def test_no_picture_needs_the_import_of_pillow(child: Child) -> None:
    code = "import sys, edgeport.inputs.pictures, edgeport; print('PIL' in sys.modules)"
    assert child(code).stdout == "False\n"
