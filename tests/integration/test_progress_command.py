"""`edgeport convert` on a terminal, in a pipe and under Ctrl-C, as a user has it."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from edgeport import Predictor

pytestmark = pytest.mark.slow

EDGEPORT = Path(sys.executable).with_name("edgeport")
CONVERT = ("convert", "m.keras", "-o", "m.onnx", "--calibration", "d.npz", "--max-drop", "0.05")

# Waits for Ctrl-C in the first measurement after a candidate, which the test says by a file.
METRIC = """\
import pathlib, time
import numpy as np
def closeness(outputs, labels):
    if pathlib.Path("wait").exists():
        pathlib.Path("waiting").touch()
        time.sleep(300)
    return -float(np.abs(outputs - labels).mean())
"""
COMMAND = """\
import pathlib, sys
from edgeport.cli.main import main
from edgeport_converter.screen import Screen
say = Screen.say
def say_and_wait(self, line):
    say(self, line)
    if line.startswith("quantize: static") or line == sys.argv[1]:
        pathlib.Path("wait").touch()
Screen.say = say_and_wait
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def folder(tmp_path):
    keras.utils.set_random_seed(4)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6,), name="x"), layers.Dense(8, activation="relu"), layers.Dense(3)]
    )
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(8).uniform(-1, 1, (300, 6)).astype("f4")
    np.savez(tmp_path / "d.npz", x=x)
    np.savez(tmp_path / "e.npz", x=x, y=np.asarray(model(x)))
    (tmp_path / "metric.py").write_text(METRIC)
    return tmp_path


def test_a_terminal_gets_bars_and_a_table_and_stdout_the_json_alone(folder):
    master, terminal = pty.openpty()
    shown = []

    def read():
        try:
            while part := os.read(master, 65536):
                shown.append(part)
        except OSError:  # the other end was closed
            pass

    reader = threading.Thread(target=read)
    process = subprocess.Popen(
        [EDGEPORT, *CONVERT, "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "160"},
    )
    os.close(terminal)
    reader.start()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    reader.join(timeout=60)
    os.close(master)
    report = json.loads(output)
    written = b"".join(shown).decode()
    assert [stage for stage in report["stages"] if f" s] {stage}" not in written] == []
    table = written.partition(" s] done")[2]
    assert "seconds" in table
    assert f"chosen is {report['recipe']}" in table
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h")


def interrupt(folder, *more, wait_at):
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, wait_at, *CONVERT, *more],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (folder / "waiting").exists() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    (folder / "wait").unlink()
    process.send_signal(signal.SIGINT)
    return process, *process.communicate(timeout=240)


def test_ctrl_c_in_the_search_writes_the_best_so_far(folder):
    more = ("--evaluation", "e.npz", "--metric", "metric.py:closeness", "--json")
    process, output, errors = interrupt(folder, *more, wait_at="")
    assert process.returncode == 130, errors
    report = json.loads(output)
    assert report["interrupted"] is True
    assert len(report["steps"]) == 1
    assert any("the search was stopped after 1 candidate" in note for note in report["notes"])
    assert errors.endswith("edgeport: interrupted: the best candidate so far was written\n")
    assert "Traceback" not in errors
    with Predictor.load(folder / "m.onnx") as predictor:
        assert predictor.card.quantization.recipe == "static"


def test_ctrl_c_before_any_candidate_writes_nothing(folder):
    more = ("--evaluation", "e.npz", "--metric", "metric.py:closeness", "--json")
    process, output, errors = interrupt(folder, *more, wait_at="quantize")
    assert process.returncode == 130, errors
    assert output == ""
    assert errors.endswith(
        "edgeport: the search for candidates was interrupted and none was tried: nothing was "
        "written\n"
    )
    assert not (folder / "m.onnx").exists()
