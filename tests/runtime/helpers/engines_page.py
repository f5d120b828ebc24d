"""The programs of runtime/ENGINES.md, as a reader copies them, and the answers they have to give.

Used by the tests of each engine: those of the standard library in tests/runtime, joblib in
tests/integration, what has to be installed in tests/scale.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "runtime" / "ENGINES.md"


def blocks(heading: str, language: str = "python") -> list[str]:
    """Return the blocks of code of a section."""
    text = PAGE.read_text("utf-8")
    (section,) = re.findall(rf"^##? {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def fill(folder: Path) -> None:
    """Put the artifact and the samples' rows into the folder, as the page says."""
    for name in ("digits.onnx", "sample_digits.npz"):
        shutil.copy(ROOT / "assets" / name, folder)
    run(blocks("A predictor in other engines")[0], folder)


def run(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the page as a file in the folder, and see that it ended well."""
    done = start(program, folder, **variables)
    assert done.returncode == 0, done.stderr
    return done


def start(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a file in the folder, by the Python of these tests."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def truth(folder: Path, artifact: str = "digits.onnx") -> np.ndarray:
    """Return what onnxruntime alone answers to all rows at once."""
    session = onnxruntime.InferenceSession(folder / artifact, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: np.load(folder / "rows.npy")})
    return np.asarray(answer)


def assert_scores(folder: Path) -> None:
    """See that ``scores.npy`` holds the truth, bit for bit."""
    found, wanted = np.load(folder / "scores.npy"), truth(folder)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert found.tobytes() == wanted.tobytes()
