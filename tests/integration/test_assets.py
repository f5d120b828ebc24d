"""assets/ is what its README says, and the README's device example runs on it."""

import hashlib
import re
import subprocess
from pathlib import Path

import numpy as np

from edgeport import Predictor

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "assets"
DEVICE_PYTHON = ROOT / ".venv-device" / "bin" / "python"


def test_the_table_states_size_and_digest_of_every_file():
    rows = re.findall(
        r"^\| `(\S+)` \|.*\| ([\d,]+) \| `([0-9a-f]{64})` \|$",
        (ASSETS / "README.md").read_text(),
        re.MULTILINE,
    )
    stated = {name: (int(size.replace(",", "")), digest) for name, size, digest in rows}
    found = {
        path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in ASSETS.iterdir()
        if path.name != "README.md"
    }
    assert stated == found


def test_the_artifact_fits_its_limits_and_says_so_itself():
    with Predictor.load(ASSETS / "digits.onnx") as predictor:
        accuracy = predictor.card.accuracy
    assert (ASSETS / "digits.onnx").stat().st_size <= 61_632  # LiteRT's int8 file of this network
    assert accuracy.samples == 10_000
    assert accuracy.keras >= 0.97
    assert accuracy.float32 - accuracy.artifact <= 0.002


def test_the_artifact_reads_the_sample_digits():
    with np.load(ASSETS / "sample_digits.npz") as samples:
        images, digits = samples["images"], samples["digits"]
    with Predictor.load(ASSETS / "digits.onnx") as predictor:
        best = predictor.classify(images.reshape(-1, 784).astype(np.float32) / 255)
    right = [labels[0].name == str(digit) for labels, digit in zip(best, digits, strict=True)]
    assert sum(right) >= 38


def test_the_readme_example_runs_on_a_device():
    text = (ROOT / "runtime" / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    digit = """
import numpy as np
with np.load("sample_digits.npz") as samples:
    x = samples["images"][0].reshape(784).astype(np.float32) / 255
    digit = samples["digits"][0]
"""
    shown = "\nprint(best[0].name, digit, scores.argmax())"
    done = subprocess.run(
        [DEVICE_PYTHON, "-c", digit + code + shown],
        cwd=ROOT / "assets",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    card, answer = done.stdout.rsplit("\n", 2)[:2]
    assert "accuracy" in card
    name, digit, best = answer.split()
    assert name == digit == best
