from dataclasses import replace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model_of
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.qdq.quantize import is_quantized, quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(1)
# Output channels over four decades: one scale for all of them would drown the small ones.
WEIGHTS = (GENERATOR.normal(size=(16, 8)) * 10.0 ** np.linspace(-3, 1, 8)).astype(np.float32)
BIAS = GENERATOR.normal(size=8).astype(np.float32)
X = GENERATOR.normal(size=(200, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def dense_softmax():
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["z"], name="dense"),
        helper.make_node("Softmax", ["z"], ["y"], name="softmax"),
    ]
    constants = {"w": WEIGHTS, "b": BIAS}
    return model_of(nodes, {"x": ["N", 16]}, {"y": ["N", 8]}, constants, {"z": ["N", 8]})


@pytest.fixture(scope="module")
def quantized(dense_softmax):
    model = ir.from_proto(dense_softmax)
    ranges = collect_ranges(model, lambda size: [{"x": X}])
    made = quantize(model, Recipe("static"), ranges, find_target("any"))
    return replace(made, graph=ir.to_proto(made.graph))


def constants(graph):
    return {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}


def test_the_quantized_graph_is_valid_onnx_and_computes_in_int8(quantized):
    onnx.checker.check_model(quantized.graph)
    assert is_quantized(ir.from_proto(quantized.graph).graph)


def test_a_float_graph_has_no_quantized_layers(dense_softmax):
    assert not is_quantized(ir.from_proto(dense_softmax).graph)


def test_no_two_weights_of_a_channel_can_saturate_a_16_bit_sum(quantized):
    (weights,) = (a for a in constants(quantized.graph).values() if a.shape == WEIGHTS.shape)
    assert weights.dtype == np.int8
    ordered = np.sort(weights.astype(int), axis=0)
    # AVX2 adds two products of uint8 and int8 in int16; of one sign they are at most these.
    assert (255 * (ordered[-1] + ordered[-2])).max() < 2**15
    assert (255 * (ordered[0] + ordered[1])).min() >= -(2**15)
    # A single large weight may use the eighth bit.
    assert np.abs(weights.astype(int)).max() > 64


def test_weights_are_within_half_a_step_of_a_scale_a_channel(quantized):
    (weights,) = (a for a in constants(quantized.graph).values() if a.shape == WEIGHTS.shape)
    largest = np.abs(WEIGHTS).max(axis=0)
    steps = largest / np.abs(weights.astype(float)).max(axis=0)
    assert (np.abs(weights * steps - WEIGHTS).max(axis=0) <= 1.5 * steps).all()
    assert (steps <= largest / 63).all()


def test_softmax_reads_the_float_answer_of_the_layer_before(quantized):
    softmax = next(n for n in quantized.graph.graph.node if n.op_type == "Softmax")
    producer = next(n for n in quantized.graph.graph.node if softmax.input[0] in n.output)
    assert producer.op_type == "Gemm"
    assert quantized.float_layers.keys() == {"softmax"}


def test_answers_stay_close_to_numpy(quantized):
    z = X.astype(np.float64) @ WEIGHTS + BIAS
    expected = np.exp(z - z.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    found = run_as_defined(quantized.graph)({"x": X})["y"]
    assert np.mean(found.argmax(axis=1) == expected.argmax(axis=1)) > 0.97
    assert np.abs(found - expected).mean() < 0.01


def test_a_static_file_stores_the_weights_of_an_lstm_in_int8_too():
    size = 32

    def normal(*shape):
        return (0.3 * GENERATOR.normal(size=shape)).astype(np.float32)

    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "last"], "lstm", hidden_size=size),
        helper.make_node("Squeeze", ["last", "axes"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "v", "b"], ["y"], "scores"),
    ]
    constants = {
        "w": normal(1, 4 * size, 8),
        "r": normal(1, 4 * size, size),
        "v": normal(size, 5),
        "b": normal(5),
        "axes": np.array([0]),
    }
    model = model_of(nodes, {"x": [12, "N", 8]}, {"y": ["N", 5]}, constants)
    model = onnx.shape_inference.infer_shapes(model)
    x = GENERATOR.normal(size=(12, 64, 8)).astype(np.float32)
    float_graph = ir.from_proto(model)
    ranges = collect_ranges(float_graph, lambda size: [{"x": x}])

    def quantized_as(**options):
        recipe = Recipe("static", **options)
        made = quantize(float_graph, recipe, ranges, find_target("any"))
        return ir.to_proto(made.graph)

    plain, small = (quantized_as(stores_rest=rest) for rest in (False, True))
    codes = {t.name for t in small.graph.initializer if t.data_type == TensorProto.INT8}
    assert {"w/codes", "r/codes"} <= codes
    assert plain.ByteSize() - small.ByteSize() > 0.6 * 4 * 4 * size * (8 + size)
    want, found = (run_as_defined(each)({"x": x})["y"] for each in (model, small))
    assert 10 * np.log10(np.var(want) / np.mean((want - found) ** 2)) > 25
    graph = quantized_as(float_nodes=frozenset(["lstm"]), stores_rest=True)
    assert {"w", "r"} <= {t.name for t in graph.graph.initializer}
