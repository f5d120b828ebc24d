"""Who may import whom in the converter: a table of folders, and what importing it never loads."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import edgeport_converter

PACKAGE = Path(edgeport_converter.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
HEAVY = (
    *("tensorflow", "keras", "tf2onnx", "onnx", "onnxscript", "onnx_ir", "PIL", "rich"),
    *("optuna", "pydantic", "sklearn", "scipy", "matplotlib", "jinja2"),
)

# A folder, or a module at the top, may import its own row and the rows above it. Imports for type
# checking alone are free.
ORDER = (
    ("errors", "progress", "screen", "stages", "quiet", "provenance", "targets", "paths"),
    ("sensors",),
    ("option_texts", "options", "option_checks"),
    ("data",),
    ("loading",),
    ("exporting",),
    ("optimizing",),
    ("verification",),
    ("quantization",),
    ("artifact",),
    ("report",),
    ("reporting",),
    ("conversion",),
    ("pipeline",),
    ("training", "browser", "bundling"),
    ("__init__", "commands"),
)
ROW = {wing: number for number, row in enumerate(ORDER) for wing in row}

# Only these may know the tools of training and of reports, which belong to extras.
EXTRA = {
    "optuna": {"training/search"},
    "pydantic": {"training/recipe"},
    "sqlalchemy": {"training/search"},
    "sklearn": {"training/data", "training/fitting"},
    "scipy": {"training/fitting"},
    "jinja2": {"reporting"},
    "matplotlib": {"reporting", "training/results"},
}
MOST_MODULES = 16


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def wing_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path):
    """Yield the full name of every module that the file imports when it runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_its_own_row_and_the_rows_above(path):
    own = ROW[wing_of(path)]
    for name in imports(path):
        package, _, rest = name.partition(".")
        wing = rest.split(".")[0]
        if package == "edgeport_converter":
            assert ROW[wing if wing in ROW else "__init__"] <= own, f"imports {name}"


def test_every_row_is_there():
    assert {wing_of(path) for path in FILES} == set(ROW)


@pytest.mark.parametrize("package", EXTRA)
def test_the_extra_s_packages_are_imported_where_they_belong(package):
    users = {
        path.parent.relative_to(PACKAGE).as_posix()
        for path in FILES
        if package in {name.split(".")[0] for name in imports(path)}
    }
    assert users == EXTRA[package]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_package_lists_its_modules_and_no_others(folder):
    """The docstring of a package names its modules, each at the beginning of a line."""
    door = str(
        ast.get_docstring(
            ast.parse((folder / "__init__.py").read_text(encoding="utf-8")), clean=False
        )
    )
    listed = set(re.findall(r"(?m)^(?: {4})?(\w+)/?  ", door))
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    wings = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert listed == modules | wings
    assert len(modules) <= MOST_MODULES


def loaded_after(statement):
    code = f"{statement}\nimport sys\nprint(*(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_converter_loads_nothing_heavy():
    assert loaded_after("import edgeport_converter") == set()


def test_the_command_loads_nothing_heavy_before_it_converts():
    statement = "import edgeport.cli.main\nimport edgeport_converter.commands"
    statement += "\nimport edgeport_converter.browser.command"
    statement += "\nimport edgeport_converter.bundling.command"
    statement += "\nimport edgeport_converter.training.commands"
    statement += "\nimport edgeport_converter.reporting.commands"
    assert loaded_after(statement) == set()


def test_the_code_map_names_every_folder():
    code_map = (
        (Path(__file__).parents[2] / "CONTRIBUTING.md")
        .read_text(encoding="utf-8")
        .split("## Code map")[1]
    )
    for folder in (path for path in PACKAGE.glob("*/") if (path / "__init__.py").exists()):
        assert f"{folder.name}/`" in code_map, folder.name
