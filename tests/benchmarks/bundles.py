"""Disk, memory and cold start of a device's environment beside LiteRT's: `make bundles`.

    python tests/benchmarks/bundles.py build/demo --output build/bundles.json [--wheel FILE]
        [--arm-root build/arm64] [--environments FOLDER]

The bundles of `edgeport bundle`, whole and slim, and ai-edge-litert with what it needs, for
x86-64 and aarch64. Bytes are those of the files, as installed, with bytecode that is compiled once.
Cold start is a fresh process from its start to its first answer, and memory its greatest resident
size, on the digits of `make demo` in int8; environments take turns. With the arm64 root that
`make bundle-devices` keeps, aarch64 is emulated as a Cortex-A72: its times compare programs with
each other and are no board's, and qemu's memory would count, so that none is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "runtime" / "scripts")]

from on_devices import ARM, describe_chip  # noqa: E402
from peers.machine import describe  # noqa: E402

from edgeport_converter.bundling.archive import FOLDER as UNPACKED  # noqa: E402
from edgeport_converter.bundling.bundle import write_bundle  # noqa: E402
from edgeport_converter.bundling.install import site_packages, unpack  # noqa: E402
from edgeport_converter.bundling.platforms import find_platform  # noqa: E402

PYTHON = "{}.{}".format(*sys.version_info[:2])
PLATFORMS = ("linux-x86_64", "linux-aarch64")
ROUNDS, EMULATED_ROUNDS = 15, 3

ANSWER = {
    "edgeport": """
import sys, numpy as np
from edgeport import Predictor
Predictor.load(sys.argv[1]).predict(np.load(sys.argv[2]))
""",
    "litert": """
import sys, numpy as np
from ai_edge_litert.interpreter import Interpreter
model = Interpreter(sys.argv[1], num_threads=1)
model.allocate_tensors()
model.set_tensor(model.get_input_details()[0]["index"], np.load(sys.argv[2]))
model.invoke()
model.get_tensor(model.get_output_details()[0]["index"])
""",
}
# Not getrusage's greatest size: a child begins with that of the program that started it.
PEAK = """
with open("/proc/self/status") as status:
    print(*(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--wheel", type=Path, help="of edgeport, if it is not installed from one")
    parser.add_argument("--arm-root", type=Path, help="emulate aarch64, too")
    parser.add_argument("--environments", type=Path, help="keep them here, and use what is there")
    options = parser.parse_args()
    programs = {f"linux-{platform.machine()}": [sys.executable]}
    if options.arm_root:
        programs["linux-aarch64"] = emulated_python(options.arm_root.resolve())
    rows = []
    with tempfile.TemporaryDirectory() as own:
        scratch = options.environments or Path(own)
        scratch.mkdir(parents=True, exist_ok=True)
        for name in PLATFORMS:
            made = {
                "edgeport": edgeport_packages(scratch, name, options, is_slim=False),
                "edgeport --slim": edgeport_packages(scratch, name, options, is_slim=True),
                "ai-edge-litert": litert_packages(scratch, name),
            }
            starts = {}
            if name in programs:
                starts = cold_starts(programs[name], made, options.demo, scratch)
            for peer, (folder, archive) in made.items():
                row = {"platform": name, "environment": peer, "bytes": size_of(folder)}
                rows.append(row | {"bundle_bytes": archive} | starts.get(peer, {}))
                print(row | starts.get(peer, {}), flush=True)
    run = {"cpu": describe()["cpu"], "python": PYTHON, "versions": versions_in(made), "rows": rows}
    options.output.write_text(json.dumps(run, indent=1) + "\n")
    return 0


def edgeport_packages(
    scratch: Path, name: str, options: argparse.Namespace, *, is_slim: bool
) -> tuple[Path, int]:
    """Unpack a bundle's wheels as the installer does; return where, and the bundle's size."""
    place = scratch / f"{name} {is_slim}"
    archive = place / "device.tar.gz"
    if (place / "complete").exists():
        return site_packages(place), archive.stat().st_size
    place.mkdir()
    write_bundle(
        *(options.demo / "digits.onnx", archive),
        platform=name,
        python=PYTHON,
        wheel=options.wheel,
        slim=is_slim,
    )
    with tarfile.open(archive) as file:
        file.extractall(place, filter="data")
    for wheel in (place / UNPACKED / "wheels").iterdir():
        unpack(wheel, site_packages(place))
    compile_once(site_packages(place))
    (place / "complete").touch()
    return site_packages(place), archive.stat().st_size


def litert_packages(scratch: Path, name: str) -> tuple[Path, int | None]:
    """Install ai-edge-litert and what it needs, as pip does."""
    place = scratch / f"{name} litert"
    if place.exists():
        return place, None
    tags = [part for tag in find_platform(name).tags for part in ("--platform", tag)]
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--target", str(place))
    command = [*pip, "--only-binary=:all:", "--python-version", PYTHON, *tags, "ai-edge-litert"]
    subprocess.run(command, check=True)
    compile_once(place)
    return place, None


def versions_in(made: dict[str, tuple[Path, int | None]]) -> dict[str, str]:
    """Return the versions of the engines and of numpy, which are the same on both platforms."""
    names = ("onnxruntime", "numpy", "ai_edge_litert")
    infos = [path.name for folder, _ in made.values() for path in folder.glob("*.dist-info")]
    pairs = (info.removesuffix(".dist-info").split("-") for info in sorted(set(infos)))
    return {name.replace("_", "-"): version for name, version in pairs if name in names}


def compile_once(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "compileall", "-qq", "-f", str(folder)], check=False)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def emulated_python(root: Path) -> list[str]:
    """Return what runs Debian's Python for arm64."""
    describe_chip(root, *ARM["cortex-a72"])
    qemu = ["qemu-aarch64-static", "-L", str(root), "-cpu", "cortex-a72"]
    return [*qemu, "-E", f"PYTHONHOME={root / 'usr'}", str(root / "usr/bin/python3.11")]


def cold_starts(
    program: list[str], made: dict[str, tuple[Path, int | None]], demo: Path, scratch: Path
) -> dict[str, dict[str, float]]:
    """Return milliseconds and bytes of fresh processes, by turns."""
    is_emulated = program != [sys.executable]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sample, tflite = scratch / "sample.npy", scratch / "digits.tflite"
    with np.load(demo / "test.npz") as data:
        x = data["x"]
    np.save(sample, x[:1])
    if not tflite.exists():
        tflite.write_bytes(litert_int8(demo / "model.keras", x))
    times: dict[str, list[float]] = {peer: [] for peer in made}
    peaks: dict[str, list[int]] = {peer: [] for peer in made}
    for _ in range(1 + (EMULATED_ROUNDS if is_emulated else ROUNDS)):
        for peer, (folder, _) in made.items():
            is_ours = peer.startswith("edgeport")
            code = ANSWER["edgeport" if is_ours else "litert"] + ("" if is_emulated else PEAK)
            file = demo / "digits.onnx" if is_ours else tflite
            start = time.perf_counter()
            done = subprocess.run(
                [*program, "-S", "-c", code, str(file), str(sample)],
                env={"PYTHONPATH": str(folder)},
                capture_output=True,
                text=True,
                check=True,
            )
            times[peer].append(1e3 * (time.perf_counter() - start))
            if not is_emulated:
                peaks[peer].append(1024 * int(done.stdout.split()[-1]))
    found: dict[str, dict[str, float]] = {}
    for peer in made:  # the first round fills the disk's cache
        found[peer] = {
            "emulated_start_ms" if is_emulated else "cold_start_ms": round(
                statistics.median(times[peer][1:]), 1
            )
        }
        if not is_emulated:
            found[peer]["peak_bytes"] = int(statistics.median(peaks[peer][1:]))
    return found


def litert_int8(model: Path, x: np.ndarray) -> bytes:
    """Return the same network, quantized by LiteRT's own converter."""
    import keras
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(keras.saving.load_model(model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in x[:100])
    return bytes(converter.convert())


if __name__ == "__main__":
    sys.exit(main())
