"""edgeport beside its peers, ten models on one machine: `make bench SHARED=folder`.

    python tests/benchmarks/bench.py SHARED [--output build/bench.json] [--only PATTERN]
        [--rounds N] [--starts N] [--reuse | --fresh] [--demo-only]

SHARED is a folder with the models and data that README.md there describes; nothing of it is part of
the repository. All columns have the same Keras weights, inputs, machine and run:

- Keras call: the model called on one sample, in a TensorFlow process of its own;
- onnxruntime float: the file of ``model.export(format="onnx")``, or of the next route where that
  fails or answers wrongly, which is then said; naive int8: ``quantize_static`` of that file;
- LiteRT float and int8: converted by ``tf.lite.TFLiteConverter``, int8 throughout but for the
  numbers that go in and out;
- OpenVINO float and naive int8: it reads the first two files, with the shape fixed, one stream and
  the hint for latency;
- what the peers' own accuracy tools reach: onnxruntime calibrated by percentile and by entropy,
  LiteRT with int8 weights alone, with int16 activations and with the layers in float that its
  debugger finds, OpenVINO with NNCF, without and with accuracy control;
- edgeport float and auto: ``convert`` with "none" and "auto".

All files are judged on the same held-out samples, which no conversion sees: a peer's file keeps the
bound if its outputs are within 20 dB of Keras', or as near as edgeport auto's.

Converted files stay below build/bench/ and are used again while the versions of the tools, the
converter's sources and the code that made them are the same. ``--reuse`` takes them as they are,
``--fresh`` none. Everything is written after each model, so that an end before time loses little.
``--demo-only`` measures the demo artifact again, the last part, and keeps the models' rows.
What is measured how stands in ``timing``, ``cold_start`` and ``keras_calls`` of the folder
``peers``; ``--show RUN.json`` prints the tables of a stored run and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peers.cold_start import cold_starts
from peers.environment import make_environment
from peers.files import PARTS, REFERENCE_SAMPLES, TOOLS, key
from peers.machine import describe, versions_here, versions_of_peers
from peers.models import BenchModel, select
from peers.row import make_row
from peers.table import FEW, render

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
THREADS = (1, 2)
BATCH = REFERENCE_SAMPLES
SPINNING = {
    "onnxruntime": "on, as it comes",
    "LiteRT": "as it comes",
    "OpenVINO": "as it comes",
    "edgeport": "off, as it comes",
}
# The engine of each column that has a file, and which column's file it is.
ENGINES = {
    "raw": ("onnxruntime", "raw"),
    "naive": ("onnxruntime", "naive"),
    "litert_float": ("litert", "litert_float"),
    "litert_int8": ("litert", "litert_int8"),
    "openvino_float": ("openvino", "raw"),
    "openvino_qdq": ("openvino", "naive"),
    "ort_percentile": ("onnxruntime", "ort_percentile"),
    "ort_entropy": ("onnxruntime", "ort_entropy"),
    "litert_dynamic": ("litert", "litert_dynamic"),
    "litert_int16": ("litert", "litert_int16"),
    "litert_selective": ("litert", "litert_selective"),
    "nncf": ("openvino", "nncf"),
    "nncf_accuracy": ("openvino", "nncf_accuracy"),
    "edgeport_float": ("edgeport", "edgeport_float"),
    "edgeport_auto": ("edgeport", "edgeport_auto"),
}

KEPT_MODEL = "mobilenet_v2"


def main() -> None:
    options = parse()
    if options.show:
        print(render(json.loads(options.show.read_text(encoding="utf-8"))))
        return
    if not (options.shared / "models").is_dir():
        sys.exit(f"bench: '{options.shared}' holds no folder models: make bench SHARED=folder")
    folder = options.output.resolve().parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    models = select(options.only)
    if not models:
        sys.exit(f"bench: no model's name contains {options.only!r}: see peers/models.py")
    machine = describe()
    python = make_environment(
        folder.with_name("bench-peers"),
        ["ai-edge-litert", "openvino", "nncf", "onnxruntime", "numpy"],
        [newest_wheel(options.wheels)],
        (ROOT / "constraints.txt").read_text(encoding="utf-8"),
    )
    if options.demo_only:
        result = json.loads(options.output.read_text(encoding="utf-8"))
        result["overhead"] = time_overhead(python)
        store(result, options.output)
        print(render(result))
        return
    made = {model.name: convert(model, options, folder, python) for model in models}
    keras = time_keras(made, options, folder)
    result = {
        "machine": machine,
        "versions": versions_here(TOOLS) | versions_of_peers(python),
        "settings": {
            "rounds": options.rounds,
            "starts": options.starts,
            "batch": BATCH,
            "spinning": SPINNING,
        },
        "models": [],
    }
    for model in models:
        say(f"{model.title}: timing")
        row = time_model(model, made[model.name], python, options, folder)
        result["models"].append(make_row(model, made[model.name], row, keras.get(model.name, {})))
        store(result, options.output)
    kept = folder / KEPT_MODEL / "edgeport.onnx"
    if any(model.name == KEPT_MODEL for model in models) and kept.exists():
        say("loads with the kept graph")
        (result["kept_graph"],) = run_json(python, "loading.py", kept)["models"]
    say("the demo artifact")
    result["overhead"] = time_overhead(python)
    store(result, options.output)
    print(render(result))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=Path, nargs="?", default=Path())
    parser.add_argument("--show", type=Path, help="print the tables of this run and end")
    parser.add_argument("--output", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--wheels", type=Path, default=Path("build/wheels"))
    parser.add_argument("--only", default="", help="a pattern that the models' names must contain")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--starts", type=int, default=7, help="cold starts of each file")
    parser.add_argument("--demo-only", action="store_true", help="the demo artifact again, alone")
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument("--reuse", action="store_true", help="take former files, however made")
    keep.add_argument("--fresh", action="store_true", help="convert everything again")
    return parser.parse_args()


def newest_wheel(folder: Path) -> Path:
    wheels = sorted(folder.glob("edgeport-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        sys.exit(f"bench: '{folder}' holds no edgeport-*.whl: run 'make bench', which builds it")
    return wheels[-1]


def convert(
    model: BenchModel, options: argparse.Namespace, folder: Path, python: Path
) -> dict[str, Any]:
    """Return what is known of the model's files, those missing made by child processes.

    ``python`` is that of the peers' environment, in which OpenVINO's tool runs.
    """
    work = folder / model.name
    work.mkdir(exist_ok=True)
    made: dict[str, Any] = {"columns": {}}
    for part, columns in PARTS.items():
        facts = work / f"{part}.json"
        if not is_current(facts, part, options):
            say(f"{model.title}: converting, {part}")
            facts.unlink(missing_ok=True)
            log = work / f"{part}.log"
            with log.open("w", encoding="utf-8") as file:
                command = (
                    [python, "-m", "peers.nncf_files", work, key(part)]
                    if part == "openvino_tools"
                    else [
                        sys.executable,
                        "-m",
                        "peers.files",
                        options.shared,
                        model.name,
                        folder,
                        part,
                    ]
                )
                status = subprocess.run(
                    command, stdout=file, stderr=file, check=False, env=child_environment()
                ).returncode
            if status or not facts.exists():
                say(f"{model.title}: {part} failed with {status}, see {log}")
                error = {"error": f"the conversion ended with {status}: {last_line(log)}"}
                made["columns"] |= dict.fromkeys(columns, error)
                continue
        found = json.loads(facts.read_text(encoding="utf-8"))
        made = {**made, **found, "columns": made["columns"] | found["columns"]}
    return made


def is_current(facts: Path, part: str, options: argparse.Namespace) -> bool:
    if options.fresh or not facts.exists():
        return False
    stored = json.loads(facts.read_text(encoding="utf-8"))
    return options.reuse or bool(stored["key"] == key(part))


def last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "without a word"


def time_keras(
    made: Mapping[str, Mapping[str, Any]], options: argparse.Namespace, folder: Path
) -> dict[str, dict[str, list[float]]]:
    """Return the rounds by model and number of threads."""
    found: dict[str, dict[str, list[float]]] = {}
    jobs = {
        name: [facts["keras"], str(samples)]
        for name, facts in made.items()
        if (samples := folder / name / "samples.npz").exists() and "keras" in facts
    }
    for threads in THREADS:
        say(f"Keras: timing, {threads} thread(s)")
        target, log = (folder / f"keras_{threads}.{kind}" for kind in ("json", "log"))
        target.unlink(missing_ok=True)
        command = [
            sys.executable,
            "-m",
            "peers.keras_calls",
            str(threads),
            str(options.rounds),
            target,
            json.dumps(jobs),
        ]
        with log.open("w", encoding="utf-8") as file:
            subprocess.run(command, stdout=file, stderr=file, check=False, env=child_environment())
        if not target.exists():
            say(f"Keras failed, see {log}")
            continue
        for name, rounds in json.loads(target.read_text(encoding="utf-8")).items():
            found.setdefault(name, {})[str(threads)] = rounds
    return found


def time_model(
    model: BenchModel,
    made: dict[str, Any],
    python: Path,
    options: argparse.Namespace,
    folder: Path,
) -> dict[str, Any]:
    """Return the timings of one model, from processes in the peers' environment."""
    work = folder / model.name
    files = [
        {
            "column": column,
            "engine": engine,
            "path": str(work / made["columns"][source]["file"]),
            "in_batches": column in FEW,
        }
        for column, (engine, source) in ENGINES.items()
        if "file" in made["columns"].get(source, {})
    ]
    floor = made.get("floor")
    held_out = made.get("held_out")
    job = {
        "samples": str(work / "samples.npz"),
        "judges": str(work / ("held_out.npz" if held_out else "samples.npz")),
        "classifies": model.classifies,
        "files": files,
        "floor": str(work / floor["file"]) if floor else None,
        "threads": THREADS,
        "rounds": options.rounds,
    }
    job_path, result_path, log = (work / name for name in ("job.json", "timed.json", "timed.log"))
    job_path.write_text(json.dumps(job), encoding="utf-8")
    result_path.unlink(missing_ok=True)
    with log.open("w", encoding="utf-8") as file:
        command = [python, "-m", "peers.timing", job_path, result_path]
        subprocess.run(command, stdout=file, stderr=file, check=False, env=child_environment())
    if not result_path.exists():
        say(f"{model.title}: timing failed, see {log}")
        return {"errors": {file["column"]: last_line(log) for file in files}}
    timed: dict[str, Any] = json.loads(result_path.read_text(encoding="utf-8"))
    few = [
        file for file in files if file["column"] in FEW and file["column"] not in timed["errors"]
    ]
    timed["starts"] = cold_starts(
        python, few, [1, *made["shape"]], options.starts, child_environment()
    )
    return timed


def child_environment() -> dict[str, str]:
    """Return the variables with which a child process finds the modules of this folder."""
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def time_overhead(python: Path) -> dict[str, Any]:
    return run_json(python, "runtime_overhead.py", Path("assets/digits.onnx"))


def run_json(python: Path, script: str, artifact: Path) -> dict[str, Any]:
    command = [python, HERE / script, artifact]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def store(result: dict[str, Any], path: Path) -> None:
    """Write the result with each list of numbers on one line."""
    text = json.dumps(result, indent=1, ensure_ascii=False)
    flat = re.sub(r"\[[-\d.,e\s]+\]", lambda found: " ".join(found[0].split()), text)
    path.write_text(flat + "\n", encoding="utf-8")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
