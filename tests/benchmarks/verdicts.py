"""Whether a share of equal classes that the report tells holds on other samples.

    python tests/benchmarks/verdicts.py SHARED [--output build/verdicts.json] [--only TEXT]
        [--rounds N]

Every network is converted to static int8 with 1,000 calibration samples and no evaluation data,
so that 300 of them are held out for the verdict; then artifact and float file answer to samples
that the conversion never saw. A row holds three shares of equal best classes:

- calibrated: on the 700 samples that calibrated, as if these judged;
- told: by the report, on the 300, which judged all candidates and chose one;
- unseen: on the rest.

Were choosing among many candidates on the same 300 samples a bias, told would lie above unseen on
average. A difference alone says little: 300 samples know a share of 99 % to 0.6 points, so the
table has the difference in standard errors, too. SHARED is a folder with the models and data that
``quantization.py`` beside this file describes. Each further round takes other samples.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

CALIBRATION, UNSEEN = 1000, 4000
TINY = "mlperf_tiny/"
FACES = "face_classification/"

# By network: its file below SHARED/models or a function of this file, its data's name in
# quantization_data.SAMPLES, how many classes have to be named, since nothing else says that they
# are classes, and how much may be lost: faces and road signs cut from four photos are no faces,
# so that classes stand on a border more often than on the data that a network was trained for.
NETWORKS: dict[str, tuple[str, str, int, float]] = {
    "article": ("article_network", "article", 0, 0.005),
    "mnist": ("mnist_mlp/Digit_Recognition_MLP.keras", "mnist", 0, 0.005),
    "digits": ("small_convolutions", "mnist", 0, 0.005),
    "resnet8": (TINY + "image_classification/pretrainedResnet.h5", "resnet8", 0, 0.02),
    "mobilenet": (TINY + "visual_wake_words/vww_96.h5", "mobilenet", 0, 0.005),
    "keywords": (TINY + "keyword_spotting/kws_ref_model", "keywords", 12, 0.02),
    "mini_xception": (FACES + "fer2013_mini_XCEPTION.102-0.66.hdf5", "xception", 0, 0.02),
    "tiny_xception": (FACES + "tiny_XCEPTION_KDEF.hdf5", "xception", 0, 0.02),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("--output", type=Path, default=Path("build/verdicts.json"))
    parser.add_argument("--only", default="", help="a pattern that the names must contain")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    print("network        calibrated     told at least   unseen  differ errors tried  recipe")
    for number in range(options.rounds):
        for name in NETWORKS:
            if re.search(options.only, name):
                rows.append(measure(name, options.shared, number))
                show(rows[-1])
                options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    summarize(rows)


def measure(name: str, shared: Path, number: int) -> dict[str, Any]:
    """Return the shares of one network, with the samples of one round."""
    from edgeport_converter import convert
    from edgeport_converter.quantization.evaluation.held_out import draw_held_out

    source, _, classes, max_drop = NETWORKS[name]
    x, unseen = samples(name, shared, number)
    model = MADE[source](shared) if source in MADE else shared / "models" / source
    with tempfile.TemporaryDirectory() as folder:
        report = convert(
            model,
            Path(folder) / "m.onnx",
            calibration=x,
            labels=[f"class {place}" for place in range(classes)] or None,
            quantize="static",
            also=("none",),
            max_drop=max_drop,
        )
        told = report.agreement
        same = np.concatenate(
            [
                best_classes(report.output, part) == best_classes(report.variants["none"], part)
                for part in (x, unseen)
            ]
        )
    held = draw_held_out(len(x))
    seen, rest = same[: len(x)], same[len(x) :]
    share = float(rest.mean())
    error = math.sqrt(max(share * (1 - share), 1e-4) * (1 / told.samples + 1 / len(rest)))
    return {
        "network": name,
        "recipe": report.recipe,
        "tried": len(report.steps),
        "samples": [int((~held).sum()), told.samples, len(rest)],
        "calibrated": float(seen[~held].mean()),
        "told": told.top_1,
        "at_least": told.top_1_at_least,
        "unseen": share,
        "difference": told.top_1 - share,
        "standard_errors": (told.top_1 - share) / error,
    }


def samples(name: str, shared: Path, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return samples to convert with, and others."""
    from quantization_data import SAMPLES

    make = SAMPLES[NETWORKS[name][1]]
    if NETWORKS[name][1] in ("article", "mnist"):
        half = make(shared, 60_000, 0)[0]
        chosen = np.random.default_rng(number).permutation(len(half))[:CALIBRATION]
        return half[chosen], make(shared, 10_000, 1)[0]
    return make(shared, CALIBRATION, 2 * number), make(shared, UNSEEN, 2 * number + 1)


def small_convolutions(shared: Path) -> Any:
    """Return a small network of convolutions, trained on some thousand digits."""
    import keras
    from quantization_data import SAMPLES

    x, y = SAMPLES["mnist"](shared, 6000, 0)
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            layers.Reshape((28, 28, 1)),
            layers.Conv2D(16, 3, strides=2, activation="relu"),
            layers.Conv2D(32, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(32, "relu"),
            layers.Dense(10, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, batch_size=64, epochs=4, verbose=0)
    return model


def article_network(shared: Path) -> Any:
    from made_models import MADE as OTHERS

    return OTHERS["article_network"](shared)


MADE: dict[str, Callable[[Path], Any]] = {
    "article_network": article_network,
    "small_convolutions": small_convolutions,
}


def best_classes(path: Path, x: np.ndarray) -> np.ndarray:
    from edgeport import Predictor

    with Predictor.load(path) as predictor:
        parts = [predictor.predict(x[start : start + 64]) for start in range(0, len(x), 64)]
    return np.concatenate(parts).argmax(axis=1)


def show(row: dict[str, Any]) -> None:
    shares = (row["calibrated"], row["told"], row["at_least"], row["unseen"])
    wide = f"{shares[0]:>10.2%}" + "".join(f" {share:>8.2%}" for share in shares[1:])
    print(
        f"{row['network']:14} {wide} {100 * row['difference']:>+7.2f} "
        f"{row['standard_errors']:>+6.1f} {row['tried']:>5}  {row['recipe']}",
        flush=True,
    )


def summarize(rows: list[dict[str, Any]]) -> None:
    """Print mean and worst difference of what is told, and of what calibration data would tell."""
    for title, key in (("told", "told"), ("calibrated", "calibrated")):
        differences = [100 * (row[key] - row["unseen"]) for row in rows]
        print(
            f"{title} - unseen: mean {np.mean(differences):+.2f} points (standard error "
            f"{np.std(differences, ddof=1) / math.sqrt(len(rows)) if len(rows) > 1 else 0:.2f}), "
            f"worst {max(differences):+.2f}, over {len(rows)} conversions"
        )
    kept = sum(row["unseen"] >= row["at_least"] for row in rows)
    print(f"unseen is at least what the report says that it is at least: {kept} of {len(rows)}")


if __name__ == "__main__":
    main()
