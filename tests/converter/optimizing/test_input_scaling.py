"""Float inputs that a model scales by itself, beside Keras: what is left to compute, how well."""

import keras
import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from graphs import model_of, node
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter import convert
from edgeport_converter.exporting import export
from edgeport_converter.loading.load import load_model
from edgeport_converter.optimizing import optimize
from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.qdq.quantize import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

layers = keras.layers
RANDOM = {"kernel_initializer": "random_normal", "bias_initializer": "random_normal"}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "variance": [0.0524, 0.0502, 0.0506]}
GENERATOR = np.random.default_rng(8)


def rescaling_and_normalization():
    return [layers.Rescaling(1 / 255), layers.Normalization(**IMAGENET)]


def conv(**options):
    return layers.Conv2D(6, 3, **RANDOM, **options)


# name -> shape, layers, operators that are left before the first layer's
CASES = {
    "one scale, a table of pixels": (
        (9, 9), lambda: [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(5, **RANDOM)],
        ["Reshape"],
    ),
    "one scale and offset, no padding": (
        (9, 9, 3), lambda: [layers.Rescaling(1 / 127.5, -1), conv()], ["Transpose"],
    ),
    "one scale and offset, padding": (
        (9, 9, 3), lambda: [layers.Rescaling(1 / 127.5, -1), conv(padding="same")],
        ["Transpose", "Add"],
    ),
    "a mean for each channel, no padding": (
        (9, 9, 3), lambda: [*rescaling_and_normalization(), conv()], ["Transpose"],
    ),
    "a mean for each channel, padding": (
        (9, 9, 3), lambda: [*rescaling_and_normalization(), conv(padding="same")],
        ["Transpose", "Expand", "Add"],
    ),
    "the same of free height and width": (
        (None, None, 3), lambda: [*rescaling_and_normalization(), conv(padding="same")],
        ["Transpose", "Add"],
    ),
    "nothing but numbers that change nothing": (
        (9, 9, 3),
        lambda: [layers.Normalization(mean=[0.0] * 3, variance=[1.0] * 3), conv(padding="same")],
        ["Transpose"],
    ),
    "a sequence": (
        (7, 4), lambda: [layers.Rescaling(0.1, 2.0), layers.Dense(6, **RANDOM)], [],
    ),
    "a pool first": (
        (8, 8, 3), lambda: [layers.Rescaling(0.1, 2.0), layers.MaxPooling2D(), conv()],
        ["Mul", "Add", "Transpose", "MaxPool"],
    ),
    "features of very different sizes": (
        (3,), lambda: [layers.Normalization(mean=[0.0, 5e3, 1e6], variance=[1e-6, 1.0, 1e4]),
                       layers.Dense(6, **RANDOM)],
        ["Sub", "Mul"],
    ),
    "an offset far larger than the spread": (
        (3,), lambda: [layers.Normalization(mean=[1e4] * 3, variance=[1e-2] * 3),
                       layers.Dense(6, **RANDOM)],
        ["Add"],
    ),
}  # fmt: skip


def data(name, count=200):
    shape = [9 if size is None else size for size in CASES[name][0]]
    if name == "features of very different sizes":
        spread = np.array([1e-3, 1.0, 1e2]) * GENERATOR.normal(size=(count, 3))
        return (spread + np.array([0.0, 5e3, 1e6])).astype(np.float32)
    if name == "an offset far larger than the spread":
        return (1e4 + 0.1 * GENERATOR.normal(size=(count, 3))).astype(np.float32)
    return GENERATOR.uniform(0, 255, (count, *shape)).astype(np.float32)


def exported(name):
    shape, make, _ = CASES[name]
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input(shape, name="given"), *make()])
    return model, optimize(export(load_model(model), opset=17, ir_version=8).graph)


def operators_before_the_first_layer(graph):
    kinds = [node.op_type for node in graph.graph.node]
    return kinds[: next(i for i, kind in enumerate(kinds) if kind in ("Conv", "Gemm", "MatMul"))]


@pytest.mark.parametrize("name", CASES)
def test_what_is_left_of_the_scaling_answers_as_keras_does(name):
    model, graph = exported(name)
    assert operators_before_the_first_layer(graph) == CASES[name][2]
    x = data(name)
    (found,) = run_as_defined(graph)({"given": x}).values()
    # In float64, which no order of steps disturbs.
    keras.backend.set_floatx("float64")
    try:
        keras.utils.set_random_seed(5)
        shape, make, _ = CASES[name]
        precise = keras.Sequential([keras.Input(shape), *make()])
        precise.set_weights([w.astype(np.float64) for w in model.get_weights()])
        expected = np.asarray(precise(x.astype(np.float64)))
    finally:
        keras.backend.set_floatx("float32")
    own = np.abs(np.asarray(model(x)) - expected).max()
    assert np.abs(found - expected).max() <= 4 * own + 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_int8_keeps_the_signal_whatever_the_input_is_scaled_by(name):
    model, graph = exported(name)
    x = data(name)
    float_graph = ir.from_proto(graph)
    ranges = collect_ranges(float_graph, lambda size: [{"given": x}])
    quantized = quantize(float_graph, Recipe("static"), ranges, find_target("any")).graph
    (found,) = run_as_defined(ir.to_proto(quantized))({"given": x}).values()
    expected = np.asarray(model(x))
    assert 10 * np.log10(np.var(expected) / np.mean((found - expected) ** 2)) > 30


def test_weights_that_two_inputs_share_are_stored_once(tmp_path):
    shared = keras.Sequential(
        [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(64, **RANDOM)]
    )
    left, right = (keras.Input((16, 16), name=name) for name in ("left", "right"))
    model = keras.Model([left, right], layers.Subtract()([shared(left), shared(right)]))
    report = convert(model, tmp_path / "m.onnx", quantize="none")
    graph = optimize(export(load_model(model), opset=17, ir_version=8).graph)
    large = [t for t in graph.graph.initializer if numpy_helper.to_array(t).size == 16 * 16 * 64]
    assert len(large) == 1
    assert report.file_bytes < 1.2 * 4 * 16 * 16 * 64


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


def graph_of(nodes, shape, kind=TensorProto.FLOAT, **constants):
    return model_of(nodes, {"x": (kind, shape)}, {"y": None}, constants)


def answer(model, x, level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"x": x})[0]


def by_channel():
    return np.linspace(0.5, 1, 3, dtype=np.float32).reshape(3, 1, 1)


SCALED = [node("Mul", ["x", "s"], "m"), node("Add", ["m", "o"], "a")]
BYTES = [
    node("Cast", ["x"], "c", to=TensorProto.FLOAT),
    node("Mul", ["c", "s"], "m"),
    node("Add", ["m", "o"], "a"),
]


def loop(body):
    """What a loop adds up in three turns; its body reads from the graph around it."""
    value = helper.make_tensor_value_info
    turn = helper.make_graph(
        [
            *body,
            node("MatMul", ["a", "w"], "turn"),
            node("Add", ["turn", "sum"], "next"),
            node("Identity", ["again"], "more"),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("again", TensorProto.BOOL, []),
            value("sum", TensorProto.FLOAT, [2, 4]),
        ],
        [value("more", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, [2, 4])],
    )
    return [node("Loop", ["turns", "", "start"], "total", body=turn), node("Relu", ["total"], "y")]


TURNS = {
    "turns": np.array(3),
    "start": np.zeros((2, 4), np.float32),
    "w": normal(3, 4),
    "s": np.float32(0.1),
    "o": np.float32(1),
}
# nodes, shape, constants, input
LEFT_ALONE = {
    "one channel of grey becomes three": (
        [*SCALED, node("Conv", ["a", "w"], "y")], ["N", 1, 8, 8],
        {"s": by_channel(), "o": by_channel(), "w": normal(4, 3, 3, 3)}, normal(2, 1, 8, 8),
    ),
    "the same from bytes": (
        [*BYTES, node("Conv", ["a", "w"], "y")], ["N", 1, 8, 8],
        {"s": by_channel(), "o": by_channel(), "w": normal(4, 3, 3, 3)},
        GENERATOR.integers(0, 256, (2, 1, 8, 8)).astype(np.uint8),
    ),
    "one feature becomes three": (
        [*SCALED, node("Gemm", ["a", "w"], "y")], ["N", 1],
        {"s": by_channel().reshape(3), "o": np.float32(2), "w": normal(3, 5)}, normal(4, 1),
    ),
    "one row becomes four": (
        [*BYTES, node("Gemm", ["a", "w"], "y")], [1, 3],
        {"s": np.float32(1), "o": np.zeros((4, 1), np.float32), "w": normal(3, 5)},
        np.array([[1, 2, 3]], np.uint8),
    ),
    "nothing times infinity": (
        [node("Div", ["x", "s"], "m"), node("Gemm", ["m", "w"], "y")], ["N", 3],
        {"s": np.array([0, 1, 2], np.float32), "w": normal(3, 4)}, normal(5, 3),
    ),
    "an offset that float32 cannot hold once the scale is gone": (
        [*SCALED, node("Gemm", ["a", "w"], "y")], ["N", 3],
        {"s": np.float32(1e-11), "o": np.float32(1e30), "w": normal(3, 4)}, normal(5, 3),
    ),
    "a loop scales it": (loop(SCALED), [2, 3], TURNS, normal(2, 3)),
    "a loop reads it scaled": ([*SCALED, *loop([])], [2, 3], TURNS, normal(2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_scaling_that_no_weights_can_stand_for_keeps_its_answers(name):
    nodes, shape, constants, x = LEFT_ALONE[name]
    kind = TensorProto.UINT8 if x.dtype == np.uint8 else TensorProto.FLOAT
    model = graph_of(nodes, shape, kind, **constants)
    np.testing.assert_allclose(answer(optimize(model), x), answer(model, x), rtol=1e-5, atol=1e-6)
