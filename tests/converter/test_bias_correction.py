import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.bias_correction import correct_biases
from edgeport_converter.quantization.calibrating import collect_ranges
from edgeport_converter.quantization.quantizing import Recipe, quantize
from edgeport_converter.targets import find_target
from edgeport_converter.verifying import run_as_defined

GENERATOR = np.random.default_rng(5)


def make_model(operator, weight, bias, x_shape, y_shape, **attributes):
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(operator, ["x", "w", "b"], ["y"], name="layer", **attributes)], "g",
            [value("x", TensorProto.FLOAT, x_shape)], [value("y", TensorProto.FLOAT, y_shape)],
            [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
        ),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


CASES = {
    "Gemm": (make_model("Gemm", normal(40, 8), normal(8), ["N", 40], ["N", 8]), (500, 40)),
    "Gemm transposed": (
        make_model("Gemm", normal(8, 40), normal(8), ["N", 40], ["N", 8], transB=1), (500, 40),
    ),
    "Conv": (
        make_model("Conv", normal(8, 4, 3, 3), normal(8), ["N", 4, 12, 12], ["N", 8, 10, 10]),
        (60, 4, 12, 12),
    ),
    "grouped Conv": (
        make_model("Conv", normal(8, 2, 3, 3), normal(8), ["N", 4, 12, 12], ["N", 8, 10, 10],
                   group=2),
        (60, 4, 12, 12),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_mean_error_of_every_channel_shrinks(name):
    model, shape = CASES[name]
    # Inputs far from zero: there, rounded weights shift the mean.
    x = (3 + GENERATOR.normal(size=shape)).astype(np.float32)
    batches = [{"x": part} for part in np.array_split(x, 5)]
    ranges = collect_ranges(model, lambda size: batches)
    target = find_target("any")
    plain = quantize(model, Recipe("static"), ranges, target).graph
    corrected_float = correct_biases(model, plain, batches)
    corrected = quantize(corrected_float, Recipe("static"), ranges, target).graph

    expected = run_as_defined(model)({"x": x})["y"]
    axes = (0, *range(2, expected.ndim))

    def mean_error(graph):
        return np.abs(np.mean(run_as_defined(graph)({"x": x})["y"] - expected, axis=axes)).max()

    assert mean_error(corrected) < 0.5 * mean_error(plain)


def test_the_float_graph_is_left_as_it_was():
    model, shape = CASES["Gemm"]
    before = model.SerializeToString()
    x = {"x": GENERATOR.normal(size=shape).astype(np.float32)}
    ranges = collect_ranges(model, lambda size: [x])
    plain = quantize(model, Recipe("static"), ranges, find_target("any")).graph
    correct_biases(model, plain, [x])
    assert model.SerializeToString() == before
