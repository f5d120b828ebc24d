"""One cold start: opens a file, answers once, prints what it took; a fresh process each time.

    python peers/cold_start.py ENGINE PATH SHAPE

SHAPE is that of one sample with its batch axis, such as 1,96,96,3. Prints the milliseconds that
opening took on one thread, the clock at the first answer and the most memory that the process held.
``cold_starts`` starts such processes; the command calls it. They run by path, since ``-m`` imports
modules that a user's script does not pay for.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(engine: str, path: str, shape: str) -> None:
    import numpy as np

    from peers.engines import ENGINES

    sizes = tuple(int(size) for size in shape.split(","))
    x = np.zeros(sizes, np.float32)
    before = time.perf_counter()
    call = ENGINES[engine](path, 1, sizes)
    opened = time.perf_counter()
    call(x)
    answered = time.perf_counter()
    seen = {"load_ms": (opened - before) * 1e3, "answered": answered, "peak_bytes": peak_bytes()}
    print(json.dumps(seen))


def peak_bytes() -> int | None:
    """Return the most memory that was held; ``getrusage`` would count the parent's as well."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def cold_starts(
    python: Path,
    files: Sequence[dict[str, Any]],
    shape: Sequence[int],
    rounds: int,
    env: dict[str, str],
) -> dict[str, dict[str, float]]:
    """Return medians over fresh processes by turns: load_ms, cold_start_ms and peak_bytes.

    The first process of each file compiles its modules and is not counted. The clock of
    ``perf_counter`` is the machine's, hence the same in parent and child. ``env`` holds the
    variables with which they find this package.
    """
    seen: dict[str, list[dict[str, Any]]] = {file["column"]: [] for file in files}
    for number in range(rounds + 1):
        for file in files[:: 1 if number % 2 else -1]:
            sizes = ",".join(map(str, shape))
            command = [python, __file__, file["engine"], file["path"], sizes]
            started = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=env)
            found = json.loads(done.stdout)
            found["cold_start_ms"] = (found.pop("answered") - started) * 1e3
            if number:
                seen[file["column"]].append(found)
    return {
        column: {
            name: statistics.median(each[name] for each in found)
            for name in ("load_ms", "cold_start_ms", "peak_bytes")
            if found[0][name] is not None
        }
        for column, found in seen.items()
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
