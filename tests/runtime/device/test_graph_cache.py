"""The kept graph: the same bits sooner, never trusted over the artifact, harmless in all that is
wrong with its folder."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import (
    Array,
    Child,
    doubler,
    forge,
    golden,
    identity,
    int8,
    kept_in,
    mlp,
    mlp_artifact,
    sealed,
    spec,
    two_inputs,
)

from edgeport import (
    ArtifactError,
    InferenceError,
    IntegrityError,
    ModelCard,
    OptionError,
    Predictor,
    SelfTestError,
)
from edgeport.cli.main import main
from edgeport.device import graph_cache
from edgeport.device import identity as device_module
from edgeport.inputs.batching import CHUNK_BYTES
from edgeport.loading import load_model
from edgeport.model import Model
from edgeport.options import Options

pytestmark = pytest.mark.slow

DIGITS = Path(__file__).parents[3] / "assets" / "digits.onnx"
OPTIONS = Options(None, False, None, None, None, CHUNK_BYTES)
X = np.linspace(-2, 2, 12, dtype="f4").reshape(2, 6)


def convolutions() -> bytes:
    """Three convolutions and an average: the engine changes layouts here, and folds a scale."""
    rng = np.random.default_rng(3)
    weights = {
        "w1": rng.normal(size=(16, 3, 3, 3)).astype("f4"),
        "b1": rng.normal(size=16).astype("f4"),
        "w2": rng.normal(size=(16, 1, 3, 3)).astype("f4"),
        "w3": rng.normal(size=(8, 16, 1, 1)).astype("f4"),
        "scale": np.float32(0.5),
    }
    content = ow.graph(
        [
            ow.node("Conv", ["x", "w1", "b1"], ["a"], pads=[1, 1, 1, 1]),
            ow.node("Relu", ["a"], ["b"]),
            ow.node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1], group=16),
            ow.node("Mul", ["c", "scale"], ["d"]),
            ow.node("Conv", ["d", "w3"], ["e"]),
            ow.node("GlobalAveragePool", ["e"], ["y"]),
        ],
        [("x", "float32", ["N", 3, 12, 12])],
        [("y", "float32", ["N", 8, 1, 1])],
        weights,
    )
    return ow.model(content)


def text() -> bytes:
    shape = ("N", 2)
    content = ow.graph(
        [ow.node("Identity", ["x"], ["y"])], [("x", "str", shape)], [("y", "str", shape)]
    )
    return ow.model(content)


def bits(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: bits(array) for name, array in answer.items()}
    return answer.tolist() if answer.dtype.kind == "O" else (answer.dtype, answer.tobytes())


def inputs_for(card: ModelCard, samples: int) -> dict[str, Array]:
    rng = np.random.default_rng(samples)
    arrays: dict[str, Array] = {}
    for one in card.inputs:
        shape = [samples, *(size if isinstance(size, int) else 5 for size in one.shape[1:])]
        if one.dtype.kind == "O":
            arrays[one.name] = np.array(rng.integers(0, 99, shape).astype(str), object)
        else:
            low, high = one.value_range or (-3, 3)
            arrays[one.name] = rng.uniform(low, high, shape).astype(one.dtype)
    return arrays


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(mlp_artifact(), id="mlp"),
        pytest.param(mlp().onnx, id="mlp without card"),
        pytest.param(int8().artifact(), id="int8"),
        pytest.param(two_inputs().artifact(), id="two inputs and outputs"),
        pytest.param(doubler("int64").artifact(), id="int64"),
        pytest.param(convolutions(), id="convolutions"),
        pytest.param(text(), id="text"),
        pytest.param(DIGITS.read_bytes(), id="digits"),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_answers_have_the_same_bits(data: bytes, threads: int, folder: Path) -> None:
    with Predictor.load(data, threads=threads) as plain:
        first, second = (Predictor.load(data, threads=threads, cache_dir=folder) for _ in range(2))
        assert len(kept_in(folder)) == 1
        for samples in (1, 2, 7):
            given = inputs_for(plain.card, samples)
            expected = bits(plain.predict(given))
            assert bits(first.predict(given)) == expected
            assert bits(second.predict(given)) == expected
        assert second.card == plain.card
        assert second.threads == threads


def test_what_is_kept_is_what_runs(folder: Path) -> None:
    """Shown by a graph that only the owner of the folder could have put there."""
    source = identity().onnx
    Predictor.load(source, cache_dir=folder)
    forge(kept_in(folder)[0], doubler().onnx)
    with Predictor.load(source, cache_dir=folder) as predictor:
        np.testing.assert_array_equal(predictor.predict(np.ones((1, 3), "f4")), [[2, 2, 2]])


def test_golden_samples_refuse_another_graph(
    folder: Path, mlp_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = mlp().formula(X)
    Predictor.load(mlp_file, cache_dir=folder)
    (kept,) = kept_in(folder)
    whole = kept.read_bytes()
    other = mlp().onnx.replace(b"Relu", b"Tanh")
    assert other != mlp().onnx
    for graph in (other, doubler().onnx, b"no graph", b""):
        caplog.clear()
        forge(kept, graph)
        with Predictor.load(mlp_file, cache_dir=folder) as predictor:
            np.testing.assert_allclose(predictor.predict(X), expected, atol=1e-5)
        assert "is not used" in caplog.text
        assert kept.read_bytes() == whole  # written again


def test_damage_of_any_byte_leaves_the_answers_right(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model has no card, so no golden sample protects it."""
    path = tmp_path / "identity.onnx"
    path.write_bytes(identity().onnx)
    x = np.array([[1, 2, 3]], "f4")
    # The names of all features of a CPU are most of a small file, and one byte like another.
    monkeypatch.setattr(device_module, "identity", lambda: {"cpu": "x", "onnxruntime": "1"})
    Predictor.load(path, cache_dir=folder)
    (kept,) = kept_in(folder)
    whole = kept.read_bytes()
    for place_of_damage in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place_of_damage] ^= 1 << place_of_damage % 8
        kept.write_bytes(damaged)
        with Predictor.load(path, cache_dir=folder) as predictor:
            np.testing.assert_array_equal(predictor.predict(x), x)
        assert kept.read_bytes() == whole, place_of_damage  # written again


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_ignored(share: float, folder: Path, mlp_file: Path) -> None:
    Predictor.load(mlp_file, cache_dir=folder)
    (kept,) = kept_in(folder)
    whole = kept.read_bytes()
    kept.write_bytes(whole[: int(len(whole) * share)])
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
    assert kept.read_bytes() == whole


def test_the_artifact_is_checked_as_ever(folder: Path, mlp_file: Path) -> None:
    Predictor.load(mlp_file, cache_dir=folder)
    data = bytearray(mlp_file.read_bytes())
    data[-1] ^= 1
    mlp_file.write_bytes(data)
    with pytest.raises(IntegrityError):
        Predictor.load(mlp_file, cache_dir=folder)


def test_an_artifact_that_fails_its_own_test_is_not_kept(folder: Path) -> None:
    x = np.ones((1, 6), "f4")
    wrong = mlp().artifact(golden(x, mlp().formula(x).astype("f4") + 1))
    for _ in range(2):
        with pytest.raises(SelfTestError):
            Predictor.load(wrong, cache_dir=folder)
    assert kept_in(folder) == []


@pytest.mark.parametrize("part", ["cpu", "onnxruntime"])
def test_another_device_has_a_file_of_its_own(
    part: str, folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Predictor.load(mlp_file, cache_dir=folder)
    (first,) = kept_in(folder)
    here = device_module.identity()
    monkeypatch.setattr(device_module, "identity", lambda: {**here, part: "another"})
    Predictor.load(mlp_file, cache_dir=folder)
    (second,) = set(kept_in(folder)) - {first}
    before = second.read_bytes()
    assert json.loads(before.split(b"\n")[0].removeprefix(b"edgeport graph 1 "))[part] == "another"
    # Even in the other's place it is not taken.
    forge(first, doubler().onnx)
    first.replace(second)
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
    assert second.read_bytes() == before


def test_other_artifacts_have_files_of_their_own(folder: Path) -> None:
    for data in (mlp_artifact(), mlp().onnx, mlp().artifact(), identity().onnx):
        Predictor.load(data, cache_dir=folder)
    assert len(kept_in(folder)) == 4


def test_folder_and_file_are_private(folder: Path, mlp_file: Path) -> None:
    Predictor.load(mlp_file, cache_dir=folder / "below" / "it")
    modes = [path.stat().st_mode & 0o777 for path in (folder / "below" / "it").rglob("*")]
    assert modes == [0o600]
    assert (folder / "below" / "it").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_is_not_used(
    mode: int, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = identity().onnx
    Predictor.load(source, cache_dir=folder)
    forge(kept_in(folder)[0], doubler().onnx)
    folder.chmod(mode)
    with Predictor.load(source, cache_dir=folder) as predictor:
        np.testing.assert_array_equal(predictor.predict(np.ones((1, 3), "f4")), [[1, 1, 1]])
    assert "the folder may be written by others" in caplog.text
    assert len(kept_in(folder)) == 1


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_replaced(
    mode: int, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = identity().onnx
    Predictor.load(source, cache_dir=folder)
    (kept,) = kept_in(folder)
    forge(kept, doubler().onnx)
    kept.chmod(mode)
    with Predictor.load(source, cache_dir=folder) as predictor:
        np.testing.assert_array_equal(predictor.predict(np.ones((1, 3), "f4")), [[1, 1, 1]])
    assert "the file may be written by others" in caplog.text
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_made_does_no_harm(
    mlp_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_text = os.fsdecode(os.fsencode(mlp_file.parent) + b"/\xff")  # the engine takes UTF-8 alone
    for folder, reason in (
        (mlp_file / "below", "Not a directory"),
        (mlp_file, "File exists"),
        ("\0", "embedded null"),  # byte, or character from Python 3.13 on
        (no_text, "surrogates not allowed"),
        ("/proc", "No such file or directory"),  # it is there, and takes no file, not even root's
    ):
        caplog.clear()
        with Predictor.load(mlp_file, cache_dir=folder) as predictor:
            np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
        assert "the optimized graph is not kept in" in caplog.text
        assert reason in caplog.text


def test_a_full_disk_does_no_harm(child: Child, mlp_file: Path, folder: Path) -> None:
    """No file of this process may grow beyond 300 bytes, as on a disk that has no more room."""
    code = """
import logging, resource, signal, sys, os
logging.basicConfig(stream=sys.stdout, format="%(message)s")
import numpy as np
from edgeport import Predictor
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
print(Predictor.load(sys.argv[1], cache_dir=sys.argv[2]).predict(np.zeros(6, "f4")).shape)
"""
    result = child(code, mlp_file, folder)
    assert (result.returncode, result.stderr) == (0, "")
    first, last = result.stdout.splitlines()
    assert first.startswith("the optimized graph is not kept in")
    assert "or the disk is full" in first
    assert last == "(3,)"
    assert kept_in(folder) == []


WAIT = """
import os, sys
import edgeport.device.graph_cache as graph_cache
from edgeport import Predictor
os.umask(0)
graph_cache._keep = lambda *_: os.kill(os.getpid(), 9)  # the engine has written its graph
Predictor.load(sys.argv[1], cache_dir=sys.argv[2])
"""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_the_next_load_removes_what_a_killed_one_left(
    child: Child, mlp_file: Path, folder: Path
) -> None:
    assert child(WAIT, mlp_file, folder).returncode == -9
    (left,) = kept_in(folder)
    assert left.suffix == ".tmp"
    assert left.stat().st_mode & 0o777 == 0o600  # from the first, whatever this user's umask is
    other = folder / "mine.tmp"
    other.write_bytes(b"")
    with Predictor.load(mlp_file, cache_dir=folder) as predictor:
        np.testing.assert_allclose(predictor.predict(X), mlp().formula(X), atol=1e-5)
    assert [file.suffix for file in kept_in(folder)] == [".graph", ".tmp"]
    assert other in kept_in(folder)


def test_a_read_only_folder_that_was_filled_is_used(folder: Path) -> None:
    source = identity().onnx
    Predictor.load(source, cache_dir=folder)
    forge(kept_in(folder)[0], doubler().onnx)
    folder.chmod(0o500)
    try:
        with Predictor.load(source, cache_dir=folder) as predictor:
            np.testing.assert_array_equal(predictor.predict(np.ones((1, 3), "f4")), [[2, 2, 2]])
    finally:
        folder.chmod(0o700)


def test_a_pipe_in_its_place_is_not_waited_for(folder: Path, mlp_file: Path) -> None:
    Predictor.load(mlp_file, cache_dir=folder)
    (kept,) = kept_in(folder)
    kept.unlink()
    os.mkfifo(kept, 0o600)
    started = time.monotonic()
    Predictor.load(mlp_file, cache_dir=folder)
    assert time.monotonic() - started < 20
    assert kept.is_file()


def test_a_graph_is_kept_only_if_every_bit_of_its_answers_is_the_same() -> None:
    """Where there are no golden samples, made-up ones are run."""
    x = np.ones((1, 3), "f4")
    plain, twice = (load_model(one.onnx, OPTIONS) for one in (identity(), doubler()))
    assert graph_cache._answer_alike(plain, load_model(identity().onnx, OPTIONS))
    assert not graph_cache._answer_alike(plain, twice)
    proven = load_model(identity().artifact(golden(x, x)), OPTIONS)
    assert not graph_cache._answer_alike(proven, twice)
    words, others = load_model(text(), OPTIONS), load_model(text(), OPTIONS)
    assert graph_cache._answer_alike(words, others)


def test_a_graph_that_answers_otherwise_is_not_kept(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As if the engine wrote another graph than it runs."""

    def make(graph: bytes, optimization: str = "all", save_to: str = "") -> Model:
        if save_to:
            Path(save_to).write_bytes(doubler().onnx)
        return load_model(graph, OPTIONS)

    made_of = graph_cache.key("0" * 64, "all")
    for _ in range(2):
        model = graph_cache.load(str(folder), made_of, identity().onnx, make, lambda _: None)
        assert model.card.name == "identity"
    assert caplog.text.count("the engine made of it gives other answers") == 2
    assert kept_in(folder) == []


def endless(given: bool) -> bytes:
    """A loop that ends when its input says so, or never."""
    body = ow.graph(
        [ow.node("Identity", ["go"], ["go_on"]), ow.node("Identity", ["inner"], ["outer"])],
        [("turn", "int64", []), ("go", "bool", []), ("inner", "float32", [1])],
        [("go_on", "bool", []), ("outer", "float32", [1])],
        name="body",
    )
    nodes = [ow.node("Loop", ["", "go_first", "x"], ["y"], body=body)]
    inputs: list[tuple[str, str, ow.Shape]] = [("x", "float32", [1])]
    if given:
        inputs.append(("turns", "int64", []))
        nodes = [
            ow.node("Add", ["turns", "many"], ["all"]),
            ow.node("Loop", ["all", "go_first", "x"], ["y"], body=body),
        ]
    constants = {"go_first": np.array(True), "many": np.int64(2**40)}
    return ow.model(ow.graph(nodes, inputs, [("y", "float32", [1])], constants))


@pytest.mark.parametrize("given", [False, True])
def test_an_endless_loop_is_not_waited_for(
    given: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(graph_cache, "_LONGEST_RUNS_S", 0.05)
    with Predictor.load(endless(given), cache_dir=folder) as predictor:
        assert predictor.card.inputs[0].name == "x"
    assert "the run was stopped after 0.05 s because its time was up" in caplog.text
    assert kept_in(folder) == []


def test_warm_gives_an_endless_loop_up(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("edgeport.cli.trial._LONGEST_RUN_S", 0.05)
    path = tmp_path / "endless.onnx"
    path.write_bytes(endless(given=False))
    assert main(["warm", str(path), "--cache-dir", str(folder)]) == InferenceError.exit_code
    assert "the run was stopped after 0.05 s" in capsys.readouterr().err


def test_providers_leave_nothing(folder: Path) -> None:
    Predictor.load(mlp_artifact(), cache_dir=folder, providers=["CPUExecutionProvider"])
    assert kept_in(folder) == []


@pytest.mark.parametrize("wrong", [5, True, False, "", b"", [], {}])
def test_a_folder_is_a_path(wrong: Any) -> None:
    """An empty text is refused, too: it would mean the working folder."""
    says = re.escape(f"cache_dir is {wrong!r}, expected a path: pass one, or leave it out")
    with pytest.raises(OptionError, match=says):
        Predictor.load(mlp_artifact(), cache_dir=wrong)


def test_another_process_and_a_reload_use_the_same_folder(
    folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    predictor = Predictor.load(mlp_file, cache_dir=folder.name)
    (kept,) = kept_in(folder)
    (folder.parent / "elsewhere").mkdir()
    monkeypatch.chdir(folder.parent / "elsewhere")
    copy = pickle.loads(pickle.dumps(predictor))  # noqa: S301
    for load_again in (lambda: copy.card, predictor.reload):  # the copy loads when it is first used
        kept.unlink()
        load_again()
        assert kept_in(folder) == [kept]
    assert kept_in(folder.parent / "elsewhere") == []


def test_nothing_is_printed(child: Child, mlp_file: Path, folder: Path) -> None:
    code = """
import sys
from edgeport import Predictor
for _ in range(2):
    for path in sys.argv[2:]:
        Predictor.load(path, cache_dir=sys.argv[1])
"""
    result = child(code, folder, mlp_file, DIGITS)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert len(kept_in(folder)) == 2


def test_processes_may_warm_at_once(folder: Path, mlp_file: Path) -> None:
    code = """
import sys, numpy as np
from edgeport import Predictor
for _ in range(5):
    predictor = Predictor.load(sys.argv[1], cache_dir=sys.argv[2])
    print(predictor.predict(np.ones(6, "f4")).tobytes().hex())
"""
    command = [sys.executable, "-W", "error", "-c", code, mlp_file, folder]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [process.communicate(timeout=120)[0].split() for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert len({answer for lines in answers for answer in lines}) == 1
    assert [len(lines) for lines in answers] == [5] * 4
    assert len(kept_in(folder)) == 1


def test_the_identity_of_a_cpu_is_that_of_its_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cores of a Raspberry Pi 4, seen at two moments; then one with more features."""
    core = (
        "processor\t: {0}\nBogoMIPS\t: {1}\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n"
        "CPU part\t: 0xd08\ncpu MHz\t\t: {1}\n\n"
    )
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(device_module, "_CPUINFO", str(path))
    seen = []
    for clock, features in ((108.0, "fp asimd"), (600.0, "fp asimd"), (600.0, "fp asimd dotprod")):
        lines = "".join(core.format(number, clock) for number in range(2))
        path.write_text(lines.replace("fp asimd", features))
        seen.append(device_module.cpu_identity())
    assert seen[0] == seen[1] != seen[2]
    assert "CPU part : 0xd08" in seen[0]
    path.unlink()
    assert device_module.cpu_identity() not in ("", *seen)  # other systems have no such file


def test_warm(folder: Path, mlp_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warm", str(mlp_file), "--cache-dir", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    (kept,) = kept_in(folder)
    assert shown["kept"] == str(kept)
    assert shown["kept_bytes"] == kept.stat().st_size
    assert shown["first_answer_ms"] > shown["load_ms"] > 0
    assert shown["first_answer_kept_ms"] > shown["load_kept_ms"] > 0
    before = kept.stat().st_mtime_ns
    Predictor.load(mlp_file, cache_dir=folder)
    assert kept.stat().st_mtime_ns == before
    assert main(["warm", str(mlp_file), "--cache-dir", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"kept         {kept}, {kept.stat().st_size:,} bytes"
    assert re.fullmatch(r"load         [\d.]+ ms, without [\d.]+ ms", lines[1])
    assert re.fullmatch(r"answer       [\d.]+ ms, without [\d.]+ ms", lines[2])


def test_warm_takes_any_way_to_the_folder(
    folder: Path, mlp_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    for way in (folder.name, f"missing/../{folder.name}", f"./{folder.name}/"):
        assert main(["warm", str(mlp_file), "--cache-dir", way]) == 0
    assert len(kept_in(folder)) == 1


def test_warm_minds_no_other_file_of_the_folder(mlp_file: Path) -> None:
    mlp_file.with_name("mlp.onnx.tune.json").write_text("{")
    assert main(["warm", str(mlp_file), "--cache-dir", str(mlp_file.parent)]) == 0


def test_warm_says_why_nothing_is_kept(
    tmp_path: Path, folder: Path, mlp_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    for path, where, reason in (
        (mlp_file, folder, "the folder may be written by others"),
        (mlp_file, mlp_file / "below", "Not a directory"),
        (mlp_file, tmp_path / ("long" * 100), "File name too long"),
    ):
        assert main(["warm", str(path), "--cache-dir", str(where)]) == OptionError.exit_code
        shown = capsys.readouterr()
        assert shown.out == ""
        assert shown.err.startswith(f"edgeport: nothing is kept for '{path}', since ")
        assert reason in shown.err
        assert shown.err.endswith(": load it without cache_dir, or choose another folder\n")
        assert shown.err.count("\n") == 1
    assert logging.getLogger("edgeport").handlers == [] or all(
        isinstance(handler, logging.NullHandler)
        for handler in logging.getLogger("edgeport").handlers
    )


def test_a_graph_sealed_for_a_newer_card_is_no_way_around_it(folder: Path) -> None:
    """The card is the artifact's own, whatever was kept."""
    example = mlp()
    changed = replace(example.card, inputs=(spec("x", "float32", ("N", 7)),))
    Predictor.load(example.artifact(), cache_dir=folder)
    with pytest.raises(ArtifactError, match="has a card for another graph"):
        Predictor.load(sealed(example.onnx, changed), cache_dir=folder)
