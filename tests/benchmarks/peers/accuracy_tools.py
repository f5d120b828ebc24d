"""What each peer's own tools do for the accuracy of its int8 files; TensorFlow runs here.

A part of ``files.PARTS`` is a function here: it takes the Keras file and the model's folder, in
which ``tools.npz`` holds the samples that edgeport gets as well, and returns the facts by column.
Tools that try formats (LiteRT's debugger, NNCF) may stop at ``bound_db``. OpenVINO's tool does not
share an environment with TensorFlow and stands in ``nncf_files``.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from peers.files import Facts, attempt, litert_converter, onnx_answers
from peers.machine import describe, has_vnni
from peers.targets import KEPT_DB
from peers.timing import signal_to_noise_db

# onnxruntime keeps every activation of every sample to find percentiles: 4 GB for 32 of ResNet50.
HISTOGRAM_SAMPLES, HISTOGRAM_VALUES = 64, 500_000
# Samples for the errors of single layers; the reference kernels that find them are slow.
DEBUGGED_SAMPLES = 8
# Which share of the layers LiteRT's debugger turns back to float, in the order of trial.
SHARES_IN_FLOAT = (0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)


def onnxruntime_tools(source: Path, work: Path) -> Facts:
    """Write int8 files with calibration by percentile and by entropy, by onnxruntime's advice.

    That is, after ``quant_pre_process``, with uint8 activations, reduced weights on CPUs without
    VNNI, and with Softmax in float.
    """
    columns = {}
    for method in ("Percentile", "Entropy"):
        columns[f"ort_{method.lower()}"] = attempt(
            work / f"ort_{method.lower()}.onnx",
            f"quant_pre_process, quantize_static: {method}, uint8 activations, Softmax in float",
            lambda path, method=method: quantize_by_histogram(work, path, method),
        )
    return {"columns": columns}


def quantize_by_histogram(work: Path, path: Path, method: str) -> None:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with np.load(work / "tools.npz") as data:
        calibration = data["calibration"]
    count = max(8, min(HISTOGRAM_SAMPLES, HISTOGRAM_VALUES // calibration[0].size))
    prepared = path.with_suffix(".prepared.onnx")
    quant_pre_process(work / "export.onnx", prepared, skip_symbolic_shape=True)
    graph = onnx.load(prepared).graph
    name = graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(calibration[:count])

        def get_next(self) -> dict[str, Any] | None:
            row = next(self.rows, None)
            return None if row is None else {name: row[None]}

    quantize_static(
        str(prepared),
        str(path),
        Reader(),
        per_channel=True,
        reduce_range=not has_vnni(describe()["instructions"]),
        activation_type=QuantType.QUInt8,
        nodes_to_exclude=[node.name for node in graph.node if node.op_type == "Softmax"],
        calibrate_method=CalibrationMethod[method],
    )
    prepared.unlink()


def litert_tools(source: Path, work: Path) -> Facts:
    """Write int8 weights alone, int8 with int16 activations, and int8 with some layers in float."""
    import tensorflow as tf

    from edgeport_converter.loading.load import load_model

    loaded = load_model(source)
    with np.load(work / "tools.npz") as data:
        calibration, x, y = data["calibration"], data["x"], data["y"]

    def converter(*, calibrates: bool) -> Any:
        made = litert_converter(loaded)
        made.optimizations = [tf.lite.Optimize.DEFAULT]
        if calibrates:
            made.representative_dataset = lambda: ([row[None]] for row in calibration)
        return made

    def int16() -> bytes:
        made = converter(calibrates=True)
        made.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
        content: bytes = made.convert()
        return content

    columns = {
        "litert_dynamic": attempt(
            work / "litert_dynamic.tflite",
            "dynamic range: int8 weights",
            lambda path: path.write_bytes(converter(calibrates=False).convert()),
        ),
        "litert_int16": attempt(
            work / "litert_int16.tflite",
            "int8 weights, int16 activations, what has no such kernel in float",
            lambda path: path.write_bytes(int16()),
        ),
    }
    found: Facts = {}
    columns["litert_selective"] = attempt(
        work / "litert_selective.tflite",
        "quantization debugger",
        lambda path: found.update(
            quantize_selectively(converter(calibrates=True), path, calibration, x, y, work)
        ),
    )
    return {"columns": columns | {"litert_selective": columns["litert_selective"] | found}}


def quantize_selectively(
    converter: Any, path: Path, calibration: np.ndarray, x: np.ndarray, y: np.ndarray, work: Path
) -> Facts:
    """Write the fastest file of LiteRT's debugger that keeps the bound, else the nearest to Keras.

    As its guide says ("Inspecting Quantization Errors with Quantization Debugger"): Softmax stays
    in float, and so do the layers with the largest root mean square error in steps of their scale,
    more of them from trial to trial.
    """
    import tensorflow as tf

    options = tf.lite.experimental.QuantizationDebugOptions
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=lambda: ([row[None]] for row in calibration[:DEBUGGED_SAMPLES]),
        debug_options=options(denylisted_ops=["SOFTMAX"]),
    )
    debugger.run()
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    table.seek(0)
    errors = {
        row["tensor_name"]: float(row["mean_squared_error"]) ** 0.5 / float(row["scale"])
        for row in csv.DictReader(table)
        if float(row["scale"])
    }
    worst = sorted(errors, key=lambda name: -errors[name])
    bound, best = bound_db(work, x, y), float("-inf")
    route = ""
    for share in SHARES_IN_FLOAT:
        count = round(share * len(worst))
        debugger.options = options(denylisted_ops=["SOFTMAX"], denylisted_nodes=worst[:count])
        content = debugger.get_nondebug_quantized_model()
        seen = signal_to_noise_db(y, litert_answers(content, x))
        if seen > best:
            best = seen
            route = f"quantization debugger: Softmax and {count} of {len(worst)} tensors in float"
            path.write_bytes(content)
        if seen >= bound:
            break
    return {"route": route}


def litert_answers(content: bytes, x: np.ndarray) -> np.ndarray:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=content, num_threads=1)
    given = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(given, [1, *x.shape[1:]])
    interpreter.allocate_tensors()
    answer = interpreter.get_output_details()[0]["index"]
    rows = []
    for row in x:
        interpreter.set_tensor(given, row[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(answer))
    return np.concatenate(rows)


def bound_db(work: Path, x: np.ndarray, y: np.ndarray) -> float:
    """Return what a file must keep on these samples: 20 dB, or what edgeport's keeps if less."""
    ours = work / "edgeport.onnx"
    if not ours.exists():
        return KEPT_DB
    return min(KEPT_DB, signal_to_noise_db(y, onnx_answers(ours, x)))
