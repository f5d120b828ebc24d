"""`edgeport train` as a user types it: killed, interrupted, and several at once."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

EDGEPORT = Path(sys.executable).with_name("edgeport")
RECIPE = """\
seed = 1
[data]
source = "d.npz"
[model]
layers = [16]
dropout = 0.1
[training]
epochs = {epochs}
batch_size = 8
"""
SEARCH = """\
[search]
sampler = "random"
trials = 8
epochs = 2
[search.parameters]
training.learning_rate = { low = 1e-4, high = 0.1, log = true }
"""


@pytest.fixture
def folder(tmp_path, digits):
    np.savez(tmp_path / "d.npz", x=digits[0][:400], y=digits[1][:400])
    return tmp_path


def edgeport(*arguments, cwd):
    return subprocess.run(
        [EDGEPORT, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


def start(*arguments, cwd):
    return subprocess.Popen(
        [EDGEPORT, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stop_after_epoch(process, epoch, number):
    for line in process.stderr:
        if line.startswith(f"epoch {epoch}/"):
            process.send_signal(number)
            break
    return process.communicate(timeout=120)


def test_a_killed_training_goes_on_to_the_same_model(folder):
    (folder / "r.toml").write_text(RECIPE.format(epochs=30))
    process = start("train", "r.toml", "-o", "m.keras", cwd=folder)
    stop_after_epoch(process, 3, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "m.keras").exists()
    done = edgeport("train", "r.toml", "-o", "m.keras", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resumed_after"] >= 3
    edgeport("train", "r.toml", "-o", "whole.keras", cwd=folder)
    assert (folder / "m.keras").read_bytes() == (folder / "whole.keras").read_bytes()


def test_ctrl_c_keeps_the_best_weights_and_says_so_by_its_code(folder):
    (folder / "r.toml").write_text(RECIPE.format(epochs=10_000))
    process = start("train", "r.toml", "-o", "m.keras", cwd=folder)
    output, errors = stop_after_epoch(process, 2, signal.SIGINT)
    assert process.returncode == 130
    assert "interrupted; weights of epoch" in output
    assert "Traceback" not in errors
    assert (folder / "m.keras").exists()


def test_two_processes_share_one_search(folder):
    (folder / "r.toml").write_text(RECIPE.format(epochs=2) + SEARCH)
    workers = [
        start("train", "r.toml", "--run-folder", "run", "--search-only", "--json", cwd=folder)
        for _ in range(2)
    ]
    found = []
    for worker in workers:
        output, errors = worker.communicate(timeout=300)
        assert worker.returncode == 0, errors
        found.append(json.loads(output))
    assert found[0]["best"] == found[1]["best"]
    rates = [trial["values"]["training.learning_rate"] for trial in found[0]["trials"]]
    assert len(rates) == len(set(rates)) == 8


def test_the_example_is_printed_and_a_wrong_call_is_one_sentence(folder):
    done = edgeport("train", "--example", "mnist", cwd=folder)
    assert done.returncode == 0
    assert done.stdout.startswith("# The article's network on MNIST")
    (folder / "r.toml").write_text(RECIPE.format(epochs="'three'"))
    for arguments, sentence in (
        ((), "edgeport: no recipe was given, expected RECIPE.toml -o OUT.keras"),
        (("r.toml",), "edgeport: no output was given, expected -o OUT.keras"),
        (("r.toml", "--search-only"), "edgeport: r.toml: training.epochs is 'three', exp"),
        (("r.toml", "-o", "m.keras"), "edgeport: r.toml: training.epochs is 'three', exp"),
    ):
        done = edgeport("train", *arguments, cwd=folder)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(sentence)
    (folder / "r.toml").write_text(RECIPE.format(epochs=3).replace('source = "', 'source = "no '))
    done = edgeport("train", "r.toml", "-o", "m.keras", cwd=folder)
    assert done.returncode == 2
    (told,) = done.stderr.splitlines()  # before TensorFlow is started
    assert "expected a file or folder that exists" in told


def test_a_terminal_sees_a_live_line(folder):
    (folder / "r.toml").write_text(RECIPE.format(epochs=2))
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [EDGEPORT, "train", "r.toml", "-o", "m.keras"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=follower,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        seen += part
    os.close(leader)
    assert process.wait(timeout=120) == 0
    assert b"\r\x1b[2Kepoch 1/2 " in seen  # a line that is rewritten
    assert b"100%" in seen
