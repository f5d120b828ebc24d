"""Peak memory of a conversion by the number of calibration samples: `make calibration-memory`.

    python tests/benchmarks/calibration_memory.py [--output build/calibration_memory.json]

Every line is a child process of its own, once with 200 and once with 2,000 samples that a generator
makes, so that no process holds them all. Ranges are measured by each method, then whole
conversions; the model is small and its activations large, so that what does not stream stands out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FEW, MANY = 200, 2000
ALLOWED = 1.10
CASES = ("start", "minmax", "mse", "moments", "convert static", "convert auto")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("build/calibration_memory.json"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_case(options.child[0], int(options.child[1]))
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"peak_mib": peak_kib / 1024}))
        return 0
    rows = []
    for case in CASES:
        peaks = [peak_mib(case, count) for count in (FEW, MANY)]
        rows.append({"case": case, "peak_mib": peaks, "ratio": peaks[1] / peaks[0]})
        print(
            f"{case:15} {FEW:,} samples {peaks[0]:7.1f} MiB, {MANY:,} samples {peaks[1]:7.1f} "
            f"MiB, ratio {peaks[1] / peaks[0]:.3f}",
            flush=True,
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(any(row["ratio"] > ALLOWED for row in rows))


def peak_mib(case: str, samples: int) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--child", case, str(samples)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )
    return json.loads(done.stdout.splitlines()[-1])["peak_mib"]


def run_case(case: str, samples: int) -> None:
    if case.startswith("convert"):
        convert_model(case.split()[1], samples)
        return
    from edgeport_converter.quantization.calibration.ranges import collect_ranges
    from edgeport_converter.quantization.weights.moments import measure_moments

    graph = convolutions()

    def batches(size: int):
        return ({"x": images(start, size)} for start in range(0, samples, size))

    if case == "moments":
        layers = [node for node in graph.graph if node.op_type == "Conv"]
        measure_moments(graph, layers, batches(16))
    elif case != "start":
        collect_ranges(graph, batches, case)


def images(start: int, count: int) -> np.ndarray:
    generator = np.random.default_rng(start)
    return generator.normal(size=(count, 3, 64, 64)).astype(np.float32)


def convolutions():
    """Return three convolutions of 16 channels on 64 x 64 places."""
    import onnx
    import onnx_ir as ir
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    nodes, constants, name = [], [], "x"
    for place, channels in enumerate((3, 16, 16)):
        weights = generator.normal(size=(16, channels, 3, 3)).astype(np.float32) / 8
        constants.append(numpy_helper.from_array(weights, f"w{place}"))
        nodes.append(
            helper.make_node(
                "Conv", [name, f"w{place}"], [f"z{place}"], f"conv{place}", pads=[1, 1, 1, 1]
            )
        )
        nodes.append(helper.make_node("Relu", [f"z{place}"], [f"y{place}"], f"relu{place}"))
        name = f"y{place}"
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["N", 3, 64, 64])],
        [value(name, TensorProto.FLOAT, ["N", 16, 64, 64])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def convert_model(recipe: str, samples: int) -> None:
    from edgeport_converter import convert
    from edgeport_converter.loading.load import start_tensorflow

    start_tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((64, 64, 3), name="x")]
        + [layers.Conv2D(16, 3, padding="same", activation="relu") for _ in range(3)]
        + [layers.GlobalAveragePooling2D(), layers.Dense(10)]
    )

    class Images:
        def __iter__(self):
            return (images(start, 20).transpose(0, 2, 3, 1) for start in range(0, samples, 20))

    with tempfile.TemporaryDirectory() as folder:
        convert(model, Path(folder) / "m.onnx", calibration=Images(), quantize=recipe, max_drop=0.5)


if __name__ == "__main__":
    sys.exit(main())
