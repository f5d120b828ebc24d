"""The recipe book: what its scripts print holds. `make examples` runs those that take long."""

import ast
import re
import runpy
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "converter" / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "made_data")

# Bounds of Keras' own figure, which tell that the network has learnt something, and by how much
# the artifact's may differ: the script's ``max_drop``, or what the digits printed round.
FAST = {
    "forecast_with_state": ((0.09, 0.15), 0.01),
    "multi_input": ((0.94, 1), 0.01),
    "table_with_text": ((1, 3), 0.05),
    "text_topics": ((0.85, 1), 0.01),
    "vibration_anomaly": ((0.95, 1), 0.005),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # a script is run as Python runs it, with warnings shown
@pytest.mark.parametrize("name", FAST)
def test_the_artifact_reaches_the_figure_of_keras(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(FOLDER)
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    last = capsys.readouterr().out.splitlines()[-1]
    keras, artifact = map(float, re.search(r"Keras (\S+), artifact (\S+)$", last).groups())
    (low, high), off = FAST[name]
    assert low <= keras <= high
    assert abs(keras - artifact) <= off


def test_there_are_ten_and_the_page_tells_of_each():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\*\*\[.*?\]\((\w+)\.py\)", page, re.MULTILINE)) == SCRIPTS
    assert len(SCRIPTS) == 10


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_under_forty_lines_of_code(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    docs = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.FunctionDef)) and ast.get_docstring(node):
            docs |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = [
        line
        for number, line in enumerate(text.splitlines(), 1)
        if number not in docs and line.strip() and not line.startswith("#")
    ]
    assert len(lines) < 40
    assert re.search(r"^print\(.*Keras .*, artifact ", text, re.MULTILINE)
