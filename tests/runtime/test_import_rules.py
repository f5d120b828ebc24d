"""Who may import whom in the runtime, as a table; a device needs no more than it says."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples import Child

REPOSITORY = Path(__file__).parents[2]
RUNTIME = REPOSITORY / "runtime" / "src" / "edgeport"

# A module may import the modules before its own line, and the packages named beside it.
RUNTIME_TABLE: dict[str, set[str]] = {
    "errors": set(),
    "logs": set(),
    "engine_errors": set(),
    "watching": set(),
    "forks": set(),
    "options": set(),
    "golden": {"numpy"},
    "golden_encoding": {"numpy"},
    "card": {"numpy"},
    "digests": {"_sha2", "_sha256"},
    "integrity": set(),
    "outline": set(),
    "signatures": {"cryptography"},
    "external": {"numpy"},
    "casting": {"numpy"},
    "inputs": {"numpy"},
    "values": {"numpy"},
    "batching": {"numpy"},
    "host": set(),
    "providers": set(),
    "_session": {"numpy", "onnxruntime"},
    "device": set(),
    "probing": {"numpy"},
    "proof": set(),
    "caching": set(),
    "tuning": set(),
    "cardless": set(),
    "binding": {"numpy"},
    "model": set(),
    "loading": {"numpy"},
    "streaming": {"numpy"},
    "classifying": {"numpy"},
    "predictor": set(),
    "__init__": set(),
    "files": set(),
    "signing": {"cryptography"},
    "images": {"numpy", "PIL"},
    "datafiles": {"numpy"},
    "writing": {"numpy"},
    "benching": {"numpy"},
    "showing": {"numpy"},
    "tuner": set(),
    "preparing": set(),
    "cli": {"numpy"},
    "__main__": set(),
}

# The extras, each imported inside one function alone.
EXTRAS = {"cryptography", "PIL"}


def imports(path: Path) -> Iterator[str]:
    """Yield the full name of every module that the file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = str(node.module)
            if module in {"edgeport", "edgeport_converter"}:
                yield from (f"{module}.{alias.name}" for alias in node.names)
            else:
                yield module


def modules(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.py"))


def test_the_table_lists_every_module_of_the_runtime() -> None:
    assert {path.stem for path in modules(RUNTIME)} == set(RUNTIME_TABLE)


def test_the_door_and_the_code_map_tell_of_every_module() -> None:
    door = ast.get_docstring(ast.parse((RUNTIME / "__init__.py").read_text(encoding="utf-8")))
    code_map = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("## Code map")[1]
    for name in RUNTIME_TABLE.keys() - {"__init__", "__main__"}:
        assert re.search(rf"\b{name}\b", str(door)), name
        assert f"{name}.py`" in code_map, name


@pytest.mark.parametrize("path", modules(RUNTIME), ids=lambda path: path.stem)
def test_a_module_of_the_runtime_imports_what_the_table_allows(path: Path) -> None:
    order = list(RUNTIME_TABLE)
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "edgeport":
            inner = rest.split(".")[0]
            # `from edgeport import __version__` and the like come from the door itself.
            inner = inner if inner in order else "__init__"
            assert order.index(inner) < order.index(path.stem), f"{path.stem} imports {name}"
        else:
            assert package in sys.stdlib_module_names | RUNTIME_TABLE[path.stem], name


def test_only_one_module_knows_the_engine() -> None:
    knowing = {path.stem for path in modules(RUNTIME) if "onnxruntime" in set(imports(path))}
    assert knowing == {"_session"}


@pytest.mark.parametrize("path", modules(RUNTIME), ids=lambda path: path.stem)
def test_extras_are_imported_inside_a_function(path: Path) -> None:
    top = ast.parse(path.read_text(encoding="utf-8")).body
    for node in top:
        if isinstance(node, ast.Import | ast.ImportFrom):
            assert not EXTRAS & set(ast.unparse(node).replace(".", " ").split())


def test_import_loads_nothing_heavy(child: Child) -> None:
    banned = "tensorflow keras tf2onnx onnx PIL cryptography multiprocessing asyncio"
    result = child(
        "import sys, edgeport; print([n for n in sys.argv[1].split() if n in sys.modules])", banned
    )
    assert (result.returncode, result.stdout.strip()) == (0, "[]")


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


def test_the_runtime_declares_numpy_and_onnxruntime_alone() -> None:
    text = (REPOSITORY / "runtime" / "pyproject.toml").read_text(encoding="utf-8")
    block = text.split("\ndependencies = [")[1].split("\n]")[0]
    names = [
        line.strip().strip('",').split(">")[0]
        for line in block.splitlines()
        if '"' in line and "#" not in line
    ]
    assert names == ["numpy", "onnxruntime"]


def test_the_package_stays_small(child: Child, mlp_file: Path) -> None:
    """So that a cautious user can read it: what runs from import to answer, and everything."""
    code = """
import sys, edgeport, numpy
predictor = edgeport.Predictor.load(sys.argv[1])
for _ in range(3):
    predictor.predict(numpy.zeros(6, "f4"))
print(*(name[9:] for name in sys.modules if name.startswith("edgeport.")))
"""
    loaded = {"__init__", *child(code, mlp_file).stdout.split()}
    assert {"predictor", "binding"} <= loaded
    assert not {"cli", "datafiles", "signatures", "external", "streaming", "providers"} & loaded
    lines = {path.stem: _lines_of_code(path) for path in modules(RUNTIME)}
    assert sum(lines[name] for name in loaded) < 2050
    # What fits a model to the device, only where somebody asked for it.
    fitting = {"proof", "caching", "device", "probing", "tuning", "tuner", "preparing"}
    assert not fitting & loaded
    assert sum(lines.pop(name) for name in fitting) < 620
    parts = list(RUNTIME_TABLE)[list(RUNTIME_TABLE).index("__init__") + 1 :]  # the command's
    assert sum(lines.pop(name, 0) for name in parts) < 860
    assert sum(lines.values()) < 2460
    whole = [len(path.read_text(encoding="utf-8").splitlines()) for path in modules(RUNTIME)]
    assert max(whole) < 340


def _lines_of_code(path: Path) -> int:
    """Count lines that hold code: neither blank, nor comment, nor docstring."""
    text = path.read_text(encoding="utf-8")
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            code -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip
