"""How long `Predictor.load` takes with and without the kept graph: JSON to stdout.

    python tests/benchmarks/loading.py mobilenet_v2.onnx assets/digits.onnx ...
    python tests/benchmarks/loading.py --mobilenet-v2 build/mobilenet_v2.int8.onnx

Without a file, `--mobilenet-v2 OUT` converts keras.applications.MobileNetV2 (random weights, int8,
calibrated on random pixels) to one first, which needs the converter.

One thread, one process, by turns; smallest and median times. CPU time tells more than the time
that passed where other programs share the machine. `first_answer` is a load and one prediction:
golden samples run at load, or of a kept graph before its first answer. `engine` is the engine's
start alone, `parts` what loads and first answers consist of beside it; all but the kept graph's
digest is there without it, too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeport import ModelCard, Predictor
from edgeport.artifact import seal
from edgeport.artifact.protobuf import refuse_external_tensors
from edgeport.engine.session import Session, engine_version
from edgeport.inputs import feeds
from edgeport.inputs.examples import example

ROUNDS = 25


def by_turns(
    ways: dict[str, Callable[[Any], Any]], prepare: Callable[[], Any] = lambda: None
) -> dict[str, dict[str, float]]:
    """Return milliseconds by way: smallest and median, passed and of the CPU.

    Args:
        ways: each takes what ``prepare`` returns.
        prepare: runs before each way, outside of the time.
    """
    passed: dict[str, list[float]] = {way: [] for way in ways}
    used: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way in list(ways)[:: 1 if number % 2 else -1]:
            given = prepare()
            began, cpu = time.perf_counter(), time.process_time()
            result = ways[way](given)
            if number:
                used[way].append((time.process_time() - cpu) * 1e3)
                passed[way].append((time.perf_counter() - began) * 1e3)
            del result, given  # freed outside of the time
    return {
        way: {
            "smallest_ms": min(passed[way]),
            "median_ms": statistics.median(passed[way]),
            "cpu_smallest_ms": min(used[way]),
            "cpu_median_ms": statistics.median(used[way]),
        }
        for way in ways
    }


def first_answer(path: Path, options: dict[str, Any], x: dict[str, Any]) -> Any:
    """Return the predictor, so that it is freed outside of the time."""
    predictor = Predictor.load(path, threads=1, **options)
    predictor.predict(x)
    return predictor


def ratios(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    return {name: one[name] / other[name] for name in one}


def measure(path: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        Predictor.load(path, threads=1, cache_dir=folder)
        (kept,) = Path(folder).iterdir()
        graph = kept.read_bytes().split(b"\n", 2)[2]
        ways = {"without": {}, "kept": {"cache_dir": folder}}
        loads = by_turns(
            {
                way: lambda _, options=options: Predictor.load(path, threads=1, **options)
                for way, options in ways.items()
            }
        )
        x = example(Predictor.load(path).card, 1)
        answers = by_turns(
            {
                way: lambda _, options=options: first_answer(path, options, x)
                for way, options in ways.items()
            }
        )
    data = path.read_bytes()
    engine = by_turns(
        {
            "without": lambda _: Session(data),
            "kept": lambda _: Session(graph, optimization="none"),
        }
    )
    card = Predictor.load(path, threads=1).card
    sealed = seal.check_seal(data)
    card_json = sealed.card_json if sealed else json.dumps(card.to_dict())
    prepared = [feeds.prepare(card.inputs, (sample.inputs,)) for sample in card.golden_samples]
    parts = by_turns(
        {
            "read": lambda _: seal.read(path),
            "seal": lambda _: seal.check_seal(data),
            "card": lambda _: ModelCard.from_json(card_json),
            "tensors elsewhere": lambda _: refuse_external_tensors(data),
            "digest of the kept graph": lambda _: hashlib.sha256(graph).digest(),
        }
    )
    parts |= by_turns(
        {"golden samples": lambda session: [session.run(feed.arrays) for feed in prepared]},
        lambda: Session(graph, optimization="none"),
    )
    return {
        "file": path.name,
        "bytes": len(data),
        "graph_bytes": len(graph),
        "golden_samples": len(prepared),
        "load": loads,
        "load_ratio": ratios(loads["without"], loads["kept"]),
        "first_answer": answers,
        "first_answer_ratio": ratios(answers["without"], answers["kept"]),
        "engine": engine,
        "engine_ratio": ratios(engine["without"], engine["kept"]),
        "parts": parts,
    }


def convert_mobilenet_v2(output: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import numpy as np

    from edgeport_converter import convert

    pixels = np.random.default_rng(1).uniform(-1, 1, (32, 224, 224, 3)).astype("f4")
    model = keras.applications.MobileNetV2(weights=None)
    convert(model, output, calibration=pixels, quantize="static", max_drop=0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--mobilenet-v2", type=Path, metavar="OUT")
    options = parser.parse_args()
    if options.mobilenet_v2 and not options.mobilenet_v2.exists():
        convert_mobilenet_v2(options.mobilenet_v2)
    files = [*options.files, *filter(None, [options.mobilenet_v2])]
    result = {
        "machine": f"{platform.machine()} {platform.python_implementation()} "
        f"{platform.python_version()}, onnxruntime {engine_version()}",
        "load_average_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "models": [measure(path) for path in files],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
