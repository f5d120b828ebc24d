"""Values beside the range of a quantizer, in graphs whose ranges numpy works out."""

import numpy as np
import onnx
import pytest
from graphs import model_of
from onnx import helper

from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.reporting.activations import count_activations


def quantizing(scale, zero):
    """A graph that quantizes 2 x, made by the node ``m/double/Mul``."""
    kind = np.asarray(zero).dtype
    constants = {"two": np.float32(2), "scale": np.float32(scale), "zero": np.asarray(zero, kind)}
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["y"], "m/double/Mul"),
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["out"]),
    ]
    made = model_of(nodes, {"x": ["N", 2]}, {"out": ["N", 2]}, constants)
    return onnx.shape_inference.infer_shapes(made)


def test_range_and_clipped_share_are_those_of_scale_and_zero_point():
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    (found,) = count_activations(quantizing(0.02, np.uint8(100)), KerasLayers(), iter([{"x": x}]))
    assert (found.layer, found.number_format) == ("double", "uint8")
    assert (found.low, found.high) == pytest.approx((-2.0, 3.1))
    assert (found.lowest, found.highest) == pytest.approx((2 * x.min(), 2 * x.max()))
    outside = np.mean((2 * x < -2.0 - 0.01) | (2 * x > 3.1 + 0.01))
    assert found.clipped == pytest.approx(outside)
    assert sum(found.counts) == x.size


def test_a_quantizer_whose_codes_begin_at_zero_is_also_the_relu():
    x = np.array([[-3, 1], [-1, 2]], np.float32)
    (found,) = count_activations(quantizing(0.01, np.uint8(0)), KerasLayers(), iter([{"x": x}]))
    assert (found.low, found.high) == pytest.approx((0, 2.55))
    assert found.clipped == 0.25  # 4 of [0, 2, 0, 4]
    assert (found.lowest, found.highest) == (0, 4)
    assert sum(found.counts) == 2  # zeros are left out


def test_signed_codes_have_negative_ranges():
    x = np.zeros((1, 2), np.float32)
    (found,) = count_activations(quantizing(0.5, np.int8(0)), KerasLayers(), iter([{"x": x}]))
    assert (found.low, found.high, found.number_format) == (-64.0, 63.5, "int8")
