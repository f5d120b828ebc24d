"""`make calls`: a run is made bit by bit, and its tables show what it has."""

import json
import subprocess
import sys
from pathlib import Path

from figures import ROOT
from tables.calls import render


def test_parts_are_added_to_a_run(tmp_path: Path) -> None:
    run = tmp_path / "calls.json"
    run.write_text(json.dumps({"artifacts": {"digits": {"batches": {"1": {"min": 0.9}}}}}))
    script = ROOT / "tests/benchmarks/whole_calls.py"
    command = [sys.executable, script, "--parts", "kinds", "--into", run]
    subprocess.run([*command, ROOT / "assets/digits.onnx"], check=True)
    found = json.loads(run.read_text("utf-8"))
    row = found["artifacts"]["digits"]
    assert row["batches"] == {"1": {"min": 0.9}}
    assert set(row["kinds"]) >= {"float64 1", "list 64"}
    lines = render(found).splitlines()
    assert "| digits | 0.90 | — | — | — | — | — | — |" in lines
