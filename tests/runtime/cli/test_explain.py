"""`edgeport explain`: pictures, recordings and tables from files, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import Capture, fails, run
from examples import camera, identity
from explained_models import RATE, SIDE, one_column, quadrant, second_second
from recordings import wav

from edgeport.cli.main import main

ROWS = np.random.default_rng(6).normal(size=(60, 3)).astype("f4")


def saved(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def shown(capsys: Capture, *arguments: object) -> str:
    """Run a command that must succeed; return what it prints to stdout."""
    assert main([str(argument) for argument in arguments]) == 0
    return capsys.readouterr().out


def test_a_picture_is_drawn_and_written(tmp_path: Path, capsys: Capture) -> None:
    pillow = pytest.importorskip("PIL.Image")
    model = saved(tmp_path, "camera.onnx", camera().artifact())
    photo = tmp_path / "photo.png"
    levels = np.random.default_rng(1).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    pillow.fromarray(levels).save(photo)
    png, npy = tmp_path / "heat.png", tmp_path / "heat.npy"
    arguments = ("explain", model, photo, "--class", "1", "--patch", "10x12", "-o", png, "-o", npy)
    text = shown(capsys, *arguments)
    assert "the score of class '1' is" in text
    assert "patches of 10 x 12 pixels, every 5 x 6, by the baseline 'mean'" in text
    heat = np.load(npy)
    assert heat.shape == (40, 60)
    with pillow.open(png) as picture:
        assert picture.width > 2 * 320
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    # The place of the largest heat is the reddest of the right panel, drawn in whole multiples.
    factor = -(-320 // 60)
    right = pixels[12 : 12 + 40 * factor, 24 + 60 * factor : 24 + 120 * factor]
    redness = (right[..., 0] - right[..., 2])[factor // 2 :: factor, factor // 2 :: factor]
    assert redness[np.unravel_index(heat.argmax(), heat.shape)] > 40
    assert redness[np.unravel_index(heat.argmin(), heat.shape)] < 0


def test_json_has_the_region_and_every_drop(tmp_path: Path, capsys: Capture) -> None:
    model = saved(tmp_path, "quadrant.onnx", quadrant().artifact())
    data = tmp_path / "x.npy"
    np.save(data, np.ones((SIDE, SIDE, 1), "f4"))
    found = run(capsys, "explain", model, data, "--patch", 4, "--stride", 4, "--baseline", 0)
    assert found["region"]["start"] == [0, 0]
    assert found["region"]["stop"] == [4, 4]
    assert found["drops"] == [[16, 0], [0, 0]]


def test_one_sample_of_many(tmp_path: Path, capsys: Capture) -> None:
    model = saved(tmp_path, "quadrant.onnx", quadrant().artifact())
    data = tmp_path / "x.npz"
    x = np.zeros((3, SIDE, SIDE, 1), "f4")
    x[2, :4, :4] = 1
    np.savez(data, x=x, y=[0, 1, 2])
    assert run(capsys, "explain", model, data, "--sample", 2, "--baseline", 0)["score"] == 16
    assert main(["explain", str(model), str(data)]) == 0
    assert "more than one sample: the first is explained" in capsys.readouterr().err
    assert "no sample 3" in fails(capsys, "explain", model, data, "--sample", 3)[1]


def test_a_recording_has_seconds(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("PIL.Image")
    model = saved(tmp_path, "heard.onnx", second_second().artifact())
    sound = np.full(6 * RATE, 100, "<i2").tobytes()
    data = saved(tmp_path, "sound.wav", wav(sound, rate=RATE))
    arguments = ("explain", model, data, "--sample", 1, "--patch", 4, "--stride", 4)
    text = shown(capsys, *arguments, "--baseline", 0, "-o", tmp_path / "heat.png")
    assert "window     from 3.000 s of the recording; times in it\n" in text
    assert "1.000 s to 2.000 s (33% of it) carried the answer" in text
    assert "   1.000 s          400  ██████████████████████████████\n" in text
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_with_labels(tmp_path: Path, capsys: Capture) -> None:
    model = saved(tmp_path, "income.onnx", one_column(True).artifact())
    lines = [
        f"{noise},{'rich' if income > 0 else 'poor'},{income},{age}" for age, income, noise in ROWS
    ]
    data = tmp_path / "rows.csv"
    data.write_text("noise,label,income,age\n" + "\n".join(lines))
    found = run(capsys, "explain", model, data, "--repeats", 5)
    assert (found["measure"], found["score"]) == ("less accuracy", 1.0)
    assert [column["stands_out"] for column in found["columns"]] == [False, True, False]
    objects = tmp_path / "rows.jsonl"
    objects.write_text(
        "\n".join(
            json.dumps(
                {"age": float(a), "noise": float(n), "income": float(i), "class": int(i > 0)}
            )
            for a, i, n in ROWS
        )
    )
    same = run(capsys, "explain", model, objects, "--repeats", 5, "--label-column", "class")
    assert same["columns"] == found["columns"]
    text = shown(capsys, "explain", model, data, "-o", tmp_path / "spread.npy")
    assert text.startswith("column 'income' carried most of the answers")
    assert "may be chance" in text
    assert np.load(tmp_path / "spread.npy").shape == (3, 10)


def test_a_table_without_a_card_has_the_names_of_its_header(
    tmp_path: Path, capsys: Capture
) -> None:
    model = saved(tmp_path, "same.onnx", identity("float32", ("N", 1)).artifact())
    data = tmp_path / "rows.csv"
    data.write_text("size,y\n" + "".join(f"{value},{value}\n" for value in range(40)))
    found = run(capsys, "explain", model, data)
    assert [column["name"] for column in found["columns"]] == ["size"]
    assert (found["measure"], found["score"]) == ("more mean absolute error", 0.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--label-column", "z"), "has no column 'z'"),
        (("--label-column", "age"), "which the model takes"),
        (("--patch", "3"), "--patch belongs to pictures and signals"),
        (("-o", "heat.png"), "is a picture, expected .npy for a table"),
        (("-o", "heat.txt"), "expected a name that ends in .png or .npy"),
        (("--picture", "3by4"), "expected HxW such as 28x28"),
        (("--sample", "-1"), "--sample is -1"),
    ],
)
def test_options_that_cannot_be_met(
    more: tuple[str, ...], message: str, tmp_path: Path, capsys: Capture
) -> None:
    pytest.importorskip("PIL.Image")
    model = saved(tmp_path, "income.onnx", one_column(True).artifact())
    data = tmp_path / "rows.csv"
    data.write_text("age,income,noise\n1,2,3\n3,2,1\n")
    code, sentence = fails(capsys, "explain", model, data, *more)
    assert code == 2
    assert message in sentence


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "a,y\n1,2\n3\n"),
        ("rows.csv", "1,2\n3\n"),
        ("rows.jsonl", '{"z": [1]}\n{"z": [2]}\n'),
        ("rows.npz", "no archive"),
    ],
)
def test_damaged_tables_are_named(name: str, content: str, tmp_path: Path, capsys: Capture) -> None:
    model = saved(tmp_path, "same.onnx", identity("float32", ("N", 1)).artifact())
    code, sentence = fails(capsys, "explain", model, saved(tmp_path, name, content.encode()))
    assert code == 7
    assert name in sentence


def test_two_columns_of_labels_are_refused(tmp_path: Path, capsys: Capture) -> None:
    model = saved(tmp_path, "income.onnx", one_column(True).artifact())
    data = tmp_path / "rows.csv"
    data.write_text("age,income,noise,y,label\n1,2,3,0,0\n3,2,1,1,1\n")
    assert "choose by --label-column" in fails(capsys, "explain", model, data)[1]
