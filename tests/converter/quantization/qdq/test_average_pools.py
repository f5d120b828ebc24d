"""Average pools as convolutions, beside Keras and numpy."""

import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model_of
from onnx import helper

from edgeport_converter import QuantizationError, convert
from edgeport_converter.exporting import export
from edgeport_converter.loading.load import load_model
from edgeport_converter.optimizing import optimize
from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.qdq.average_pools import convolve_pools, find_small_pools
from edgeport_converter.quantization.qdq.quantize import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

layers = keras.layers
X = np.random.default_rng(2).normal(size=(40, 13, 11, 3)).astype(np.float32)


def exported(pool):
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [keras.Input((13, 11, 3), name="x"), layers.Conv2D(8, 3), pool, layers.Conv2D(6, 1)]
    )
    graph = optimize(export(load_model(model), opset=17, ir_version=8).graph)
    return model, ir.from_proto(graph)


def pool_graph(**options):
    nodes = [helper.make_node("AveragePool", ["x"], ["y"], "pool", **options)]
    model = model_of(nodes, {"x": ["N", 4, 9, 9]}, {"y": None})
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


@pytest.mark.parametrize(
    "pool",
    [layers.AveragePooling2D(2), layers.AveragePooling2D(3, 1), layers.AveragePooling2D((2, 3), 2)],
    ids=["2", "3, step 1", "2 by 3"],
)
def test_a_pool_without_padding_becomes_a_convolution(pool):
    model, graph = exported(pool)
    changed = convolve_pools(graph, find_small_pools(graph.graph))
    assert [node.op_type for node in changed.graph].count("AveragePool") == 0
    assert {node.name for node in changed.graph} == {node.name for node in graph.graph}
    expected = np.asarray(model(X))
    (found,) = run_as_defined(ir.to_proto(changed))({"x": X}).values()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    ranges = collect_ranges(changed, lambda size: [{"x": X}])
    quantized = quantize(changed, Recipe("static"), ranges, find_target("any")).graph
    (found,) = run_as_defined(ir.to_proto(quantized))({"x": X}).values()
    assert 10 * np.log10(np.var(expected) / np.mean((found - expected) ** 2)) > 30


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [9, 9]},
        {"kernel_shape": [5, 5], "strides": [5, 5]},
        {"kernel_shape": [1, 1], "strides": [2, 2]},
    ],
    ids=[
        "padding left out",
        "SAME",
        "rounded up",
        "the whole map",
        "all that fits once",
        "a single place",
    ],
)
def test_other_pools_stay(options):
    assert not find_small_pools(pool_graph(**options).graph)


def test_padding_that_counts_is_padding():
    model = pool_graph(kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    changed = convolve_pools(model, find_small_pools(model.graph))
    assert changed.graph[0].op_type == "Conv"
    x = X[:, :9, :9, :1].transpose(0, 3, 1, 2).repeat(4, axis=1)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    found = run_as_defined(ir.to_proto(changed))({"x": x})["y"]
    np.testing.assert_allclose(found, windows.mean(axis=(-2, -1)), atol=1e-6)


def test_a_pool_that_no_int8_layer_is_near_is_no_layer_to_quantize(tmp_path):
    model = keras.Sequential([keras.Input((8, 8, 3), name="x"), layers.AveragePooling2D(2)])
    with pytest.raises(QuantizationError, match="no layer that the recipe 'static' could store"):
        convert(model, tmp_path / "m.onnx", quantize="static", calibration={"x": X[:, :8, :8]})


def test_channels_of_unlike_sizes_are_pooled_in_float_before_they_are_normalized(tmp_path):
    keras.utils.set_random_seed(4)
    sizes = np.array([1e-3, 1.0, 1e3], np.float32)
    model = keras.Sequential(
        [
            keras.Input((13, 11, 3), name="x"),
            layers.AveragePooling2D(2),
            layers.Normalization(mean=[0.0] * 3, variance=sizes**2),
            layers.Conv2D(16, 3),
            layers.ReLU(),
            layers.Conv2D(6, 1),
        ]
    )
    convert(
        model, tmp_path / "m.onnx", quantize="static", calibration={"x": X * sizes}, max_drop=0.1
    )
    kinds = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node]
    assert "AveragePool" in kinds
