"""The documents' training figures are those of the stored run."""

import json
from pathlib import Path

from readme_sections import shown
from training_tables import END, START, render

ROOT = Path(__file__).parents[2]


def test_the_converter_readme_shows_the_stored_run():
    run = json.loads((ROOT / "tests/benchmarks/training.json").read_text(encoding="utf-8"))
    assert shown(ROOT / "converter/README.md", START, END) == render(run)
