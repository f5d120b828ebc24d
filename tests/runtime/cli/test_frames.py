"""The commands on an artifact that takes frames: what info says, which files predict reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Capture, fails, run
from examples import camera
from PIL import Image, ImageOps

from edgeport import FrameFormat, GoldenSample, InputError, Predictor
from edgeport.cli.main import main
from edgeport.cli.trial import Trial

RANDOM = np.random.default_rng(8)
PHOTO = RANDOM.integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "camera.onnx"
    path.write_bytes(camera().artifact())
    return path


@pytest.mark.parametrize(
    ("training", "size", "most_pixels", "picture", "order", "words"),
    [
        (
            "pillow-lanczos fit=crop scale=0.00784313725490196 mean=127.5",
            None,
            2**26,
            (224, 224, 3),
            "rgb",
            "uint8 frames of any size up to 67 Mpx, rgb; crop, pillow-lanczos to 224 x 224, "
            "(pixel - 127.5) / 127.5",
        ),
        (
            "keras-bilinear order=bgr size=480x640 scale=0.00392156862745098",
            (480, 640),
            2**26,
            (96, 96, 1),
            "bgr",
            "uint8 frames of 480 x 640, bgr; stretch, keras-bilinear to 96 x 96 gray, pixel / 255",
        ),
        (
            "opencv-area order=gray most_pixels=2073600 mean=103.5,116.3,123.7 scale=0.017",
            None,
            1080 * 1920,
            (32, 64, 3),
            "gray",
            "uint8 frames of any size up to 2.1 Mpx, gray; stretch, opencv-area to 32 x 64, "
            "(pixel - 103.5,116.3,123.7) * 0.017",
        ),
        (
            "keras-bilinear fit=pad pad=114.0 model_order=bgr most_pixels=9",
            None,
            9,
            (32, 64, 3),
            "rgb",
            "uint8 frames of any size up to 9 pixels, rgb; pad, keras-bilinear to 32 x 64, "
            "levels as they are, pad 114.0, model_order bgr",
        ),
        (
            "something new",
            None,
            10**8,
            (1, 2, 3),
            "rgb",
            "uint8 frames of any size up to 100 Mpx, rgb; stretch, something to 1 x 2, "
            "levels as they are, new",
        ),
    ],
)
def test_frames_are_one_line_of_info(
    training: str,
    size: Any,
    most_pixels: int,
    picture: tuple[int, int, int],
    order: str,
    words: str,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    frames = FrameFormat(order, picture, size, most_pixels, training)
    assert frames.in_words == words
    one = camera(order, size)
    (tmp_path / "m.onnx").write_bytes(
        replace(one, card=replace(one.card, frames={"image": frames})).artifact()
    )
    assert main(["info", str(tmp_path / "m.onnx")]) == 0
    assert f"input        image: {words}\n" in capsys.readouterr().out
    assert run(capsys, "info", tmp_path / "m.onnx")["frames"]["image"] == {
        "order": order,
        "picture": list(picture),
        "size": size and list(size),
        "most_pixels": most_pixels,
        "training": training,
    }


def test_photos_of_any_size_and_turn_are_answered(
    artifact: Path, tmp_path: Path, capsys: Capture
) -> None:
    lying = Image.Exif()
    lying[0x0112] = 8
    Image.fromarray(PHOTO).save(tmp_path / "a.png", exif=lying.tobytes())
    Image.fromarray(PHOTO[:20]).save(tmp_path / "b.jpg", quality=95)
    Image.fromarray(PHOTO[..., 0]).save(tmp_path / "c.webp", lossless=True)
    names = [str(tmp_path / name) for name in ("a.png", "b.jpg", "c.webp")]
    expected = []
    for name in names:
        with Image.open(name) as image:
            pixels = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        expected.append(camera().formula(pixels[None])[0])
    assert main(["predict", str(artifact), *names, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [json.loads(line)["outputs"]["y"] for line in lines]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert main(["predict", str(artifact), *names, "--top-k", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_arrays_in_files_are_frames_too(artifact: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "one.npy", PHOTO)
    np.savez(tmp_path / "two.npz", image=np.stack([PHOTO, PHOTO[::-1]]))
    (tmp_path / "three.jsonl").write_text(json.dumps(PHOTO[:2, :2].tolist()) + "\n")
    files = [str(tmp_path / name) for name in ("one.npy", "two.npz", "three.jsonl")]
    assert main(["predict", str(artifact), *files, "--json"]) == 0
    answers = [json.loads(line)["y"] for line in capsys.readouterr().out.splitlines()]
    frames = [PHOTO, PHOTO, PHOTO[::-1], PHOTO[:2, :2]]
    np.testing.assert_allclose(
        answers, [camera().formula(frame[None])[0] for frame in frames], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("a.npy", PHOTO / 255, "has pixels of dtype float64, expected uint8"),
        ("a.npy", PHOTO.transpose(2, 0, 1), "its channels stand first"),
        ("a.jsonl", [[[0.5, 0.5, 0.5]]], "has pixels of dtype float64"),
        ("a.csv", "1,2,3", "has the shape (3,)"),
    ],
)
def test_files_that_hold_no_frame_are_refused(
    name: str, value: Any, words: str, artifact: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / name
    if isinstance(value, np.ndarray):
        np.save(path, value)
    else:
        path.write_text(f"{value}\n")
    code, sentence = fails(capsys, "predict", artifact, path)
    assert code == InputError.exit_code
    assert words in sentence


def test_measuring_takes_frames_of_a_cameras_size(artifact: Path, capsys: Capture) -> None:
    figures = run(capsys, "bench", artifact, "--seconds", "0.02", "--batch-sizes", "1")
    assert figures["inputs"] == {"image": [1, 480, 640, 3]}
    sizes = ["--size", "height=10,width=20"]
    figures = run(capsys, "bench", artifact, "--seconds", "0.02", "--batch-sizes", "1", *sizes)
    assert figures["inputs"] == {"image": [1, 10, 20, 3]}


def test_a_photo_is_what_the_model_is_measured_on(artifact: Path, tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    with Predictor.load(artifact) as predictor:
        card = predictor.card
    feed = Trial(str(tmp_path / "photo.png")).feed(card, 2)
    np.testing.assert_array_equal(feed["image"], np.stack([PHOTO, PHOTO]))


def test_golden_frames_may_be_too_small_to_measure_with() -> None:
    small = np.zeros((1, 3, 4, 3), np.uint8)
    card = replace(camera().card, golden_samples=(GoldenSample({"image": small}, {}),))
    assert Trial().feed(card)["image"].shape == (1, 480, 640, 3)
