"""Import, load, predict and fail: no file, no socket, no thread, no word; fork-safe."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from examples import Child, mlp

LIFE = """
import os, sys, threading, time
import pathlib
import numpy  # its BLAS keeps threads of its own
def threads():
    if sys.platform == "linux":
        return len(os.listdir("/proc/self/task"))
    return threading.active_count()
before = threads()
import edgeport
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
with edgeport.Predictor.load(sys.argv[1]) as predictor:
    for x in ([0] * 6, [[0] * 6] * 3):
        predictor.predict(x)
    for wrong in ([0] * 7, None, "text", [[[0]]]):
        try:
            predictor.predict(wrong)
        except edgeport.InputError:
            continue
        raise SystemExit("accepted")
cut = pathlib.Path(sys.argv[1]).read_bytes()[:-1]
for bad in (b"", b"nonsense", b"\\x08\\x08:\\x02ab", sys.argv[1] + ".missing", cut):
    try:
        edgeport.Predictor.load(bad)
    except edgeport.ArtifactError:
        continue
    raise SystemExit("loaded")
patience = time.monotonic() + 5  # the system takes a moment to remove a thread that ended
while threads() > before and time.monotonic() < patience:
    time.sleep(0.01)
assert threads() == before, (before, threads())
if sys.platform == "linux":
    opened = []
    for number in os.listdir("/proc/self/fd"):
        try:
            opened.append(os.readlink("/proc/self/fd/" + number))
        except OSError:  # the listing's own
            pass
    assert not [name for name in opened if name.startswith("socket:")], opened
"""


def test_a_whole_life_leaves_no_trace(mlp_file: Path, child: Child, tmp_path: Path) -> None:
    before = set(tmp_path.rglob("*"))
    result = child(LIFE, mlp_file)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert set(tmp_path.rglob("*")) == before
    assert list((tmp_path / "home").iterdir()) == []


def test_no_socket_is_opened(mlp_file: Path, child: Child) -> None:
    watch = """
import sys
def hook(event, arguments):
    writes = event == "open" and set(str(arguments[1] or "")) & set("wax+")
    if writes or event.startswith("socket."):
        print(event, arguments)
sys.addaudithook(hook)
"""
    result = child(watch + LIFE, mlp_file)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_the_users_own_choice_about_telemetry_stands(child: Child) -> None:
    code = "import os, edgeport; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert child(code, ORT_DISABLE_TELEMETRY="true").stdout == "true\n"


def test_warnings_go_to_logging(child: Child, tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(mlp().onnx)
    silent = child("import sys, edgeport; edgeport.Predictor.load(sys.argv[1])", plain)
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, "", "")
    heard = child(
        "import logging, sys, edgeport; logging.basicConfig();edgeport.Predictor.load(sys.argv[1])",
        plain,
    )
    assert heard.stderr.startswith("WARNING:edgeport:")
    assert "nothing vouches for its answers" in heard.stderr


needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")


@needs_fork
def test_a_process_that_imported_edgeport_may_fork(child: Child, mlp_file: Path) -> None:
    """With onnxruntime's telemetry thread alive, the child would hang at its exit."""
    code = """
import json, os, sys, time, warnings
import edgeport
started = time.monotonic()
pid = os.fork()
if pid == 0:
    predictor = edgeport.Predictor.load(sys.argv[1])
    sys.exit(len(predictor.predict([0] * 6)))
_, status = os.waitpid(pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), time.monotonic() - started]))
"""
    result = child(code, mlp_file)
    assert result.stderr == ""
    exit_code, seconds = json.loads(result.stdout)
    assert exit_code == 3
    assert seconds < 20  # a hang lasts for ever, a busy machine does not
