"""The examples that read an artifact with plain onnxruntime give the answers of ``Predictor``."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgeport import Predictor
from edgeport_converter.browser.onnxruntime_web import VERSION

REPOSITORY = Path(__file__).parents[2]
READERS = REPOSITORY / "runtime" / "examples" / "readers"
DIGITS = REPOSITORY / "assets" / "digits.onnx"


@pytest.fixture(scope="session")
def npm_project(tmp_path_factory):
    """A folder in which the JavaScript reader was installed as its first lines say."""
    if shutil.which("npm") is None:
        pytest.skip("needs Debian's npm (apt install npm)")
    folder = tmp_path_factory.mktemp("project")
    package = f"onnxruntime-web@{VERSION}"
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline", package]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    shutil.copy(READERS / "read_card.mjs", folder)
    return folder


def run_node(folder, path):
    command = ["node", "read_card.mjs", str(path)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_reader_in_javascript_reads_card_and_answers(npm_project):
    done = run_node(npm_project, DIGITS)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    with Predictor.load(DIGITS) as predictor:
        sample = predictor.card.golden_samples[0].inputs
        expected = predictor.predict(sample)[0]
        assert found["sha256"] == predictor.card.sha256
        assert found["best"] == predictor.classify(sample)[0][0].name
    np.testing.assert_allclose(found["scores"], expected, atol=0.02)


def test_the_reader_in_javascript_refuses_a_changed_byte(npm_project, tmp_path):
    data = bytearray(DIGITS.read_bytes())
    data[-100] ^= 1
    (tmp_path / "digits.onnx").write_bytes(data)
    done = run_node(npm_project, tmp_path / "digits.onnx")
    assert done.returncode
    assert "the artifact is damaged" in done.stderr


def test_the_reader_in_c_plus_plus_reads_card_and_answers(tmp_path):
    headers = os.environ.get("ONNXRUNTIME_INCLUDE")
    if not headers:
        pytest.skip("ONNXRUNTIME_INCLUDE names no folder with onnxruntime_cxx_api.h")
    (library,) = Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    program = tmp_path / "read_card"
    command = ["c++", "-std=c++17", str(READERS / "read_card.cpp"), "-I", headers, str(library)]
    subprocess.run([*command, "-o", str(program)], check=True)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([program, DIGITS], env=environment, capture_output=True, check=True)
    found = json.loads(done.stdout)
    with Predictor.load(DIGITS) as predictor:
        expected = predictor.predict(np.zeros(784, np.float32))
    np.testing.assert_allclose(found["scores"], expected, atol=1e-6)
