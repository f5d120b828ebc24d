"""Files of strangers on the command line: what is trusted, and what their names may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import Child, golden, mlp, mlp_artifact, sealed, spec

import edgeport
from edgeport import ModelCard, Quantization, Requirements
from edgeport.cli.main import main
from edgeport.cli.printing import escaped

Capture = pytest.CaptureFixture[str]


def shown(capsys: Capture, *arguments: object, code: int = 0) -> str:
    assert main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    return str(out + err)


# info reads, verify runs.


def wrong_answers() -> bytes:
    x = np.ones((1, 6), "f4")
    return mlp().artifact(golden(x, mlp().formula(x).astype("f4") + 1))


def too_new() -> bytes:
    return sealed(mlp().onnx, replace(mlp().card, requires=Requirements(8, 17, "99.1")))


def no_graph() -> bytes:
    return sealed(b"\x08\x08 no graph at all", mlp().card)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (wrong_answers, edgeport.SelfTestError),
        (too_new, edgeport.UnsupportedFormatError),
        (no_graph, edgeport.ArtifactError),
    ],
)
def test_info_reads_what_this_device_cannot_run(
    make: Any, error: type[edgeport.EdgeportError], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(make())
    assert "input        x: float32 (N, 6)\n" in shown(capsys, "info", path)
    assert json.loads(shown(capsys, "info", path, "--json"))["name"] == "mlp"
    for arguments in (("info", path, "--verify"), ("verify", path)):
        assert shown(capsys, *arguments, code=error.exit_code).startswith("edgeport: ")


def test_info_starts_no_engine(child: Child, mlp_file: Path) -> None:
    code = """
import sys, onnxruntime
from edgeport.cli.main import main
def refuse(*given, **options):
    raise SystemExit("an engine was started")
onnxruntime.InferenceSession.__init__ = refuse
sys.exit(main(["info", sys.argv[1]]))
"""
    assert "name         mlp" in child(code, mlp_file).stdout


def test_info_of_a_changed_file_is_refused(mlp_file: Path, capsys: Capture) -> None:
    data = bytearray(mlp_artifact())
    data[-10] ^= 1
    mlp_file.write_bytes(data)
    assert "do not match the digest" in shown(capsys, "info", mlp_file, code=4)


def test_info_with_verify_shows_both(mlp_file: Path, capsys: Capture) -> None:
    text = shown(capsys, "info", mlp_file, "--verify")
    assert "labels       cat, dog, owl\n" in text
    assert text.endswith("golden samples  1 within tolerance\n")
    checks = json.loads(shown(capsys, "info", mlp_file, "--verify", "--json"))["checks"]
    assert checks == json.loads(shown(capsys, "verify", mlp_file, "--json"))
    assert "checks" not in json.loads(shown(capsys, "info", mlp_file, "--json"))


@pytest.mark.parametrize(
    "option", [["--public-key", "k.pem"], ["--minimum-version", "0"], ["--allow-unsealed"]]
)
def test_info_does_not_pretend_to_check(option: list[str], mlp_file: Path, capsys: Capture) -> None:
    text = shown(capsys, "info", mlp_file, *option, code=2)
    assert f"{option[0]} belongs to the checks" in text


# What has no seal is trusted by nobody who did not say so.


@pytest.mark.parametrize("command", [["verify"], ["info", "--verify"]])
def test_a_file_without_a_seal_does_not_verify(
    command: list[str], tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "plain.onnx"
    path.write_bytes(mlp().onnx)
    for more in ([], ["--json"]):
        text = shown(capsys, *command, path, *more, code=edgeport.IntegrityError.exit_code)
        assert text.startswith(f"edgeport: '{path}' has no seal and no card, so that nothing")
    text = shown(capsys, *command, path, "--allow-unsealed")
    assert "seal            absent: nothing vouches for this file\n" in text


# Names of files and in files are shown, and do nothing.

ESCAPE = "net\x1b]0;owned\x07\nseal            matches"
SHOWN = r"net\x1b]0;owned\x07\nseal            matches"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ESCAPE, SHOWN),
        ("a\rb\tc\x00\x7f", r"a\rb\tc\x00\x7f"),
        ("csi \x9b31m", r"csi \x9b31m"),
        ("gpj.\u202egnp", r"gpj.\u202egnp"),
        ("\u2066a\u2069\u200f", r"\u2066a\u2069\u200f"),
        ("two\u2028lines\u2029\x85", r"two\u2028lines\u2029\x85"),
        ("half \ud800", r"half \ud800"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("Größe – 猫　犬 👩‍🚀 می‌خواهم", "Größe – 猫　犬 👩‍🚀 می‌خواهم"),
    ],
)
def test_text_of_files_is_shown_on_one_line_and_steers_nothing(text: str, expected: str) -> None:
    assert escaped(text) == expected


def foreign(name: str) -> bytes:
    """A plain file whose graph, input and output have such names."""
    shape = ("N", 4)
    return ow.model(
        ow.graph(
            [ow.node("Relu", [name], [name + "y"])],
            [(name, "float32", shape)],
            [(name + "y", "float32", shape)],
            name=name,
        )
    )


def raw(text: str) -> str:
    """Return the characters of a terminal's output that are none of plain lines."""
    return "".join(sign for sign in text if not sign.isprintable() and sign != "\n")


def test_names_in_a_plain_file_are_escaped(tmp_path: Path, capsys: Capture) -> None:
    path, data = tmp_path / "esc.onnx", tmp_path / "x.npy"
    path.write_bytes(foreign(ESCAPE))
    np.save(data, np.ones((2, 4), "f4"))
    text = shown(capsys, "info", path)
    assert f"name         {SHOWN}\n" in text
    for arguments in (
        ("info", path),
        ("verify", path, "--allow-unsealed"),
        ("predict", path, data),
        ("bench", path, "--seconds", "0.001"),
    ):
        lines = shown(capsys, *arguments)
        assert raw(lines) == ""
        assert "\nseal            matches" not in lines.replace("\nseal            absent", "")


def test_names_in_an_error_are_escaped(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "esc.onnx"
    path.write_bytes(foreign(ESCAPE))
    (tmp_path / "bad.npy").write_bytes(b"no array")
    for data in (np.ones((2, 5), "f4"), np.array(["a"] * 4)):
        np.save(tmp_path / "x.npy", data)
        text = shown(capsys, "predict", path, tmp_path / "x.npy", code=7)
        assert text.count("\n") == 1
        assert SHOWN in text
    missing = f"{tmp_path}/{ESCAPE}.onnx"
    assert shown(capsys, "info", missing, code=3).count("\n") == 1
    for arguments in (["info", "--\x1b]0;owned\x07"], ["\x1b[31m"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert raw(capsys.readouterr().err) == ""


def test_everything_a_card_says_is_escaped(tmp_path: Path, capsys: Capture) -> None:
    port = spec(ESCAPE, "float32", ("N", 4))
    card = ModelCard(
        ESCAPE,
        (port,),
        (replace(port, name=ESCAPE + "y"),),
        labels=(ESCAPE, "b", "c\u202e", "d"),
        preprocessing=(ESCAPE,),
        quantization=Quantization(ESCAPE, ESCAPE, "float32", ESCAPE, {ESCAPE: ESCAPE}),
        provenance={ESCAPE: ESCAPE},
        accuracy=edgeport.Accuracy(ESCAPE, 1, 0.5, 0.5, 0.5),
        requires=Requirements(8, 17, "1.0"),
    )
    path, data = tmp_path / "esc.onnx", tmp_path / "x.npy"
    path.write_bytes(sealed(foreign(ESCAPE), card))
    np.save(data, np.ones((2, 4), "f4"))
    for arguments in (("info", path), ("predict", path, data, "--top-k", "4")):
        text = shown(capsys, *arguments)
        assert raw(text) == ""
        assert "\nseal " not in text
        assert SHOWN in text


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such file names")
def test_a_file_of_such_a_name_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "m\x1b[31m.onnx"
    path.write_bytes(mlp_artifact())
    done = subprocess.run(
        [sys.executable, "-m", "edgeport", "predict", path, path, "-o", "out.txt"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert raw(done.stdout + done.stderr) == ""
    assert r"m\x1b[31m.onnx" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such file names")
def test_a_table_of_such_files_is_escaped(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "m\x1b[31m.onnx"
    path.write_bytes(mlp_artifact())
    text = shown(capsys, "tune", path, "--seconds", "0.001")
    assert raw(text) == ""
    assert r" m\x1b[31m.onnx " in text
    text = shown(capsys, "warm", path, "--cache-dir", tmp_path / "kept\x1b[31m")
    assert raw(text) == ""
    assert r"kept\x1b[31m" in text
