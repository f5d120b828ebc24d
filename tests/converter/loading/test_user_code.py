"""The user's own modules are imported without a trace in ``sys.path`` and ``sys.modules``."""

import code
import signal
import sys
from pathlib import Path

import pytest

from edgeport import ConversionError, OptionError
from edgeport_converter.loading import user_code
from edgeport_converter.quantization.evaluation.budget import find_metric

# A name that Python's own library has, a neighbour, and an import that runs late.
METRICS = """
from dataclasses import dataclass
import neighbour_of_metrics

@dataclass
class Share:
    value: "float"

def share(outputs, labels):
    import late_neighbour_of_metrics
    return Share(neighbour_of_metrics.NUMBER + late_neighbour_of_metrics.NUMBER).value
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "code.py").write_text(METRICS)
    (tmp_path / "neighbour_of_metrics.py").write_text("NUMBER = 0.25")
    (tmp_path / "late_neighbour_of_metrics.py").write_text("NUMBER = 0.5")
    yield tmp_path
    for name in ("neighbour_of_metrics", "late_neighbour_of_metrics"):
        sys.modules.pop(name, None)


def test_a_metric_comes_from_its_file_whatever_else_has_its_name(folder):
    paths, modules = list(sys.path), dict(sys.modules)
    name, function = find_metric(f"{folder}/code.py:share")
    assert (name, function(None, None)) == ("share", 0.75)
    assert sys.path == paths
    assert sys.modules["code"] is code
    added = sys.modules.keys() - modules.keys()
    assert added == {"neighbour_of_metrics", "late_neighbour_of_metrics"}


def test_a_module_in_the_working_folder_is_found_by_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "own_metrics.py").write_text("def one(outputs, labels):\n    return 1.0\n")
    assert find_metric("own_metrics:one")[1](None, None) == 1.0
    del sys.modules["own_metrics"]  # stays, as after any import


@pytest.mark.parametrize("code", ["0", "3", "'bye'"])
def test_a_script_that_exits_is_an_error(code, tmp_path):
    (tmp_path / "script.py").write_text(f"def build(): sys.exit({code})\nimport sys; build()\n")
    (tmp_path / "late.py").write_text(f"def build(*_): import sys; sys.exit({code})\n")
    with pytest.raises(OptionError, match=r"script.py' cannot be imported \(SystemExit: "):
        user_code.import_module(str(tmp_path / "script.py"))
    with pytest.raises(OptionError, match=r"script.py:build' cannot be imported \(SystemExit: "):
        user_code.import_function(f"{tmp_path / 'script.py'}:build", "the metric")
    with pytest.raises(ConversionError, match=r"late.py:build' failed \(SystemExit: "):
        user_code.call_function(f"{tmp_path / 'late.py'}:build")


def test_what_a_signals_handler_raises_leaves_the_users_code_as_it_is(tmp_path):
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        (tmp_path / "killed.py").write_text("import signal; signal.raise_signal(signal.SIGTERM)")
        with pytest.raises(SystemExit, match="143"):
            user_code.import_module(str(tmp_path / "killed.py"))
    finally:
        signal.signal(signal.SIGTERM, former)


def test_the_files_of_a_users_code_are_found_by_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    files = [Path("own.py"), Path("package/__init__.py"), Path("package/inner.py")]
    for file in files:
        file.touch()
    names = ["own.py:build", "package", Path("package/inner.py")]
    assert user_code.find_code_files(*names) == files
    assert user_code.find_code_files("own", "package.inner:build") == [files[0], files[2]]
    assert user_code.find_code_files("inner.py:build", in_folder=Path("package")) == [files[2]]
    assert user_code.find_code_files(user_code.__class__, "", ".", "..", "m.keras", "a\0b", 3) == []


def test_a_file_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "own_code.py").write_text("import sys\nsys.path.append('x')\nraise KeyError('no')")
    paths = list(sys.path)
    with pytest.raises(OptionError, match=r"own_code.py' cannot be imported \(KeyError: 'no'\)"):
        user_code.import_module(str(tmp_path / "own_code.py"))
    assert sys.path == paths
    assert "own_code" not in sys.modules


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("accuracy", r"the metric is 'accuracy', expected module:function or file\.py:function"),
        ("os:nothing", "the metric 'os:nothing' cannot be imported, as 'os' has no function"),
        ("os:sep", "'os' has no function 'sep'"),
        ("missing.py:metric", r"there is no Python file 'missing\.py': check"),
    ],
)
def test_a_function_that_is_not_there_is_refused(text, match):
    with pytest.raises(OptionError, match=match):
        user_code.import_function(text, "the metric")
