"""Answers of a .tflite file, for the quantization benchmark; runs where LiteRT is installed.

    python litert_answers.py MODEL.tflite SAMPLES.npz ANSWERS.npz

Takes array ``x`` and writes array ``y`` and ``latency_us``: the median of one sample on one thread.
LiteRT does not share an environment with the converter, so arrays go through files.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

ROUNDS = 9
CALLS = 100


def main(model: str, samples: str, answers: str) -> None:
    with np.load(samples) as data:
        x = data["x"].astype(np.float32)
    interpreter = Interpreter(model, num_threads=1)
    place = interpreter.get_input_details()[0]
    shape = [1, *place["shape"][1:]]
    interpreter.resize_tensor_input(place["index"], shape)
    interpreter.allocate_tensors()
    result = interpreter.get_output_details()[0]
    rows = []
    for row in x:
        interpreter.set_tensor(place["index"], encode(row.reshape(shape), place))
        interpreter.invoke()
        rows.append(decode(interpreter.get_tensor(result["index"]), result)[0])
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(CALLS):
            interpreter.invoke()
        times.append((time.perf_counter() - start) / CALLS * 1e6)
    np.savez(answers, y=np.stack(rows), latency_us=statistics.median(times))


def encode(values: np.ndarray, detail: dict) -> np.ndarray:
    """Return what the file wants: floats, or the nearest codes."""
    dtype = detail["dtype"]
    if dtype == np.float32:
        return values
    scale, zero = detail["quantization"]
    if not scale:
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(dtype)


def decode(values: np.ndarray, detail: dict) -> np.ndarray:
    if values.dtype == np.float32:
        return values
    scale, zero = detail["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale)


if __name__ == "__main__":
    main(*sys.argv[1:])
