"""The documents' figures of rewritings are those of the stored run."""

import json
from pathlib import Path

from passes_table import END, START, is_told, render
from readme_sections import shown

ROOT = Path(__file__).parents[2]
STORED = ROOT / "tests/benchmarks/passes.json"


def test_the_converter_readme_shows_the_stored_run():
    run = json.loads(STORED.read_text(encoding="utf-8"))
    assert shown(ROOT / "converter/README.md", START, END) == render(run)


def test_a_row_is_told_where_time_or_bytes_change():
    same = {"latency_without_over_with": 1.01, "bytes": 1000, "bytes_without": 1001}
    assert not is_told(same)
    assert is_told(same | {"latency_without_over_with": 1.06})
    assert is_told(same | {"latency_without_over_with": 0.94})
    assert is_told(same | {"bytes_without": 1011})
