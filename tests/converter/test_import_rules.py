"""What importing the converter brings in, seen from a child process."""

import subprocess
import sys

HEAVY = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxscript", "matplotlib")


def loaded_after(statement):
    code = f"{statement}\nimport sys\nprint(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_converter_loads_nothing_heavy():
    assert loaded_after("import edgeport_converter") == set()


def test_the_command_loads_nothing_heavy_before_it_converts():
    statement = "import edgeport.cli\nedgeport.cli._installed_commands()"
    assert loaded_after(statement) == set()
