"""Who may import whom in the runtime: a table of folders, and what a device never loads."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples import Child

REPOSITORY = Path(__file__).parents[2]
RUNTIME = REPOSITORY / "runtime" / "src" / "edgeport"
FILES = sorted(RUNTIME.rglob("*.py"))

# A folder, or a module at the top, may import its own row and the rows above it.
ORDER = (
    ("addresses", "errors", "signals", "checks", "options", "atomic_files"),
    ("artifact",),
    ("inputs",),
    ("engine",),
    ("device",),
    ("model", "loading"),
    ("labels", "streaming", "predictor"),
    ("explaining",),
    ("__init__",),
    ("cli", "scoring", "__main__"),
)
ROW = {wing: number for number, row in enumerate(ORDER) for wing in row}

# Packages besides numpy and the standard library, and the only places that may import them.
FOREIGN = {
    "onnxruntime": ("engine/session.py",),
    "cryptography": ("artifact/signature.py", "scoring/files.py"),
    "PIL": ("cli/heatmap.py", "inputs/images.py"),
    "pyarrow": tuple(f"scoring/{name}.py" for name in ("parquet", "texts", "verify", "writer")),
    "fsspec": ("scoring/files.py",),
    "ray": ("scoring/cluster.py",),
    "_sha2": ("artifact/seal.py",),
    "_sha256": ("artifact/seal.py",),
}
# The extras, each imported inside one function alone.
EXTRAS = {"cryptography", "PIL", "pyarrow", "fsspec", "ray"}

MOST_MODULES = 16


def name_of(path: Path) -> str:
    return path.relative_to(RUNTIME).as_posix()


def wing_of(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py") if parts else "__init__"


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of every module that the file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_module_imports_its_own_row_and_the_rows_above(path: Path) -> None:
    own = ROW[wing_of(path.relative_to(RUNTIME).parts)]
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "edgeport":
            wing = rest.split(".")[0]
            # `from edgeport import __version__` and the like come from the door itself.
            assert ROW[wing if wing in ROW else "__init__"] <= own, f"{path.stem} imports {name}"
        elif package != "numpy":
            allowed = package in sys.stdlib_module_names and not package.startswith("_sha")
            assert allowed or name_of(path) in FOREIGN[package], f"{path.stem} imports {name}"


def test_every_row_is_there() -> None:
    found = {wing_of(path.relative_to(RUNTIME).parts) for path in FILES}
    assert found == set(ROW)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_extras_are_imported_inside_a_function(path: Path) -> None:
    top = ast.parse(path.read_text(encoding="utf-8")).body
    for node in top:
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not EXTRAS & set(ast.unparse(node).replace(".", " ").split())


FOLDERS = sorted({path.parent for path in FILES})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_package_lists_its_modules_and_no_others(folder: Path) -> None:
    """The docstring of a package names its modules, each at the beginning of a line."""
    door = str(
        ast.get_docstring(
            ast.parse((folder / "__init__.py").read_text(encoding="utf-8")), clean=False
        )
    )
    listed = set(re.findall(r"(?m)^(?: {4})?(\w+)/?  ", door))
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    wings = {path.parent.name for path in folder.glob("*/__init__.py")}
    assert listed == modules | wings
    assert len(modules) <= MOST_MODULES


def test_the_code_map_names_every_folder() -> None:
    code_map = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Code map")[1]
    for folder in FOLDERS[1:]:
        assert f"{folder.name}/`" in code_map, folder.name


def test_import_loads_nothing_heavy(child: Child) -> None:
    banned = "tensorflow keras tf2onnx onnx PIL cryptography multiprocessing asyncio"
    banned += " pyarrow fsspec ray edgeport.scoring"
    result = child(
        "import sys, edgeport; print([n for n in sys.argv[1].split() if n in sys.modules])", banned
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]")


def test_the_command_line_loads_scoring_for_its_own_command_alone(child: Child) -> None:
    code = """
import sys
from edgeport.cli.main import main
main(["info", "missing.onnx"])
print([name for name in ("pyarrow", "fsspec", "ray", "edgeport.scoring") if name in sys.modules])
"""
    assert child(code).stdout.split() == ["[]"]


def test_a_small_artifact_is_checked_without_openssl(child: Child, mlp_file: Path) -> None:
    code = """
import sys, numpy
before = "_hashlib" in sys.modules  # numpy 1 loads it
import edgeport
with edgeport.Predictor.load(sys.argv[1]) as predictor:
    predictor.predict(numpy.zeros(6, "f4"))
print(("_hashlib" in sys.modules) == before)
"""
    assert child(code, mlp_file).stdout.split() == ["True"]


def test_a_first_answer_loads_no_wing_that_it_does_not_need(child: Child, mlp_file: Path) -> None:
    code = """
import sys, edgeport, numpy
predictor = edgeport.Predictor.load(sys.argv[1])
for _ in range(3):
    predictor.predict(numpy.zeros(6, "f4"))
print(*(name for name in sys.modules if name.startswith("edgeport.")))
"""
    loaded = set(child(code, mlp_file).stdout.split())
    assert {"edgeport.predictor", "edgeport.engine.fast_path"} <= loaded
    assert not [name for name in loaded if name.startswith("edgeport.cli")]
    unneeded = "artifact.signature engine.providers"
    unneeded += " device.graph_cache device.tuning_file device.identity inputs.examples"
    unneeded += " artifact.signal_format inputs.windows inputs.wav"
    unneeded += " artifact.column inputs.columns inputs.column_ranges"
    unneeded += (
        " artifact.frame_format artifact.signal_format inputs.frames inputs.windows inputs.wav"
    )
    assert not {f"edgeport.{name}" for name in unneeded.split()} & loaded


def test_the_runtime_declares_numpy_and_onnxruntime_alone() -> None:
    text = (REPOSITORY / "runtime" / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("\ndependencies = [")[1].split("\n]")[0]
    names = [
        line.strip().strip('",').split(">")[0]
        for line in block.splitlines()
        if '"' in line and "#" not in line
    ]
    assert names == ["numpy", "onnxruntime"]
