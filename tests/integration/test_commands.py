"""The commands as a user types them, in a process of their own."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

EDGEPORT = Path(sys.executable).with_name("edgeport")


def edgeport(*arguments, cwd):
    return subprocess.run(
        [EDGEPORT, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(trained, digits, test_digits, tmp_path_factory):
    """A user's folder: model.keras, train.npz, test.npz, labels.txt."""
    path = tmp_path_factory.mktemp("user")
    trained.save(path / "model.keras")
    np.savez(path / "train.npz", x=digits[0][:300])
    np.savez(path / "test.npz", x=test_digits[0], y=test_digits[1])
    (path / "labels.txt").write_text("\n".join(f"digit {digit}" for digit in range(10)))
    return path


def test_convert_info_verify_and_predict(folder, trained, test_digits):
    x, y = test_digits
    done = edgeport(
        "convert",
        "model.keras",
        "-o",
        "m.onnx",
        "--calibration",
        "train.npz",
        "--evaluation",
        "test.npz",
        "--labels",
        "labels.txt",
        "--json",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["file_bytes"] == (folder / "m.onnx").stat().st_size
    keras = np.mean(np.asarray(trained(x)).argmax(axis=1) == y)
    assert report["accuracy"]["keras"] == pytest.approx(keras)
    lines = [line.split("] ", 1)[1] for line in done.stderr.splitlines()]
    # Progress is a line a stage, a recipe tried and a long piece of work, and nothing of
    # TensorFlow's own.
    stages = [*report["stages"], "done"]
    assert [line for line in lines if line in stages] == stages
    work = ("quantize: ", "spoil weights", "equalize the ranges", "measure activation ")
    assert all(line in stages or line.startswith(work) for line in lines)

    info = json.loads(edgeport("info", "m.onnx", "--json", cwd=folder).stdout)
    assert info["labels"][7] == "digit 7"
    assert info["vouched_for"] is True
    assert edgeport("verify", "m.onnx", cwd=folder).returncode == 0

    np.save(folder / "x.npy", x[:3])
    best = edgeport("predict", "m.onnx", "x.npy", "--top-k", "1", "--json", cwd=folder)
    found = [json.loads(line)[0]["name"] for line in best.stdout.splitlines()]
    expected = np.asarray(trained(x[:3])).argmax(axis=1)
    assert found == [f"digit {digit}" for digit in expected]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["convert", "missing.keras", "-o", "m2.onnx", "--quantize", "none"],
            3,
            "edgeport: there is no model file 'missing.keras': check the path",
        ),
        (
            ["convert", "labels.txt", "-o", "m2.onnx", "--quantize", "none"],
            10,
            "edgeport: 'labels.txt' is a text file that starts with 'digit 0",
        ),
        (
            ["convert", "model.keras", "-o", "m2.onnx", "--quantize", "static"],
            2,
            "edgeport: quantization needs calibration data and none was given",
        ),
        (
            ["convert", "model.keras", "-o", "m2.onnx", "--calibration", "no.npz"],
            3,
            "edgeport: there is no calibration file 'no.npz': check the path",
        ),
        (["info", "missing.onnx"], 3, "edgeport: there is no file 'missing.onnx'"),
        (["verify", "train.npz"], 3, "edgeport: 'train.npz' is a ZIP archive"),
    ],
)
def test_bad_input_is_one_sentence_and_the_exit_code_of_its_class(
    folder, arguments, code, sentence
):
    done = edgeport(*arguments, cwd=folder)
    assert done.returncode == code
    last = done.stderr.splitlines()[-1]
    assert last.startswith(sentence)
    assert "Traceback" not in done.stderr
    assert not (folder / "m2.onnx").exists()
