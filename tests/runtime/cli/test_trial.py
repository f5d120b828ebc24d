"""What bench, tune and warm run a model on: golden samples, the user's data, made-up values."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import onnx_writer as ow
import pytest
from commands import Capture, fails, run
from examples import identity, kept_in, mlp_artifact, sealed, spec

from edgeport import InferenceError, InputError, ModelCard, OptionError
from edgeport.cli.bench import bench
from edgeport.cli.main import main
from edgeport.cli.trial import Trial

SHORT = ["--seconds", "0.02"]


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A foreign model of (N, H, 3) that takes multiples of 5 along H alone, so no 8."""
    content = ow.graph(
        [ow.node("Reshape", ["x", "shape"], ["y"])],
        [("x", "float32", ["N", "H", 3])],
        [("y", "float32", ["rows", 15])],
        {"shape": np.array([-1, 15])},
    )
    path = tmp_path / "odd.onnx"
    path.write_bytes(ow.model(content))
    return path


def commands(path: Path, folder: Path) -> dict[str, list[str]]:
    return {
        "bench": ["bench", str(path), *SHORT, "--batch-sizes", "1"],
        "tune": ["tune", str(path), *SHORT],
        "warm": ["warm", str(path), "--cache-dir", str(folder)],
    }


@pytest.mark.parametrize("command", ["bench", "tune", "warm"])
def test_a_model_that_made_up_sizes_do_not_fit_takes_others(
    command: str, odd: Path, folder: Path, capsys: Capture
) -> None:
    arguments = commands(odd, folder)[command]
    code, sentence = fails(capsys, *arguments)
    assert code == InferenceError.exit_code
    assert "the model does not run on the made-up input 'x' (1, 8, 3)" in sentence
    assert "--data FILE or sizes with --size H=..." in sentence
    assert kept_in(folder) == []
    data = odd.with_name("x.npy")
    np.save(data, np.ones((2, 10, 3), "f4"))
    for more in (["--size", "H=5"], ["--data", data]):
        run(capsys, *arguments, *more)
    assert len(kept_in(folder)) == (command == "warm")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--size", "H"], "--size has 'H', expected NAME=NUMBER"),
        (["--size", "H=0"], "--size has 'H=0', expected NAME=NUMBER"),
        (["--size", "H=-5"], "--size has 'H=-5'"),
        (["--size", "H=5,"], "--size has ''"),
        (["--size", ""], "--size has ''"),
        (["--size", "H=99999999999"], "--size has 'H=99999999999'"),
        (["--size", "H=5,H=10"], "--size names 'H' twice, expected one size"),
        (["--size", "W=5"], "there is no free axis 'W', the inputs have H: name one of these"),
        (["--size", "H=5", "--data", "x.npy"], "--data brings its own sizes"),
    ],
)
@pytest.mark.parametrize("command", ["bench", "tune", "warm"])
def test_sizes_that_cannot_be_are_refused(
    command: str, more: list[str], says: str, odd: Path, folder: Path, capsys: Capture
) -> None:
    code, sentence = fails(capsys, *commands(odd, folder)[command], *more)
    assert (code, sentence[: len(says)]) == (OptionError.exit_code, says)


@pytest.mark.parametrize("command", ["bench", "tune", "warm"])
def test_sizes_beyond_every_memory_are_one_sentence(
    command: str, tmp_path: Path, folder: Path, capsys: Capture
) -> None:
    path = tmp_path / "cube.onnx"
    path.write_bytes(identity("float32", ("N", "D", "H", "W")).onnx)
    arguments = commands(path, folder)[command]
    code, sentence = fails(capsys, *arguments, "--size", "D=999999999,H=999999999,W=999999999")
    assert code == InferenceError.exit_code
    assert "there is not enough memory" in sentence
    assert "input 'x'" in sentence


def test_data_without_samples_is_refused(odd: Path, folder: Path, capsys: Capture) -> None:
    data = odd.with_name("x.npy")
    np.save(data, np.ones((0, 5, 3), "f4"))
    code, sentence = fails(capsys, "bench", odd, "--data", data)
    assert (code, "holds no sample" in sentence) == (InputError.exit_code, True)


def test_bench_says_the_sizes_that_it_measured(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(identity("float32", ("N", "T", 2)).artifact())
    figures = run(capsys, "bench", path, *SHORT, "--size", "T=33", "--batch-sizes", "1", "4")
    assert figures["inputs"] == {"x": [1, 33, 2]}
    assert figures["free_axes"] == ["T"]
    assert main(["bench", str(path), *SHORT]) == 0
    assert "measured on  x (1, 8, 2); --size or --data takes others" in capsys.readouterr().out


def test_bench_measures_on_the_users_data(tmp_path: Path, capsys: Capture) -> None:
    path, data = tmp_path / "m.onnx", tmp_path / "x.npz"
    ports = [spec(name, "float32", ("N", "T"), axes=("N", "T")) for name in ("a", "b", "y")]
    content = ow.graph(
        [ow.node("Add", ["a", "b"], ["y"])],
        [("a", "float32", ["N", "T"]), ("b", "float32", ["N", "T"])],
        [("y", "float32", ["N", "T"])],
    )
    path.write_bytes(sealed(ow.model(content), ModelCard("two", tuple(ports[:2]), (ports[2],))))
    np.savez(data, a=np.ones((3, 21), "f4"), b=np.ones((3, 21), "f4"))
    figures = run(capsys, "bench", path, *SHORT, "--data", data)
    assert figures["inputs"] == {"a": [1, 21], "b": [1, 21]}
    assert list(figures["samples_per_second"]) == ["1", "8", "64"]


def test_bench_keeps_its_time_with_a_slow_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that was begun is ended, and no further one begins: told by a clock of our own."""
    clock = [0.0]

    class Slow:
        def predict(self, value: object) -> None:
            clock[0] += 10.0

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    from edgeport.cli.bench import _measure

    assert _measure(Slow(), {}, 1.0) == [10_000.0]  # type: ignore[arg-type]
    assert clock[0] == 10.0
    assert len(_measure(Slow(), {}, 100.0)) == 7  # type: ignore[arg-type]


def test_golden_samples_are_taken_first(mlp_file: Path) -> None:
    figures = bench(str(mlp_file), threads=1, batch_sizes=[2], seconds=0.02, trial=Trial())
    assert figures["inputs"] == {"x": [1, 6]}
    assert json.dumps(figures)


def test_warm_says_what_it_measured(mlp_file: Path, folder: Path, capsys: Capture) -> None:
    shown = run(capsys, "warm", mlp_file, "--cache-dir", folder)
    assert re.fullmatch(r"[0-9a-f]{32}\.graph", Path(shown["kept"]).name)
    assert mlp_file.read_bytes() == mlp_artifact()
