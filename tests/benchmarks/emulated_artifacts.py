"""Artifacts for every target on emulated devices: `make quantization-devices SHARED=folder`.

    python tests/benchmarks/emulated_artifacts.py SHARED BUILD_FOLDER [--models resnet8,keywords]

Needs what tests/runtime/scripts/on_devices.py needs. Each model is converted as `static` for each
target; each device loads each file, which runs its self-test, and answers some samples. They are
compared with the answers that ONNX defines, on the scale of the card's tolerance: 1 is what it
allows.
Exit code 1 where a file for `any`, or one for the device's own kind, is off.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
REPOSITORY = FOLDER.parents[1]
sys.path[:0] = [str(FOLDER), str(REPOSITORY / "tests" / "runtime" / "scripts")]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

SAMPLES = 16
CALIBRATION_SAMPLES = 128
MAX_DROP = 0.2  # the search is not the subject; every target shall get the same recipe
TARGETS_OF = {
    "Haswell": ("any", "x86-64-v3"),
    "cortex-a72": ("any", "arm64"),
    "cortex-a76": ("any", "arm64"),
}

# Runs on the device: the runtime and numpy only.
DEVICE_SCRIPT = """
import json, sys
import numpy as np
from edgeport import Predictor, SelfTestError
rows = []
for path, data in zip(sys.argv[1::2], sys.argv[2::2]):
    with np.load(data) as arrays:
        x, expected = arrays["x"], arrays["y"]
    try:
        with Predictor.load(path, threads=1) as predictor:
            name = predictor.card.outputs[0].name
            off = float(np.abs(predictor.predict(x) - expected).max())
            rows.append([path, off / predictor.card.tolerance[name], ""])
    except SelfTestError as error:
        rows.append([path, error.measured / error.allowed, "refused by its self-test"])
print(json.dumps(rows))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path)
    parser.add_argument("build", type=Path)
    parser.add_argument("--models", default="article,resnet8,keywords,xception")
    options = parser.parse_args()
    from on_devices import ARM, HASWELL, describe_chip, make_arm_root

    work = options.build.resolve() / "emulated"
    work.mkdir(parents=True, exist_ok=True)
    pairs = make_artifacts(options.shared, work, options.models.split(","))
    source = REPOSITORY / "runtime" / "src"
    root = options.build.resolve() / "arm64"
    make_arm_root(root)
    rows = []
    emulated = ["qemu-x86_64-static", "-cpu", HASWELL, sys.executable]
    rows += answer("Haswell", emulated, {"PYTHONPATH": str(source)}, pairs)
    for chip, (part, midr) in ARM.items():
        describe_chip(root, part, midr)
        emulated = [
            "qemu-aarch64-static",
            "-L",
            str(root),
            "-cpu",
            chip,
            str(root / "usr/bin/python3.11"),
        ]
        paths = {"PYTHONPATH": f"{source}:{root / 'site'}", "PYTHONHOME": str(root / "usr")}
        rows += answer(chip, emulated, paths, pairs)
    (work / "rows.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    bad = 0
    for row in rows:
        is_own = row["target"] in TARGETS_OF[row["device"]]
        bad += is_own and row["off"] > 1
        print(
            f"{row['device']:11} {row['model']:10} {row['target']:10} {row['off']:8.3f} of the "
            f"tolerance{', ' + row['remark'] if row['remark'] else ''}"
        )
    return 1 if bad else 0


def make_artifacts(shared: Path, work: Path, models: list[str]) -> list[tuple[Path, Path]]:
    """Return the files, and the samples and right answers beside each."""
    import onnx
    import quantization
    from made_models import MADE
    from quantization_data import SAMPLES as DATA

    from edgeport_converter import convert
    from edgeport_converter.targets import TARGETS
    from edgeport_converter.verification.runners import run_as_defined

    pairs = []
    for case in (case for case in quantization.CASES if case.name in models):
        data = [DATA[case.name](shared, CALIBRATION_SAMPLES, seed) for seed in (0, 1)]
        calibration, x = (each[0] if isinstance(each, tuple) else each for each in data)
        place = shared / "models" / case.model
        model = place if place.exists() else MADE[case.model](shared)
        for target in TARGETS:
            path = work / f"{case.name}.{target}.onnx"
            convert(
                model,
                path,
                calibration=calibration,
                evaluation=x,
                quantize="static",
                max_drop=MAX_DROP,
                target=target,
            )
            graph = onnx.load(path)
            feed = {graph.graph.input[0].name: x[:SAMPLES]}
            answers = path.with_suffix(".npz")
            np.savez(answers, x=x[:SAMPLES], y=next(iter(run_as_defined(graph)(feed).values())))
            pairs.append((path, answers))
    return pairs


def answer(
    device: str, command: list[str], variables: dict[str, str], pairs: list[tuple[Path, Path]]
) -> list[dict]:
    arguments = [str(path) for pair in pairs for path in pair]
    done = subprocess.run(
        [*command, "-c", DEVICE_SCRIPT, *arguments],
        env={**os.environ, **variables, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    rows = []
    for path, off, remark in json.loads(done.stdout.splitlines()[-1]):
        model, _, target = Path(path).stem.partition(".")
        rows.append(
            {"device": device, "model": model, "target": target, "off": off, "remark": remark}
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
