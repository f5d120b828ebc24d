"""The engines of the table under one interface: an open file, with a call from sample to answer.

Runs in the environment of the peers. Each engine is opened as its documentation tells a user to,
with the number of threads said outright and everything else as it comes, spinning threads above
all: onnxruntime's threads spin by default, edgeport's do not, and the others choose for themselves.
A call is the whole way from a numpy array to a numpy array that is the caller's own. Imports stand
inside, since a cold start pays for its own engine only.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

# As edgeport does by itself; with it on, a bare import starts a thread.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Array = np.ndarray[Any, Any]
Call = Callable[[Array], Array]


def open_onnxruntime(path: str, threads: int | None, shape: tuple[int, ...]) -> Call:
    return _session(path, threads, optimizes=True)


def open_floor(path: str, threads: int | None, shape: tuple[int, ...]) -> Call:
    """Open a graph of nodes that do nothing and that must not be optimized away."""
    return _session(path, threads, optimizes=False)


def _session(path: str, threads: int | None, *, optimizes: bool) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimizes:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def open_litert(path: str, threads: int | None, shape: tuple[int, ...]) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path, num_threads=threads)
    given = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(given, shape)
    interpreter.allocate_tensors()
    answer = interpreter.get_output_details()[0]["index"]

    def call(x: Array) -> Array:
        interpreter.set_tensor(given, x)
        interpreter.invoke()
        return interpreter.get_tensor(answer)

    return call


def open_openvino(path: str, threads: int | None, shape: tuple[int, ...]) -> Call:
    request = _compile(path, threads, shape).create_infer_request()
    return lambda x: request.infer([x], share_inputs=True)[0]


def openvino_precision(path: str, shape: tuple[int, ...]) -> str:
    """Return the number format that OpenVINO computes float files in; on some CPUs it chooses."""
    precision = _compile(path, 1, shape).get_property("INFERENCE_PRECISION_HINT")
    return str(precision.get_type_name())


def _compile(path: str, threads: int | None, shape: tuple[int, ...]) -> Any:
    """Compile it with the shape fixed, which is far faster than a free batch axis."""
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(shape))
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return core.compile_model(model, "CPU", options)


def open_edgeport(path: str, threads: int | None, shape: tuple[int, ...]) -> Call:
    from edgeport import Predictor

    return Predictor.load(path, threads=threads).predict


ENGINES: dict[str, Callable[[str, int | None, tuple[int, ...]], Call]] = {
    "onnxruntime": open_onnxruntime,
    "floor": open_floor,
    "litert": open_litert,
    "openvino": open_openvino,
    "edgeport": open_edgeport,
}
"""By name: path, threads (None for the engine's own choice) and the shape of what will be fed."""
