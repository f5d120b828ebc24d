"""The table of layers, activations and applications: `make layers`.

    python tests/benchmarks/layers.py [--output build/layers.json] [--only TEXT] [--small]

Exit code 1 where a case is wrong, crashed, or gives an invalid file, or is refused without being
expected to.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "converter"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/layers.json"))
    parser.add_argument("--only", default="", help="a pattern that the names must contain")
    parser.add_argument("--small", action="store_true", help="without keras.applications")
    options = parser.parse_args()

    import layer_cases

    cases = layer_cases.SMALL + (() if options.small else layer_cases.APPLICATIONS)
    cases = tuple(case for case in cases if re.search(options.only, case.name))
    started = time.monotonic()
    rows, unexpected = [], []
    for case in cases:
        # A process of its own for a large model: its memory comes back, and it may die alone.
        is_large = case in layer_cases.APPLICATIONS and len(cases) > 1
        verdict = judge_apart(case) if is_large else layer_cases.judge(case)
        fits = verdict.outcome == ("refused" if case.refused else "exact")
        rows.append(asdict(verdict) | {"expected": "refused" if case.refused else "exact"})
        if not fits:
            unexpected.append(case.name)
        print(
            f"{'  ' if fits else '! '}{verdict.outcome:8} {verdict.seconds:6.2f} s "
            f"{verdict.difference:8.1e}  {case.name}"
            f"{': ' + verdict.detail if verdict.detail else ''}",
            flush=True,
        )
    counts = collections.Counter(row["outcome"] for row in rows)
    summary = {"cases": len(rows), **counts, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(summary))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps({"summary": summary, "rows": rows}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    return 1 if unexpected else 0


def judge_apart(case):
    """Return the case's verdict from a child process."""
    import layer_cases

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "row.json"
        done = subprocess.run(
            [sys.executable, __file__, "--only", f"^{case.name}$", "--output", str(output)],
            capture_output=True, check=False,
        )  # fmt: skip
        if output.exists():
            row = json.loads(output.read_text(encoding="utf-8"))["rows"][0]
            del row["expected"]
            return layer_cases.Verdict(**row)
    return layer_cases.Verdict(
        case.name, "crashed", f"its process ended with code {done.returncode}",
        seconds=time.monotonic() - started,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
