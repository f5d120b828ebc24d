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
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "converter"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# A child takes no further network once it has needed this much; Keras and TensorFlow keep some of
# each for good.
_ENOUGH_BYTES = 3 * 2**30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/layers.json"))
    parser.add_argument("--only", default="", help="a pattern that the names must contain")
    parser.add_argument("--small", action="store_true", help="without keras.applications")
    parser.add_argument("--child", nargs="+", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args()

    import layer_cases

    if options.child:
        judge_as_child(options.child)
        return 0
    cases = layer_cases.SMALL + (() if options.small else layer_cases.APPLICATIONS)
    cases = tuple(case for case in cases if re.search(options.only, case.name))
    started = time.monotonic()
    rows, unexpected = [], []
    for case, verdict in judge_all(cases):
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


def judge_all(cases):
    """Yield each case and its verdict: first the small ones, then the applications."""
    import layer_cases

    for case in cases:
        if case not in layer_cases.APPLICATIONS:
            yield case, layer_cases.judge(case)
    # In processes of their own: their memory comes back, and they may die alone.
    left = [case for case in cases if case in layer_cases.APPLICATIONS]
    while left:
        command = [sys.executable, __file__, "--child", *[case.name for case in left]]
        started, done = time.monotonic(), 0
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child:
            for line in child.stdout:
                yield left[done], layer_cases.Verdict(**json.loads(line))
                started, done = time.monotonic(), done + 1
        if child.returncode and done < len(left):
            yield (
                left[done],
                layer_cases.Verdict(
                    left[done].name,
                    "crashed",
                    f"its process ended with code {child.returncode}",
                    seconds=time.monotonic() - started,
                ),
            )
            done += 1
        left = left[done:]


def judge_as_child(names):
    """Print the verdicts of these cases, one a line, until much memory was needed."""
    import layer_cases

    by_name = {case.name: case for case in layer_cases.APPLICATIONS}
    for name in names:
        print(json.dumps(asdict(layer_cases.judge(by_name[name]))), flush=True)
        if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > _ENOUGH_BYTES:
            return


if __name__ == "__main__":
    sys.exit(main())
