"""What each rule of the optimizer is worth: bytes and latency with it and without it.

    python tests/benchmarks/passes.py MODEL_FILE_OR_FOLDER... [--output build/passes.json]

A folder stands for every Keras file and SavedModel below it. Each model is exported once and
optimized with all rules, and again with each rule left out; a rule that changes nothing in a model
is not listed for it. Latencies are medians of runs by turns, one thread, one sample: a ratio above
one is what leaving the rule out costs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

_SECONDS = 1.0  # of measuring, for each pair of graphs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path("build/passes.json"))
    options = parser.parse_args()
    rows = []
    for path in find_models(options.models):
        for row in measure(path):
            rows.append(row)
            print(json.dumps(row), flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def find_models(places):
    for place in places:
        if not place.is_dir() or (place / "saved_model.pb").exists():
            yield place
            continue
        for path in sorted(place.rglob("*")):
            if path.suffix in (".h5", ".hdf5", ".keras"):
                yield path
            elif path.name == "saved_model.pb":
                yield path.parent


def measure(path):
    """Yield a row for each rule that changes this model's graph."""
    from edgeport import ModelCard
    from edgeport_converter import exporting, loading, optimizing, targets, trying

    loaded = loading.load(path)
    engine = targets.find_engine(targets.ONNXRUNTIME_FLOOR)
    exported = exporting.export(loaded, opset=engine.opset, ir_version=engine.ir_version)
    card = ModelCard(loaded.name, exported.inputs, exported.outputs)
    sample = trying.parity_inputs(exported.inputs, [], exported.reference)[0]
    whole = optimizing.compact(optimizing.optimize(exported.graph))
    for name, without in rules_left_out(optimizing):
        with without:
            graph = optimizing.compact(optimizing.optimize(exported.graph))
        if graph == whole:
            continue
        yield {
            "model": path.name, "rule": name,
            "bytes": whole.ByteSize(), "bytes_without": graph.ByteSize(),
            "nodes": len(whole.graph.node), "nodes_without": len(graph.graph.node),
            "latency_without_over_with": round(ratio(graph, whole, card, sample), 3),
        }  # fmt: skip


def rules_left_out(optimizing):
    """Yield the name of each rule or group of equal ones, and a patch that leaves it out."""
    names = list(dict.fromkeys(rule.name for rule in optimizing._RULES))
    for name in names:
        kept = tuple(rule for rule in optimizing._RULES if rule.name != name)
        yield name or "MulByOne", patch.object(optimizing, "_RULES", kept)
    yield "folding of constants", patch.object(optimizing, "_FOLD_ELEMENTS", 0)
    unscaled = patch.object(optimizing, "simplify_input_scaling", lambda graph: False)
    yield "scaling of inputs", unscaled
    yield "all rules", patch.object(optimizing, "_MAX_ROUNDS", 0)


def ratio(first, second, card, sample):
    """Return the median time of the first graph by that of the second, measured by turns."""
    from edgeport_converter import verifying
    from edgeport_converter.graphs import open_graph

    with open_graph(first, card, threads=1) as one, open_graph(second, card, threads=1) as two:
        runs = [verifying.as_run(one), verifying.as_run(two)]
        times = [[], []]
        end = time.perf_counter() + _SECONDS
        while time.perf_counter() < end or len(times[0]) < 20:
            for run, taken in zip(runs, times, strict=True):
                started = time.perf_counter()
                run(sample)
                taken.append(time.perf_counter() - started)
        return float(np.median(times[0]) / np.median(times[1]))


if __name__ == "__main__":
    sys.exit(main())
