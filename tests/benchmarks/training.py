"""What training reaches on MNIST, and what each means against over-fitting is worth.

    make training MNIST=mnist.npz
    python tests/benchmarks/training.py --mnist mnist.npz [--output FILE.json] [--only PARTS]

examples   the printed recipes `mnist` and `cnn` on the whole set, and their int8 artifacts
small_set  500 digits, 5 seeds: the bare network; a smaller one; L2, dropout, early stopping and
           augmentation alone; all of them together
folds      what 10-fold cross-validation expects of 2,000 digits, and what the test set says
search     grid, random and TPE search for the learning rate over the same budget

Some twenty minutes of a CPU; parts that the output holds already are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from edgeport_converter import convert, train
from edgeport_converter.training.recipe.examples import example

SEEDS = range(5)
MOVED = {"shift": 0.1, "rotate": 12, "zoom": 0.1}
STOPPING = {"early_stopping": {"patience": 10}}
ALL = {
    "model": {"l2": 1e-4, "dropout": 0.1},
    "augmentation": MOVED,
    "training": {"early_stopping": {"patience": 25}},
}
SMALL_SET = {
    "bare, 50 epochs": {},
    "bare, 200 epochs": {"training": {"epochs": 200}},
    "smaller model, 64-24-10": {"model": {"layers": [64, 24]}},
    "L2 of 0.003": {"model": {"l2": 3e-3}},
    "dropout of 0.3": {"model": {"dropout": 0.3}},
    "early stopping": {"training": {"epochs": 200, **STOPPING}},
    "shift, rotate, zoom": {"augmentation": MOVED},
    "L2, dropout, shift, rotate, zoom, early stopping": ALL,
}
BARE_EPOCHS, LONG_EPOCHS = 50, 200
RATES = {"low": 1e-4, "high": 1e-1, "log": True}
TRIALS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mnist", type=Path, required=True, help="mnist.npz, 70,000 digits")
    parser.add_argument("--output", type=Path, default=Path("build/training.json"))
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated")
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for part in options.only.split(","):
        rows = found.setdefault(part, {})
        for name, measure in PARTS[part].items():
            if name in rows:
                continue
            started = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                figures = measure(options.mnist.resolve(), Path(folder))
            rows[name] = {**figures, "cpu_seconds": round(time.process_time() - started)}
            print(f"{part}, {name}: {rows[name]}", file=sys.stderr, flush=True)
            options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def train_example(name):
    """Train a printed recipe as it is, and convert what comes out with its run's data."""

    def measure(mnist, folder):
        (folder / "mnist.npz").symlink_to(mnist)
        recipe = folder / f"{name}.toml"
        recipe.write_text(example(name), encoding="utf-8")
        report = train(recipe, folder / f"{name}.keras")
        run = report.run_folder
        artifact = convert(
            report.output,
            folder / f"{name}.onnx",
            calibration=run / "calibration.npz",
            evaluation=run / "test.npz",
            expected_metric=report.evaluation.value,
            quantize="static",
            max_drop=0.002,
            labels=(run / "labels.txt").read_text().split(),
        )
        return {
            "test_accuracy": report.evaluation.value,
            "calibration_error": report.evaluation.figures["expected_calibration_error"],
            "weights": report.weights,
            "int8_accuracy": artifact.accuracy.artifact,
            "int8_bytes": artifact.file_bytes,
            "recipe": artifact.recipe,
        }

    return measure


def train_on_500(changes):
    """Train on 500 digits, 100 of them for validation, and test on 10,000."""

    def measure(mnist, folder):
        values, errors, epochs = [], [], []
        for seed in SEEDS:
            planned = LONG_EPOCHS if "augmentation" in changes else BARE_EPOCHS
            recipe = {
                "seed": seed,
                "data": {"source": str(mnist), "samples": 500, "validation": 0.2},
                "model": {"layers": [64, 64], **changes.get("model", {})},
                "training": {"epochs": planned, **changes.get("training", {})},
            }
            if "augmentation" in changes:
                recipe["augmentation"] = changes["augmentation"]
            report = train(recipe, folder / "m.keras", run_folder=folder / str(seed))
            values.append(report.evaluation.value)
            errors.append(report.evaluation.figures["expected_calibration_error"])
            epochs.append(len(report.history))
        return {
            "mean": statistics.fmean(values),
            "spread": statistics.stdev(values),
            "test_accuracy": values,
            "calibration_error": statistics.fmean(errors),
            "epochs": epochs,
        }

    return measure


def cross_validate(mnist, folder):
    report = train(
        {
            "data": {"source": str(mnist), "samples": 2000},
            "model": {"layers": [64, 64]},
            "training": {"epochs": 10},
            "cross_validation": {"folds": 10},
        },
        folder / "m.keras",
    )
    return {**asdict(report.cross_validation), "test_accuracy": report.evaluation.value}


def search_rate(sampler):
    """Search the rate of the same network; its own rate, adam's 0.001, is the first trial."""

    def measure(mnist, folder):
        rates = {**RATES, "steps": TRIALS - 1} if sampler == "grid" else RATES
        report = train(
            {
                "data": {"source": str(mnist), "samples": 3000, "validation": 0.3333},
                "model": {"layers": [64, 64]},
                "training": {"epochs": 5, "learning_rate": 0.001},
                "search": {
                    "sampler": sampler,
                    "trials": TRIALS,
                    "pruning": sampler == "tpe",
                    "parameters": {"training.learning_rate": rates},
                },
            },
            folder / "m.keras",
        )
        found = report.search
        others = [trial for trial in found.trials if trial.number and trial.state == "complete"]
        best = max(others, key=lambda trial: trial.value)
        return {
            "trials": len(found.trials),
            "pruned": sum(trial.state == "pruned" for trial in found.trials),
            "default_rate": 0.001,
            "default_validation": found.own_value,
            "best_rate": best.values["training.learning_rate"],
            "best_validation": best.value,
            "test_accuracy": report.evaluation.value,
        }

    return measure


PARTS = {
    "search": {sampler: search_rate(sampler) for sampler in ("grid", "random", "tpe")},
    "folds": {"2,000 digits": cross_validate},
    "small_set": {name: train_on_500(changes) for name, changes in SMALL_SET.items()},
    "examples": {name: train_example(name) for name in ("mnist", "cnn")},
}

if __name__ == "__main__":
    main()
