"""What other libraries print goes to stderr or nowhere; stdout belongs to the result."""

import subprocess
import sys

PRINTING = """
import ctypes, os, subprocess
from edgeport_converter.quiet import stdout_on_stderr
with stdout_on_stderr():
    print("from Python")
    os.write(1, b"from the descriptor\\n")
    ctypes.CDLL(None).puts(b"from C")
    subprocess.run(["echo", "from a child"])
print("the result")
"""


def test_stdout_holds_the_result_alone_whoever_prints():
    done = subprocess.run([sys.executable, "-c", PRINTING], capture_output=True, text=True)
    assert done.stdout == "the result\n"
    sources = ["Python", "a child", "the descriptor", "C"]
    assert sorted(done.stderr.splitlines()) == sorted(f"from {source}" for source in sources)


INTERRUPTED = """
import os, sys
from edgeport_converter.quiet import quiet_stderr
with quiet_stderr():
    os.write(2, b"a line of TensorFlow")
    raise {error}
"""


def stderr_after(error):
    code = INTERRUPTED.format(error=error)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr


def test_what_was_hidden_is_shown_after_an_error_and_not_after_an_interruption():
    assert "a line of TensorFlow" in stderr_after("ValueError")
    assert "a line of TensorFlow" not in stderr_after("KeyboardInterrupt")
    assert stderr_after("SystemExit(143)") == ""
