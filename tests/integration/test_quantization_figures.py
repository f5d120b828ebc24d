"""The documents' quantization figures are those of the stored run."""

import json
from pathlib import Path

from quantization_table import END, START, render
from readme_sections import shown

ROOT = Path(__file__).parents[2]


def test_the_converter_readme_shows_the_stored_run():
    run = json.loads((ROOT / "tests/benchmarks/quantization.json").read_text(encoding="utf-8"))
    assert shown(ROOT / "converter/README.md", START, END) == render(run)
