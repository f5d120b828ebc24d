"""`edgeport predict model.onnx sound.wav`, and what info says of a signal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import mlp, sealed
from recordings import echo, strided, wav

from edgeport.artifact.signal_format import SignalFormat
from edgeport.cli.main import main

Capture = pytest.CaptureFixture[str]

RECORDING = np.arange(11, dtype="<i2")


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "echo.onnx"
    path.write_bytes(echo(4, 3).artifact())
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.WAV"
    path.write_bytes(wav(RECORDING.tobytes()))
    return path


def test_each_window_is_answered_with_its_time(
    artifact: Path, sound: Path, capsys: Capture
) -> None:
    assert main(["predict", str(artifact), str(sound)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "0.000 s  y [0 1 2 3]",
        "0.375 s  y [3 4 5 6]",
        "0.750 s  y [6 7 8 9]",
    ]
    assert main(["predict", str(artifact), str(sound), "--json", "--batch-size", "2"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        {"seconds": number * 3 / 8, "outputs": {"y": window.tolist()}}
        for number, window in enumerate(strided(RECORDING, 4, 3))
    ]


def test_each_of_several_files_begins_at_zero_and_is_named(
    artifact: Path, sound: Path, capsys: Capture
) -> None:
    other = sound.with_name("other.wav")
    other.write_bytes(wav(RECORDING[5:9].tobytes()))
    assert main(["predict", str(artifact), str(other), str(sound), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["file"], row["seconds"]) for row in rows] == [
        (str(other), 0.0),
        *((str(sound), seconds) for seconds in (0.0, 0.375, 0.75)),
    ]
    assert rows[0]["outputs"]["y"] == [5, 6, 7, 8]


def test_classes_have_their_time(tmp_path: Path, capsys: Capture) -> None:
    card = replace(mlp().card, signal=SignalFormat("x", 2, 6, 6))
    model, path = tmp_path / "mlp.onnx", tmp_path / "sound.wav"
    model.write_bytes(sealed(mlp().onnx, card))
    values = np.linspace(-1, 1, 12, dtype="<f4")
    path.write_bytes(wav(values.tobytes(), rate=2, bits=32, tag=3))
    best = [mlp().card.labels[i] for i in mlp().formula(values.reshape(2, 6)).argmax(axis=1)]  # type: ignore[index]
    assert main(["predict", str(model), str(path), "--top-k", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["0.000", "s", best[0]],
        ["3.000", "s", best[1]],
    ]
    assert main(["predict", str(model), str(path), "--top-k", "1", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["seconds"], row["labels"][0]["name"]) for row in rows] == [
        (0.0, best[0]),
        (3.0, best[1]),
    ]


def test_outputs_in_a_file_are_a_row_a_window(artifact: Path, sound: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    assert main(["predict", str(artifact), str(sound), "-o", str(out)]) == 0
    assert np.load(out).tolist() == strided(RECORDING, 4, 3).tolist()


@pytest.mark.parametrize("channels", [0, 2])
def test_an_array_of_a_recording_is_cut_into_windows(
    channels: int, tmp_path: Path, capsys: Capture
) -> None:
    model, path, out = (tmp_path / name for name in ("m.onnx", "walk.npy", "out.npy"))
    model.write_bytes(echo(4, 3, channels, "float32").artifact())
    recording = np.random.default_rng(0).normal(size=(100_000, channels or 1)).astype("f4")
    recording = recording if channels else recording[:, 0]
    np.save(path, recording)
    assert main(["predict", str(model), str(path), "-o", str(out)]) == 0
    assert np.array_equal(np.load(out), strided(recording, 4, 3))
    assert "it is taken for 8 samples a second" in capsys.readouterr().err
    np.save(path, recording[:7])
    assert main(["predict", str(model), str(path), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["seconds"] for row in rows] == [0.0, 0.375]


def test_an_array_of_windows_is_a_batch_and_a_short_one_is_refused(
    tmp_path: Path, capsys: Capture
) -> None:
    model, path, out = (tmp_path / name for name in ("m.onnx", "walk.npy", "out.npy"))
    model.write_bytes(echo(4, 3, 2, "float32").artifact())
    windows = np.arange(16, dtype="f4").reshape(2, 4, 2)
    for given in (windows, windows[0]):
        np.save(path, given)
        assert main(["predict", str(model), str(path), "-o", str(out)]) == 0
        assert np.load(out).tolist() == given.reshape(-1, 4, 2).tolist()
    capsys.readouterr()
    np.save(path, windows[0, :3])
    assert main(["predict", str(model), str(path)]) == 7
    assert "has 3 samples, expected at least one window of 4" in capsys.readouterr().err


def test_lines_of_a_recording_are_refused_with_the_ways_to_cut_it(
    tmp_path: Path, capsys: Capture
) -> None:
    model, path = tmp_path / "m.onnx", tmp_path / "walk.csv"
    model.write_bytes(echo(4, 3, 2, "float32").artifact())
    path.write_text("x,y\n" + "1.5,2.5\n" * 9)
    assert main(["predict", str(model), str(path)]) == 7
    assert capsys.readouterr().err == (
        f"edgeport: '{path}' has 2 values a line, as a recording has, expected a window of 8 "
        "values a line: save the recording as .npy of shape (T, 2), which is cut into windows, "
        "or hand it to predictor.windows\n"
    )
    path.write_text("1,2,3,4,5,6,7,8\n")
    assert main(["predict", str(model), str(path)]) == 0


def test_recordings_and_other_data_are_not_mixed(
    artifact: Path, sound: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = tmp_path / "x.npy"
    np.save(data, np.zeros((2, 4), np.int16))
    assert main(["predict", str(artifact), str(sound), str(data)]) == 2
    assert "is a recording and" in capsys.readouterr().err


def test_a_model_without_a_signal_takes_no_recording(
    mlp_file: Path, sound: Path, capsys: Capture
) -> None:
    assert main(["predict", str(mlp_file), str(sound)]) == 2
    assert "whose card says nothing of a signal" in capsys.readouterr().err


def test_a_model_of_whole_batches_takes_no_recording(
    tmp_path: Path, sound: Path, capsys: Capture
) -> None:
    path = tmp_path / "joined.onnx"
    path.write_bytes(echo(4, 3).artifact(samples_interact=True, format_version=2))
    assert main(["predict", str(path), str(sound)]) == 2
    assert "depend on the whole batch" in capsys.readouterr().err


def test_info_says_in_one_line_what_a_recording_has_to_be(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "echo.onnx"
    path.write_bytes(echo(16_000, 8_000, rate=16_000, mix_down=True, pad=True).artifact())
    assert main(["info", str(path)]) == 0
    assert (
        "signal       x: 16000 Hz, 1 channel, windows of 16000 (1 s), one every 8000 (0.5 s), more "
        "channels are mixed to one, short recordings end in zeros"
    ) in capsys.readouterr().out.splitlines()
    assert main(["info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signal"] == {
        "input": "x",
        "rate": 16_000,
        "window": 16_000,
        "hop": 8_000,
        "channels": 1,
        "mix_down": True,
        "pad": True,
    }
