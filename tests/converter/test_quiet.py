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
