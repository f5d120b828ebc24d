"""What each rewriting is worth: bytes and latency with it and without it.

    make passes SHARED=folder
    python tests/benchmarks/passes.py MODEL... [--output build/passes.json]

A MODEL is a Keras file or SavedModel, a folder that stands for all of them below it, or the name of
a network in ``made_models.MADE`` or in ``keras.applications``, which has seeded random weights.
Each model is exported once and optimized with all rules, and again with each rule left out; then it
is quantized as ``static``, with all that makes int8 graphs faster and again without each, and the
float graphs without a rule are quantized, too. What changes nothing in a model is not listed for
it. Latencies are taken by turns, on one thread, of one sample: a ratio above one is what leaving
the rule out costs.
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

from edgeport_converter.verification import runners

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

STATISTICS_SAMPLES = 8
_SECONDS, _RUNS = 5.0, 40  # of measuring, at least, for each pair of graphs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--output", type=Path, default=Path("build/passes.json"))
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    from quantization import cpu_name

    result = {"cpu": cpu_name(), "rows": []}
    for name, source in find_models(options.models):
        for row in measure(name, source):
            result["rows"].append(row)
            print(json.dumps(row), flush=True)
            options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def find_models(places):
    """Yield a name and what ``loading`` takes for each model."""
    for place in places:
        path = Path(place)
        if not path.exists():
            yield place, lambda place=place: made(place)
        elif not path.is_dir() or (path / "saved_model.pb").exists():
            yield path.name, path
        else:
            for found in sorted(path.rglob("*")):
                if found.suffix in (".h5", ".hdf5", ".keras"):
                    yield found.name, found
                elif found.name == "saved_model.pb":
                    yield found.parent.name, found.parent


def made(name):
    import keras
    from made_models import MADE, random_application

    if name in MADE:
        return MADE[name](Path()), None
    shape = [
        size or 224 for size in getattr(keras.applications, name)(weights=None).input_shape[1:]
    ]
    generator = np.random.default_rng(0)
    pixels = generator.uniform(0, 255, (STATISTICS_SAMPLES, *shape)).astype(np.float32)
    return random_application(name, pixels), pixels


def measure(name, source):
    """Yield a row for each rule that changes this model's graph."""
    from edgeport import ModelCard
    from edgeport_converter import exporting, optimizing, targets
    from edgeport_converter.loading.load import load_model, start_tensorflow
    from edgeport_converter.verification import trial_inputs

    start_tensorflow()
    model, pixels = source() if callable(source) else (source, None)
    loaded = load_model(model)
    engine = targets.find_engine(targets.ONNXRUNTIME_FLOOR)
    exported = exporting.export(loaded, opset=engine.opset, ir_version=engine.ir_version)
    card = ModelCard(loaded.name, exported.inputs, exported.outputs)
    sample = trial_inputs.make_trial_inputs(exported.inputs, exported.reference)[0]
    if pixels is not None:
        sample = {exported.inputs[0].name: pixels}
    one = {name: array[:1] for name, array in sample.items()}
    applied = set()
    with watch_rules(applied):
        optimized = optimizing.optimize(exported.graph)
    int8 = as_int8(optimized, sample)

    def optimized_now():
        return optimizing.optimize(exported.graph)

    for graph, rules, make in (
        (optimized, rules_left_out(applied), optimized_now),
        (int8, int8_left_out(), lambda: as_int8(optimized, sample)),
        (int8, in_int8(rules_left_out(applied)), lambda: as_int8(optimized_now(), sample)),
    ):
        whole = optimizing.compact(graph)
        for rule, without in rules:
            with without:
                graph = optimizing.compact(make())
            if graph == whole:
                continue
            yield {
                "model": name,
                "rule": rule,
                "bytes": whole.ByteSize(),
                "bytes_without": graph.ByteSize(),
                "nodes": len(whole.graph.node),
                "nodes_without": len(graph.graph.node),
                "latency_without_over_with": round(ratio(graph, whole, card, one), 3),
            }


def as_int8(graph, sample):
    """Return the static graph; ranges of whatever the model was tried with do for its speed."""
    import onnx_ir as ir

    from edgeport_converter.quantization.calibration.ranges import collect_ranges
    from edgeport_converter.quantization.qdq import average_pools
    from edgeport_converter.quantization.qdq.quantize import quantize
    from edgeport_converter.quantization.recipe import Recipe
    from edgeport_converter.targets import find_target

    model = ir.from_proto(graph)
    model = average_pools.convolve_pools(model, average_pools.find_small_pools(model.graph))
    ranges = collect_ranges(model, lambda size: [sample])
    return ir.to_proto(quantize(model, Recipe("static"), ranges, find_target("any")).graph)


def int8_left_out():
    """Yield the name of each rewriting of int8 graphs, and a patch that leaves it out."""
    from edgeport_converter.quantization.qdq import average_pools, placement, quantize

    nothing = frozenset()
    yield (
        "int8: codes of hard sigmoids",
        patch.object(quantize, "bound_codes", lambda *_: nothing),
    )
    yield "int8: gelus in float", patch.object(placement, "_in_gelus", lambda *_: nothing)
    yield (
        "int8: inputs in float",
        patch.object(placement, "_before_the_first_layers", lambda *_: nothing),
    )
    yield (
        "int8: pools as convolutions",
        patch.object(average_pools, "find_small_pools", lambda *_: nothing),
    )


def watch_rules(applied):
    """Return a patch under which the name of each rule that rewrites something is added."""
    from onnxscript.rewriter import RewriteRule

    rewrite = RewriteRule.try_rewrite

    def watched(rule, *arguments, **more):
        found = rewrite(rule, *arguments, **more)
        if found is not None:
            applied.add(rule.name)
        return found

    return patch.object(RewriteRule, "try_rewrite", watched)


def rules_left_out(applied):
    """Yield the name of each applied rule or group of equal ones, and a patch without it."""
    from edgeport_converter.optimizing import passes

    for name in dict.fromkeys(rule.name for rule in passes.RULES if rule.name in applied):
        kept = tuple(rule for rule in passes.RULES if rule.name != name)
        yield name or "MulByOne", patch.object(passes, "RULES", kept)
    yield "folding of constants", patch.object(passes, "_FOLD_ELEMENTS", 0)
    unscaled = patch.object(passes, "simplify_input_scaling", lambda graph: False)
    yield "scaling of inputs", unscaled
    yield "all rules", patch.object(passes, "_MAX_ROUNDS", 0)


def in_int8(rules):
    """Yield the same rules and patches, named for the int8 graph that is made afterwards."""
    return ((f"int8: {rule}", without) for rule, without in rules)


def ratio(first, second, card, sample):
    """Return the first graph's time by the second's, the median of the turns' ratios."""
    from edgeport_converter.verification.runners import open_graph

    with open_graph(first, card, threads=1) as one, open_graph(second, card, threads=1) as two:
        runs = [runners.as_run(one), runners.as_run(two)]
        times = [[], []]
        end = time.perf_counter() + _SECONDS
        turns = list(zip(runs, times, strict=True))
        while time.perf_counter() < end or len(times[0]) < _RUNS:
            turns.reverse()
            for run, taken in turns:
                started = time.perf_counter()
                run(sample)
                taken.append(time.perf_counter() - started)
        return float(np.median(np.divide(*times)))


if __name__ == "__main__":
    sys.exit(main())
