"""Pictures for inputs that take frames: Pillow objects and files of many kinds, of any size."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import camera
from PIL import Image, ImageOps

from edgeport import InputError
from edgeport.cli.reading import read_samples
from edgeport.inputs.frames import as_frames
from edgeport.inputs.images import read_image

Array = np.ndarray[Any, np.dtype[Any]]
RANDOM = np.random.default_rng(3)
COLOUR = RANDOM.integers(0, 256, (24, 32, 3), np.uint8)
GRAY = RANDOM.integers(0, 256, (24, 32), np.uint8)
OPAQUE = np.full((24, 32), 255, np.uint8)
SEEN_THROUGH = OPAQUE.copy()
SEEN_THROUGH[3, 4] = 254


def frame_of(image: Image.Image, order: str = "rgb") -> Array:
    card = camera(order).card
    return as_frames(card.inputs[0], card.frames["image"], image)


def in_file(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def from_file(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def png(
    depth: int, colour: int, width: int, rows: list[bytes], *chunks: tuple[bytes, bytes]
) -> Any:
    """Return a PNG by the format's own rules."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0))
    data = (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    body = (header, *chunks, data, (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in body
    )


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


PALETTE = Image.fromarray(COLOUR).quantize(16)
PALETTE_COLOURS = np.array(PALETTE.getpalette()[:48], np.uint8).reshape(-1, 3)[np.asarray(PALETTE)]

TAKEN: dict[str, tuple[Callable[[], Image.Image], Array]] = {
    "colours": (lambda: Image.fromarray(COLOUR), COLOUR),
    "PNG": (lambda: from_file(Image.fromarray(COLOUR), "PNG"), COLOUR),
    "BMP": (lambda: from_file(Image.fromarray(COLOUR), "BMP"), COLOUR),
    "TIFF": (lambda: from_file(Image.fromarray(COLOUR), "TIFF"), COLOUR),
    "WebP": (lambda: from_file(Image.fromarray(COLOUR), "WEBP", lossless=True), COLOUR),
    "gray": (lambda: Image.fromarray(GRAY), GRAY),
    "gray PNG": (lambda: from_file(Image.fromarray(GRAY), "PNG"), GRAY),
    "gray BMP": (lambda: from_file(Image.fromarray(GRAY), "BMP"), GRAY),
    "gray GIF": (lambda: from_file(Image.fromarray(GRAY), "GIF"), GRAY),
    "gray TIFF": (lambda: from_file(Image.fromarray(GRAY), "TIFF"), GRAY),
    "one bit": (lambda: Image.fromarray(GRAY > 99), (GRAY > 99) * np.uint8(255)),
    "one bit PNG": (
        lambda: from_file(Image.fromarray(GRAY > 99), "PNG"),
        (GRAY > 99) * np.uint8(255),
    ),
    "two bits": (
        lambda: opened(png(2, 0, 4, [b"\x1b", b"\xe4"])),
        np.array([[0, 85, 170, 255], [255, 170, 85, 0]], np.uint8),
    ),
    "palette": (lambda: PALETTE, PALETTE_COLOURS),
    "palette PNG": (lambda: from_file(PALETTE, "PNG"), PALETTE_COLOURS),
    "palette GIF": (lambda: from_file(PALETTE, "GIF"), PALETTE_COLOURS),
    "palette of grays": (lambda: Image.fromarray(GRAY).convert("P"), GRAY),
    "opaque": (lambda: Image.fromarray(np.dstack([COLOUR, OPAQUE])), COLOUR),
    "opaque PNG": (lambda: from_file(Image.fromarray(np.dstack([COLOUR, OPAQUE])), "PNG"), COLOUR),
    "opaque gray": (lambda: Image.fromarray(np.dstack([GRAY, OPAQUE])), GRAY),
    "opaque palette": (
        lambda: from_file(PALETTE, "PNG", transparency=bytes([255] * 16)),
        PALETTE_COLOURS,
    ),
    "palette with alpha, opaque": (
        lambda: Image.fromarray(np.dstack([COLOUR // 128 * 255, OPAQUE])).quantize(16),
        COLOUR // 128 * np.uint8(255),
    ),
    "PPM of 4 bits": (
        lambda: opened(b"P6 2 1 15\n" + bytes([0, 1, 2, 15, 14, 13])),
        np.array([[[0, 17, 34], [255, 238, 221]]], np.uint8),
    ),
    "a transparent colour that no pixel has": (
        lambda: opened(png(8, 2, 1, [b"\1\2\3"], (b"tRNS", struct.pack(">HHH", 9, 9, 9)))),
        np.array([[[1, 2, 3]]], np.uint8),
    ),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_what_every_library_converts_alike_is_a_frame(kind: str, recwarn: Any) -> None:
    make, pixels = TAKEN[kind]
    colours = np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels
    np.testing.assert_array_equal(frame_of(make()), colours)
    np.testing.assert_array_equal(frame_of(make(), "bgr"), colours[..., ::-1])
    if pixels.ndim == 2:
        np.testing.assert_array_equal(frame_of(make(), "gray"), pixels[..., None])
    else:
        with pytest.raises(InputError, match="has colours, expected a gray picture: convert it"):
            frame_of(make(), "gray")
    assert not recwarn.list


def test_colours_that_are_all_gray_are_a_gray_frame() -> None:
    np.testing.assert_array_equal(
        frame_of(Image.fromarray(np.dstack([GRAY] * 3)), "gray"), GRAY[..., None]
    )


REFUSED: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "CMYK": (lambda: Image.fromarray(COLOUR).convert("CMYK"), "the mode CMYK"),
    "CMYK JPEG": (
        lambda: from_file(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
        "the mode CMYK",
    ),
    "HSV": (lambda: Image.fromarray(COLOUR).convert("HSV"), "the mode HSV"),
    "LAB": (lambda: Image.new("LAB", (6, 4)), "the mode LAB"),
    "YCbCr": (lambda: Image.fromarray(COLOUR).convert("YCbCr"), "the mode YCbCr"),
    "16 bits": (lambda: Image.fromarray(GRAY.astype("u2") * 257), "the mode I;16"),
    "16 bits PNG": (lambda: from_file(Image.fromarray(GRAY.astype("u2")), "PNG"), "(I;16B)"),
    "colours of 16 bits": (lambda: opened(png(16, 2, 1, [bytes(6)])), "(RGB;16B)"),
    "32 bits": (lambda: Image.fromarray(GRAY.astype("i4")), "the mode I"),
    "float": (lambda: Image.fromarray(GRAY.astype("f4")), "the mode F"),
    "half transparent": (
        lambda: Image.fromarray(np.dstack([COLOUR, SEEN_THROUGH])),
        "transparent pixels",
    ),
    "half transparent gray": (
        lambda: Image.fromarray(np.dstack([GRAY, SEEN_THROUGH])),
        "transparent pixels",
    ),
    "premultiplied": (lambda: Image.fromarray(np.dstack([COLOUR, OPAQUE])).convert("RGBa"), "RGBa"),
    "transparent palette": (
        lambda: from_file(PALETTE, "PNG", transparency=0),
        "transparent pixels",
    ),
    "a palette of half transparent colours": (
        lambda: Image.fromarray(np.dstack([COLOUR, SEEN_THROUGH // 2])).quantize(16),
        "transparent pixels",
    ),
    "PPM of 10 bits": (lambda: opened(b"P6 1 1 1023\n" + bytes([3, 0, 2, 0, 1, 0])), "(RGB;10)"),
    "PPM of 16 bits": (lambda: opened(b"P3 1 1 65535 65535 256 0 "), "(RGB;16)"),
    "transparent GIF": (lambda: from_file(PALETTE, "GIF", transparency=0), "transparent pixels"),
    "a transparent colour": (
        lambda: opened(png(8, 2, 1, [b"\1\2\3"], (b"tRNS", struct.pack(">HHH", 1, 2, 3)))),
        "transparent pixels",
    ),
    "two pages": (
        lambda: from_file(
            Image.fromarray(GRAY), "TIFF", save_all=True, append_images=[Image.fromarray(GRAY)]
        ),
        "2 pages",
    ),
    "moving GIF": (
        lambda: from_file(
            Image.fromarray(GRAY), "GIF", save_all=True, append_images=[Image.fromarray(255 - GRAY)]
        ),
        "2 pages",
    ),
}


@pytest.mark.parametrize("order", ["rgb", "gray"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_converted_is_refused(kind: str, order: str, recwarn: Any) -> None:
    make, found = REFUSED[kind]
    with pytest.raises(InputError, match=rf"^input 'image' (has|holds) .*{re.escape(found)}.*: "):
        frame_of(make(), order)
    assert not recwarn.list


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("order", ["rgb", "gray"])
def test_a_turned_picture_is_put_upright_as_pillow_does(orientation: int, order: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = GRAY if order == "gray" else COLOUR
    image = from_file(Image.fromarray(pixels), "PNG", exif=exif.tobytes())
    upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(frame_of(image, order).reshape(upright.shape), upright)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp", "gif", "tif"])
@pytest.mark.parametrize("sides", [(1, 1), (33, 17), (90, 160)])
@pytest.mark.parametrize("turned", [1, 6])
def test_a_file_is_what_pillow_makes_of_it(
    ending: str, sides: tuple[int, int], turned: int, tmp_path: Path
) -> None:
    pixels = RANDOM.integers(0, 256, (*sides, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = turned
    more = {} if ending in ("bmp", "gif") else {"exif": exif.tobytes()}
    path = in_file(Image.fromarray(pixels), tmp_path / f"x.{ending}", **more)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(read_image(str(path), camera().card), expected)
    (sample,) = read_samples([str(path)], camera("bgr").card).items
    np.testing.assert_array_equal(sample, expected[..., ::-1])


def test_a_photo_with_previews_in_its_file_is_its_first_picture(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    photo = Image.fromarray(COLOUR)
    photo.save(path, "MPO", save_all=True, append_images=[photo.resize((8, 6))])
    with Image.open(path) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
        expected = np.asarray(image)
    np.testing.assert_array_equal(read_image(str(path), camera().card), expected)


def test_a_picture_beyond_the_cards_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = in_file(Image.new("L", (3000, 1000)), tmp_path / "x.png")
    whole = path.read_bytes()
    path.write_bytes(whole[:60])  # a decoder that begins would complain about this
    with pytest.raises(InputError, match=r"x.png' is a frame of 1000 x 3000 .*at most 2,073,600"):
        read_image(str(path), camera().card)
    with Image.open(path) as image, pytest.raises(InputError, match="which are 3,000,000 pixels"):
        frame_of(image)


@pytest.mark.parametrize("side", [10_000, 20_000, 60_000])
def test_the_limit_is_the_cards_and_not_that_of_pillow(side: int, tmp_path: Path) -> None:
    """Pillow warns of 90 million pixels and refuses 180 million."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    small = png(8, 0, 1, [b"\0"])
    start, end = small.index(b"IHDR") + 4, small.index(b"IHDR") + 4 + len(header)
    checksum = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    (tmp_path / "x.png").write_bytes(small[:start] + header + checksum + small[end + 4 :])
    with pytest.raises(InputError, match=f"which are {side * side:,} pixels, expected at most"):
        read_image(str(tmp_path / "x.png"), camera().card)


def test_only_the_declared_size_is_taken_after_the_turn(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = in_file(Image.fromarray(COLOUR), tmp_path / "x.png", exif=exif.tobytes())
    frame = read_image(str(path), camera(size=(32, 24)).card)
    np.testing.assert_array_equal(frame, np.rot90(COLOUR, -1))
    with pytest.raises(InputError, match=r"a frame of 32 x 24 \(H x W\), expected 24 x 32"):
        read_image(str(path), camera(size=(24, 32)).card)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = in_file(Image.fromarray(COLOUR), tmp_path / "x.jpg")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"x\.jpg' cannot be read as \.jpg"):
        list(read_samples([str(path)], camera().card).items)
    with Image.open(path) as image, pytest.raises(InputError, match="truncated"):
        frame_of(image)


def test_an_image_for_a_model_of_other_inputs_is_refused(tmp_path: Path) -> None:
    path = in_file(Image.fromarray(COLOUR), tmp_path / "x.png")
    card = camera().card
    two = replace(card, inputs=(*card.inputs, replace(card.inputs[0], name="other")))
    with pytest.raises(InputError, match=r"is an image, the model takes image .*, other "):
        read_image(str(path), two)
