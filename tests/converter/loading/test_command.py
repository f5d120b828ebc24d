"""The options of `edgeport convert` that concern loading, from the command line to the file."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from edgeport import Predictor
from edgeport.cli.main import main
from edgeport_converter.errors import UnsupportedModelError

CODE = """
import keras

class Twice(keras.layers.Layer):
    def call(self, x):
        print("user code")
        return x * 2.0
"""


class Twice(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "code.py").write_text(CODE)
    keras.Sequential([keras.Input((3,), name="x"), Twice(name="y")]).save(tmp_path / "model.keras")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_custom_objects_from_the_command_line(folder, capsys):
    arguments = ["convert", "model.keras", "-o", "out.onnx", "--quantize", "none", "--json"]
    assert main([*arguments, "--custom-objects", "code.py"]) == 0
    output = capsys.readouterr()
    report = json.loads(output.out)  # what the layer prints is not in it
    assert "user code" in output.err
    assert report["notes"] == []
    with Predictor.load("out.onnx") as predictor:
        np.testing.assert_array_equal(predictor.predict(np.ones((1, 3), np.float32)), [[2, 2, 2]])


def test_a_missing_layer_ends_with_the_exit_code_of_its_class(folder, capsys):
    arguments = ["convert", "model.keras", "-o", "out.onnx", "--quantize", "none"]
    assert main(arguments) == UnsupportedModelError.exit_code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # the stage, and one sentence
    assert lines[1].startswith("edgeport: 'model.keras' uses 'Twice'")
    assert not (folder / "out.onnx").exists()


def test_allowed_code_is_named_in_the_report(folder, capsys):
    x = keras.Input((3,), name="x")
    y = keras.layers.Lambda(lambda t: abs(t), output_shape=(3,), name="size")(x)
    keras.Model(x, y).save(folder / "lambda.keras")
    arguments = ["convert", "lambda.keras", "-o", "out.onnx", "--quantize", "none"]
    assert main(arguments) == UnsupportedModelError.exit_code
    assert main([*arguments, "--allow-code"]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    assert notes == [
        "note       ran code from the file, layer 'size': a Python function of "
        f"{len((lambda t: abs(t)).__code__.co_code)} bytes that uses abs"
    ]


def test_json_with_weights_from_the_command_line(folder):
    model = keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2, name="y")])
    (folder / "model.json").write_text(model.to_json())
    model.save_weights(folder / "model.weights.h5")
    arguments = ["convert", "model.json", "-o", "out.onnx", "--quantize", "none"]
    assert main(arguments) == 2
    assert main([*arguments, "--weights", "model.weights.h5"]) == 0
    with Predictor.load("out.onnx") as predictor:
        np.testing.assert_allclose(
            predictor.predict(np.eye(3, dtype=np.float32)), model.get_weights()[0], atol=1e-6
        )
        assert predictor.card.provenance["weights"] == "model.weights.h5"


def test_another_backend_is_refused_before_keras_starts(folder):
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from edgeport.cli.main import main; sys.exit(main())",
            "convert",
            "model.keras",
            "-o",
            "out.onnx",
            "--quantize",
            "none",
        ],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 10
    assert "KERAS_BACKEND is 'jax', expected 'tensorflow'" in done.stderr
