"""From a folder of photos to the answers of a device: trained, converted, and asked for the files.

`make test` asks in this environment; where `make test-runtime` has made environments of devices,
in the oldest of these, which has no TensorFlow.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from edgeport_converter import convert, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DEVICE = next(iter(sorted(ROOT.glob("build/venv-runtime-*/bin/python"))), sys.executable)
CLASSES = {"blue": [50, 60, 200], "green": [50, 180, 60], "red": [200, 70, 60]}
RECIPE = """\
seed = 4
[data]
source = "photos"
image_size = [20, 24]
fit = "crop"
{more}
[model]
kind = "cnn"
filters = [8]
layers = [8]
[training]
epochs = 12
learning_rate = 0.01
batch_size = 16
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """JPEG files of many sizes and all turns of EXIF, some of them gray or PNG with a palette."""
    folder = tmp_path_factory.mktemp("user")
    chance = np.random.default_rng(11)
    for name, colour in CLASSES.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(24):
            height, width = chance.integers(16, 160, 2)
            coarse = np.array(colour) + chance.normal(0, 75, (5, 4, 3))
            pixels = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            exif = Image.Exif()
            exif[0x0112] = 1 + number % 8
            path = folder / "photos" / name / f"{number:02}.jpg"
            if number % 12 == 5:
                image.convert("P").save(path.with_suffix(".png"))
            else:
                image.convert("L" if number % 12 == 7 else "RGB").save(path, exif=exif)
    return folder


def predict_on_device(artifact, paths, cwd):
    """Return the answers of `edgeport predict`, a dict of scores for each file."""
    done = subprocess.run(
        [DEVICE, "-m", "edgeport", "predict", artifact, *paths, "--top-k", "3", "--json"],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT / "runtime" / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == [str(path) for path in paths]
    return [{each["name"]: each["score"] for each in row["labels"]} for row in rows]


@pytest.mark.parametrize("more", ["", 'resize = "ImageOps.fit-lanczos"'], ids=["keras", "pillow"])
def test_the_accuracy_in_the_card_is_that_of_the_device(photos, more, tmp_path):
    (photos / "recipe.toml").write_text(RECIPE.format(more=more))
    train(photos / "recipe.toml", tmp_path / "model.keras")
    report = convert(
        tmp_path / "model.keras",
        tmp_path / "model.onnx",
        calibration=photos / "photos",
        evaluation=photos / "photos",
        labels=sorted(CLASSES),
        quantize="static",
        max_drop=0.1,
    )
    assert report.card.frames["image"].training.endswith("fit=crop")
    paths = sorted((photos / "photos").rglob("*.*"))[::9]
    answers = predict_on_device(tmp_path / "model.onnx", paths, photos)

    # By hand: the file as its camera was held, through the training's own call, into the network.
    network = keras.saving.load_model(tmp_path / "model.keras")
    found = []
    for path, answer in zip(paths, answers, strict=True):
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        if more:
            small = np.asarray(ImageOps.fit(upright, (24, 20), Image.Resampling.LANCZOS))
        else:
            small = keras.preprocessing.image.smart_resize(np.asarray(upright), (20, 24))
        expected = network(np.asarray(small, np.float32)[None], training=False).numpy()[0]
        scores = np.array([answer[name] for name in sorted(CLASSES)])
        assert scores == pytest.approx(expected, abs=0.1)
        found.append(max(answer, key=answer.get) == path.parent.name)
    everything = predict_all(tmp_path / "model.onnx", photos)
    assert report.accuracy.samples == len(everything)
    assert report.accuracy.artifact == np.mean(list(everything.values()))
    assert [everything[path] for path in paths] == found


def predict_all(artifact, folder):
    """Return by file whether the device is right, in one process there."""
    code = """
import json, pathlib, sys
from PIL import Image
from edgeport import Predictor
found = {}
with Predictor.load(sys.argv[1]) as predictor:
    for path in sorted(pathlib.Path(sys.argv[2]).rglob("*.*")):
        with Image.open(path) as image:
            found[str(path)] = predictor.classify(image)[0].name == path.parent.name
print(json.dumps(found))
"""
    done = subprocess.run(
        [DEVICE, "-c", code, artifact, folder / "photos"],
        env=os.environ | {"PYTHONPATH": str(ROOT / "runtime" / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    return {Path(path): right for path, right in json.loads(done.stdout).items()}
