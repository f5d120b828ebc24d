"""The command line: results on stdout, one sentence on stderr, exit codes of the errors."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from commands import Capture, fails, run
from examples import identity, int8, mlp, mlp_artifact, sealed, spec, two_inputs

import edgeport
from edgeport import ModelCard
from edgeport.cli.main import main
from edgeport.cli.printing import with_progress

X = np.linspace(-1, 1, 18, dtype="f4").reshape(3, 6)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, X)
    return path


def test_info(mlp_file: Path, capsys: Capture) -> None:
    facts = run(capsys, "info", mlp_file)
    assert facts["name"] == "mlp"
    assert facts["vouched_for"] is True
    assert facts["file_bytes"] == len(mlp_artifact())
    assert facts["inputs"][0]["shape"] == ["N", 6]
    assert facts["device"]["onnxruntime"] == onnxruntime.__version__
    assert facts["device"]["threads"] == 1
    assert main(["info", str(mlp_file)]) == 0
    text = capsys.readouterr().out
    assert "input        x: float32 (N, 6)\n" in text
    assert "labels       cat, dog, owl\n" in text


def test_info_of_a_foreign_file_says_what_is_missing(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "plain.onnx"
    path.write_bytes(mlp().onnx)
    assert main(["info", str(path)]) == 0
    assert "no card: nothing vouches for this file" in capsys.readouterr().out


def test_verify(mlp_file: Path, capsys: Capture) -> None:
    checks = run(capsys, "verify", mlp_file)
    assert checks["seal"] == "matches"
    assert checks["golden_samples"] == 1
    assert main(["verify", str(mlp_file)]) == 0
    assert "golden samples  1 within tolerance" in capsys.readouterr().out


def test_verify_says_what_it_cannot_tell(tmp_path: Path, capsys: Capture) -> None:
    """No golden samples are no proof, whatever else is checked."""
    path = tmp_path / "m.onnx"
    doubt = "the parity check would miss much: pass data"
    path.write_bytes(mlp().artifact(unproven=(doubt,)))
    checks = run(capsys, "verify", path)
    assert (checks["golden_samples"], checks["unproven"]) == (0, [doubt])
    assert main(["verify", str(path)]) == 0
    text = capsys.readouterr().out
    assert "golden samples  none: nothing tells whether it answers right\n" in text
    assert "within tolerance" not in text
    assert f"unproven        {doubt}\n" in text
    assert main(["info", str(path)]) == 0
    assert f"unproven     {doubt}\n" in capsys.readouterr().out


def test_verify_of_a_damaged_file(mlp_file: Path, capsys: Capture) -> None:
    mlp_file.write_bytes(mlp_artifact()[:-3])
    code, sentence = fails(capsys, "verify", mlp_file)
    assert code == edgeport.IntegrityError.exit_code
    assert "is damaged" in sentence


def test_predict_prints_the_formulas_answers(mlp_file: Path, data: Path, capsys: Capture) -> None:
    assert main(["predict", str(mlp_file), str(data), "--json"]) == 0
    answers = [json.loads(line)["y"] for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose(answers, mlp().formula(X), rtol=1e-5)
    assert main(["predict", str(mlp_file), str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [[float(text) for text in re.findall(r"\d[-+.e\d]*", line)] for line in lines]
    np.testing.assert_allclose(shown, mlp().formula(X), rtol=1e-5)


def test_a_small_number_is_not_shown_as_zero(tmp_path: Path, capsys: Capture) -> None:
    model, data = tmp_path / "m.onnx", tmp_path / "x.npy"
    model.write_bytes(identity("float32", ("N", 4)).artifact())
    np.save(data, np.array([[1e-9, -3e-20, 0, 0.5]], "f4"))
    assert main(["predict", str(model), str(data)]) == 0
    assert capsys.readouterr().out == "y [1e-09 -3e-20 0 0.5]\n"
    assert main(["predict", str(model), str(data), "--top-k", "3"]) == 0
    assert capsys.readouterr().out == "3 0.5  0 1e-09  2 0\n"


def test_predict_several_inputs_from_npz(tmp_path: Path, capsys: Capture) -> None:
    artifact, pair = tmp_path / "two.onnx", tmp_path / "pair.npz"
    artifact.write_bytes(two_inputs().artifact())
    np.savez(pair, right=np.ones((1, 2), "f4"), left=np.full((1, 2), 3, "f4"))
    assert run(capsys, "predict", artifact, pair) == {"total": [4.0, 4.0], "difference": [2.0, 2.0]}


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "jsonl"])
def test_every_format_is_read_and_written(
    ending: str, mlp_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    source, out = tmp_path / f"x.{ending}", tmp_path / f"out.{ending}"
    if ending == "npy":
        np.save(source, X)
    elif ending == "npz":
        np.savez(source, x=X)
    elif ending == "csv":
        np.savetxt(source, X, delimiter=",", header="a,b,c,d,e,f", comments="", fmt="%.9g")
    else:
        source.write_text("".join(json.dumps(row.tolist()) + "\n\n" for row in X))
    assert main(["predict", str(mlp_file), str(source), "-o", str(out)]) == 0
    assert capsys.readouterr() == ("", "")
    if ending == "npy":
        y = np.load(out)
    elif ending == "npz":
        with np.load(out) as arrays:
            y = arrays["y"]
    elif ending == "csv":
        assert out.read_text().startswith('"cat","dog","owl"\n')
        y = np.loadtxt(out, delimiter=",", skiprows=1)
    else:
        y = np.array([json.loads(line)["y"] for line in out.read_text().splitlines()])
    np.testing.assert_allclose(y, mlp().formula(X), rtol=1e-5)
    # No half-written file remains.
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mlp.onnx", source.name, out.name}


def test_several_files_are_one_stream(mlp_file: Path, data: Path, capsys: Capture) -> None:
    assert main(["predict", str(mlp_file), str(data), str(data), "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_json_lines_hold_several_inputs_by_name(tmp_path: Path, capsys: Capture) -> None:
    artifact, lines = tmp_path / "two.onnx", tmp_path / "x.jsonl"
    artifact.write_bytes(two_inputs().artifact())
    lines.write_text('{"left": [1, 2], "right": [3, 4]}\n{"right": [1], "left": [5]}\n')
    assert main(["predict", str(artifact), str(lines), "--json"]) == 0
    totals = [json.loads(line)["total"] for line in capsys.readouterr().out.splitlines()]
    assert totals == [[4, 6], [6]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", "1,2,3,4,5,6\n1,2,x,4,5,6\n", "line 2: 'x' is no number"),
        ("x.csv", "1,2\n", "sample 0 of the stream cannot be used: input 'x' has shape (2,)"),
        ("x.jsonl", "[1,2,3,4,5,6]\n[1,\n", "line 2 is no JSON"),
        ("x.npy", "nonsense", "cannot be read as .npy"),
        ("x.npz", "nonsense", "cannot be read as .npz"),
        ("x.png", "nonsense", "is an image, the model takes x (N, 6)"),
    ],
)
def test_bad_data_is_named(
    name: str, content: str, words: str, mlp_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / name).write_text(content)
    assert main(["predict", str(mlp_file), str(tmp_path / name)]) == edgeport.InputError.exit_code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "shape", "axes"),
    [
        ("L", (4, 5, 1), ("H", "W", "C")),
        ("RGB", (4, 5, 3), ("H", "W", "C")),
        ("RGB", (3, 4, 5), ("C", "H", "W")),
        ("L", (4, 5), ("H", "W")),
    ],
)
def test_images_come_as_the_model_wants_them(
    mode: str, shape: tuple[int, ...], axes: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    from PIL import Image

    artifact, image = tmp_path / "i.onnx", tmp_path / "i.png"
    onnx = identity("uint8", ("N", *shape)).onnx
    ports = [spec(name, "uint8", ("N", *shape), axes=("N", *axes)) for name in ("x", "y")]
    artifact.write_bytes(sealed(onnx, ModelCard("image", (ports[0],), (ports[1],))))
    count = {"L": 1, "RGB": 3}[mode]
    pixels = np.arange(4 * 5 * count, dtype="u1").reshape(4, 5, count)
    Image.fromarray(pixels[..., 0] if mode == "L" else pixels).save(image)
    wanted = pixels if "C" in axes else pixels[..., 0]
    if axes[0] == "C":
        wanted = np.moveaxis(pixels, 2, 0)
    assert run(capsys, "predict", artifact, image)["outputs"]["y"] == wanted.tolist()
    Image.new(mode, (9, 9)).save(image)
    assert main(["predict", str(artifact), str(image)]) == edgeport.InputError.exit_code
    assert "is 9 x 9 pixels (H x W), expected 4 x 5: resize it" in capsys.readouterr().err


def test_values_out_of_range_are_told_on_stderr(tmp_path: Path, capsys: Capture) -> None:
    artifact, data = tmp_path / "int8.onnx", tmp_path / "x.npy"
    artifact.write_bytes(int8().artifact())
    np.save(data, np.full((2, 6), 7.0))
    assert main(["predict", str(artifact), str(data)]) == 0
    assert capsys.readouterr().err == (
        "edgeport: warning: 12 values of input 'x' lie outside the range that the model was "
        "calibrated for: check their scale\n"
    )


def test_predict_top_k(mlp_file: Path, data: Path, capsys: Capture) -> None:
    assert main(["predict", str(mlp_file), str(data), "--top-k", "1"]) == 0
    best = mlp().formula(X)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{('cat', 'dog', 'owl')[int(row.argmax())]} {row.max():.4g}" for row in best]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["info", "missing.onnx"], 3, "there is no file 'missing.onnx'"),
        (["predict", "{model}", "missing.npy"], 7, "there is no file 'missing.npy'"),
        (["predict", "{model}", "{model}"], 7, "ends in '.onnx', expected one of .npy"),
        (["predict", "{model}", "{data}", "-o", "y.txt"], 2, "a name that ends in .npy"),
        (["predict", "{model}", "{data}", "-o", "no/y.csv"], 2, "'no/y.csv' cannot be written"),
        (["predict", "{model}", "{data}", "--top-k", "1", "-o", "y.npy"], 2, "choose one"),
        (["predict", "{model}", "{data}", "--batch-size", "0"], 2, "--batch-size is 0"),
        (
            ["predict", "{model}", "{data}", "--batch-size", "0", "--top-k", "1"],
            2,
            "--batch-size is",
        ),
        (["bench", "{model}", "--batch-sizes", "1", "0"], 2, "--batch-sizes is 0"),
        (["bench", "{model}", "--batch-sizes", f"{2**70}"], 2, "--batch-sizes is 118"),
        (["bench", "{model}", "--seconds", "0"], 2, "--seconds is 0.0"),
        (["bench", "{model}", "--seconds", "inf"], 2, "--seconds is inf"),
        (["bench", "{model}", "--seconds", "nan"], 2, "--seconds is nan"),
        (["bench", "{model}", "--threads", "0"], 2, "threads is 0"),
        (["verify", "{model}", "--minimum-version", "1"], 2, "without public_key"),
        (["predict", "{model}", "{data}", "--top-k", "9"], 2, "top_k is 9"),
        (["convert", "model.keras", "-o", "out.onnx"], 2, "pip install edgeport-converter"),
    ],
)
def test_failures_are_one_sentence_and_a_code(
    arguments: list[str],
    code: int,
    words: str,
    mlp_file: Path,
    data: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeport.cli.main._installed_commands", list)
    filled = [text.format(model=mlp_file, data=data) for text in arguments]
    found, sentence = fails(capsys, *filled)
    assert found == code
    assert words in sentence


def test_a_command_of_another_package_that_does_not_load_harms_itself_only(
    mlp_file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = importlib.metadata.EntryPoint("broken", "nowhere_at_all:add", "edgeport.commands")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [broken])
    assert main(["verify", str(mlp_file)]) == 0
    capsys.readouterr()
    code, sentence = fails(capsys, "broken", "with", "--any", "arguments")
    assert code == edgeport.OptionError.exit_code
    assert sentence == (
        "'edgeport broken' does not load (ModuleNotFoundError: No module named 'nowhere_at_all'): "
        "install the package that brings it again"
    )


def test_wrong_usage_ends_with_2(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["predict"])
    assert caught.value.code == 2


def test_the_command_as_a_process(mlp_file: Path, data: Path) -> None:
    command = [sys.executable, "-m", "edgeport"]
    shown = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"edgeport {edgeport.__version__}\n"
    head = subprocess.run(
        [*command, "predict", mlp_file, data, "--json"], capture_output=True, text=True, check=True
    )
    answers = [json.loads(line)["y"] for line in head.stdout.splitlines()]
    np.testing.assert_allclose(answers, mlp().formula(X), rtol=1e-5)


def test_a_reader_that_left_is_no_failure(mlp_file: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeport", "info", str(mlp_file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_pipe_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = command("info", tmp_path / "pipe")
    assert result.returncode == edgeport.ArtifactError.exit_code
    assert b"it is a pipe or a device, expected a file" in result.stderr


def test_an_output_may_have_the_longest_name(mlp_file: Path, data: Path, tmp_path: Path) -> None:
    for name in ("y" * 251 + ".npy", "日" * 83 + ".npy"):
        out = tmp_path / name
        assert main(["predict", str(mlp_file), str(data), "-o", str(out)]) == 0
        np.testing.assert_allclose(np.load(out), mlp().formula(X), rtol=1e-5)
        out.unlink()
    assert {path.name for path in tmp_path.iterdir()} == {mlp_file.name, data.name}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _show_bar(monkeypatch: pytest.MonkeyPatch, stdout: io.StringIO, **options: Any) -> str:
    """Pass eight items on, a second each; return what stderr, a terminal, was told."""
    clock = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    stderr = options.pop("stderr", Terminal())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        assert list(with_progress(iter(range(8)), 8, **options)) == list(range(8))
    return str(stderr.getvalue())


def test_a_long_input_shows_a_bar_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = _show_bar(monkeypatch, io.StringIO(), is_printing=True)
    assert "\r4 samples  50%" in shown
    assert shown.endswith("\r\033[K")
    assert _show_bar(monkeypatch, io.StringIO(), is_printing=True, stderr=io.StringIO()) == ""


def test_no_bar_stands_between_answers_on_the_same_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _show_bar(monkeypatch, Terminal(), is_printing=True) == ""
    assert "50%" in _show_bar(monkeypatch, Terminal(), is_printing=False)


def test_an_error_stands_on_a_line_without_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    def items() -> Iterator[int]:
        yield from range(8)
        raise edgeport.InputError("broken")

    clock = iter(range(1000))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(edgeport.InputError, match="broken"):
        list(with_progress(items(), None, is_printing=False))
    assert stderr.getvalue().endswith("samples\r\033[K")


def test_the_converters_commands_say_where_they_are_even_when_asked_for_help(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeport.cli.main._installed_commands", list)
    for name in ("train", "convert", "report", "page"):
        for rest in ([], ["--help"], ["-h"], ["x", "--any", "thing", "--"]):
            code, sentence = fails(capsys, name, *rest)
            assert code == edgeport.OptionError.exit_code
            assert sentence == (
                f"'edgeport {name}' belongs to the converter, which is not installed here: "
                "pip install edgeport-converter, on a workstation rather than on the device"
            )


def test_the_help_has_one_order(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeport.cli.main._installed_commands", list)
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    own = ["info", "verify", "predict", "score", "explain", "bench", "tune", "warm", "sign"]
    assert shown == [*own, "train", "convert", "report", "page", "bundle"]


def command(*arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process with another environment."""
    return subprocess.run(
        [sys.executable, "-m", "edgeport", *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
def test_a_terminal_without_these_letters_crashes_nothing(
    variables: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    words = ("größe", "µm", "日本", "…")
    labels = replace(mlp().card, name="Modèle – 7", labels=words[:3])
    path.write_bytes(sealed(mlp().onnx, labels))
    np.save(tmp_path / "x.npy", X)
    for arguments in (["info", path], ["predict", path, tmp_path / "x.npy", "--top-k", "3"]):
        result = command(*arguments, **variables)
        assert (result.returncode, result.stderr) == (0, b"")
        as_json = command(*arguments, "--json", **variables)
        assert as_json.returncode == 0
        assert "größe" in str([json.loads(part) for part in _documents(as_json.stdout.decode())])
    result = command("info", tmp_path / "größe.onnx", **variables)
    assert result.returncode == edgeport.ArtifactError.exit_code
    assert b"there is no file" in result.stderr


def _documents(text: str) -> list[str]:
    """Return the JSON documents of a text: one in many lines, or one a line."""
    return [text] if text.startswith("{\n") else text.splitlines()


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "jsonl"])
def test_a_run_that_fails_leaves_the_old_output_alone(
    ending: str, mlp_file: Path, tmp_path: Path, capsys: Capture
) -> None:
    source, out = tmp_path / "x.jsonl", tmp_path / f"out.{ending}"
    source.write_text("[1,2,3,4,5,6]\n" * 100 + "[1,2]\n")
    out.write_text("old")
    before = {path.name for path in tmp_path.iterdir()}
    code, sentence = fails(capsys, "predict", mlp_file, source, "-o", out)
    assert code == edgeport.InputError.exit_code
    assert "sample 100 of the stream" in sentence
    assert out.read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows delivers no signal to one process")
def test_ctrl_c_leaves_no_half_written_output(mlp_file: Path, tmp_path: Path) -> None:
    out, pipe = tmp_path / "out.csv", tmp_path / "x.jsonl"
    os.mkfifo(pipe)
    # The background jobs of a shell ignore the signal, and so would their children.
    hearing = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"import signal, sys; {hearing}; from edgeport.cli.main import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "predict", mlp_file, pipe, "-o", out],
        stderr=subprocess.PIPE,
    )
    with pipe.open("w") as feed:
        feed.write("[1,2,3,4,5,6]\n" * 1000)
        feed.flush()
        patience = time.monotonic() + 60
        while not list(tmp_path.glob(".out.csv*.tmp")) and time.monotonic() < patience:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, shown = process.communicate(timeout=60)
    assert (process.returncode, shown) == (130, b"edgeport: interrupted\n")
    assert {path.name for path in tmp_path.iterdir()} == {mlp_file.name, pipe.name}


def test_what_is_read_is_never_written(mlp_file: Path, data: Path, capsys: Capture) -> None:
    (data.parent / "link.npy").symlink_to(data)
    for out in (data, data.parent / "link.npy"):
        code, sentence = fails(capsys, "predict", mlp_file, data, "-o", out)
        assert code == edgeport.OptionError.exit_code
        assert sentence == (
            f"'{out}' would be overwritten, but '{data}' is read by the same call and is or holds "
            "this file: choose another place"
        )
    np.testing.assert_array_equal(np.load(data), X)


def test_a_missing_input_is_named_though_the_output_exists(
    mlp_file: Path, data: Path, capsys: Capture
) -> None:
    code, sentence = fails(capsys, "predict", mlp_file, "missing.npy", "-o", data)
    assert code == edgeport.InputError.exit_code
    assert "there is no file 'missing.npy'" in sentence


NO_STDOUT = "edgeport: the results cannot be printed ({}): give stdout a place to go\n"


def shell(redirection: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command with streams closed or redirected."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-m", "edgeport"]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# A disk is full for a process that may write no byte; no test needs the device /dev/full for it.
FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
sys.path[:] = sys.argv.pop().split("|")
from edgeport.cli.main import main
sys.exit(main())
"""


def on_a_full_disk(stream: str, file: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command with one stream to a file that takes no byte."""
    others = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with file.open("w") as full:
        return subprocess.run(
            [sys.executable, "-c", FULL_DISK, *map(str, arguments), "|".join(sys.path)],
            **(others | {stream: full}),
            text=True,
            timeout=60,
            check=False,
        )


@pytest.mark.skipif(os.name != "posix", reason="sh, and a limit of file sizes")
@pytest.mark.parametrize("way", ["closed", "full"])
def test_results_that_cannot_be_printed_are_an_error(
    way: str, mlp_file: Path, data: Path, tmp_path: Path
) -> None:
    def result_of(*arguments: object) -> subprocess.CompletedProcess[str]:
        if way == "closed":
            return shell(">&-", *arguments)
        return on_a_full_disk("stdout", tmp_path / "shown", *arguments)

    reason = "Bad file descriptor" if way == "closed" else "File too large"
    for arguments in (["info", mlp_file], ["predict", mlp_file, data]):  # argparse shows --help
        result = result_of(*arguments)
        assert (result.returncode, result.stderr) == (
            edgeport.OptionError.exit_code,
            NO_STDOUT.format(reason),
        )
    result = result_of("info", "missing.onnx")
    assert result.returncode == edgeport.ArtifactError.exit_code
    assert result.stderr.startswith("edgeport: there is no file")
    out = mlp_file.with_name("y.npy")  # here nothing is printed
    result = result_of("predict", mlp_file, data, "-o", out)
    if way == "closed":
        assert (result.returncode, result.stderr) == (0, "")
        np.testing.assert_allclose(np.load(out), mlp().formula(X), rtol=1e-5)
    else:
        assert result.returncode == edgeport.OptionError.exit_code
        assert f"'{out}' cannot be written (File too large)" in result.stderr
        assert not out.exists()


@pytest.mark.skipif(os.name != "posix", reason="sh, and a limit of file sizes")
@pytest.mark.parametrize("redirection", ["2>&-", "full", "<&- >&- 2>&-"])
def test_an_error_that_nobody_can_read_keeps_its_code(
    redirection: str, mlp_file: Path, tmp_path: Path
) -> None:
    def result_of(*arguments: object) -> subprocess.CompletedProcess[str]:
        if redirection == "full":
            return on_a_full_disk("stderr", tmp_path / "shown", *arguments)
        return shell(redirection, *arguments)

    result = result_of("verify", "missing.onnx", "--json")
    assert (result.returncode, result.stdout) == (edgeport.ArtifactError.exit_code, "")
    if ">&- 2" not in redirection:
        result = result_of("verify", mlp_file, "--json")
        assert result.returncode == 0
        assert json.loads(result.stdout)["seal"] == "matches"


def test_a_reader_that_leaves_in_the_middle_is_no_failure(mlp_file: Path, data: Path) -> None:
    np.save(data, np.tile(X, (2000, 1)))
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeport", "predict", str(mlp_file), str(data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith(b"y [")
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


def test_text_that_is_no_utf8_is_named(mlp_file: Path, tmp_path: Path, capsys: Capture) -> None:
    for name in ("x.csv", "x.jsonl"):
        (tmp_path / name).write_bytes(b"1,2,3,4,5,6\n\xff\xfe,2\n" if "csv" in name else b'"\xff"')
        code, sentence = fails(capsys, "predict", mlp_file, tmp_path / name)
        assert code == edgeport.InputError.exit_code
        assert "cannot be read as" in sentence
