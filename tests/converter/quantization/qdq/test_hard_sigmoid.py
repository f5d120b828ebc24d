"""Hard sigmoids on codes, beside the formula on what the codes stand for."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model_of, node
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.qdq.hard_sigmoid import bound_codes
from edgeport_converter.quantization.qdq.quantize import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(12)
SLOPES = {"relu6(x + 3) / 6": (1 / 6, 0.5), "Keras 2": (0.2, 0.5), "a third": (0.25, 0.25)}


def bounded(model):
    """Return the graph with bounded codes, and the names of the hard sigmoids that are gone."""
    changed = ir.from_proto(model)
    done = bound_codes(changed.graph)
    return ir.to_proto(changed), done


def hard_sigmoid(x, alpha, beta):
    return np.clip(alpha * x + beta, 0, 1)


def make(nodes, shape, outputs=("y",), **constants):
    return model_of(nodes, {"x": ["N", *shape]}, dict.fromkeys(outputs), constants)


def converted(scale, zero, alpha, beta):
    """x in codes -> hard sigmoid -> codes, as insertion writes it."""
    return make(
        [
            node("QuantizeLinear", ["x", "scale", "zero"], "codes"),
            node("DequantizeLinear", ["codes", "scale", "zero"], "back"),
            node("HardSigmoid", ["back"], "hard", alpha=alpha, beta=beta),
            node("QuantizeLinear", ["hard", "hard_scale", "hard_zero"], "hard_codes"),
            node("DequantizeLinear", ["hard_codes", "hard_scale", "hard_zero"], "y"),
        ],
        [64],
        scale=np.float32(scale),
        zero=np.uint8(zero),
        hard_scale=np.float32(1 / 255),
        hard_zero=np.uint8(0),
    )


@settings(max_examples=100, deadline=None)
@example(low=-1.578125, high=0.5, name="Keras 2")  # its ends lie between two codes
@example(low=-2.0, high=2.5, name="relu6(x + 3) / 6")
@given(
    low=st.floats(-20, 0),
    high=st.floats(0.1, 20),
    name=st.sampled_from(list(SLOPES)),
)
def test_the_bounded_codes_are_the_hard_sigmoid_of_the_codes(low, high, name):
    alpha, beta = SLOPES[name]
    scale = (high - low) / 255
    zero = round(-low / scale)
    model = converted(scale, zero, alpha, beta)
    model, done = bounded(model)
    kinds = [each.op_type for each in model.graph.node]
    x = np.linspace(low, high, 64, dtype=np.float32)[None]
    found = run_as_defined(model)({"x": x})["y"]
    if not done:
        assert "HardSigmoid" in kinds
        return
    assert done == {"hard"}
    assert "HardSigmoid" not in kinds
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    step = float(constants["scale"])
    assert step <= 1.5 * scale * (1 + 1e-6)
    # What the old codes could not reach may be rounded to their end, or be reached now.
    reached = np.clip(x, -zero * scale, (255 - zero) * scale)
    ends = [hard_sigmoid(each, alpha, beta) for each in (x, reached)]
    allowed = alpha * step * 0.51 + 1e-6
    assert (found >= np.minimum(*ends) - allowed).all()
    assert (found <= np.maximum(*ends) + allowed).all()
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6


def test_usual_ranges_are_bounded():
    for name, (alpha, beta) in SLOPES.items():
        assert bounded(converted(0.06, 120, alpha, beta))[1], name


@pytest.mark.parametrize(
    ("scale", "zero"),
    [(1e-3, 128), (1e-12, 128), (0.01, 0), (8.0, 3)],
    ids=[
        "no code stands for -3",
        "nearly nothing",
        "positive and narrow",
        "steps wider than the slope",
    ],
)
def test_ranges_that_would_lose_digits_stay_as_they_are(scale, zero):
    model = converted(scale, zero, 1 / 6, 0.5)
    changed, done = bounded(model)
    assert not done
    assert changed == ir.to_proto(ir.from_proto(model))


def test_a_hard_sigmoid_that_goes_out_or_is_read_in_float_stays():
    model = converted(0.06, 120, 1 / 6, 0.5)
    model.graph.output.append(helper.make_tensor_value_info("hard", TensorProto.FLOAT, None))
    assert not bounded(model)[1]
    model = converted(0.06, 120, 1 / 6, 0.5)
    model.graph.node.append(node("Exp", ["hard"], "e"))
    model.graph.output.append(helper.make_tensor_value_info("e", TensorProto.FLOAT, None))
    assert not bounded(model)[1]


def test_two_hard_sigmoids_of_one_tensor_agree_on_its_scale():
    model = converted(0.06, 120, 1 / 6, 0.5)
    model.graph.node.extend(
        [
            node("HardSigmoid", ["back"], "other", alpha=0.2, beta=0.5),
            node("QuantizeLinear", ["other", "other_scale", "other_zero"], "other_codes"),
            node("DequantizeLinear", ["other_codes", "other_scale", "other_zero"], "z"),
        ]
    )
    for name, value in (("other_scale", np.float32(1 / 255)), ("other_zero", np.uint8(0))):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    model, _ = bounded(model)
    x = np.linspace(-7, 7, 64, dtype=np.float32)[None]
    found = run_as_defined(model)({"x": x})
    for name, alpha in (("y", 1 / 6), ("z", 0.2)):
        np.testing.assert_allclose(found[name], hard_sigmoid(x, alpha, 0.5), atol=alpha * 0.05)


def normal(*shape):
    return GENERATOR.normal(size=shape).astype(np.float32)


def swish_network():
    """A hard swish between two convolutions."""
    return make(
        [
            node("Conv", ["x", "w", "b"], "before"),
            node("HardSigmoid", ["before"], "hard", alpha=1 / 6, beta=0.5),
            node("Mul", ["before", "hard"], "swish"),
            node("Conv", ["swish", "v", "b"], "y"),
        ],
        [4, 8, 8],
        w=0.5 * normal(8, 4, 3, 3),
        v=0.5 * normal(8, 8, 3, 3),
        b=normal(8),
    )


def test_a_hard_swish_between_convolutions_keeps_its_signal():
    model = swish_network()
    operators, signal = signals(model, normal(100, 4, 8, 8))
    assert "HardSigmoid" not in operators
    assert signal["y"] > 30


def signals(model, x, float_nodes=frozenset()):
    """Return the operators of the int8 graph, and the signal-to-noise ratio of each output."""
    float_graph = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    ranges = collect_ranges(float_graph, lambda size: [{"x": x}])
    recipe = Recipe("static", float_nodes=float_nodes)
    made = ir.to_proto(quantize(float_graph, recipe, ranges, find_target("any")).graph)
    want, found = (run_as_defined(each)({"x": x}) for each in (model, made))
    noise = {name: np.mean((want[name] - found[name]) ** 2) for name in want}
    signal = {name: 10 * np.log10(np.var(want[name]) / noise[name]) for name in want}
    return [each.op_type for each in made.graph.node], signal


@pytest.mark.parametrize(
    "pool",
    [[], [node("MaxPool", ["relu"], "pool", kernel_shape=[2, 2])]],
    ids=["directly", "after a pool"],
)
def test_a_relu_that_a_scale_replaces_is_kept_beside_a_hard_sigmoid(pool):
    last = pool[0].name if pool else "relu"
    model = make(
        [
            node("Conv", ["x", "w", "b"], "before"),
            node("Relu", ["before"], "relu"),
            *pool,
            node("HardSigmoid", [last], "hard", alpha=1 / 6, beta=0.5),
            node("Mul", [last, "hard"], "swish"),
            node("Conv", ["swish", "v", "b"], "y"),
            node("Conv", ["relu", "v", "b"], "z"),
        ],
        [4, 8, 8],
        ("y", "z"),
        w=2 * normal(8, 4, 3, 3),
        v=0.3 * normal(8, 8, 3, 3),
        b=normal(8),
    )
    _, signal = signals(model, normal(60, 4, 8, 8))
    assert min(signal.values()) > 25, signal


def test_the_scale_of_an_image_s_bytes_stays():
    model = make(
        [
            node("Cast", ["x"], "cast", to=TensorProto.FLOAT),
            node("Mul", ["cast", "step"], "image"),
            node("MaxPool", ["image"], "pool", kernel_shape=[2, 2]),
            node("HardSigmoid", ["pool"], "hard", alpha=1 / 6, beta=0.5),
            node("Conv", ["hard", "w", "b"], "y"),
            node("Conv", ["pool", "w", "b"], "z"),
        ],
        [4, 8, 8],
        ("y", "z"),
        w=normal(8, 4, 3, 3),
        b=normal(8),
        step=np.float32(1 / 20),
    )
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = GENERATOR.integers(0, 256, (60, 4, 8, 8)).astype(np.uint8)
    _, signal = signals(model, x)
    assert min(signal.values()) > 25, signal


def test_a_hard_sigmoid_that_is_to_stay_in_float_does():
    model = swish_network()
    operators, signal = signals(model, normal(60, 4, 8, 8), frozenset({"hard"}))
    assert "HardSigmoid" in operators
    assert signal["y"] > 30
