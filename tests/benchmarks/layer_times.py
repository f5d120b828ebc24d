"""Graphs composed from layer times beside what the measured search finds: `make layer-times`.

    python tests/benchmarks/layer_times.py SHARED [--only PATTERN] [--output build/layer_times.json]

For each convolution net of ``make bench`` on this machine:

1. ``files``: the float artifact, its static sibling, another with the layers' faster forms, and
   what the search finds for speed, which runs every graph that it proposes.
2. ``times``: ``edgeport bench --layers`` of the siblings.
3. ``compose``: ``edgeport convert --layer-times``, which runs nothing to find the formats.
4. ``race``: all of them by turns, one sample on one thread; the composed graph's time over the
   search's is the result.

``--phase`` runs one of the four, so that the second and the last can have the machine alone; files
of earlier phases are taken from the folder of ``--output``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from peers import machine
from peers.models import BenchModel, select

PHASES = ("files", "times", "compose", "race")
ROUNDS, ROUND_SECONDS, MOST_CALLS = 15, 0.02, 200
SECONDS = 1.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--only", default="", help="a pattern that the models' names must contain")
    parser.add_argument("--phase", choices=PHASES, help="one part alone")
    parser.add_argument("--output", type=Path, default=Path("build/layer_times.json"))
    options = parser.parse_args()
    models = [model for model in select(options.only) if model.is_convolutional]
    rows = []
    for model in models:
        folder = options.output.parent / "layer_times" / model.name
        folder.mkdir(parents=True, exist_ok=True)
        for phase in PHASES:
            if options.phase in (None, phase):
                found = globals()[phase](model, folder, options.shared)
                print(json.dumps({"model": model.name, "phase": phase, **found}), flush=True)
        if (folder / "race.json").exists():
            rows.append({"model": model.title, **read(folder, "compose"), **read(folder, "race")})
    if rows:
        result = {"machine": machine.describe(), "rows": rows}
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print_table(rows)
    return 0


def read(folder: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")))


def write(folder: Path, name: str, found: dict[str, Any]) -> dict[str, Any]:
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def converted(model: BenchModel, folder: Path, shared: Path, output: str, **more: Any) -> Any:
    from edgeport_converter import convert

    return convert(
        model.keras_path(shared, folder, again=False),
        folder / output,
        calibration=model.calibration(shared),
        evaluation=model.evaluation(shared),
        max_drop=model.max_drop,
        **more,
    )


def files(model: BenchModel, folder: Path, shared: Path) -> dict[str, Any]:
    converted(model, folder, shared, "int8.onnx", quantize="static", also=("none",))
    converted(model, folder, shared, "fast.onnx", quantize="static", objective="latency")
    report = converted(model, folder, shared, "search.onnx", objective="latency")
    return write(folder, "files", {"search": report.recipe})


def times(model: BenchModel, folder: Path, shared: Path) -> dict[str, Any]:
    from edgeport.cli.layer_times import measure_layers
    from edgeport.cli.trial import Trial

    names = ("int8.none.onnx", "int8.onnx", "fast.onnx")
    float_path, *int8_paths = [str(folder / name) for name in names]
    found = measure_layers(float_path, int8_paths, threads=1, seconds=SECONDS, trial=Trial())
    write(folder, "times", found)
    return {"layers": len(found["layers"])}


def compose(model: BenchModel, folder: Path, shared: Path) -> dict[str, Any]:
    report = converted(model, folder, shared, "composed.onnx", layer_times=folder / "times.json")
    words = {"composed": report.recipe, "reason": report.reason}
    return write(folder, "compose", {**read(folder, "files"), **words})


def race(model: BenchModel, folder: Path, shared: Path) -> dict[str, Any]:
    """Return the median microseconds of a call, and the ratio."""
    from edgeport import Predictor

    names = {
        "float": "int8.none.onnx",
        "int8": "int8.onnx",
        "search": "search.onnx",
        "composed": "composed.onnx",
    }
    predictors = {key: Predictor.load(folder / name, threads=1) for key, name in names.items()}
    sample = dict(predictors["float"].card.golden_samples[0].inputs)
    calls = {}
    for key, predictor in predictors.items():
        predictor.predict(sample)
        started = time.perf_counter()
        predictor.predict(sample)
        once = time.perf_counter() - started
        calls[key] = max(3, min(MOST_CALLS, int(ROUND_SECONDS / once)))
    rounds: dict[str, list[float]] = {key: [] for key in predictors}
    for number in range(ROUNDS):
        for key, predictor in list(predictors.items())[:: 1 if number % 2 else -1]:
            started = time.perf_counter()
            for _ in range(calls[key]):
                predictor.predict(sample)
            rounds[key].append((time.perf_counter() - started) / calls[key] * 1e6)
    medians = {key: round(statistics.median(each), 1) for key, each in rounds.items()}
    ratio = statistics.median(
        mine / other for mine, other in zip(rounds["composed"], rounds["search"], strict=True)
    )
    return write(folder, "race", {"us": medians, "composed_by_search": round(ratio, 3)})


def print_table(rows: list[dict[str, Any]]) -> None:
    head = ("float", "int8", "search", "composed")
    print(f"{'one sample, one thread, us':<28}{''.join(f'{name:>11}' for name in head)}      ratio")
    for row in rows:
        cells = "".join(f"{row['us'][name]:>11,.1f}" for name in head)
        print(f"{row['model']:<28}{cells}{row['composed_by_search']:>11.3f}")


if __name__ == "__main__":
    sys.exit(main())
