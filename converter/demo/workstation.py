"""The demo's first half, on the workstation: train the article's network, convert it, prove it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from digits import load_digits
from environment import installed_footprint
from timing import medians_us

from edgeport import EdgeportError
from edgeport_converter import convert
from edgeport_converter.quiet import quiet_stderr
from edgeport_converter.screen import Screen

SEED = 7
CALIBRATION_SAMPLES = 1000
MAX_DROP = 0.005


def main() -> None:
    """Write model.keras, two artifacts with their reports, the test digits and workstation.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--mnist", type=Path)
    options = parser.parse_args()
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)

    data = load_digits(options.mnist)
    with quiet_stderr():
        import article_network

        from edgeport_converter.loading.load import start_tensorflow

        start_tensorflow()
    print(f"== Training on {len(data.x_train):,} digits", flush=True)
    model = article_network.train_article_network(data.x_train, data.y_train, seed=SEED)
    x_test = article_network.scale_pixels(data.x_test)
    print(f"== Evaluating on {len(x_test):,} digits", flush=True)
    _, accuracy = model.evaluate(x_test, data.y_test, verbose=0)
    model.save(folder / "model.keras")

    calibration = article_network.scale_pixels(data.x_train[:CALIBRATION_SAMPLES])
    np.savez_compressed(folder / "test.npz", x=x_test, y=data.y_test)
    reports = {}
    for name, recipe in (("float", "none"), ("digits", "static")):
        print(f"== Converting to {name}.onnx", flush=True)
        reports[name] = convert(
            folder / "model.keras",
            folder / f"{name}.onnx",
            calibration=calibration,
            evaluation=folder / "test.npz",
            quantize=recipe,
            max_drop=MAX_DROP,
            labels=[str(digit) for digit in range(article_network.CLASSES)],
            report=folder / f"{name}.html",
            progress=Screen(sys.stdout),
        )

    print("== Timing Keras", flush=True)
    one = x_test[:1]
    times = medians_us(
        {
            "predict": (lambda: model.predict(one, verbose=0), 5),
            "predict batch": (lambda: model.predict(x_test, verbose=0), 1),
            "call": (lambda: model(one, training=False), 50),
        }
    )
    facts = {
        "training_digits": len(data.x_train),
        "test_digits": len(x_test),
        "keras_accuracy": accuracy,
        "float_accuracy": reports["float"].accuracy.artifact,
        "int8_accuracy": reports["digits"].accuracy.artifact,
        "keras_bytes": (folder / "model.keras").stat().st_size,
        "float_bytes": reports["float"].file_bytes,
        "int8_bytes": reports["digits"].file_bytes,
        "parity_largest_difference": reports["float"].parity.largest_difference,
        "keras_predict_us": times["predict"],
        "keras_predict_batch_us": times["predict batch"] / len(x_test),
        "keras_call_us": times["call"],
        "converter_environment": installed_footprint("edgeport-converter"),
    }
    np.savez_compressed(folder / "keras_scores.npz", scores=model.predict(x_test, verbose=0))
    (folder / "workstation.json").write_text(json.dumps(facts, indent=2))


if __name__ == "__main__":
    try:
        main()
    except EdgeportError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
