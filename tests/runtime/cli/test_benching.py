"""`edgeport bench`: figures of the very package that runs, and refusals of what cannot be."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import onnx_writer as ow
import pytest
from commands import Capture, fails, run
from examples import Child, identity, sealed, spec

import edgeport
from edgeport import ModelCard
from edgeport.cli.main import main


def test_bench(mlp_file: Path, capsys: Capture) -> None:
    short = ["bench", str(mlp_file), "--seconds", "0.02", "--batch-sizes", "1", "16"]
    assert main(short) == 0
    assert "one sample   p50 " in capsys.readouterr().out
    figures = run(capsys, *short)
    assert figures["threads"] == 1
    assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    assert figures["cold_start_ms"] > figures["load_ms"] > 0
    assert list(figures["samples_per_second"]) == ["1", "16"]
    assert figures["calls"] >= 1
    if sys.platform == "linux":  # elsewhere both are None
        assert figures["process_bytes"] > figures["memory_bytes"]


def test_bench_counts_only_the_samples_that_ran(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "whole.onnx"
    port = spec("x", "float32", (3, 4), axes=("T", "F"))
    card = ModelCard("whole", (port,), (replace(port, name="y"),))
    path.write_bytes(sealed(identity("float32", (3, 4)).onnx, card))
    figures = run(capsys, "bench", path, "--seconds", "0.02")
    assert list(figures["samples_per_second"]) == ["1"]
    code, sentence = fails(capsys, "bench", path, "--batch-sizes", "1", "8")
    assert code == edgeport.OptionError.exit_code
    assert sentence == (
        "--batch-sizes are [1, 8], but no input of the model has a batch axis, so that each run "
        "is one sample: leave them out"
    )


@pytest.mark.parametrize("name", ["file", "allow_pickle", "a/b", "x.npy"])
def test_bench_takes_any_name_of_an_input(name: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "named.onnx"
    port = (name, "float32", ["N", 3])
    path.write_bytes(
        ow.model(ow.graph([ow.node("Neg", [name], ["y"])], [port], [("y", *port[1:])]))
    )
    figures = run(capsys, "bench", path, "--seconds", "0.02")
    assert figures["inputs"] == {name: [1, 3]}
    assert figures["cold_start_ms"] > 0


def test_a_cold_start_is_that_of_the_package_that_measures(
    child: Child, mlp_file: Path, tmp_path: Path
) -> None:
    """Wherever it came from: an archive, a folder that only this process knows."""
    copy = tmp_path / "elsewhere" / "edgeport"
    shutil.copytree(Path(edgeport.__file__).parent, copy)
    mark = tmp_path / "mark"
    with (copy / "predictor.py").open("a") as file:
        file.write(f"\nwith open({str(mark)!r}, 'a') as file: file.write('x')\n")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from edgeport.cli.main import main
sys.exit(main(["bench", sys.argv[2], "--seconds", "0.02", "--json"]))
"""
    result = child(code, copy.parent, mlp_file)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["cold_start_ms"] > 0
    assert 2 <= len(mark.read_text()) <= 6  # this process, and up to five cold starts


def test_a_cold_start_that_fails_is_one_sentence(
    mlp_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeport.cli.bench._COLD_START", "raise SystemExit('no room')")
    code, sentence = fails(capsys, "bench", mlp_file, "--seconds", "0.02")
    assert code == edgeport.InferenceError.exit_code
    assert sentence == (
        "a fresh process gave no answer (no room), expected one as in this process: run "
        "'edgeport verify' on the artifact, and free memory"
    )


def test_a_batch_that_memory_cannot_hold_is_one_sentence(child: Child, mlp_file: Path) -> None:
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**34, 2**34))
from edgeport.cli.main import main
sys.exit(main(["bench", sys.argv[1], "--seconds", "0.02", "--batch-sizes", "1000000000"]))
"""
    result = child(code, mlp_file)
    assert (result.returncode, result.stdout) == (edgeport.InferenceError.exit_code, "")
    assert result.stderr.startswith("edgeport: there is not enough memory (")
    assert result.stderr.count("\n") == 1
