"""The command line in this process: a command that must succeed, and one that must fail."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeport.cli.main import main

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: object) -> Any:
    """Run a command that must succeed silently; return its JSON."""
    assert main([*map(str, arguments), "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return json.loads(shown.out)


def fails(capsys: Capture, *arguments: object) -> tuple[int, str]:
    """Run a command that must fail in one sentence; return its exit code and the sentence."""
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("edgeport: ")
    assert shown.err.count("\n") == 1
    return code, shown.err[len("edgeport: ") : -1]
