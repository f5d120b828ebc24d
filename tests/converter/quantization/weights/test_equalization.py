import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.weights.equalization import equalize
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(2)
FACTORS = 10.0 ** np.linspace(-2, 2, 8)
X = GENERATOR.normal(size=(64, 3, 8, 8)).astype(np.float32)


def normal(*shape):
    return GENERATOR.normal(size=shape)


def chain(*middle, last="Conv"):
    """Conv of uneven channels, what is between, a layer that evens them out again."""
    constants = {
        "w0": normal(8, 3, 3, 3) * FACTORS.reshape(-1, 1, 1, 1),
        "b0": normal(8) * FACTORS,
        "w1": normal(4, 8, 1, 1) / FACTORS.reshape(-1, 1, 1),
        "g1": normal(8, 4) / FACTORS[:, None],
        "b1": normal(4),
        "six": np.array(6.0),
        "zero": np.array(0.0),
    }
    nodes = [helper.make_node("Conv", ["x", "w0", "b0"], ["t0"], "first")]
    for operator in middle:
        name = f"t{len(nodes)}"
        inputs = [nodes[-1].output[0], *(["zero", "six"] if operator == "Clip" else [])]
        options = {"kernel_shape": [2, 2]} if operator == "MaxPool" else {}
        nodes.append(helper.make_node(operator, inputs, [name], name, **options))
    weights = "w1" if last == "Conv" else "g1"
    nodes.append(helper.make_node(last, [nodes[-1].output[0], weights, "b1"], ["y"], "second"))
    used = {name for node in nodes for name in node.input}
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [value("y", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(a.astype(np.float32), n)
            for n, a in constants.items()
            if n in used
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def equalized(model, batches):
    return ir.to_proto(equalize(ir.from_proto(model), batches))


def channels(model, tensor):
    """The largest value of each channel of an inner tensor."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
    values = run_as_defined(watched)({"x": X})[tensor]
    return np.abs(values).max(axis=tuple(i for i in range(values.ndim) if i != 1))


CHAINS = {
    "relu": chain("Relu"),
    "leaky relu": chain("LeakyRelu"),
    "relu and max pool": chain("Relu", "MaxPool"),
    "pooled to a vector": chain("Relu", "GlobalAveragePool", "Flatten", last="Gemm"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_channels_come_to_like_ranges_and_no_answer_changes(name):
    model = CHAINS[name]
    equal = equalized(model, [{"x": part} for part in np.array_split(X, 5)])
    tensor = model.graph.node[-1].input[0]
    before, after = channels(model, tensor), channels(equal, tensor)
    assert before.max() / before.min() > 1e3
    assert after.max() / after.min() < 30
    expected = run_as_defined(model)({"x": X})["y"]
    # Powers of two round nothing.
    np.testing.assert_array_equal(run_as_defined(equal)({"x": X})["y"], expected)


@pytest.mark.parametrize("between", [("Sigmoid",), ("Clip",), ("Relu", "Sigmoid")])
def test_nothing_moves_across_what_is_not_linear(between):
    model = chain(*between)
    assert equalized(model, [{"x": X}]) == ir.to_proto(ir.from_proto(model))


def test_a_tensor_that_is_read_twice_stays():
    model = chain("Relu")
    model.graph.output.append(helper.make_tensor_value_info("t1", TensorProto.FLOAT, None))
    assert equalized(model, [{"x": X}]) == ir.to_proto(ir.from_proto(model))


def test_a_channel_that_is_always_zero_is_left_alone():
    model = chain("Relu")
    bias = next(t for t in model.graph.initializer if t.name == "b0")
    values = numpy_helper.to_array(bias).copy()
    values[3] = -1e6
    bias.CopyFrom(numpy_helper.from_array(values, "b0"))
    equal = equalized(model, [{"x": X}])
    first = [
        numpy_helper.to_array(next(t for t in m.graph.initializer if t.name == "w0"))[3]
        for m in (model, equal)
    ]
    np.testing.assert_array_equal(*first)


def test_a_layer_with_one_bias_for_all_channels_stays():
    net = chain("Relu", "GlobalAveragePool", "Flatten", last="Gemm")
    net.graph.node[-1].output[0] = "t4"
    net.graph.node.append(helper.make_node("Gemm", ["t4", "g2", "b2"], ["t5"], "third"))
    net.graph.node.append(helper.make_node("Gemm", ["t5", "g3", "b3"], ["y"], "fourth"))
    constants = {"g2": normal(4, 4), "b2": normal(1), "g3": normal(4, 3), "b3": normal(3)}
    for name, array in constants.items():
        net.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    net = onnx.shape_inference.infer_shapes(net)
    expected = run_as_defined(net)({"x": X})["y"]
    found = run_as_defined(equalized(net, [{"x": X}]))({"x": X})["y"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.ptp(expected))
