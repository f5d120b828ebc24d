"""Who may import whom in the converter, read from the sources and seen from child processes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edgeport_converter

PACKAGE = Path(edgeport_converter.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
HEAVY = (
    *("tensorflow", "keras", "tf2onnx", "onnx", "onnxscript", "onnx_ir", "PIL"),
    *("optuna", "sklearn", "scipy", "matplotlib"),
)

# Modules that are imported at once when the package is: none of them may reach a heavy one.
LIGHT = (
    "__init__",
    "pipeline",
    "commands",
    "options",
    "reports",
    "stages",
    "errors",
    "targets",
    "quiet",
    "quantization/__init__",
    "quantization/budget",
    "data/__init__",
    "data/naming",
    "passport",
    "training/__init__",
    "training/commands",
    "training/run",
    "training/recipes",
    "training/keys",
    "training/schema",
    "training/parameters",
    "training/schedules",
    "training/reports",
    "training/progress",
    "training/interrupting",
    "training/writing",
)
# Only these may know the tools of training, which belong to an extra.
EXTRA = {
    "optuna": {"training/points", "training/studies", "training/tuning"},
    "sklearn": {"training/splitting", "training/evaluating"},
    "scipy": {"training/validating"},
    "matplotlib": {"training/summary"},
}


DOORS = ("__init__", "pipeline", "commands", "training/commands")
BELOW = [module for module in MODULES if str(module) not in DOORS]


def imported_at_once(path):
    """Top-level imports of a module, those for type checking left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_module_imports_nothing_heavy(name):
    found = {module.split(".")[0] for module in imported_at_once(PACKAGE / f"{name}.py")}
    assert found.isdisjoint(HEAVY)


@pytest.mark.parametrize("name", MODULES, ids=str)
def test_only_the_runtime_s_public_modules_are_used(name):
    found = imported_at_once(PACKAGE / f"{name}.py")
    assert not [module for module in found if module.startswith("edgeport._")]


@pytest.mark.parametrize("name", BELOW, ids=str)
def test_nothing_below_knows_the_pipeline(name):
    found = imported_at_once(PACKAGE / f"{name}.py")
    assert found.isdisjoint({"edgeport_converter.pipeline", "edgeport_converter.commands"})


@pytest.mark.parametrize("package", EXTRA)
def test_the_extra_s_packages_are_imported_where_they_belong(package):
    users = {
        module.as_posix()
        for module in MODULES
        if package in {n.split(".")[0] for n in imported_at_once(PACKAGE / f"{module}.py")}
    }
    assert users == EXTRA[package]


def test_converting_knows_nothing_of_training():
    for module in BELOW:
        if module.parts[0] != "training":
            found = imported_at_once(PACKAGE / f"{module}.py")
            assert not [name for name in found if name.startswith("edgeport_converter.training")]


def loaded_after(statement):
    code = f"{statement}\nimport sys\nprint(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_converter_loads_nothing_heavy():
    assert loaded_after("import edgeport_converter") == set()


def test_the_command_loads_nothing_heavy_before_it_converts():
    statement = "import edgeport.cli\nimport edgeport_converter.commands"
    statement += "\nimport edgeport_converter.training.commands"
    assert loaded_after(statement) == set()
