"""What fine-tuning under quantization brings back of what int8 loses: `make finetune`.

    python tests/benchmarks/finetune.py [--shared FOLDER] [--output build/finetune.json]
        [--seeds 5] [--only TEXT] [--without-times | --times]

Each network is converted for target `any`, whose weights pass the pair limit, with all layers in
int8, the first and the last included: as it is, and fine-tuned with labels and by the float model
alone. The bound is one that no loss keeps, and int8 throughout counts as worth training whatever
layers in float cost, so that training is tried wherever int8 loses anything. All figures are on
held-out samples that have neither calibrated nor trained. Beside them stand time and size of two
artifacts that lose at most one point: with layers in float, and with fine-tuning as one more way.

A run resumes where an earlier one ended; delete the output to start again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import finetune_networks as networks
import numpy as np
from peers import machine

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# In TensorFlow 2.21 oneDNN's gradient of a convolution of one pixel with strides, which mini
# XCEPTION has, writes beyond its memory.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

STRICT = 1e-4  # a budget that no loss keeps
BUDGET = 0.01  # at which time and size are compared
CALIBRATION = 300
ROUNDS, SECONDS = 15, 0.05
ALL_IN_INT8 = r"static, \w+ ranges(, equalized through additions)?"
LEFT_OUT = "fine-tuning was left out, since "
FORMS = ("layers in float", "fine-tuned")


@dataclass(frozen=True)
class Run:
    """Held-out accuracies of one network and seed.

    Attributes:
        case, seed: which.
        samples: that judged.
        float32, int8: accuracy before; of int8 the best recipe with all layers in int8.
        between_layers: int8 whose channels are equalized between layers, not through additions.
        changed: share of the best classes that int8 changes.
        labels, teacher: accuracy after, with labels and by the float model alone; that of int8
            where nothing was trained.
        agreement: the least share of best classes that the trained function and the int8 graph had
            in common, None where nothing was trained.
        untrained: why nothing was trained, by the way of training.
    """

    case: str
    seed: int
    samples: int
    float32: float
    int8: float
    between_layers: float
    changed: float
    labels: float
    teacher: float
    agreement: float | None
    untrained: dict[str, str]


def load(case: str, seed: int, shared: Path, folder: Path) -> tuple[networks.Data, Any]:
    import keras

    keras.utils.set_random_seed(seed)
    data = networks.CASES[case].data(seed, shared, folder)
    return data, networks.CASES[case].model(data, shared, folder)


def measure(case: str, seed: int, shared: Path, folder: Path) -> Run:
    """Return the held-out accuracies of one network and seed."""
    import edgeport_converter as ec
    from edgeport_converter.progress import Progress
    from edgeport_converter.quantization.search.search import RecipeSearch
    from edgeport_converter.quantization.search.selection import Quantizer

    agreements: dict[str, float] = {}

    class Listener(Progress):
        """Keeps the share of answers in which the int8 graph is what was trained."""

        def say(self, line: str) -> None:
            found = re.search(r"([\d.]+)% of the answers as trained", line)
            if found:
                agreements[name] = float(found[1]) / 100

    data, model = load(case, seed, shared, folder)
    wanted = networks.CASES[case]
    x, y = data.x[: wanted.samples], data.y[: wanted.samples]
    full = {"epochs": wanted.epochs, "seed": seed}
    ways = {"labels": ec.Finetune((x, y), **full), "teacher": ec.Finetune(x, **full)}
    reached: dict[str, float] = {}
    untrained: dict[str, str] = {}
    before: list[Any] = []
    for name, tuned in ways.items():
        with (
            patch.object(Quantizer, "_shares_of", return_value=(0.0, None)),
            patch.object(RecipeSearch, "_with_layers_in_float", lambda _, best: best),
        ):
            report = ec.convert(
                model,
                folder / "strict.onnx",
                calibration=data.x[:CALIBRATION],
                evaluation=(data.held_x, data.held_y),
                objective="size",
                max_drop=STRICT,
                finetune=tuned,
                progress=Listener(),
            )
        assert report.accuracy is not None
        before = [s for s in report.steps if re.fullmatch(ALL_IN_INT8, s.recipe)]
        least = max(before, key=lambda step: step.metric)
        float32 = report.accuracy.float32
        after = [s for s in report.steps if re.search(r"fine-tuned$", s.recipe)]
        if not after:
            untrained[name] = reason_in(report.notes)
        reached[name] = (after[0] if after else least).metric
    return Run(
        case,
        seed,
        len(data.held_x),
        float32,
        least.metric,
        max(step.metric for step in before if "additions" not in step.recipe),
        1 - least.top_1,
        reached["labels"],
        reached["teacher"],
        min(agreements.values(), default=None),
        untrained,
    )


def reason_in(notes: Sequence[str]) -> str:
    """Return why nothing was trained, from the notes of a conversion; it must be among them."""
    (reason,) = [note for note in notes if note.startswith(LEFT_OUT)]
    return reason.removeprefix(LEFT_OUT)


def make_forms(case: str, shared: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Write two artifacts of one network that keep the bound: without fine-tuning, and with it."""
    import edgeport_converter as ec

    data, model = load(case, 0, shared, folder)
    wanted = networks.CASES[case]
    found = {}
    for form in FORMS:
        path = folder / re.sub(r"[^\w.]+", "-", f"{case} {form}.onnx")
        taught = (data.x[: wanted.samples], data.y[: wanted.samples])
        report = ec.convert(
            model,
            path,
            calibration=data.x[:CALIBRATION],
            evaluation=(data.held_x, data.held_y),
            max_drop=BUDGET,
            finetune=ec.Finetune(taught, epochs=wanted.epochs) if form == "fine-tuned" else None,
        )
        assert report.accuracy is not None
        found[form] = {
            "path": path.name,
            "recipe": report.recipe,
            "bytes": report.file_bytes,
            "accuracy": report.accuracy.artifact,
        }
        print(case, form, found[form], flush=True)
    return found


def latencies(paths: list[Path]) -> list[float]:
    """Return the median time in µs of one sample on one thread, of artifacts in turns."""
    from edgeport import Predictor

    predictors = [Predictor.load(path, threads=1) for path in paths]
    sample = np.zeros([1, *predictors[0].card.inputs[0].shape[1:]], np.float32)
    times: list[list[float]] = [[] for _ in paths]
    for _ in range(ROUNDS):
        for place, predictor in enumerate(predictors):
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < SECONDS:
                predictor.predict(sample)
                count += 1
            times[place].append((time.perf_counter() - start) / count * 1e6)
    return [float(np.median(each)) for each in times]


def main() -> None:
    """Measure all networks and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shared", type=Path)
    parser.add_argument("--output", type=Path, default=Path("build/finetune.json"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--times", action="store_true", help="only time what an earlier run wrote")
    parser.add_argument("--without-times", action="store_true")
    options = parser.parse_args()
    folder = options.output.parent / "finetune"
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"machine": machine.describe(), "runs": [], "forms": {}}
    if options.output.exists():
        result = json.loads(options.output.read_text(encoding="utf-8"))

    def keep() -> None:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    for case in networks.CASES if not options.times else ():
        lacking = networks.missing(case, options.shared)
        if lacking and options.only in case:
            print(f"{case} is left out: it needs {lacking}")
        if lacking or options.only not in case:
            continue
        done = {run["seed"] for run in result["runs"] if run["case"] == case}
        for seed in range(min(options.seeds, networks.CASES[case].seeds)):
            if seed not in done:
                result["runs"].append(asdict(measure(case, seed, options.shared, folder)))
                print(result["runs"][-1], flush=True)
                keep()
        if case not in result["forms"]:
            result["forms"][case] = make_forms(case, options.shared, folder)
            keep()
    for case, forms in result["forms"].items():
        if options.without_times or options.only not in case:
            continue
        found = latencies([folder / form["path"] for form in forms.values()])
        for form, microseconds in zip(forms.values(), found, strict=True):
            form["latency_us"] = microseconds
    keep()


if __name__ == "__main__":
    main()
