"""`edgeport predict` on photos and folders of them: each answer beside its file's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import camera
from PIL import Image
from recordings import echo, wav

from edgeport import InputError
from edgeport.cli.main import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "camera.onnx"
    path.write_bytes(camera().artifact())
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of one colour each, in two folders, beside files that are none."""
    folder = tmp_path / "photos"
    (folder / "old").mkdir(parents=True)
    for name, level in (("b.png", 20), ("a.PPM", 10), ("old/c.jpg", 30)):
        Image.new("RGB", (8, 8), (level,) * 3).save(folder / name)
    for name in ("x.heic", "old/y.svg", ".DS_Store", "old/._c.jpg"):
        (folder / name).write_bytes(b"no photo")
    return folder


def rows(shown: str) -> list[Any]:
    return [json.loads(line) for line in shown.splitlines()]


def test_a_folder_is_read_in_name_order_and_tells_what_was_left_out(
    artifact: Path, photos: Path, capsys: Capture
) -> None:
    assert main(["predict", str(artifact), str(photos), "--json"]) == 0
    shown = capsys.readouterr()
    found = {row["file"]: np.mean(row["outputs"]["y"]) for row in rows(shown.out)}
    names = ("a.PPM", "b.png", "old/c.jpg")
    assert list(found) == [str(photos / name) for name in names]
    np.testing.assert_allclose(list(found.values()), [10, 20, 30])
    assert shown.err == (
        f"edgeport: note: 2 files in '{photos}' left out, old/y.svg, x.heic: convert what belongs "
        "to the data to one of .png, .jpg, .jpeg, .bmp, .gif, .webp, .tif, .tiff, .ppm, .pgm\n"
    )


def test_links_to_folders_are_followed_and_those_that_lead_nowhere_named(
    artifact: Path, photos: Path, capsys: Capture
) -> None:
    linked = photos.parent / "linked"
    linked.mkdir()
    (linked / "all").symlink_to(photos / "old")
    (linked / "gone.jpg").symlink_to(photos / "none.jpg")
    assert main(["predict", str(artifact), str(linked), "--json"]) == 0
    shown = capsys.readouterr()
    assert [row["file"] for row in rows(shown.out)] == [str(linked / "all" / "c.jpg")]
    assert f"2 files in '{linked}' left out, all/y.svg, gone.jpg" in shown.err
    (linked / "back").symlink_to(linked)
    assert main(["predict", str(artifact), str(linked)]) == InputError.exit_code
    assert "is a link that leads back to" in capsys.readouterr().err


def test_lines_for_people_begin_with_the_file_where_there_are_several(
    artifact: Path, photos: Path, capsys: Capture
) -> None:
    photo = str(photos / "b.png")
    assert main(["predict", str(artifact), photo]) == 0
    assert capsys.readouterr().out.startswith("y [20 ")
    assert main(["predict", str(artifact), photo, photo, "--batch-size", "1"]) == 0
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [photo] * 2
    assert main(["predict", str(artifact), str(photos / "old"), "--top-k", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{photos / 'old' / 'c.jpg'}  ")


def test_the_answer_to_one_photo_names_it_for_programs(
    artifact: Path, photos: Path, capsys: Capture
) -> None:
    photo = str(photos / "b.png")
    assert main(["predict", str(artifact), photo, "--json", "--top-k", "1"]) == 0
    (row,) = rows(capsys.readouterr().out)
    assert (row["file"], list(row)) == (photo, ["file", "labels"])


def test_a_damaged_photo_in_a_folder_is_named(
    artifact: Path, photos: Path, capsys: Capture
) -> None:
    (photos / "c.png").write_bytes((photos / "b.png").read_bytes()[:50])
    assert main(["predict", str(artifact), str(photos)]) == 7
    assert f"'{photos / 'c.png'}' cannot be read as .png" in capsys.readouterr().err


def test_a_pixmap_of_more_than_8_bits_is_refused(
    artifact: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "deep.ppm").write_bytes(b"P6 1 1 1023 " + bytes(6))
    assert main(["predict", str(artifact), str(tmp_path / "deep.ppm")]) == 7
    assert "has channels of other than 8 bits" in capsys.readouterr().err


def test_a_folder_of_recordings_is_read_by_a_model_of_signals(
    tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "echo.onnx").write_bytes(echo(4, 4).artifact())
    (tmp_path / "sounds").mkdir()
    for name, begin in (("a.wav", 0), ("b.wav", 4)):
        recording = np.arange(begin, begin + 4, dtype="<i2").tobytes()
        (tmp_path / "sounds" / name).write_bytes(wav(recording))
    assert main(["predict", str(tmp_path / "echo.onnx"), str(tmp_path / "sounds"), "--json"]) == 0
    found = rows(capsys.readouterr().out)
    assert [row["outputs"]["y"] for row in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [Path(row["file"]).name for row in found] == ["a.wav", "b.wav"]
