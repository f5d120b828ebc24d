"""What fine-tuning under quantization brings back of what int8 loses: `make finetune`.

    python tests/benchmarks/finetune.py [--output build/finetune.json] [--seeds 5] [--only TEXT]

Each network is trained here, on data that scikit-learn ships or that is made here, and made such
that int8 breaks it. It is converted three times with a budget that int8 misses: without fine-tuning,
with labels, and with the float model as the only teacher. All figures are on held-out samples that
neither calibrated nor trained. Beside them stand time and size of the fine-tuned artifact against
the one that keeps the same budget by leaving layers in float, timed in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

EPOCHS = 8
STRICT = 1e-4  # a budget that no loss keeps, so that each recipe is tried
DECADES = 4


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
    x, held_x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0))), None
    cut = 1000
    moved = [np.roll(x, (dy, dx), (1, 2)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    train = np.concatenate([each[:cut] for each in moved])
    held_x = np.concatenate([each[cut:] for each in moved])
    return Data(train, np.tile(y[:cut], 9), held_x, np.tile(y[cut:], 9))


def dense(data: Data) -> Any:
    """Four dense layers of 8 units whose inputs, and so their weights, differ by a decade."""
    import keras
    from keras import layers

    model = _fitted(
        keras.Sequential(
            [keras.Input((16,), name="x")]
            + [layers.Dense(8, activation="leaky_relu") for _ in range(4)]
            + [layers.Dense(6, activation="softmax")]
        ),
        data,
        20,
    )
    factors = (10.0 ** np.random.default_rng(0).uniform(-0.7, 0.7, 16)).astype(np.float32)
    for array in (data.x, data.held_x):
        array *= factors
    kernel, bias = model.layers[0].get_weights()
    model.layers[0].set_weights([kernel / factors[:, None], bias])
    return model


def depthwise(data: Data) -> Any:
    """A residual depthwise network whose channels differ by four decades."""
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
    "dense, wide ranges": (tables, dense),
    "depthwise, four decades": (digits, depthwise),
}


def measure(make_data: Any, make_model: Any, seed: int, folder: Path) -> dict[str, float]:
    """Return the held-out accuracies of one network and seed."""
    import keras

    import edgeport_converter as ec
    from edgeport import Predictor

    keras.utils.set_random_seed(seed)
    data = make_data(seed)
    model = make_model(data)
    found: dict[str, float] = {}
    teachers = {"labels": (data.x, data.y), "teacher": data.x}
    for name, taught in teachers.items():
        report = ec.convert(
            model,
            folder / "a.onnx",
            calibration=data.x[:500],
            evaluation=(data.held_x, data.held_y),
            max_drop=STRICT,
            quantize="auto",
            finetune=ec.Finetune(taught, epochs=EPOCHS, seed=seed),
        )
        assert report.accuracy is not None
        found["float"] = report.accuracy.float32
        plain = [s.loss for s in report.steps if s.recipe in ("static, minmax ranges", "static, mse ranges")]
        tuned = [s.loss for s in report.steps if "fine-tuned" in s.recipe]
        print([s.describe() for s in report.steps], report.notes)
        found["int8"] = found["float"] - min(plain)
        found[name] = found["float"] - tuned[0] if tuned else np.nan
    print(found, flush=True)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    for name, case in CASES.items():
        if options.only in name:
            for seed in range(options.seeds):
                with tempfile.TemporaryDirectory() as place:
                    measure(*case, seed, Path(place))
