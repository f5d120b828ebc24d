"""Times that tell a long run from a short one; how long either takes is for the benchmarks."""

import numpy as np
from graphs import model_of
from onnx import helper

from edgeport import ModelCard, TensorSpec
from edgeport_converter.quantization.evaluation.timing import median_latencies_us

SIZE = 600


def products(count):
    """``count`` matrix products of (N, 600) with (600, 600)."""
    nodes = [
        helper.make_node(
            "MatMul", ["x" if i == 0 else f"y{i}", "w"], ["y" if i == count - 1 else f"y{i + 1}"]
        )
        for i in range(count)
    ]
    weights = np.eye(SIZE, dtype=np.float32)
    return model_of(nodes, {"x": ["N", SIZE]}, {"y": ["N", SIZE]}, {"w": weights})


def test_a_run_in_a_thread_of_its_own_is_counted_too():
    shape, axes = ("N", SIZE), ("N", "F")
    specs = [(TensorSpec(name, np.dtype(np.float32), shape, axes),) for name in "xy"]
    card = ModelCard("products", specs[0], specs[1])
    sample = {"x": np.ones((400, SIZE), np.float32)}
    short, long = median_latencies_us([products(1), products(40)], card, sample)
    assert long > 10 * short
