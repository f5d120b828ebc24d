"""The documents' quantization figures are those of the stored run."""

import json
from pathlib import Path

from quantization_table import END, START, render

ROOT = Path(__file__).parents[2]


def test_the_converter_readme_shows_the_stored_run():
    run = json.loads((ROOT / "tests/benchmarks/quantization.json").read_text(encoding="utf-8"))
    readme = (ROOT / "converter/README.md").read_text(encoding="utf-8")
    shown = readme[readme.index(START) : readme.index(END) + len(END)]
    assert shown == render(run)
