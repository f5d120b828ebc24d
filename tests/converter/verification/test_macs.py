import math

import keras
import numpy as np
import pytest
from graphs import model_of, node
from onnx import helper

from edgeport_converter import exporting, optimizing
from edgeport_converter.loading.load import load_model
from edgeport_converter.verification.macs import count_multiply_accumulates

layers = keras.layers


def make_model(op, x_shape, w_shape, y_shape, **attributes):
    nodes = [node(op, ["x", "w"], "y", **attributes)]
    return model_of(nodes, {"x": x_shape}, {"y": y_shape}, {"w": np.zeros(w_shape, np.float32)})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (make_model("MatMul", ["N", 784], (784, 64), ["N", 64]), 784 * 64),
        (make_model("Gemm", ["N", 5], (7, 5), ["N", 7], transB=1), 5 * 7),
        (make_model("MatMul", ["N", 3, 5], (5, 2), ["N", 3, 2]), 3 * 5 * 2),
        # 8 x 8 pixels out, 16 channels, each a sum over 3 x 3 pixels of 4 channels
        (make_model("Conv", ["N", 4, 10, 10], (16, 4, 3, 3), ["N", 16, 8, 8]), 8 * 8 * 16 * 36),
        # depthwise: each output channel sees one input channel
        (
            make_model("Conv", ["N", 4, 10, 10], (4, 1, 3, 3), ["N", 4, 8, 8], group=4),
            8 * 8 * 4 * 9,
        ),
        (
            make_model("ConvTranspose", ["N", 4, 5, 5], (4, 2, 3, 3), ["N", 2, 7, 7]),
            5 * 5 * 4 * 2 * 9,
        ),
        (make_model("MatMul", ["N", "T", 5], (5, 2), ["N", "T", 2]), None),
        (make_model("Add", ["N", 4], (4,), ["N", 4]), 0),
        (make_model("MatMul", ["N", 0], (0, 3), ["N", 3]), None),
    ],
)
def test_counts_are_those_of_the_textbook(model, expected):
    assert count_multiply_accumulates(model) == expected


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("layout", [0, 1])
def test_a_recurrent_layer_uses_each_weight_once_a_step(operator, gates, directions, layout):
    steps, features, units = 12, 5, 7
    shape = ["N", steps, features]
    order = [1, 0, 2] if layout == 0 else [0, 1, 2]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=order),
        helper.make_node(
            operator,
            ["t", "w", "r"],
            ["y"],
            layout=layout,
            hidden_size=units,
            direction="forward" if directions == 1 else "bidirectional",
        ),
    ]
    weights = {
        name: np.zeros((directions, gates * units, length), "f4")
        for name, length in {"w": features, "r": units}.items()
    }
    model = model_of(nodes, {"x": shape}, {"y": None}, weights)
    expected = steps * directions * gates * units * (features + units)
    assert count_multiply_accumulates(model) == expected
    shape[shape.index(steps)] = "T"
    model = model_of(nodes, {"x": shape}, {"y": None}, weights)
    assert count_multiply_accumulates(model) is None


def of_keras(model):
    """Return the multiply-accumulates by the shapes of the Keras layers."""
    total = 0
    for layer in model.layers[1:]:
        first = layer.input[0] if isinstance(layer.input, list) else layer.input
        length, features = first.shape[1:]
        outputs = math.prod(layer.output.shape[1:])
        match layer:
            case layers.Conv1D():
                total += outputs * layer.kernel_size[0] * features
            case layers.Conv1DTranspose():
                total += length * features * layer.kernel_size[0] * layer.filters
            case layers.Bidirectional():
                units = layer.forward_layer.units
                total += 2 * length * 3 * units * (features + units)
            case layers.Attention():  # of two activations: scores, then weighted values
                total += 2 * length * length * features
            case layers.Dense():
                total += outputs * features
    return total


def test_the_count_of_an_exported_model_is_that_of_its_keras_layers():
    x = keras.Input((20, 3))
    y = layers.Conv1D(8, 5, strides=2, activation="hard_silu")(x)
    y = layers.Conv1DTranspose(6, 4, activation="silu")(y)
    y = layers.Bidirectional(layers.GRU(4, return_sequences=True))(y)
    y = layers.Attention()([y, y])
    model = keras.Model(x, layers.Dense(2)(y))
    exported = exporting.export(load_model(model), opset=17, ir_version=8)
    graph = optimizing.optimize(exported.graph)
    assert count_multiply_accumulates(graph) == of_keras(model) > 0


@pytest.mark.parametrize("around", [lambda layer: layer, layers.Bidirectional])
def test_each_sequence_of_a_sample_is_counted(around):
    sequences, steps, features, units = 4, 6, 3, 5
    x = keras.Input((sequences, steps, features))
    y = layers.TimeDistributed(around(layers.LSTM(units, return_sequences=True)))(x)
    exported = exporting.export(load_model(keras.Model(x, y)), opset=17, ir_version=8)
    directions = y.shape[-1] // units
    expected = sequences * steps * directions * 4 * units * (features + units)
    assert count_multiply_accumulates(optimizing.optimize(exported.graph)) == expected
