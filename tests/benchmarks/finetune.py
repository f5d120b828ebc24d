"""What fine-tuning under quantization brings back of what int8 loses: `make finetune`.

    python tests/benchmarks/finetune.py [--output build/finetune.json] [--seeds 5] [--only TEXT]

Each network is trained here, on data that scikit-learn ships or that is made here, and made such
that int8 breaks it. It is converted with a budget that int8 misses, once with labels to fine-tune
on and once with the float model as the only teacher. All figures are on held-out samples that have
neither calibrated nor trained. Beside them stand time and size of the fine-tuned artifact against
the one that keeps the same budget by leaving layers in float, timed in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

EPOCHS = 6
STRICT = 1e-4  # a budget that no loss keeps, so that each recipe is tried
DECADES = 3
BUDGET = 0.02  # at which time and size are compared
ROUNDS, CALLS = 15, 200


@dataclass(frozen=True)
class Data:
    """Samples to train on and samples to judge by, with their classes."""

    x: np.ndarray
    y: np.ndarray
    held_x: np.ndarray
    held_y: np.ndarray


def tables(seed: int) -> Data:
    """Rows of 16 features, most of them small, a few very large."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(16, 24)), generator.normal(size=(24, 6))
    z = generator.normal(size=(8000, 16))
    y = (np.tanh(z @ first / 2) @ second).argmax(1)
    x = z.astype(np.float32)
    return Data(x[:5000], y[:5000], x[5000:], y[5000:])


def digits(seed: int) -> Data:
    """The 1,797 digits of 8 by 8 pixels that scikit-learn ships, each also moved by a pixel."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.images))
    x = (found.images[order, :, :, None] / 16).astype(np.float32)
    y = found.target[order]
    x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    cut = 1000
    moved = [np.roll(x, (dy, dx), (1, 2)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    train = np.concatenate([each[:cut] for each in moved])
    held_x = np.concatenate([each[cut:] for each in moved])
    return Data(train, np.tile(y[:cut], 9), held_x, np.tile(y[cut:], 9))


def dense(data: Data) -> Any:
    """Four residual dense layers of 8 units, whose ranges differ by two decades.

    Two layers read each tensor, so that equalization cannot bring the ranges together.
    """
    import keras
    from keras import layers

    x = keras.Input((16,), name="x")
    h = layers.Dense(8, activation="leaky_relu", name="d0")(x)
    for number in range(1, 4):
        h = layers.Add()([h, layers.Dense(8, activation="leaky_relu", name=f"d{number}")(h)])
    model = _fitted(keras.Model(x, layers.Dense(6, activation="softmax", name="y")(h)), data, 20)
    factors = 10.0 ** np.random.default_rng(0).uniform(-1, 1, 8)
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            kernel, bias = layer.get_weights()
            before = 1 if layer.name == "d0" else factors[:, None]
            after = 1 if layer.name == "y" else factors
            layer.set_weights([kernel / before * after, bias * after])
    return model


def depthwise(data: Data) -> Any:
    """A residual depthwise network whose channels differ by three decades."""
    import keras
    from keras import layers

    x = keras.Input((12, 12, 1), name="x")
    h = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(x)
    for number in range(2):
        d = layers.DepthwiseConv2D(3, padding="same", activation="relu", name=f"d{number}")(h)
        h = layers.Add()([h, d])
    h = layers.Conv2D(32, 1, strides=2, activation="relu", name="point")(h)
    y = layers.Dense(10, activation="softmax", name="y")(layers.GlobalAveragePooling2D()(h))
    model = _fitted(keras.Model(x, y), data, 6)
    factors = 10.0 ** np.random.default_rng(0).uniform(-DECADES / 2, DECADES / 2, 16)
    kernel, bias = model.get_layer("stem").get_weights()
    model.get_layer("stem").set_weights([kernel * factors, bias * factors])
    for number in range(2):
        kernel, bias = model.get_layer(f"d{number}").get_weights()
        model.get_layer(f"d{number}").set_weights([kernel, bias * factors])
    kernel, bias = model.get_layer("point").get_weights()
    model.get_layer("point").set_weights([kernel / factors[:, None], bias])
    return model


def _fitted(model: Any, data: Data, epochs: int) -> Any:
    import keras

    model.compile(keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy")
    model.fit(data.x, data.y, epochs=epochs, batch_size=64, verbose=0)
    return model


CASES: dict[str, tuple[Callable[[int], Data], Callable[[Data], Any]]] = {
    "dense, two decades": (tables, dense),
    "depthwise, three decades": (digits, depthwise),
}


@dataclass(frozen=True)
class Run:
    """Held-out accuracies of one network and seed, and what the fine-tuned one wins."""

    case: str
    seed: int
    float32: float
    int8: float
    labels: float
    teacher: float
    agreement: float

    def recovered(self, reached: float) -> float:
        """Return the share of what int8 lost that came back."""
        return (reached - self.int8) / max(self.float32 - self.int8, 1e-9)


def measure(case: str, seed: int, folder: Path) -> Run:
    """Return the held-out accuracies of one network and seed; leave two artifacts to be timed."""
    import keras

    import edgeport_converter as ec
    from edgeport_converter.progress import Progress

    class Agreements(Progress):
        """Keeps the share of answers in which the int8 graph is what was trained."""

        found: ClassVar[list[float]] = []

        def say(self, line: str) -> None:
            if line.startswith("fine-tuning: "):
                self.found.append(float(line.rpartition("; ")[2].partition("%")[0]))

    make_data, make_model = CASES[case]
    keras.utils.set_random_seed(seed)
    data = make_data(seed)
    model = make_model(data)
    reached, reference, plain = {}, 0.0, 0.0
    for name, taught in {"labels": (data.x, data.y), "teacher": data.x}.items():
        output = folder / f"{case.split(',')[0]}-{name}.onnx"
        common = {
            "calibration": data.x[:500],
            "evaluation": (data.held_x, data.held_y),
            "objective": "size",
        }
        wanted = ec.Finetune(taught, epochs=EPOCHS, seed=seed)
        report = ec.convert(
            model, output, max_drop=STRICT, finetune=wanted, progress=Agreements(), **common
        )
        assert report.accuracy is not None
        reference = report.accuracy.float32
        ranges = ("static, minmax ranges", "static, mse ranges")
        plain = reference - min(step.loss for step in report.steps if step.recipe in ranges)
        tuned = [step.loss for step in report.steps if "fine-tuned" in step.recipe]
        reached[name] = reference - tuned[0] if tuned else plain
    agreement = min(Agreements.found, default=float("nan"))
    return Run(case, seed, reference, plain, reached["labels"], reached["teacher"], agreement)


def pair(case: str, folder: Path) -> list[Path]:
    """Return two artifacts that keep one budget: with layers in float, and fine-tuned."""
    import keras

    import edgeport_converter as ec

    make_data, make_model = CASES[case]
    keras.utils.set_random_seed(0)
    data = make_data(0)
    model = make_model(data)
    paths = []
    for name, wanted in {
        "layers-in-float": None,
        "fine-tuned": ec.Finetune((data.x, data.y), epochs=EPOCHS),
    }.items():
        paths.append(folder / f"{case.split(',')[0]}-{name}.onnx")
        report = ec.convert(
            model,
            paths[-1],
            calibration=data.x[:500],
            evaluation=(data.held_x, data.held_y),
            max_drop=BUDGET,
            finetune=wanted,
        )
        print(f"{case}: {name}: {report.recipe}, {report.file_bytes:,} bytes", flush=True)
    return paths


def latencies(paths: list[Path]) -> list[float]:
    """Return the median time in µs of one sample on one thread, of artifacts in turns."""
    from edgeport import Predictor

    predictors = [Predictor.load(path, threads=1) for path in paths]
    sample = np.zeros([1, *predictors[0].card.inputs[0].shape[1:]], np.float32)
    times: list[list[float]] = [[] for _ in paths]
    for _ in range(ROUNDS):
        for place, predictor in enumerate(predictors):
            start = time.perf_counter()
            for _ in range(CALLS):
                predictor.predict(sample)
            times[place].append((time.perf_counter() - start) / CALLS * 1e6)
    return [float(np.median(each)) for each in times]


def table(runs: list[Run]) -> list[str]:
    """Return the lines of a table: means and spreads over the seeds."""
    lines = [
        "| network | float | int8 | with labels | back | by the teacher | back |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case in CASES:
        own = [run for run in runs if run.case == case]
        if not own:
            continue
        cells = [case]
        for name in ("float32", "int8", "labels", "teacher"):
            values = [100 * getattr(run, name) for run in own]
            cells.append(f"{np.mean(values):.1f} ± {np.std(values):.1f} %")
            if name in ("labels", "teacher"):
                back = [100 * run.recovered(getattr(run, name)) for run in own]
                cells.append(f"{np.mean(back):.0f} ± {np.std(back):.0f} %")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure all networks and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("build/finetune.json"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--time", nargs="*", type=Path, help="artifacts to time, and nothing else")
    options = parser.parse_args()
    if options.time:
        for path, us in zip(options.time, latencies(options.time), strict=True):
            print(f"{path.name}: {us:.1f} µs, {path.stat().st_size:,} bytes")
        return
    options.output.parent.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    for case in (case for case in CASES if options.only in case):
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as place:
                runs.append(measure(case, seed, Path(place)))
            print(runs[-1], flush=True)
        paths = pair(case, options.output.parent)
        print(dict(zip((path.name for path in paths), latencies(paths), strict=True)), flush=True)
    options.output.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
    print("\n".join(table(runs)))


if __name__ == "__main__":
    main()
