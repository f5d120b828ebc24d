import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.weights.weight_only import store_weights_as_int8
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(2)


def stored_of(model, *float_nodes):
    return ir.to_proto(store_weights_as_int8(ir.from_proto(model), float_nodes))


def unchanged(model):
    return ir.to_proto(ir.from_proto(model))


def make_model(operator, weight, x_shape, y_shape, **attributes):
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(operator, ["x", "w"], ["y"], name="layer", **attributes)],
            "g",
            [value("x", TensorProto.FLOAT, x_shape)],
            [value("y", TensorProto.FLOAT, y_shape)],
            [numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


def spread(shape, axis):
    """Normal weights whose channels along ``axis`` differ by four decades."""
    scale = np.geomspace(1e-3, 10, shape[axis]).reshape(
        [-1 if i == axis else 1 for i in range(len(shape))]
    )
    return (GENERATOR.normal(size=shape) * scale).astype(np.float32)


CASES = {
    "MatMul": (make_model("MatMul", spread((30, 20), 1), ["N", 30], ["N", 20]), (4, 30), 1),
    "Gemm": (make_model("Gemm", spread((30, 20), 1), ["N", 30], ["N", 20]), (4, 30), 1),
    "Gemm transposed": (
        make_model("Gemm", spread((20, 30), 0), ["N", 30], ["N", 20], transB=1),
        (4, 30),
        1,
    ),
    "Conv": (
        make_model("Conv", spread((16, 4, 3, 3), 0), ["N", 4, 9, 9], ["N", 16, 7, 7]),
        (2, 4, 9, 9),
        1,
    ),
    "depthwise Conv": (
        make_model("Conv", spread((32, 1, 3, 3), 0), ["N", 32, 9, 9], ["N", 32, 7, 7], group=32),
        (2, 32, 9, 9),
        1,
    ),
    "ConvTranspose": (
        make_model("ConvTranspose", spread((4, 16, 3, 3), 1), ["N", 4, 5, 5], ["N", 16, 7, 7]),
        (2, 4, 5, 5),
        1,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_channel_keeps_its_signal_in_a_quarter_of_the_bytes(name):
    model, x_shape, channel_axis = CASES[name]
    stored = stored_of(model)
    onnx.checker.check_model(stored)
    assert {t.data_type for t in stored.graph.initializer} == {TensorProto.INT8, TensorProto.FLOAT}
    assert stored.ByteSize() < model.ByteSize()
    x = GENERATOR.normal(size=x_shape).astype(np.float32)
    expected, found = run_as_defined(model)({"x": x})["y"], run_as_defined(stored)({"x": x})["y"]
    others = tuple(i for i in range(expected.ndim) if i != channel_axis)
    noise = np.sum((found - expected) ** 2, axis=others) / np.sum(expected**2, axis=others)
    assert noise.max() < 1e-3  # 30 dB in the smallest channel, too


def test_small_and_named_layers_stay_as_they_are():
    small = make_model("MatMul", spread((3, 4), 1), ["N", 3], ["N", 4])
    assert stored_of(small) == unchanged(small)
    large = CASES["MatMul"][0]
    assert stored_of(large, "layer") == unchanged(large)


def test_a_weight_read_in_two_ways_stays_in_float():
    model = CASES["MatMul"][0]
    shared = onnx.ModelProto()
    shared.CopyFrom(model)
    shared.graph.node.append(helper.make_node("Identity", ["w"], ["copy"], name="copy"))
    shared.graph.output.append(helper.make_tensor_value_info("copy", TensorProto.FLOAT, [30, 20]))
    assert stored_of(shared) == unchanged(shared)


def test_an_empty_channel_stays_zero():
    weight = np.zeros((30, 20), dtype=np.float32)
    weight[:, 0] = 1
    stored = stored_of(make_model("MatMul", weight, ["N", 30], ["N", 20]))
    found = run_as_defined(stored)({"x": np.ones((1, 30), dtype=np.float32)})["y"]
    np.testing.assert_allclose(found[0], [30] + [0] * 19, rtol=1e-6)
