"""Data files for the command line: what is read, and what is refused rather than guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from examples import identity

import edgeport
from edgeport.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A model that answers two integers with themselves."""
    path = tmp_path / "pairs.onnx"
    path.write_bytes(identity("int64", ("N", 2)).artifact())
    return path


def answers(capsys: Capture, artifact: Path, *data: Path) -> list[Any]:
    assert main(["predict", str(artifact), *map(str, data), "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return [json.loads(line)["y"] for line in shown.out.splitlines()]


def refusal(capsys: Capture, *arguments: object) -> str:
    code = main(["predict", *map(str, arguments)])
    assert code in (edgeport.InputError.exit_code, edgeport.OptionError.exit_code)
    return capsys.readouterr().err.removeprefix("edgeport: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ('"a","b"\n"1","2"\n\n3,4\n', [[1, 2], [3, 4]]),
        ('"a,b","c\nd"\n1,2\n', [[1, 2]]),
        ("\n\na,b\n3,4\n", [[3, 4]]),
        ("\ufeffa,b\n3,4\n", [[3, 4]]),
        ("0,1\n3,4\n", [[0, 1], [3, 4]]),
        ("9007199254740993,1\n", [[2**53 + 1, 1]]),
        ("1.0,2e0\n", [[1, 2]]),
        ("", []),
    ],
)
def test_a_table_is_read(
    text: str, wanted: list[Any], pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "x.csv"
    table.write_text(text, encoding="utf-8")
    assert answers(capsys, pairs, table) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,,2\n3,4\n", "line 1: '' is no number: repair the line"),
        ("a,1\n3,4\n", "line 1: 'a' is no number: repair the line"),
        ("a,b\nc,d\n1,2\n", "line 2: 'c' is no number: repair the line"),
        ("1_0,4\n", "line 1: '1_0' is no number: repair the line"),
        ("4,1e999\n", "line 1: '1e999' is beyond every float: repair the line"),
        ("1 2\n", "has a header and no numbers: check that commas part its columns"),
        ("9007199254740993,1.0\n", "a list of floats with the integer 9007199254740993"),
        ('1,"2\n', "cannot be read as .csv"),
        ("1,2\n3\n", "sample 1 of the stream cannot be used: input 'x' has shape (1,)"),
    ],
)
def test_a_table_is_refused(
    text: str, words: str, pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "x.csv"
    table.write_text(text, encoding="utf-8")
    assert words in refusal(capsys, pairs, table)


def test_json_lines_may_start_with_a_byte_order_mark(
    pairs: Path, tmp_path: Path, capsys: Capture
) -> None:
    lines = tmp_path / "x.jsonl"
    lines.write_text("\ufeff[1,2]\n", encoding="utf-8")
    assert answers(capsys, pairs, lines) == [[1, 2]]
