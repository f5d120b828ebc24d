"""Every column's file of one model, converted from the same Keras weights; TensorFlow runs here.

    python -m peers.files SHARED NAME FOLDER PART

One process for one part of one model, so that a converter that dies takes nothing with it. Below
FOLDER/NAME lie the files and, for each part, ``PART.json``: by column the file, its size and the
route, or the error; and the part's key, by which ``bench.py`` knows whether they are still right.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# The parts and their columns; what all files are judged on comes first, the peers' own accuracy
# tools last.
PARTS = {
    "judging": (),
    "peers": ("raw", "naive", "litert_float", "litert_int8"),
    "edgeport": ("edgeport_float", "edgeport_auto"),
    "onnxruntime_tools": ("ort_percentile", "ort_entropy"),
    "litert_tools": ("litert_dynamic", "litert_int16", "litert_selective"),
    "openvino_tools": ("nncf", "nncf_accuracy"),
}
REFERENCE_SAMPLES = 32
TOOLS_SAMPLES = 128
# An export that is right has about 100 dB, one with a wrong layer about 0.
RIGHT_DB = 60

TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy", "onnxscript")

Facts = dict[str, Any]


def key(part: str) -> str:
    """Return what a part's files depend on: the tools' versions and the code that made them."""
    here = Path(__file__)
    above = here.parents[1]
    sources = [here, here.with_name("models.py")]
    sources += [above / "made_models.py", above / "quantization_data.py"]
    if part.endswith("_tools"):
        sources += [here.with_name("accuracy_tools.py"), here.with_name("nncf_files.py")]
    if part == "edgeport":
        import edgeport_converter

        sources += sorted(Path(edgeport_converter.__file__).parent.rglob("*.py"))
    digest = sha256("".join(f"{name} {version(name)} " for name in TOOLS).encode())
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def main(shared: Path, name: str, folder: Path, part: str) -> None:
    from edgeport_converter.loading.load import start_tensorflow
    from peers.models import MODELS

    (model,) = (each for each in MODELS if each.name == name)
    work = folder / name
    work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    start_tensorflow()
    source = model.keras_path(shared, work, again=part == "peers")
    calibration = model.calibration(shared)
    evaluation = model.evaluation(shared)
    if part == "judging":
        facts = make_judging(model, source, work, shared)
    elif part == "peers":
        facts = make_peers(source, work, calibration, evaluation)
    elif part == "edgeport":
        facts = make_edgeport(source, work, calibration, evaluation, model.max_drop)
    else:
        from peers import accuracy_tools

        facts = getattr(accuracy_tools, part)(source, work)
    facts |= {
        "keras": str(source.resolve()),
        "key": key(part),
        "seconds": round(time.monotonic() - started, 1),
    }
    (work / f"{part}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def make_judging(model: Any, source: Path, work: Path, shared: Path) -> Facts:
    """Write ``held_out.npz``, which judges all files, and ``tools.npz`` for the peers' tools.

    The tools see the samples that edgeport sees: to calibrate, and the first of those that edgeport
    is evaluated on, with Keras' answers.
    """
    from edgeport_converter import exporting
    from edgeport_converter.loading.load import load_model

    loaded = load_model(source)
    (info,) = loaded.inputs
    reference = exporting.reference_of(loaded)

    def answers(x: np.ndarray) -> np.ndarray:
        parts = [x[i : i + REFERENCE_SAMPLES] for i in range(0, len(x), REFERENCE_SAMPLES)]
        return np.concatenate([next(iter(reference({info.name: part}).values())) for part in parts])

    held_out, evaluation = model.held_out(shared), model.evaluation(shared)
    x = (evaluation[0] if isinstance(evaluation, tuple) else evaluation)[:TOOLS_SAMPLES]
    np.savez(work / "held_out.npz", x=held_out, y=answers(held_out))
    np.savez(work / "tools.npz", calibration=model.calibration(shared), x=x, y=answers(x))
    return {"columns": {}, "held_out": {"samples": len(held_out), "classifies": model.classifies}}


def make_peers(source: Path, work: Path, calibration: np.ndarray, evaluation: Any) -> Facts:
    from quantization import quantize_naively

    from edgeport_converter import exporting
    from edgeport_converter.loading.load import load_model

    loaded = load_model(source)
    (info,) = loaded.inputs
    x = evaluation[0] if isinstance(evaluation, tuple) else evaluation
    x = x[:REFERENCE_SAMPLES]
    (y,) = exporting.reference_of(loaded)({info.name: x}).values()
    np.savez(work / "samples.npz", x=x, y=y)
    exported = work / "export.onnx"
    columns: Facts = {"raw": export_float(loaded, exported, x, y)}
    columns["naive"] = attempt(
        work / "naive.onnx",
        "quantize_static of that file: QDQ, weights per channel, else as it comes",
        lambda path: quantize_naively(exported, path, calibration),
    )
    for column, samples in (("litert_float", None), ("litert_int8", calibration)):
        columns[column] = attempt(
            work / f"{column}.tflite",
            litert_route(loaded),
            lambda path, samples=samples: path.write_bytes(to_tflite(loaded, samples)),
        )
    return {"columns": columns, "notes": list(loaded.notes), "shape": list(x.shape[1:])}


def attempt(path: Path, route: str, make: Callable[[Path], Any]) -> Facts:
    """Return the facts of one file, or why there is none: another's failure stops no table."""
    path.unlink(missing_ok=True)
    try:
        make(path)
    except Exception as cause:
        traceback.print_exc()
        return {"error": f"{type(cause).__name__}: {first_line(cause)}"}
    return {"file": path.name, "bytes": path.stat().st_size, "route": route}


def first_line(cause: BaseException) -> str:
    return (str(cause).strip().splitlines() or [""])[0][:200]


def export_float(loaded: Any, path: Path, x: np.ndarray, y: np.ndarray) -> Facts:
    """Write what a Keras user gets today, by the first route whose answers are Keras'."""
    from peers.timing import signal_to_noise_db

    first = 'model.export(format="onnx")'
    routes: dict[str, Callable[[Path], Any]] = {
        first: lambda path: loaded.model.export(str(path), format="onnx", verbose=False),
        "tf2onnx.convert.from_function": lambda path: from_function(loaded, path),
        "python -m tf2onnx.convert --saved-model": lambda path: from_saved_model(loaded, path),
        "edgeport's float graph": lambda path: own_float(loaded, path),
    }
    failures = []
    if loaded.model is None:
        del routes[first]
        failures.append(f"{first}: a SavedModel is no Keras model")
    for route, make in routes.items():
        facts = attempt(path, route, make)
        if "error" not in facts:
            try:
                decibel = signal_to_noise_db(y, onnx_answers(path, x))
            except Exception as cause:
                facts = {"error": f"{type(cause).__name__}: {first_line(cause)}"}
            else:
                if decibel >= RIGHT_DB:
                    return facts | {"failed_routes": failures}
                facts = {"error": f"wrong answers, {decibel:.1f} dB from Keras"}
        failures.append(f"{route}: {facts['error']}")
    return {"error": "; ".join(failures)}


def from_function(loaded: Any, path: Path) -> None:
    """Write what ``model.export`` would, for what is no Keras model."""
    import tensorflow as tf
    import tf2onnx

    (info,) = loaded.inputs
    spec = tf.TensorSpec(info.shape, info.dtype, name=info.name)
    function = tf.function(lambda x: loaded.call({info.name: x}), input_signature=[spec])
    tf2onnx.convert.from_function(function, [spec], output_path=str(path))


def from_saved_model(loaded: Any, path: Path) -> None:
    """Write what tf2onnx's command makes of the model's export as a SavedModel."""
    if loaded.model is None:
        raise ValueError("it reads no SavedModel that was saved with its optimizer")
    with tempfile.TemporaryDirectory() as folder:
        loaded.model.export(folder, format="tf_saved_model", verbose=False)
        command = [
            sys.executable,
            "-m",
            "tf2onnx.convert",
            "--saved-model",
            folder,
            "--output",
            path,
        ]
        subprocess.run(command, check=True)


def own_float(loaded: Any, path: Path) -> None:
    import onnx

    from edgeport_converter import exporting
    from edgeport_converter.targets import ONNXRUNTIME_FLOOR, find_engine

    engine = find_engine(ONNXRUNTIME_FLOOR)
    exported = exporting.export(loaded, opset=engine.opset, ir_version=engine.ir_version)
    onnx.save(exported.graph, path)


def litert_route(loaded: Any) -> str:
    name = "from_concrete_functions" if loaded.model is None else "from_keras_model"
    return f"tf.lite.TFLiteConverter.{name}, inputs and outputs in float"


def to_tflite(loaded: Any, calibration: np.ndarray | None) -> bytes:
    """Return the float file, or with calibration samples the full-integer one."""
    import tensorflow as tf

    converter = litert_converter(loaded)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row[None]] for row in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def litert_converter(loaded: Any) -> Any:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    if loaded.model is not None:
        return tf.lite.TFLiteConverter.from_keras_model(loaded.model)
    (info,) = loaded.inputs
    spec = tf.TensorSpec(info.shape, info.dtype, name=info.name)
    function = tf.function(lambda x: loaded.call({info.name: x}), input_signature=[spec])
    # Variables of a SavedModel would become LiteRT's own, and nothing gives them their values.
    concrete = convert_variables_to_constants_v2(function.get_concrete_function())
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete])


def make_edgeport(
    source: Path, work: Path, calibration: np.ndarray, evaluation: Any, max_drop: float
) -> Facts:
    from edgeport_converter import convert

    report = convert(
        source,
        work / "edgeport.onnx",
        calibration=calibration,
        evaluation=evaluation,
        also=("none",),
        max_drop=max_drop,
    )
    float_path = report.variants["none"]
    nodes = count_optimized_nodes(report.output, work)
    write_floor(work / "floor.onnx", nodes)
    return {
        "columns": {
            "edgeport_float": {
                "file": float_path.name,
                "bytes": float_path.stat().st_size,
                "route": 'convert(quantize="none")',
            },
            "edgeport_auto": {
                "file": report.output.name,
                "bytes": report.file_bytes,
                "route": f'convert(quantize="auto"): {report.recipe}',
            },
        },
        "floor": {"file": "floor.onnx", "nodes": nodes},
        "steps": [step.describe() for step in report.steps],
    }


def count_optimized_nodes(path: Path, work: Path) -> int:
    """Return how many nodes onnxruntime runs for one sample, after all its own rewriting."""
    import onnx
    import onnxruntime

    target = work / "optimized.onnx"
    options = session_options()
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    nodes = len(onnx.load(target, load_external_data=False).graph.node)
    target.unlink()
    return nodes


def write_floor(path: Path, nodes: int) -> None:
    """Write a chain of Identity nodes over one number; run it with all optimizing turned off."""
    import onnx
    from onnx import TensorProto, helper

    names = ["x", *(f"v{place}" for place in range(1, nodes)), "y"]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("x", "y")]
    chain = [helper.make_node("Identity", [a], [b]) for a, b in itertools.pairwise(names)]
    graph = helper.make_graph(chain, "floor", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)


def session_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return options


def onnx_answers(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), session_options(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
