"""The demo's second half, on the device: run the artifacts with edgeport and numpy alone."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from pathlib import Path

import numpy as np
from environment import installed_footprint, processor
from timing import medians_us

from edgeport import EdgeportError, Predictor

_MUST_BE_ABSENT = ("tensorflow", "keras", "tf2onnx", "onnx")


def main(folder: Path) -> None:
    """Write scores.npz and device.json beside the artifacts."""
    present = [name for name in _MUST_BE_ABSENT if importlib.util.find_spec(name)]
    if present:
        sys.exit(f"this is no device's environment, it has {', '.join(present)}: run make clean")
    with np.load(folder / "test.npz") as data:
        x, y = data["x"], data["y"]
    print(f"== Running digits.onnx on {len(x):,} digits, without TensorFlow", flush=True)
    with (
        Predictor.load(folder / "digits.onnx") as int8,
        Predictor.load(folder / "float.onnx") as float32,
    ):
        scores = int8.predict(x)
        float_scores = float32.predict(x)
        one_by_one = np.stack([int8.predict(sample) for sample in x])
        first = x[:1]
        times = medians_us(
            {
                "one": (lambda: int8.predict(first), 500),
                "float one": (lambda: float32.predict(first), 500),
                "batch": (lambda: int8.predict(x), 3),
                "float batch": (lambda: float32.predict(x), 3),
            }
        )
        facts = {
            "device_int8_accuracy": float(np.mean(scores.argmax(axis=1) == y)),
            "device_float_accuracy": float(np.mean(float_scores.argmax(axis=1) == y)),
            "single_equals_batch": bool(np.array_equal(one_by_one, scores)),
            "predict_one_us": times["one"],
            "predict_batch_us": times["batch"] / len(x),
            "float_predict_one_us": times["float one"],
            "float_predict_batch_us": times["float batch"] / len(x),
            "cpu": processor(),
            "threads_alive": threading.active_count(),
            "device_environment": installed_footprint("edgeport"),
        }
    np.savez_compressed(folder / "device_scores.npz", int8=scores, float32=float_scores)
    (folder / "device.json").write_text(json.dumps(facts, indent=2))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except EdgeportError as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
