"""`edgeport score` on one machine, at the size that its tests in tests/runtime only suggest."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import camera, mlp, mlp_artifact
from scoring import run

pq = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.slow


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edgeport", "score", *map(str, arguments), "--json"]


def score(*arguments: object) -> dict[str, int]:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    path.write_bytes(mlp_artifact())
    return path


def write_rows(path: Path, count: int) -> Path:
    np.save(path, np.random.default_rng(5).normal(size=(count, 6)).astype("f4"))
    return path


def test_twenty_damaged_of_twenty_thousand_photos_are_named(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    model = tmp_path / "camera.onnx"
    model.write_bytes(camera().artifact())
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(20_000):
        pixels = rng.integers(0, 256, (16, 16, 3), "u1")
        image.fromarray(pixels).save(folder / f"{number:05d}.jpg")
    damaged = sorted(rng.choice(20_000, 20, replace=False).tolist())
    for number in damaged:
        path = folder / f"{number:05d}.jpg"
        content = path.read_bytes()
        path.write_bytes((content[: len(content) // 2], b"", content[50:])[number % 3])
    out = tmp_path / "out"
    arguments = (folder, "--model", model, "-o", out, "--part-size", "1M")
    facts = score(*arguments)
    assert (facts["rows"], facts["rejected"]) == (19_980, 20)
    lines = [line for p in (out / "rejected").iterdir() for line in p.read_text().splitlines()]
    named = sorted(int(Path(json.loads(line)["file"]).stem) for line in lines)
    assert named == damaged
    assert score(*arguments, "--verify") == facts


def done_in(out: Path) -> int:
    return len(list((out / "done").glob("*.json")))


def test_ten_kills_change_nothing(tmp_path: Path, model: Path) -> None:
    data = write_rows(tmp_path / "x.npy", 2_000_000)
    arguments = (data, "--model", model, "--part-size", "256K")
    undisturbed = tmp_path / "undisturbed"
    parts = score(*arguments, "-o", undisturbed)["parts"]
    out = tmp_path / "out"
    rng, states = random.Random(4), []
    for target in sorted(rng.sample(range(parts), 10)):
        with subprocess.Popen(
            command(*arguments, "-o", out), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            while done_in(out) < target and child.poll() is None:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.02))
            child.kill()
        states.append(done_in(out))
    facts = score(*arguments, "-o", out)
    print(f"parts done at each kill: {states} of {facts['parts']}")
    assert facts["rows"] == 2_000_000
    assert contents(out) == contents(undisturbed)
    assert score(*arguments, "-o", out, "--verify") == facts


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, model: Path) -> None:
    peaks = []
    for rows in (200_000, 2_000_000):
        data = write_rows(tmp_path / f"{rows}.npy", rows)
        out = tmp_path / f"out{rows}"
        peaks.append(run(command(data, "--model", model, "-o", out, "--part-size", "512K"))[1])
    print(f"peaks: {peaks}")
    assert peaks[1] <= 1.1 * peaks[0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a file system of 1 MB, which root alone can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if os.name != "posix" or subprocess.run(made, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_one_sentence_and_the_next_run_goes_on(
    tmp_path: Path, model: Path, small_disk: Path
) -> None:
    data = write_rows(tmp_path / "x.npy", 100_000)
    out = small_disk / "out"
    arguments = (data, "--model", model, "-o", out, "--part-size", "128K")
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    first, last = done.stderr.splitlines()
    assert "stay so: the same command goes on from here" in first
    assert "No space left on device" in last
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    before = len(list((out / "done").iterdir()))
    assert before > 0
    facts = score(*arguments)
    assert facts["rows"] == 100_000
    assert score(*arguments, "--verify") == facts


def test_scores_are_those_of_the_formula(tmp_path: Path, model: Path) -> None:
    data = write_rows(tmp_path / "x.npy", 50_000)
    score(data, "--model", model, "-o", tmp_path / "out", "--part-size", "100K")
    found: Any = [pq.read_table(p) for p in sorted((tmp_path / "out" / "scores").iterdir())]
    scores = np.concatenate([np.array(table["scores"].to_pylist()) for table in found])
    np.testing.assert_allclose(scores, mlp().formula(np.load(data)), atol=1e-6)
