"""The article's network from training to int8 answers in an environment without TensorFlow."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgeport import Predictor
from edgeport_converter import convert

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEVICE_PYTHON = ROOT / ".venv-device" / "bin" / "python"

# Runs on the device: prints one JSON line about itself.
DEVICE_SCRIPT = """
import importlib.util, json, os, sys, threading, time
absent = {name: importlib.util.find_spec(name) is None
          for name in ("tensorflow", "keras", "tf2onnx", "onnx")}
import numpy as np
from edgeport import Predictor
data = np.load(sys.argv[2])
def threads():
    return threading.active_count(), len(os.listdir("/proc/self/task"))
before = threads()
with Predictor.load(sys.argv[1]) as predictor:
    scores = predictor.predict(data["x"])
    patience = time.monotonic() + 5  # the system takes a moment to remove a thread that ended
    while threads() > before and time.monotonic() < patience:
        time.sleep(0.01)
    after = threads()
print(json.dumps({"absent": absent, "before": before, "after": after,
                  "scores": scores.tolist()}))
"""


def test_the_network_learned_the_digits(trained, test_digits):
    x, y = test_digits
    _, accuracy = trained.evaluate(x, y, verbose=0)
    assert accuracy > 0.9


def test_int8_keeps_the_accuracy_in_a_quarter_of_the_bytes(int8_artifact, trained, test_digits):
    path, report = int8_artifact
    x, y = test_digits
    with Predictor.load(path) as predictor:
        int8 = np.mean(predictor.predict(x).argmax(axis=1) == y)
    keras = np.mean(np.asarray(trained(x)).argmax(axis=1) == y)
    assert keras - int8 <= 0.005
    assert path.stat().st_size <= 64 * 1024
    assert path.stat().st_size < report.float_bytes / 3
    assert report.accuracy.artifact == pytest.approx(int8)
    assert report.accuracy.keras == pytest.approx(keras)


def test_float_artifact_gives_the_answers_of_keras(trained, test_digits, tmp_path):
    x, _ = test_digits
    report = convert(trained, tmp_path / "float.onnx", quantize="none")
    with Predictor.load(tmp_path / "float.onnx") as predictor:
        np.testing.assert_allclose(predictor.predict(x), np.asarray(trained(x)), atol=1e-5)
    assert report.recipe == "none"
    assert report.agreement is None


def test_an_int8_answer_does_not_depend_on_the_batch_around_it(int8_artifact, test_digits):
    x, _ = test_digits
    with Predictor.load(int8_artifact[0]) as predictor:
        together = predictor.predict(x[:64])
        alone = np.stack([predictor.predict(sample) for sample in x[:64]])
    np.testing.assert_array_equal(together, alone)


def test_the_device_has_no_tensorflow_and_answers_the_same(int8_artifact, test_digits, tmp_path):
    path, _ = int8_artifact
    x, _ = test_digits
    np.savez(tmp_path / "x.npz", x=x[:50])
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [DEVICE_PYTHON, "-c", DEVICE_SCRIPT, path, tmp_path / "x.npz"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert all(facts["absent"].values()), facts["absent"]
    assert facts["after"] == facts["before"]
    assert list(home.iterdir()) == []
    with Predictor.load(path) as predictor:
        np.testing.assert_array_equal(np.float32(facts["scores"]), predictor.predict(x[:50]))


def test_classify_names_the_digit(int8_artifact, test_digits):
    x, _ = test_digits
    with Predictor.load(int8_artifact[0]) as predictor:
        scores = predictor.predict(x[:20])
        best = predictor.classify(x[:20], top_k=2)
        for row, labels in zip(scores, best, strict=True):
            order = np.argsort(-row)
            assert [label.name for label in labels] == [str(order[0]), str(order[1])]
            assert labels[0].score == pytest.approx(float(row.max()))


def test_a_small_convolution_network_converts_too(raw_digits, tmp_path):
    import keras

    images, labels = raw_digits
    x = images[..., None].astype(np.float32) / 255
    keras.utils.set_random_seed(2)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax", name="digit"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x[:2000], labels[:2000], epochs=2, verbose=0)
    report = convert(
        model,
        tmp_path / "cnn.onnx",
        calibration=x[:300],
        evaluation=(x[4000:], labels[4000:]),
        quantize="static",
        max_drop=0.03,
    )
    assert report.card.quantization.recipe == "static"
    assert report.file_bytes < report.float_bytes
    with Predictor.load(tmp_path / "cnn.onnx") as predictor:
        answer = predictor.predict(x[0])
        np.testing.assert_allclose(answer, np.asarray(model(x[:1]))[0], atol=0.1)
        np.testing.assert_array_equal(predictor.predict(x[:5])[0], answer)
