"""The command line: results on stdout, one sentence on stderr, exit codes of the errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from examples import mlp, mlp_artifact, two_inputs

import edgeport
from edgeport.cli import main

X = np.linspace(-1, 1, 18, dtype="f4").reshape(3, 6)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, X)
    return path


Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: object) -> Any:
    """Run a command that must succeed silently; return its JSON."""
    assert main([*map(str, arguments), "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return json.loads(shown.out)


def fails(capsys: Capture, *arguments: object) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("edgeport: ")
    assert shown.err.count("\n") == 1
    return code, shown.err[len("edgeport: ") : -1]


def test_info(mlp_file: Path, capsys: Capture) -> None:
    facts = run(capsys, "info", mlp_file)
    assert facts["name"] == "mlp"
    assert facts["vouched_for"] is True
    assert facts["file_bytes"] == len(mlp_artifact())
    assert facts["inputs"][0]["shape"] == ["N", 6]
    assert facts["device"]["onnxruntime"] == onnxruntime.__version__
    assert facts["device"]["threads"] == 1
    assert main(["info", str(mlp_file)]) == 0
    text = capsys.readouterr().out
    assert "input        x: float32 (N, 6)\n" in text
    assert "labels       cat, dog, owl\n" in text


def test_info_of_a_foreign_file_says_what_is_missing(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "plain.onnx"
    path.write_bytes(mlp().onnx)
    assert main(["info", str(path)]) == 0
    assert "no card: nothing vouches for this file" in capsys.readouterr().out


def test_verify(mlp_file: Path, capsys: Capture) -> None:
    checks = run(capsys, "verify", mlp_file)
    assert checks["seal"] == "matches"
    assert checks["golden_samples"] == 1
    assert main(["verify", str(mlp_file)]) == 0
    assert "golden samples  1 within tolerance" in capsys.readouterr().out


def test_verify_of_a_damaged_file(mlp_file: Path, capsys: Capture) -> None:
    mlp_file.write_bytes(mlp_artifact()[:-3])
    code, sentence = fails(capsys, "verify", mlp_file)
    assert code == edgeport.IntegrityError.exit_code
    assert "is damaged" in sentence


def test_predict_prints_the_formulas_answers(mlp_file: Path, data: Path, capsys: Capture) -> None:
    answer = run(capsys, "predict", mlp_file, data)
    np.testing.assert_allclose(answer["y"], mlp().formula(X), rtol=1e-5)
    assert main(["predict", str(mlp_file), str(data)]) == 0
    assert capsys.readouterr().out.startswith("y float32 (3, 3)\n")


def test_predict_several_inputs_from_npz(tmp_path: Path, capsys: Capture) -> None:
    artifact, pair = tmp_path / "two.onnx", tmp_path / "pair.npz"
    artifact.write_bytes(two_inputs().artifact())
    np.savez(pair, right=np.ones((1, 2), "f4"), left=np.full((1, 2), 3, "f4"))
    assert run(capsys, "predict", artifact, pair) == {
        "total": [[4.0, 4.0]], "difference": [[2.0, 2.0]]
    }  # fmt: skip


def test_predict_writes_npz(mlp_file: Path, data: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.npz"
    assert main(["predict", str(mlp_file), str(data), "-o", str(out)]) == 0
    with np.load(out) as arrays:
        np.testing.assert_allclose(arrays["y"], mlp().formula(X), rtol=1e-5)


def test_predict_top_k(mlp_file: Path, data: Path, capsys: Capture) -> None:
    assert main(["predict", str(mlp_file), str(data), "--top-k", "1"]) == 0
    best = mlp().formula(X)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{('cat', 'dog', 'owl')[int(row.argmax())]} {row.max():.4f}" for row in best]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["info", "missing.onnx"], 3, "there is no file 'missing.onnx'"),
        (["predict", "{model}", "missing.npy"], 7, "there is no file 'missing.npy'"),
        (["predict", "{model}", "{model}"], 7, "cannot be read"),
        (["predict", "{model}", "{data}", "--top-k", "9"], 2, "top_k is 9"),
        (["convert", "model.keras", "-o", "out.onnx"], 2, "pip install edgeport-converter"),
    ],
)
def test_failures_are_one_sentence_and_a_code(
    arguments: list[str], code: int, words: str, mlp_file: Path, data: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("edgeport.cli._installed_commands", list)
    filled = [text.format(model=mlp_file, data=data) for text in arguments]
    found, sentence = fails(capsys, *filled)
    assert found == code
    assert words in sentence


def test_wrong_usage_ends_with_2(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict"])
    assert caught.value.code == 2


def test_the_command_as_a_process(mlp_file: Path, data: Path) -> None:
    command = [sys.executable, "-m", "edgeport.cli"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"edgeport {edgeport.__version__}\n"
    head = subprocess.run(
        [*command, "predict", mlp_file, data, "--json"], capture_output=True, text=True, check=True
    )
    np.testing.assert_allclose(json.loads(head.stdout)["y"], mlp().formula(X), rtol=1e-5)


def test_a_reader_that_left_is_no_failure(mlp_file: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeport.cli", "info", str(mlp_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()
