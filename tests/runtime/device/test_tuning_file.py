"""Device tuning: what is measured, what is chosen, and that the file decides nothing but speed."""

from __future__ import annotations

import json
import os
import pickle
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import onnxruntime
import pytest
from commands import fails, run
from examples import Child, doubler, golden, identity, mlp, mlp_artifact, sealed
from hypothesis import given
from hypothesis import strategies as st

from edgeport import ModelCard, OptionError, Predictor
from edgeport.cli.main import main
from edgeport.cli.tune import MARGIN, ROUNDS, Timing, choose, difference
from edgeport.device import cpus, private, tuning_file
from edgeport.device import identity as device_identity
from edgeport.device.tuning_file import Tuning

pytestmark = pytest.mark.slow

X = np.array([[1, 2, 3]], "f4")
ARTIFACT, VARIANT = 2.0, 2.5
"""What the two forms of the model multiply by, so that an answer tells which of them gave it."""


def times(factor: float) -> bytes:
    content = ow.graph(
        [ow.node("Mul", ["x", "f"], ["y"])],
        [("x", "float32", ["N", 3])],
        [("y", "float32", ["N", 3])],
        {"f": np.float32(factor)},
    )
    return ow.model(content)


def form(factor: float, **changes: Any) -> bytes:
    """One of several forms of a model: each proves itself by its own golden sample."""
    return sealed(times(factor), doubler().card, golden(X, X * np.float32(factor)), **changes)


@pytest.fixture(autouse=True)
def _two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: 2)
    monkeypatch.delenv(cpus.THREADS_VARIABLE, raising=False)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(form(ARTIFACT))
    return path


@pytest.fixture
def variant(artifact: Path) -> Path:
    path = artifact.with_name("model.none.onnx")
    path.write_bytes(form(VARIANT))
    return path


def digest_of(path: Path) -> str:
    with Predictor.load(path, tuning=False) as predictor:
        assert predictor.card.sha256
        return predictor.card.sha256


def content_for(path: Path, **changes: Any) -> dict[str, Any]:
    settings = Tuning(2, True, "extended").to_dict()
    return {**tuning_file.circumstances(digest_of(path)), "choice": {**settings, **changes}}


def write(path: Path, content: Any) -> Path:
    file = Path(f"{path}.tune.json")
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def factor_of(predictor: Predictor) -> float:
    answer = predictor.predict(X)
    np.testing.assert_array_equal(answer / answer[0, 0], X)
    return float(answer[0, 0])


def settings_of(predictor: Predictor) -> tuple[int, str, Any]:
    """What the engine itself says of its settings."""
    assert predictor._model is not None
    options = predictor._model.session._engine.get_session_options()
    spinning = options.get_session_config_entry("session.intra_op.allow_spinning")
    return options.intra_op_num_threads, spinning, options.graph_optimization_level


LEVELS = onnxruntime.GraphOptimizationLevel
DEFAULT = (1, "0", LEVELS.ORT_ENABLE_ALL)
TUNED = (2, "1", LEVELS.ORT_ENABLE_EXTENDED)


def test_a_tuning_that_fits_is_honoured(artifact: Path) -> None:
    assert settings_of(Predictor.load(artifact)) == DEFAULT
    write(artifact, content_for(artifact))
    with Predictor.load(artifact) as predictor:
        assert settings_of(predictor) == TUNED
        assert predictor.tuning == Tuning(2, True, "extended")
        assert (predictor.threads, factor_of(predictor)) == (2, ARTIFACT)


def test_another_place_and_none_at_all(artifact: Path, tmp_path: Path) -> None:
    file = write(artifact, content_for(artifact))
    elsewhere = file.rename(tmp_path / "elsewhere.json")
    for source in (artifact, artifact.read_bytes()):
        assert settings_of(Predictor.load(source)) == DEFAULT
        assert settings_of(Predictor.load(source, tuning=elsewhere)) == TUNED
    elsewhere.rename(file)
    with Predictor.load(artifact, tuning=False) as predictor:
        assert settings_of(predictor) == DEFAULT
        assert predictor.tuning is None


@pytest.mark.parametrize("wrong", [None, 0, 1, "", b""])
def test_a_place_is_a_path(wrong: Any, artifact: Path) -> None:
    with pytest.raises(OptionError, match="expected a path: pass one, or leave it out"):
        Predictor.load(artifact, tuning=wrong)


def test_what_the_caller_says_wins(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(artifact, content_for(artifact))
    assert Predictor.load(artifact, threads=1).threads == 1
    monkeypatch.setenv(cpus.THREADS_VARIABLE, "1")
    assert Predictor.load(artifact).threads == 1
    with Predictor.load(artifact, providers=["CPUExecutionProvider"]) as predictor:
        assert predictor.tuning is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("artifact", "0" * 64),
        ("cpu", "another"),
        ("onnxruntime", "1.0.0"),
        ("usable_cpus", 3),
        ("format", 2),
        ("format", True),
        ("format", 1.0),
    ],
)
def test_a_tuning_of_something_else_is_ignored(
    name: str, value: Any, artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(artifact, {**content_for(artifact), name: value})
    with Predictor.load(artifact) as predictor:
        assert settings_of(predictor) == DEFAULT
        assert predictor.tuning is None
    assert f"'{file}' is not used (it was made for another {name.split('_')[0]}" in caplog.text
    assert "run 'edgeport tune' again" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"threads": 0},
        {"threads": 3},
        {"threads": True},
        {"threads": "2"},
        {"threads": None},
        {"spinning": 1},
        {"optimization": "fastest"},
        {"optimization": "none"},  # the engine knows it, and gives other answers
        {"optimization": ["all"]},
    ],
)
def test_an_impossible_choice_is_ignored(
    changes: dict[str, Any], artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(artifact, content_for(artifact, **changes))
    with Predictor.load(artifact) as predictor:
        assert (settings_of(predictor), predictor.tuning) == (DEFAULT, None)
    assert "which this edgeport does not know" in caplog.text


@pytest.mark.parametrize("choice", [None, [], "all", 1, [["threads", 1]]])
def test_a_choice_that_is_no_object_is_ignored(
    choice: Any, artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(artifact, {**content_for(artifact), "choice": choice})
    with Predictor.load(artifact) as predictor:
        assert (settings_of(predictor), predictor.tuning) == (DEFAULT, None)
    assert "is not used (it holds other JSON than 'edgeport tune' writes)" in caplog.text


@given(
    st.one_of(
        st.binary(max_size=80),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["format", "choice", "artifact"]), inner)
            ),
            max_leaves=6,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_a_broken_file_changes_nothing(content: bytes) -> None:
    file = Path(os.environ["PYTEST_TUNING_FILE"])
    file.write_bytes(content)
    with Predictor.load(form(ARTIFACT), tuning=file) as predictor:
        assert (settings_of(predictor), predictor.tuning) == (DEFAULT, None)
        assert factor_of(predictor) == ARTIFACT


@pytest.fixture(autouse=True)
def _tuning_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TUNING_FILE", str(tmp_path / "broken.json"))


def test_files_of_other_kinds_change_nothing(artifact: Path, tmp_path: Path) -> None:
    pipe, large, deep = tmp_path / "pipe", tmp_path / "large", tmp_path / "deep"
    os.mkfifo(pipe)
    large.write_bytes(b" " * (2**20 + 1))
    deep.write_text("[" * 200_000)
    for file in (pipe, large, deep, tmp_path, tmp_path / "missing", "\0"):
        with Predictor.load(artifact, tuning=file) as predictor:
            assert (settings_of(predictor), predictor.tuning) == (DEFAULT, None)
    wrong: Any = 5
    with pytest.raises(OptionError, match="tuning is 5, expected a path"):
        Predictor.load(artifact, tuning=wrong)


def test_damage_of_any_byte_leaves_the_answers_right(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_identity, "identity", lambda: {"cpu": "x", "onnxruntime": "1"})
    file = write(artifact, content_for(artifact))
    whole = file.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        file.write_bytes(damaged)
        with Predictor.load(artifact) as predictor:
            assert factor_of(predictor) == ARTIFACT


@pytest.mark.parametrize("named", ["model.none.onnx", "../model.none.onnx", "", 5, ["a"]])
def test_an_old_file_that_chooses_another_artifact_is_ignored(
    named: Any, artifact: Path, variant: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(artifact, content_for(artifact, variant=named, variant_sha256=digest_of(variant)))
    with Predictor.load(artifact) as predictor:
        assert (factor_of(predictor), predictor.tuning) == (ARTIFACT, None)
        assert settings_of(predictor) == DEFAULT
    assert "it chooses another file, which loading never does: copy that file" in caplog.text


def test_an_old_file_that_chooses_settings_alone_is_used(artifact: Path) -> None:
    write(artifact, content_for(artifact, variant=None, variant_sha256=None))
    with Predictor.load(artifact) as predictor:
        assert (factor_of(predictor), settings_of(predictor)) == (ARTIFACT, TUNED)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other rules")
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o646])
def test_a_file_that_others_may_write_is_ignored(
    mode: int, artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(artifact, content_for(artifact)).chmod(mode)
    with Predictor.load(artifact) as predictor:
        assert (settings_of(predictor), predictor.tuning) == (DEFAULT, None)
    assert "the file may be written by others, expected by its owner alone" in caplog.text


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has other rules")
@pytest.mark.parametrize(("owner", "user", "is_fine"), [(7, 7, True), (0, 7, True), (8, 7, False)])
def test_only_this_user_and_root_are_trusted(
    owner: int, user: int, is_fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    about = os.stat_result((0o100600, 0, 0, 1, owner, owner, 0, 0, 0, 0))
    if is_fine:
        private.check(about, "the file")
    else:
        with pytest.raises(ValueError, match="the file belongs to user 8, expected this one or"):
            private.check(about, "the file")


def test_a_link_to_a_file_counts_as_the_file(artifact: Path, tmp_path: Path) -> None:
    file = write(artifact, content_for(artifact))
    real = file.rename(tmp_path / "real.json")
    file.symlink_to(real)
    assert settings_of(Predictor.load(artifact)) == TUNED
    real.chmod(0o666)
    assert settings_of(Predictor.load(artifact)) == DEFAULT


def test_another_process_and_a_reload_keep_the_settings(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(artifact, content_for(artifact))
    monkeypatch.chdir(artifact.parent)
    predictor = Predictor.load(artifact.name)
    monkeypatch.chdir("/")
    with pickle.loads(pickle.dumps(predictor)) as other:  # noqa: S301 - our own
        assert settings_of(other) == TUNED
    predictor.reload()
    assert settings_of(predictor) == TUNED
    artifact.write_bytes(form(4.0))
    predictor.reload()  # the new artifact was never tuned
    assert (factor_of(predictor), predictor.tuning) == (4.0, None)


def test_a_kept_graph_is_that_of_the_settings(artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "graphs"
    Predictor.load(artifact, cache_dir=folder)
    write(artifact, content_for(artifact))
    for _ in range(2):
        assert factor_of(Predictor.load(artifact, cache_dir=folder)) == ARTIFACT
    assert len(list(folder.iterdir())) == 2
    assert main(["warm", str(artifact), "--cache-dir", str(folder)]) == 0


def measured(*ratios: float, threads: int = 1, spinning: bool = False) -> Timing:
    """Return a candidate of 10 ms a call by ratio to the default in each round."""
    base = [10.0 + number for number in range(ROUNDS)]  # the device gets slower meanwhile
    shown = [time * ratio for time, ratio in zip(base, ratios, strict=True)]
    return Timing(Tuning(threads, spinning), "model.onnx", shown, shown)


def test_the_default_stays_within_noise() -> None:
    default = measured(*[1.0] * ROUNDS)
    noisy = measured(0.8, 1.3, 0.7, 1.02, 0.8, 1.1, 0.9, threads=2)
    little = measured(*[1 - MARGIN / 2] * ROUNDS, threads=2)
    assert choose([default, noisy, little]) is default


def test_the_fastest_beyond_noise_is_chosen() -> None:
    default = measured(*[1.0] * ROUNDS)
    fast, faster = measured(*[0.8] * ROUNDS, threads=2), measured(*[0.5] * ROUNDS, threads=4)
    assert choose([default, fast, faster]) is faster
    once_disturbed = measured(3.0, *[0.5] * (ROUNDS - 1), threads=2)
    assert choose([default, once_disturbed]) is once_disturbed


def test_of_equals_the_one_that_costs_less_is_chosen() -> None:
    default = measured(*[1.0] * ROUNDS)
    four, two = (measured(*[0.5] * ROUNDS, threads=count) for count in (4, 2))
    spinning = measured(*[0.49] * ROUNDS, threads=2, spinning=True)
    assert choose([default, spinning, four, two]) is two
    assert choose([default, four, replace(two, refused="no")]) is four


@given(
    st.lists(st.lists(st.floats(0.1, 10), min_size=ROUNDS, max_size=ROUNDS), min_size=1, max_size=5)
)
def test_what_is_chosen_is_ahead_of_the_default(rows: list[list[float]]) -> None:
    default = Timing(Tuning(1), "model.onnx", rows[0])
    others = [Timing(Tuning(2), "model.onnx", row) for row in rows[1:]]
    best = choose([default, *others])
    if best is not default:
        assert statistics.median(best.times_ms) < statistics.median(default.times_ms) or (
            sum(a < b for a, b in zip(best.times_ms, default.times_ms, strict=True)) > ROUNDS // 2
        )


def test_tune(artifact: Path, variant: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, "tune", artifact, variant, "--seconds", "0.02", "--allow-spinning")
    file = Path(f"{artifact}.tune.json")
    assert json.loads(file.read_text()) == shown
    assert shown["artifact"] == digest_of(artifact)
    assert shown["usable_cpus"] == 2
    rows = shown["measured"]
    seen = [(row["file"], row["threads"], row["spinning"], row["optimization"]) for row in rows]
    settings = [(1, False), (2, False), (2, True)]
    assert sorted(seen) == sorted(
        (str(path), threads, spinning, level)
        for path in (artifact, variant)
        for threads, spinning in settings
        for level in ("all", "extended")
    )
    assert all(0 < row["lowest_ms"] <= row["median_ms"] <= row["highest_ms"] for row in rows)
    (chosen,) = (row for row in rows if row["is_chosen"])
    choice = shown["choice"]
    assert chosen["file"] == str(artifact)
    assert shown["fastest_file"] in (str(artifact), str(variant))
    assert [chosen[name] for name in ("threads", "spinning", "optimization")] == [
        choice[name] for name in ("threads", "spinning", "optimization")
    ]
    with Predictor.load(artifact) as predictor:
        assert predictor.tuning == Tuning(**choice)
        assert factor_of(predictor) == ARTIFACT


def test_tune_prints_a_table(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = artifact.with_name("other.json")
    arguments = ["tune", str(artifact), "-o", str(output), "--seconds", "0.02"]
    assert main([*arguments, "--frame-gap", "1"]) == 0
    shown = capsys.readouterr()
    head, *rows, last = shown.out.splitlines()
    assert head.split()[:4] == ["file", "threads", "spins", "graph"]
    assert len(rows) == 4  # two thread counts, two levels
    assert [row[0] for row in rows].count("*") == 1
    assert last == f"chosen (*) and written to {output}"
    assert json.loads(output.read_text())["frame_gap_ms"] == 1.0
    assert not Path(f"{artifact}.tune.json").exists()


def test_tune_tells_the_faster_file_and_loading_stays_with_the_artifact(
    artifact: Path,
    variant: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clock is told by the file, so that the machine's load decides nothing."""

    def one_round(model: Any, *_: object) -> tuple[float, float]:
        return (1.0 if model.path == str(variant) else 2.0), 0.0

    monkeypatch.setattr("edgeport.cli.tune._one_round", one_round)
    assert main(["tune", str(artifact), str(variant)]) == 0
    *_, written, told = capsys.readouterr().out.splitlines()
    assert written == f"chosen (*) and written to {artifact}.tune.json"
    assert told == f"fastest file {variant}: copy it to where the other is loaded"
    assert json.loads(Path(f"{artifact}.tune.json").read_text())["fastest_file"] == str(variant)
    with Predictor.load(artifact) as predictor:
        assert (factor_of(predictor), predictor.tuning) == (ARTIFACT, Tuning(1))


def test_tune_ignores_what_was_tuned_before(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(artifact, content_for(artifact))
    shown = run(capsys, "tune", artifact, "--seconds", "0.02")
    assert {row["file"] for row in shown["measured"]} == {str(artifact)}


def test_the_file_that_tune_writes_is_trusted_whatever_the_umask_is(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = os.umask(0)
    try:
        run(capsys, "tune", artifact, "--seconds", "0.02")
    finally:
        os.umask(before)
    assert Path(f"{artifact}.tune.json").stat().st_mode & 0o777 == 0o644
    with Predictor.load(artifact) as predictor:
        assert predictor.tuning is not None


def test_tune_works_without_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(mlp().onnx)
    run(capsys, "tune", plain, "--seconds", "0.02")
    with Predictor.load(plain) as predictor:
        assert predictor.tuning is not None
        np.testing.assert_allclose(
            predictor.predict(np.ones((1, 6), "f4")), mlp().formula(np.ones((1, 6))), atol=1e-5
        )


def test_tune_refuses_what_is_no_variant(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger, plain = tmp_path / "stranger.onnx", tmp_path / "plain.onnx"
    stranger.write_bytes(mlp_artifact())
    plain.write_bytes(identity().onnx)
    for other, reason in ((stranger, "is no variant of"), (plain, "it has no card")):
        code, sentence = fails(capsys, "tune", artifact, other)
        assert code == OptionError.exit_code
        assert reason in sentence
    assert fails(capsys, "tune", artifact, tmp_path / "missing.onnx")[0] == 3
    assert fails(capsys, "tune", tmp_path / "missing.onnx")[0] == 3
    assert list(tmp_path.glob("*.json")) == []


def test_tune_refuses_times_and_places_that_cannot_be(
    artifact: Path,
    variant: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measured(*arguments: object, **options: object) -> None:
        pytest.fail("measured first")

    monkeypatch.setattr("edgeport.cli.tune.tune", measured)
    data = tmp_path / "x.npy"
    np.save(data, np.zeros((1, 4), "f4"))
    before = [path.read_bytes() for path in (artifact, variant, data)]
    for arguments in (
        ["--frame-gap", "-1"],
        ["--frame-gap", "nan"],
        ["--frame-gap", "1e300"],
        ["--seconds", "0"],
        ["--seconds", "inf"],
        ["--seconds", "1e9"],
        ["--output", artifact],
        ["--output", variant],
        ["--output", data, "--data", data],
        ["--output", tmp_path],
        ["--output", tmp_path / "no" / "folder.json"],
    ):
        assert fails(capsys, "tune", artifact, variant, *arguments)[0] == OptionError.exit_code
    assert [path.read_bytes() for path in (artifact, variant, data)] == before


def test_tune_measures_each_file_once(
    artifact: Path, variant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`edgeport tune model.onnx *.onnx` names the artifact twice."""
    shown = run(capsys, "tune", artifact, artifact, variant, variant, "--seconds", "0.02")
    names = [row["file"] for row in shown["measured"]]
    assert (names.count(str(artifact)), names.count(str(variant))) == (4, 4)


def test_tune_measures_no_threads_that_one_sample_of_a_small_model_does_not_use(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such a model shares batches alone, unless its threads spin."""
    artifact.write_bytes(form(ARTIFACT, multiply_accumulates=2**20))
    shown = run(capsys, "tune", artifact, "--seconds", "0.02", "--allow-spinning")
    seen = {(row["threads"], row["spinning"], row["optimization"]) for row in shown["measured"]}
    assert seen == {
        (threads, spinning, level)
        for threads, spinning in ((1, False), (2, True))
        for level in ("all", "extended")
    }


def test_tune_begins_with_the_threads_that_loading_takes(
    artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.write_bytes(form(ARTIFACT, multiply_accumulates=2**20))
    monkeypatch.setenv(cpus.THREADS_VARIABLE, "2")
    shown = run(capsys, "tune", artifact, "--seconds", "0.02")
    assert {row["threads"] for row in shown["measured"]} == {2}


def test_tune_chooses_nothing_that_loading_would_refuse(
    artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cpus.THREADS_VARIABLE, "3")  # of two CPUs
    shown = run(capsys, "tune", artifact, "--seconds", "0.02")
    assert {row["threads"] for row in shown["measured"]} == {1, 2}


def test_info_shows_the_tuning(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "info", artifact)["device"]["tuning"] is None
    write(artifact, content_for(artifact))
    facts = run(capsys, "info", artifact)
    assert facts["device"]["tuning"] == {"threads": 2, "spinning": True, "optimization": "extended"}
    assert facts["device"]["threads"] == 2
    assert main(["info", str(artifact)]) == 0
    assert (
        "tuned        2 thread(s), spinning on, graph optimization 'extended'"
    ) in capsys.readouterr().out.splitlines()


def test_a_device_without_a_tuning_file_loads_nothing_for_it(child: Child, artifact: Path) -> None:
    code = """
import sys
from edgeport import Predictor
Predictor.load(sys.argv[1])
print("edgeport.device.tuning_file" in sys.modules, "edgeport.device.identity" in sys.modules)
"""
    assert child(code, artifact).stdout.split() == ["False", "False"]
    write(artifact, content_for(artifact))
    assert child(code, artifact).stdout.split() == ["True", "True"]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("no card", {"sha256": None}),
        ("the outputs", {"outputs": ()}),
        ("another labels", {"labels": ("a", "b", "c")}),
        ("another name", {"name": "somebody else"}),
        ("another preprocessing", {"preprocessing": ("divided by 255",)}),
        ("another provenance", {"provenance": {"source": "another.keras"}}),
    ],
)
def test_the_card_decides_who_is_a_variant(kind: str, changes: dict[str, Any]) -> None:
    one: ModelCard = replace(doubler().card, sha256="1")
    alike = replace(one, sha256="2", accuracy=None, tolerance={"y": 1})
    assert difference(one, alike) is None
    assert str(difference(one, replace(one, **changes))).startswith(kind)
