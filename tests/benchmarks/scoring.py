"""What `edgeport score` costs beside a plain loop of the engine: a table, and JSON to a file.

    python tests/benchmarks/scoring.py --folder build/scoring --output build/scoring.json
    python tests/benchmarks/scoring.py --only make     makes the data, 7 GB, and stops
    python tests/benchmarks/scoring.py --model other.onnx --rows 2000     takes float rows

1. `plain`: onnxruntime alone over an array in memory, with 1 and 2 threads and several batches.
2. `local`: the whole command in a fresh process, with reading, digests and writing, with 1, 2 and 4
   workers; a tenth of the rows, too. `steady` are the rows a second of what the larger run has more
   than the smaller one, without start and end; peak memory is the sum over all processes.
3. `parts`: a tenth of the rows with parts of several sizes.
4. `costs`: seconds for a GB of digests and of reading, alone; for a model of pictures, too, the
   seconds until a JPEG of 640 by 480 pixels is read, digested and decoded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeport.artifact.seal import read_card

REPOSITORY = Path(__file__).parents[2]
MODEL = REPOSITORY / "assets" / "digits.onnx"
_BLOCK_VALUES = 2**24


def make(path: Path, model: Path, rows: int) -> None:
    """Write rows of the model's input: levels from 0 to 1, most of them zero as in digits."""
    (spec,) = read_card(str(model)).inputs
    sample = [size if isinstance(size, int) else 224 for size in spec.sample_shape]
    rng = np.random.default_rng(0)
    count = max(1, min(rows, _BLOCK_VALUES // math.prod(sample)))
    size = (count, *sample)
    block = (rng.integers(0, 256, size) / 255 * (rng.random(size) < 0.2)).astype(spec.dtype)
    with path.open("wb") as file:
        about = {"descr": spec.dtype.str, "fortran_order": False, "shape": (rows, *sample)}
        np.lib.format.write_array_header_1_0(file, about)
        for start in range(0, rows, count):
            file.write(np.roll(block, start // count, axis=0)[: rows - start].tobytes())


def plain(path: Path, model: Path, rows: int, threads: int, batch: int) -> float:
    """Return rows a second of a loop over an array in memory."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), options)
    name = session.get_inputs()[0].name
    x = np.load(path)
    session.run(None, {name: x[:batch]})
    began, done = time.perf_counter(), 0
    while done < rows:
        for start in range(0, len(x), batch):
            session.run(None, {name: x[start : start + batch]})
        done += len(x)
    return done / (time.perf_counter() - began)


def run(command: Sequence[object]) -> tuple[float, int]:
    """Run a command; return its seconds, and the sum of its processes' peaks in bytes."""
    peaks: dict[int, int] = {}
    began = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            for pid in _tree(child.pid):
                # The last one: before its program is loaded, a child counts its parent's memory.
                peaks[pid] = _peak(pid) or peaks.get(pid, 0)
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        said = child.stderr.read() if child.stderr else ""
    if child.returncode:
        raise SystemExit(f"{command}: {said}")
    return seconds, sum(peaks.values())


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def _peak(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def score(path: Path, model: Path, *options: object) -> tuple[float, int]:
    with tempfile.TemporaryDirectory(dir=path.parent) as out:
        command = [sys.executable, "-m", "edgeport", "score", path, "--model", model, "-o", out]
        return run([*command, "--json", *options])


def digest_and_read(path: Path) -> dict[str, float]:
    """Return seconds for a GB, of the least of three times each."""
    from edgeport.scoring.files import Digest

    block, digest, size = memoryview(bytearray(2**20)), Digest(), path.stat().st_size

    def least(run: Callable[[], object], amount: int) -> float:
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        return min(seconds) / amount * 1e9

    def read() -> None:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass

    return {
        "read": least(read, size),
        "digest": least(lambda: digest.update(block), len(block)),
        "sha256": least(lambda: hashlib.sha256(block), len(block)),
    }


def photo(folder: Path, model: Path) -> dict[str, float]:
    """Return the bytes of a made-up photo, and the seconds until it is pixels."""
    from PIL import Image

    from edgeport.scoring import files, inputs, parts
    from edgeport.scoring.job import Settings

    rng, settings, card = np.random.default_rng(0), Settings(), read_card(str(model))
    count, paths = 100, []
    folder.mkdir(exist_ok=True)
    slope = np.linspace(0, 200, 640)[:, np.newaxis]
    for number in range(count):
        pixels = np.clip(slope + 20 * rng.normal(size=(480, 640, 3)), 0, 255).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).save(paths[-1], quality=80)
    sources = files.look([str(path) for path in paths])
    pieces = [piece for source in sources for piece in inputs.split(source, card, settings, print)]
    (part,) = parts.number(pieces, 2**40)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        for _chunk in inputs.read(part, card, settings, []):
            pass
        seconds.append(time.perf_counter() - began)
    return {"photo_bytes": part.bytes / count, "photo_s": min(seconds) / count}


def local(
    small: Path, large: Path, options: argparse.Namespace, workers: int
) -> dict[str, float | int]:
    rows = options.rows
    fast, little = score(small, options.model, "--workers", workers)
    slow, peak = score(large, options.model, "--workers", workers)
    return {
        "seconds": slow,
        "rows_s": rows / slow,
        "steady": (rows - rows // 10) / (slow - fast),
        "peak": peak,
        "peak_of_a_tenth": little,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path, default=Path("build/scoring"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", choices=("make", "plain", "local", "parts", "costs"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    large, small = options.folder / "large.npy", options.folder / "small.npy"
    few = options.rows // 10
    for path, rows in ((large, options.rows), (small, few)):
        if not path.exists():
            make(path, options.model, rows)
    found: dict[str, Any] = {"rows": options.rows}

    def wanted(name: str) -> bool:
        return options.only in (None, name)

    if wanted("plain"):
        found["plain"] = {
            f"{threads} threads, batch {batch}": plain(
                small, options.model, options.rows, threads, batch
            )
            for threads in (1, 2)
            for batch in (32, 128, 512, 2048)
        }
    if wanted("local"):
        found["local"] = {count: local(small, large, options, count) for count in (1, 2, 4)}
    if wanted("parts"):
        found["part_sizes"] = {
            size: few / score(small, options.model, "--part-size", size)[0]
            for size in ("1M", "4M", "16M", "64M", "256M")
        }
    if wanted("costs"):
        found["costs"] = digest_and_read(small)
        if len(read_card(str(options.model)).inputs[0].shape) == 4:
            found["costs"] |= photo(options.folder / "photos", options.model)
    print(json.dumps(found, indent=2))
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")
    if options.only is None:
        shutil.rmtree(options.folder)


if __name__ == "__main__":
    main()
