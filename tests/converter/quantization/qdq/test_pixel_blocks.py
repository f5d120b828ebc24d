"""Convolutions over blocks of pixels, beside integer arithmetic in numpy."""

import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model_of
from onnx import TensorProto, helper, numpy_helper

from edgeport import Predictor
from edgeport_converter import convert
from edgeport_converter.quantization.evaluation import timing
from edgeport_converter.quantization.qdq.pixel_blocks import compute_over_blocks, find_blocks
from edgeport_converter.quantization.tensors import open_session

# Powers of two: every product and sum is exact in float32, whatever the order.
READ, WRITTEN, ZERO, MIDDLE = 2.0**-6, 2.0**-4, 17, 101


def int8_convolution(weights, shape, **attributes):
    """Return codes -> DequantizeLinear -> Conv -> QuantizeLinear, its scales and its biases."""
    generator = np.random.default_rng(0)
    outputs = len(weights)
    scales = 2.0 ** generator.integers(-8, -5, outputs).astype(np.float32)
    bias = generator.integers(-500, 500, outputs).astype(np.int32)
    constants = {
        "w": weights, "ws": scales, "wz": np.zeros(outputs, np.int8),
        "b": bias, "bs": READ * scales, "bz": np.zeros(outputs, np.int32),
        "rs": np.float32(READ), "rz": np.uint8(ZERO),
        "ys": np.float32(WRITTEN), "yz": np.uint8(MIDDLE),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "rs", "rz"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bf"], axis=0),
        helper.make_node("Conv", ["xf", "wf", "bf"], ["c"], "conv", **attributes),
        helper.make_node("QuantizeLinear", ["c", "ys", "yz"], ["y"]),
        # The codes are read by a node, as between the layers of a network.
        helper.make_node("DequantizeLinear", ["y", "ys", "yz"], ["answer"]),
    ]
    inputs = {"x": (TensorProto.UINT8, ["N", *shape])}
    model = model_of(nodes, inputs, {"answer": None}, constants)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model)), scales, bias


def integer_answer(x, weights, scales, bias, strides, pads, groups):
    """Return what an int8 convolution answers, by sums of integers."""
    codes = np.pad(
        x.astype(np.int64) - ZERO, [(0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])]
    )
    windows = np.lib.stride_tricks.sliding_window_view(codes, weights.shape[2:], axis=(2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1]]
    if groups > 1:
        sums = np.einsum("nchwij,cij->nchw", windows, weights[:, 0].astype(np.int64))
    else:
        sums = np.einsum("nchwij,ocij->nohw", windows, weights.astype(np.int64))
    exact = (sums + bias[:, None, None]) * (READ * scales[:, None, None].astype(np.float64))
    found = np.clip(np.rint(exact / WRITTEN) + MIDDLE, 0, 255) - MIDDLE
    return found * WRITTEN


CASES = {
    "3 channels": ((3, 16, 3, 3), (9, 16), (1, 1), (1, 1, 1, 1), 1),
    "3 channels, stride 2, padded on the right": ((3, 8, 3, 3), (8, 16), (2, 2), (0, 0, 1, 1), 1),
    "3 channels, stride 2, padded on the left": ((3, 32, 5, 5), (8, 12), (2, 2), (2, 2, 1, 1), 1),
    "7 by 7": ((3, 8, 7, 7), (16, 16), (2, 2), (3, 3, 3, 3), 1),
    "1 channel, no padding": ((1, 8, 3, 3), (8, 16), (1, 1), (0, 0, 0, 0), 1),
    "8 to 8 channels, no padding": ((8, 8, 3, 3), (8, 14), (1, 1), (0, 0, 0, 0), 1),
    "few outputs": ((8, 7, 1, 3), (4, 8), (1, 1), (0, 1, 0, 1), 1),
    "stride 4": ((3, 16, 3, 4), (8, 16), (1, 4), (1, 0, 1, 0), 1),
    "depthwise": ((8, 8, 3, 3), (8, 10), (1, 1), (1, 1, 1, 1), 8),
    "depthwise, stride 2": ((8, 8, 3, 3), (8, 12), (2, 2), (0, 0, 1, 1), 8),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("optimized", [False, True], ids=["as defined", "by the engine's kernels"])
def test_blocks_give_the_codes_that_integer_arithmetic_gives(case, optimized):
    (channels, outputs, *kernel), image, strides, pads, groups = case
    generator = np.random.default_rng(1)
    shape = (outputs, 1 if groups > 1 else channels, *kernel)
    weights = generator.integers(-40, 41, shape).astype(np.int8)
    model, scales, bias = int8_convolution(
        weights, (channels, *image), strides=strides, pads=pads, group=groups
    )
    assert find_blocks(model.graph) == {"conv"}
    compute_over_blocks(model, ["conv"])
    (conv,) = (node for node in model.graph if node.op_type == "Conv")
    assert conv.name == "conv"
    assert conv.attributes.get_int("group", 1) == 1
    x = generator.integers(0, 256, (3, channels, *image)).astype(np.uint8)
    (found,) = open_session(model, optimized=optimized).run(None, {"x": x})
    np.testing.assert_array_equal(
        found, integer_answer(x, weights, scales, bias, strides, pads, groups)
    )


@pytest.mark.parametrize(
    ("shape", "image", "attributes"),
    [
        ((16, 4, 3, 3), (8, 8), {}),
        ((16, 3, 1, 1), (8, 8), {}),
        ((16, 3, 3, 3), (8, 9), {}),
        ((16, 3, 3, 3), (8, 8), {"strides": [3, 3]}),
        ((16, 3, 3, 3), (8, 8), {"dilations": [2, 2]}),
        ((16, 3, 3, 3), (8, 8), {"auto_pad": "SAME_UPPER"}),
        ((16, 3, 3, 3), (8, "W"), {}),
        ((16, 1, 3, 3), (8, 8), {"group": 16}),
        ((8, 2, 3, 3), (8, 8), {"group": 4}),
        ((8, 33, 3, 3), (8, 8), {}),
    ],
    ids=[
        "it has a fast kernel", "one place", "no whole blocks", "stride 3", "dilated", "SAME",
        "free width", "depthwise with a fast kernel", "groups", "many channels",
    ],
)  # fmt: skip
def test_other_convolutions_stay(shape, image, attributes):
    channels = shape[1] * attributes.get("group", 1)
    model, *_ = int8_convolution(np.ones(shape, np.int8), (channels, *image), **attributes)
    assert find_blocks(model.graph) == frozenset()


def test_a_convolution_in_float_stays():
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones((16, 3, 3, 3), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert find_blocks(ir.from_proto(model).graph) == frozenset()


@pytest.mark.parametrize("faster", [True, False])
def test_a_network_takes_blocks_where_they_are_faster_and_answers_the_same(
    faster, tmp_path, monkeypatch
):
    """The machine's times: the first layer takes a third of its time over blocks, or twice it."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="first"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )

    def has_blocks(graph):
        return any(node.op_type == "Conv" and "/first/" in node.name and
                   next(a.ints[1] for a in node.attribute if a.name == "strides") == 1
                   for node in graph.graph.node)  # fmt: skip

    def takes(graph):
        if not any(tensor.data_type == TensorProto.INT8 for tensor in graph.graph.initializer):
            return 200.0
        return (30.0 if faster else 180.0) if has_blocks(graph) else 90.0

    def node_times(graph, sample):
        return {
            node.name: takes(graph) - 10.0 if "/first/" in node.name else 1.0
            for node in graph.graph.node
            if node.op_type in ("Conv", "Gemm", "MatMul")
        }

    x = np.random.default_rng(0).random((64, 16, 16, 3), dtype=np.float32)
    options = {"calibration": x, "evaluation": x, "max_drop": 0.5}
    convert(network, tmp_path / "plain.onnx", quantize="static", **options)
    monkeypatch.setattr(timing, "node_times_us", node_times)
    monkeypatch.setattr(
        timing, "median_latencies_us", lambda graphs, card, sample: [takes(g) for g in graphs]
    )
    report = convert(network, tmp_path / "m.onnx", quantize="auto", **options)
    assert has_blocks(onnx.load(tmp_path / "m.onnx")) is faster
    assert ("1 convolution over blocks of pixels" in str(report.recipe)) is faster
    answers = [Predictor.load(tmp_path / name).predict(x) for name in ("plain.onnx", "m.onnx")]
    np.testing.assert_array_equal(*answers)
    first = next(line for line in report.layers if line.name == "first")
    assert first.number_format == "int8"
    assert first.signal_to_noise_db > 25
