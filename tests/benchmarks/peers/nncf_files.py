"""OpenVINO's own accuracy tool, NNCF: its columns' files; runs in the environment of the peers.

    python -m peers.nncf_files FOLDER KEY

FOLDER is a model's, with ``export.onnx`` and ``tools.npz``; there lie the files afterwards, and
``openvino_tools.json``, which holds KEY.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from peers.engines import open_edgeport
from peers.targets import KEPT_DB
from peers.timing import signal_to_noise_db

# Each turns one more layer back to float and measures again.
MOST_ITERATIONS = 20
VALIDATION_SAMPLES = 32
# Each layer is ranked by a run of its own.
RANKING_SAMPLES = 8


def main(folder: str, key: str) -> None:
    work, started = Path(folder), time.monotonic()
    columns = {}
    for column, make in (("nncf", quantize), ("nncf_accuracy", quantize_with_accuracy_control)):
        try:
            columns[column] = make(work, work / f"{column}.xml")
        except Exception as cause:  # another's failure stops no table
            traceback.print_exc()
            first = (str(cause).strip().splitlines() or [""])[0][:200]
            columns[column] = {"error": f"{type(cause).__name__}: {first}"}
    facts = {"columns": columns, "key": key, "seconds": round(time.monotonic() - started, 1)}
    text = json.dumps(facts, indent=1) + "\n"
    (work / "openvino_tools.json").write_text(text, encoding="utf-8")


def quantize(work: Path, path: Path) -> dict[str, Any]:
    import nncf

    calibration, _, _ = samples(work)
    model = nncf.quantize(read(work, calibration), dataset(calibration), preset=preset())
    return save(model, path, "nncf.quantize, preset mixed")


def quantize_with_accuracy_control(work: Path, path: Path) -> dict[str, Any]:
    """Write the file that NNCF stops at once it keeps the bound of the race on some samples."""
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedAccuracyRestorerParameters

    calibration, x, y = samples(work)
    x, y = x[:VALIDATION_SAMPLES], y[:VALIDATION_SAMPLES]
    bound = KEPT_DB
    if (work / "edgeport.onnx").exists():
        call = open_edgeport(str(work / "edgeport.onnx"), 1, x[:1].shape)
        ours = np.concatenate([call(row[None]) for row in x])
        bound = min(bound, signal_to_noise_db(y, ours))

    def validate(compiled: Any, rows: Iterable[np.ndarray]) -> tuple[float, list[float]]:
        """Return decibels up to the bound, and those of each sample."""
        pairs = [(y[place], np.asarray(compiled(x[place][None])[0])[0]) for place in rows]
        expected, found = (np.stack(side) for side in zip(*pairs, strict=True))
        each = [signal_to_noise_db(one, other) for one, other in pairs]
        return min(bound, signal_to_noise_db(expected, found)), each

    model = nncf.quantize_with_accuracy_control(
        read(work, calibration),
        dataset(calibration),
        nncf.Dataset(list(range(len(x)))),
        validate,
        max_drop=0.01,
        preset=preset(),
        advanced_accuracy_restorer_parameters=AdvancedAccuracyRestorerParameters(
            max_num_iterations=MOST_ITERATIONS, ranking_subset_size=RANKING_SAMPLES
        ),
    )
    return save(model, path, f"nncf.quantize_with_accuracy_control to {bound:.1f} dB, preset mixed")


def samples(work: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(work / "tools.npz") as data:
        return data["calibration"], data["x"], data["y"]


def read(work: Path, calibration: np.ndarray) -> Any:
    import openvino

    model = openvino.Core().read_model(work / "export.onnx")
    model.reshape([1, *calibration.shape[1:]])
    return model


def dataset(calibration: np.ndarray) -> Any:
    import nncf

    return nncf.Dataset([row[None] for row in calibration])


def preset() -> Any:
    import nncf

    return nncf.QuantizationPreset.MIXED


def save(model: Any, path: Path, route: str) -> dict[str, Any]:
    import openvino

    openvino.save_model(model, path, compress_to_fp16=False)
    size = path.stat().st_size + path.with_suffix(".bin").stat().st_size
    return {"file": path.name, "bytes": size, "route": route}


if __name__ == "__main__":
    main(*sys.argv[1:])
