import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.qdq.quantize import quantize, weighted_nodes
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.quantization.weights.moments import measure_moments
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(5)


def make_model(operator, weight, bias, x_shape, y_shape, **attributes):
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(operator, ["x", "w", "b"], ["y"], name="layer", **attributes)],
            "g",
            [value("x", TensorProto.FLOAT, x_shape)],
            [value("y", TensorProto.FLOAT, y_shape)],
            [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


CASES = {
    "Gemm": (make_model("Gemm", normal(40, 8), normal(8), ["N", 40], ["N", 8]), (500, 40)),
    "Gemm transposed": (
        make_model("Gemm", normal(8, 40), normal(8), ["N", 40], ["N", 8], transB=1),
        (500, 40),
    ),
    "Conv": (
        make_model("Conv", normal(8, 4, 3, 3), normal(8), ["N", 4, 12, 12], ["N", 8, 10, 10]),
        (60, 4, 12, 12),
    ),
    "grouped Conv": (
        make_model(
            "Conv", normal(16, 2, 3, 3), normal(16), ["N", 4, 12, 12], ["N", 16, 10, 10], group=2
        ),
        (60, 4, 12, 12),
    ),
}


def inputs(shape):
    """Inputs far from zero, where rounded weights shift the mean, and alike among each other."""
    common = GENERATOR.normal(size=(shape[0], *[1] * (len(shape) - 1)))
    return (3 + common + 0.3 * GENERATOR.normal(size=shape)).astype(np.float32)


@pytest.mark.parametrize("kind", ["static", "weights"])
@pytest.mark.parametrize("name", CASES)
def test_data_takes_out_the_mean_error_and_shrinks_the_rest(name, kind):
    model, shape = CASES[name]
    x = inputs(shape)
    batches = [{"x": part} for part in np.array_split(x, 5)]
    float_graph = ir.from_proto(model)
    ranges = collect_ranges(float_graph, lambda size: batches)
    moments = measure_moments(float_graph, weighted_nodes(float_graph.graph), batches)
    expected = run_as_defined(model)({"x": x})["y"]
    axes = (0, *range(2, expected.ndim))

    def errors(known):
        made = quantize(float_graph, Recipe(kind), ranges, find_target("any"), Rounder(known))
        off = run_as_defined(ir.to_proto(made.graph))({"x": x})["y"].astype(np.float64) - expected
        return np.abs(off.mean(axis=axes)).max(), np.mean(off**2)

    (plain_mean, plain), (mean, squared) = errors(None), errors(moments)
    assert mean < 0.6 * plain_mean
    assert squared < 0.6 * plain


def test_the_float_graph_is_left_as_it_was():
    model, shape = CASES["Gemm"]
    float_graph = ir.from_proto(model)
    batches = [{"x": inputs(shape)}]
    ranges = collect_ranges(float_graph, lambda size: batches)
    moments = measure_moments(float_graph, weighted_nodes(float_graph.graph), batches)
    for kind in ("static", "weights", "int16"):
        quantize(float_graph, Recipe(kind), ranges, find_target("any"), Rounder(moments))
    assert ir.to_proto(float_graph) == ir.to_proto(ir.from_proto(model))


def test_a_bias_beyond_int32_steps_makes_the_steps_larger():
    weights, bias = 1e-9 * normal(16, 4), np.array([1e3, -1e3, 5, 0], np.float32)
    model = make_model("Gemm", weights, bias, ["N", 16], ["N", 4])
    x = normal(50, 16)
    float_graph = ir.from_proto(model)
    ranges = collect_ranges(float_graph, lambda size: [{"x": x}])
    made = quantize(float_graph, Recipe("static"), ranges, find_target("any"))
    found = run_as_defined(ir.to_proto(made.graph))({"x": x})["y"]
    step = (ranges["y"][1] - ranges["y"][0]) / 255
    np.testing.assert_allclose(found, x @ weights + bias, atol=step)


@pytest.mark.parametrize("kind", ["static", "int16"])
@pytest.mark.parametrize("group", [1, 2])
def test_a_transposed_convolution_keeps_its_channels(group, kind):
    weights = normal(8, 4, 3, 3) * np.geomspace(1e-2, 10, 4, dtype=np.float32).reshape(4, 1, 1)
    bias = np.tile(np.geomspace(1e-2, 10, 4, dtype=np.float32), group)
    model = make_model(
        "ConvTranspose", weights, bias, ["N", 8, 6, 6], ["N", 4 * group, 8, 8], group=group
    )
    x = normal(60, 8, 6, 6)
    float_graph = ir.from_proto(model)
    ranges = collect_ranges(float_graph, lambda size: [{"x": x}])
    made = quantize(float_graph, Recipe(kind), ranges, find_target("any"))
    found, expected = (
        run_as_defined(each)({"x": x})["y"] for each in (ir.to_proto(made.graph), model)
    )
    step = (ranges["y"][1] - ranges["y"][0]) / 255
    np.testing.assert_allclose(found, expected, atol=3 * step)


def test_a_gemm_that_multiplies_its_product_and_its_bias_does_so_in_int8():
    weights, bias = normal(40, 8), normal(8)
    model = make_model("Gemm", weights, bias, ["N", 40], ["N", 8], alpha=0.25, beta=4.0)
    x = inputs((500, 40))
    float_graph = ir.from_proto(model)
    ranges = collect_ranges(float_graph, lambda size: [{"x": x}])
    made = ir.to_proto(quantize(float_graph, Recipe("static"), ranges, find_target("any")).graph)
    expected = 0.25 * x @ weights + 4 * bias
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for found in (run_as_defined(made)({"x": x})["y"], session.run(None, {"x": x})[0]):
        assert 10 * np.log10(np.var(expected) / np.mean((found - expected) ** 2)) > 25
