"""Equalization through additions: the same answers, and channels of like ranges."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.weights.streams import equalize_streams
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(3)
FACTORS = 10.0 ** np.linspace(-2, 2, 8)
X = GENERATOR.normal(size=(32, 3, 6, 6)).astype(np.float32)


def residual(*, curve="Relu", outputs=("y",)):
    """Conv, twice a depthwise Conv beside what it reads, Conv: channels of four decades."""
    constants = {
        "w0": GENERATOR.normal(size=(8, 3, 3, 3)) * FACTORS.reshape(-1, 1, 1, 1),
        "b0": GENERATOR.normal(size=8) * FACTORS,
        "w3": GENERATOR.normal(size=(4, 8, 1, 1)) / FACTORS.reshape(-1, 1, 1),
        "b3": GENERATOR.normal(size=4),
    }
    for number in (1, 2):
        constants[f"w{number}"] = GENERATOR.normal(size=(8, 1, 3, 3))
        constants[f"b{number}"] = GENERATOR.normal(size=8) * FACTORS
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w0", "b0"], ["t0"], "first"),
        make(curve, ["t0"], ["s0"], "curve"),
    ]
    for number in (1, 2):
        read, own = f"s{number - 1}", f"t{number}"
        names = [read, f"w{number}", f"b{number}"]
        nodes.append(make("Conv", names, [own], own, group=8, pads=[1] * 4))
        nodes.append(make("Add", [read, own], [f"s{number}"], f"add{number}"))
    nodes.append(make("Conv", ["s2", "w3", "b3"], ["y"], "last"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["N", 3, 6, 6])],
        [value(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def channels(model, tensor):
    """The largest value of each channel of an inner tensor."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    return np.abs(run_as_defined(watched)({"x": X})[tensor]).max(axis=(0, 2, 3))


@pytest.mark.parametrize("curve", ["Relu", "LeakyRelu"])
def test_channels_become_alike_and_answers_stay(curve):
    model = residual(curve=curve)
    found = equalize_streams(ir.from_proto(model), [{"x": X}])
    made = ir.to_proto(found)
    expected, answers = (run_as_defined(each)({"x": X})["y"] for each in (model, made))
    np.testing.assert_allclose(answers, expected, rtol=1e-3, atol=1e-4 * np.ptp(expected))
    for tensor in ("s0", "s1", "s2"):
        before, after = channels(model, tensor), channels(made, tensor)
        assert before.max() / before.min() > 3000
        assert after.max() / after.min() < 30


@pytest.mark.parametrize(
    "model",
    [residual(curve="Sigmoid"), residual(outputs=("y", "s1"))],
    ids=["a curve that is not linear", "an output of the graph"],
)
def test_a_stream_that_something_else_reads_or_writes_is_left_as_it_is(model):
    assert equalize_streams(ir.from_proto(model), [{"x": X}]) is None
