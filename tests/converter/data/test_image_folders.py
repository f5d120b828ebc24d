"""Pictures: in their depth, upright, or refused by name."""

import contextlib
import struct
import zlib

import keras
import numpy as np
import pytest
from PIL import Image

from edgeport import OptionError, TensorSpec
from edgeport_converter.data.datasets import read_dataset
from edgeport_converter.data.image_folders import note_left_out


def spec(channels=3, dtype=np.float32, height=4, width=6):
    axes = ("N", "H", "W", "C")
    return (TensorSpec("image", np.dtype(dtype), ("N", height, width, channels), axes),)


@pytest.fixture
def folder(tmp_path):
    """A folder with a plain picture, so that samples differ."""
    Image.new("RGB", (6, 4), (9, 9, 9)).save(tmp_path / "z.png")
    return tmp_path


RANDOM = np.random.default_rng(3)
RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2800


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def deep_png(pixels):
    """A PNG of 16 bits a channel, as the specification says; Pillow cannot write colour so."""
    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_of_16_bits_keeps_its_depth(ending, channels, folder):
    Image.fromarray(RAMP).save(folder / f"a.{ending}")
    found = read_dataset(folder, spec(channels), "calibration").first(1)["image"][0]
    np.testing.assert_allclose(found[..., 0], RAMP / 257, rtol=1e-6)
    if channels > 1:
        np.testing.assert_array_equal(found[..., 0], found[..., 2])
    if channels == 4:
        assert (found[..., 3] == 255).all()


def test_whole_numbers_are_given_to_a_model_that_takes_them(folder):
    (folder / "a.png").write_bytes(deep_png(RAMP[..., None]))
    found = read_dataset(folder, spec(1, np.uint8), "calibration").first(1)["image"][0]
    np.testing.assert_array_equal(found[..., 0], np.rint(RAMP / 257))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colours_of_16_bits_are_refused(channels, folder):
    (folder / "a.png").write_bytes(deep_png(np.repeat(RAMP[..., None], channels, axis=2)))
    with pytest.raises(OptionError, match=r"a.png' has pixels of more than 8 bits \(\w+;16B\)"):
        read_dataset(folder, spec(), "calibration")


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (RAMP.astype(np.int32) * 70_000, r"pixels of more than 8 bits \(I;32"),
        (RAMP.astype(np.float32) / 67_200, r"pixels of more than 8 bits \(F;32F"),
    ],
)
def test_other_depths_are_refused(array, found, folder):
    Image.fromarray(array).save(folder / "a.tif")
    with pytest.raises(OptionError, match=rf"a.tif' has {found}"):
        read_dataset(folder, spec(), "calibration")


def test_a_file_of_several_pages_is_refused(folder):
    pages = [Image.new("L", (6, 4), level) for level in (5, 10)]
    pages[0].save(folder / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(OptionError, match=r"a.tif' has 2 pages, expected one picture"):
        read_dataset(folder, spec(), "calibration")


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_span_black_to_white(bits, folder):
    top = 2**bits - 1
    image = Image.new("P", (6, 4), top)
    image.putpalette([level for at in range(top + 1) for level in [at * 255 // top] * 3])
    image.save(folder / "a.png", bits=bits)
    found = read_dataset(folder, spec(1), "calibration").first(1)["image"][0]
    np.testing.assert_array_equal(found, np.full((4, 6, 1), 255))


# EXIF 2.32, Orientation: how the stored rows are turned to stand upright.
UPRIGHT = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x.swapaxes(0, 1)[:, ::-1],
    7: lambda x: x.swapaxes(0, 1)[::-1, ::-1],
    8: lambda x: x.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_as_their_camera_says(orientation, folder):
    stored = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(folder / "a.png", exif=exif)
    wanted = UPRIGHT[orientation](stored)
    model = spec(height=wanted.shape[0], width=wanted.shape[1])
    found = read_dataset(folder, model, "calibration").first(1)["image"][0]
    np.testing.assert_array_equal(found, wanted)


def saved(name, **options):
    def make(folder):
        noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / name, **options)
        return (folder / name).read_bytes()

    return make


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.jpg", "a.gif", "a.webp", "a.tif"])
def test_cut_and_damaged_pictures_are_named(name, folder):
    whole = saved(name)(folder)
    generator = np.random.default_rng(1)
    for _ in range(40):
        data = bytearray(whole)
        for at in generator.integers(0, min(len(data), 400), 3):
            data[at] = generator.integers(0, 256)
        (folder / name).write_bytes(data)
        with contextlib.suppress(OptionError):
            read_dataset(folder, spec(), "calibration")
    for quarter in range(4):
        (folder / name).write_bytes(whole[: len(whole) * quarter // 4])
        with pytest.raises(OptionError, match=rf"{name}' cannot be read"):
            read_dataset(folder, spec(), "calibration")


def test_a_panorama_beyond_the_limit_is_named(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    Image.new("RGB", (20, 20)).save(folder / "large.png")  # beyond the limit of Pillow's warning
    assert len(read_dataset(folder, spec(), "calibration")) == 2
    Image.new("RGB", (40, 30)).save(folder / "larger.png")
    with pytest.raises(OptionError, match=r"larger.png' cannot be read \(.*: make it smaller"):
        read_dataset(folder, spec(), "calibration")


def classes(tmp_path, *names):
    for level, name in enumerate(names):
        (tmp_path / name).mkdir()
        Image.new("L", (6, 4), 10 + level).save(tmp_path / name / "a.png")


def test_a_picture_beside_the_folders_is_named(tmp_path):
    classes(tmp_path, "cats", "dogs")
    Image.new("L", (6, 4), 99).save(tmp_path / "stray.PNG")
    with pytest.raises(OptionError, match=r"has the image 'stray.PNG' beside the folder 'cats'"):
        read_dataset(tmp_path, spec(), "evaluation")
    assert len(read_dataset(tmp_path, spec(), "calibration")) == 3


def test_folders_are_numbered_as_keras_does(tmp_path):
    classes(tmp_path, "ants", "cats", "dogs", ".hidden")
    (tmp_path / "bees").mkdir()
    (tmp_path / "cats" / "more").mkdir()
    Image.new("L", (6, 4), 50).save(tmp_path / "cats" / "more" / "b.png")
    (tmp_path / "cats" / "._a.png").write_bytes(b"what a Mac leaves")
    data = read_dataset(tmp_path, spec(), "evaluation")
    assert data.labels.tolist() == [0, 2, 2, 3]


def test_a_link_to_the_folder_of_a_class_is_read_as_keras_does(tmp_path):
    (tmp_path / "all").mkdir()
    classes(tmp_path / "all", "ants", "dogs")
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "ants").symlink_to(tmp_path / "all" / "ants")
    (tmp_path / "some" / "dogs").symlink_to(tmp_path / "all" / "dogs")
    by_keras = keras.utils.image_dataset_from_directory(
        tmp_path / "some", image_size=(6, 4), shuffle=False, verbose=False
    )
    expected = np.concatenate([labels.numpy() for _, labels in by_keras])
    data = read_dataset(tmp_path / "some", spec(), "evaluation")
    assert data.labels.tolist() == expected.tolist() == [0, 1]


@pytest.mark.parametrize("name", ["note.txt", ".a.png", "folder.png"])
def test_a_folder_without_pictures_is_named(name, tmp_path):
    if name == "folder.png":
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(OptionError, match=r"holds no image, expected .png"):
        read_dataset(tmp_path, spec(), "calibration")


def test_classes_one_folder_too_deep_are_not_taken_for_one_class(tmp_path):
    for number, name in enumerate("ab"):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.new("RGB", (6, 4), (number, 9, 9)).save(tmp_path / "test" / name / "0.png")
    with pytest.raises(OptionError, match=r"in the folders 'a', 'b' there.*: pass '.*test'"):
        read_dataset(tmp_path, spec(), "evaluation")
    assert read_dataset(tmp_path / "test", spec(), "evaluation").labels.tolist() == [0, 1]
    assert len(read_dataset(tmp_path, spec(), "calibration")) == 2
    named = read_dataset(tmp_path, spec(), "evaluation", class_names=["test", "other"])
    assert named.labels.tolist() == [0, 0]


def test_a_pixmap_is_read_and_one_of_more_than_8_bits_refused(folder):
    pixels = RANDOM.integers(0, 256, (4, 6, 3), np.uint8)
    (folder / "a.ppm").write_bytes(b"P6 6 4 255 " + pixels.tobytes())
    found = read_dataset(folder, spec(), "calibration").first(1)["image"][0]
    np.testing.assert_array_equal(found, pixels)
    (folder / "a.ppm").write_bytes(b"P6 6 4 1023 " + bytes(6 * 4 * 6))
    with pytest.raises(OptionError, match="has pixels of more than 8 bits"):
        read_dataset(folder, spec(), "calibration").first(1)


def test_files_that_are_not_read_are_named(folder):
    for name in ("x.heic", "y.svg", ".DS_Store"):
        (folder / name).write_bytes(b"no photo")
    (note,) = note_left_out(folder)
    assert note.startswith(f"2 files in '{folder}' left out, x.heic, y.svg: convert what belongs ")
    (folder / "x.heic").unlink()
    (folder / "y.svg").unlink()
    assert note_left_out(folder) == ()
