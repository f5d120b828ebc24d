"""What the runtime's tests share: an artifact on disk, and child processes with an empty home."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from examples import Child, mlp_artifact

from edgeport import Predictor

# Machines differ in speed, and a model's first run takes longer than the next.
# Under emulation (`make devices`) everything takes twenty times as long.
for name, examples in (("edgeport", 100), ("emulated", 5)):
    hypothesis.settings.register_profile(
        name,
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "edgeport"))


@pytest.fixture
def mlp_file(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    path.write_bytes(mlp_artifact())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where graphs may be kept; it is not there yet."""
    return tmp_path / "graphs"


@pytest.fixture
def predictor(mlp_file: Path) -> Iterator[Predictor]:
    with Predictor.load(mlp_file) as loaded:
        yield loaded


@pytest.fixture
def child(tmp_path: Path) -> Child:
    """Run code in a fresh interpreter with an empty home folder."""
    home = tmp_path / "home"
    home.mkdir()

    def run(code: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        dropped = ("ORT_", "EDGEPORT_", "XDG_")
        kept = {key: text for key, text in os.environ.items() if not key.startswith(dropped)}
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
            env={**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
