"""The trained function computes what onnxruntime computes of the same quantized graph."""

import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import tensorflow as tf
from onnx import TensorProto, helper

from edgeport_converter import Finetune, exporting, optimizing
from edgeport_converter.loading.load import load_model
from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.finetuning.finetune import CannotFinetuneError, Finetuner
from edgeport_converter.quantization.finetuning.keras_links import (
    find_links,
    values_for,
    with_values,
)
from edgeport_converter.quantization.finetuning.operators import UnknownOperatorError
from edgeport_converter.quantization.finetuning.samples import TrainingData
from edgeport_converter.quantization.finetuning.trainable import Trainable
from edgeport_converter.quantization.finetuning.training import Teacher, _Loss
from edgeport_converter.quantization.qdq import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.quantization.weights.equalization import equalize
from edgeport_converter.quantization.weights.gptq import Rounder
from edgeport_converter.quantization.weights.streams import equalize_streams
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

layers = keras.layers
GENERATOR = np.random.default_rng(0)


def float_graph(model):
    exported = exporting.export(load_model(model), opset=17, ir_version=8)
    return ir.from_proto(optimizing.optimize(exported.graph))


def quantized(model, x, target="any"):
    """Return the equalized float graph, its ranges, and the int8 graph."""

    def batches(size):
        return iter([{"x": x}])

    graph = equalize(float_graph(model), batches(16))
    ranges = collect_ranges(graph, batches)
    made = quantize.quantize(graph, Recipe("static"), ranges, find_target(target))
    return graph, ranges, made.graph


def pupil_of(model, source, ranges, made, target):
    """Return the int8 graph with all weights and biases trainable."""
    links = find_links(model, source.graph)
    return Trainable(
        made,
        source.graph,
        ranges,
        {link.weights for link in links},
        {link.bias for link in links if link.bias},
        pairs=target == "any",
    )


def randomized(model):
    """Give biases and BatchNormalization numbers as a training does."""
    keras.utils.set_random_seed(7)
    for layer in model.layers:
        new = []
        for weight in layer.weights:
            value = weight.numpy()
            if value.ndim == 1:
                low = 0.5 if "variance" in weight.path or "gamma" in weight.path else -0.3
                value = GENERATOR.uniform(low, low + 0.8, value.shape).astype(np.float32)
            new.append(value)
        layer.set_weights(new)
    return model


def images(*layer_list):
    return randomized(keras.Sequential([keras.Input((8, 8, 4), name="x"), *layer_list]))


def residual():
    """A network that adds, whose channels differ by three decades."""
    x = keras.Input((8, 8, 4), name="x")
    h = layers.Conv2D(6, 3, padding="same", activation="relu", name="first")(x)
    h = layers.Add()([h, layers.DepthwiseConv2D(3, padding="same", name="inner")(h)])
    y = layers.Conv2D(3, 1, name="last")(h)
    model = randomized(keras.Model(x, layers.GlobalAveragePooling2D()(y)))
    kernel, bias = model.get_layer("first").get_weights()
    factors = 10.0 ** np.linspace(-2, 1, 6)
    model.get_layer("first").set_weights([kernel * factors, bias * factors])
    return model


NETWORKS = {
    "convolutions": lambda: images(
        layers.Conv2D(8, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(6.0),
        layers.DepthwiseConv2D(3, strides=2, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(6, 1, activation="hard_swish"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(3, activation="softmax"),
    ),
    "pools": lambda: images(
        layers.Conv2D(4, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(4, 2, padding="same", groups=2, activation="leaky_relu"),
        layers.AveragePooling2D(3, strides=1),
        layers.Flatten(),
        layers.Dense(3, activation="sigmoid"),
    ),
    "transposed": lambda: images(
        layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(2, 3),
    ),
    "one axis": lambda: randomized(
        keras.Sequential(
            [
                keras.Input((16, 4), name="x"),
                layers.SeparableConv1D(6, 3, activation="relu"),
                layers.Conv1D(4, 2),
                layers.Dense(3),
            ]
        )
    ),
    "residual": residual,
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("target", ["any", "arm64"])
def test_fake_quantization_computes_what_the_int8_graph_does(name, target):
    model = NETWORKS[name]()
    x = GENERATOR.normal(size=(64, *model.input_shape[1:])).astype(np.float32)
    source, ranges, made = quantized(model, x, target)
    pupil = pupil_of(model, source, ranges, made, target)
    expected = run_as_defined(ir.to_proto(made))({"x": x})
    answers = pupil({"x": x})
    assert len(pupil.variables) > 4
    for key, wanted in expected.items():
        # A tie that is rounded the other way moves an answer by a step.
        error = np.abs(answers[key].numpy() - wanted) / (np.ptp(wanted) + 1e-9)
        assert np.quantile(error, 0.95) < 1e-4
        assert error.max() < 0.02


@pytest.mark.parametrize("name", NETWORKS)
def test_trained_weights_go_back_into_the_keras_model(name):
    model = NETWORKS[name]()
    x = GENERATOR.normal(size=(32, *model.input_shape[1:])).astype(np.float32)
    graph = float_graph(model)
    source = equalize(graph, [{"x": x}])
    source = equalize_streams(source, [{"x": x}]) or source
    links = find_links(model, source.graph)
    assert len(links) >= 2
    weights, biases = {}, {}
    for link in links:
        array = source.graph.initializers[link.weights].const_value.numpy()
        weights[link.weights] = array * GENERATOR.uniform(0.8, 1.2, array.shape).astype("f")
        if link.bias:
            array = source.graph.initializers[link.bias].const_value.numpy()
            biases[link.bias] = array + GENERATOR.uniform(0.1, 0.2, array.shape).astype("f")
    assert biases or name == "one axis"  # there the export adds biases after the layer
    before = [each.copy() for each in model.get_weights()]
    with with_values(values_for(links, source.graph, weights, biases)):
        expected = model(x).numpy()
    for name_, array in {**weights, **biases}.items():
        source.graph.initializers[name_].const_value = ir.tensor(array, name=name_)
    found = next(iter(run_as_defined(ir.to_proto(source))({"x": x}).values()))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("target", ["any", "arm64"])
def test_the_graph_made_of_what_was_trained_gives_the_very_same_codes(name, target):
    model = NETWORKS[name]()
    x = GENERATOR.normal(size=(64, *model.input_shape[1:])).astype(np.float32)
    source, ranges, made = quantized(model, x, target)
    pupil = pupil_of(model, source, ranges, made, target)
    for variable in pupil.variables:
        variable.assign(variable + GENERATOR.normal(size=variable.shape).astype("f"))
    trained = pupil.trained()
    graph = source.clone()
    for constant, array in {**trained.weights, **trained.biases}.items():
        graph.graph.initializers[constant].const_value = ir.tensor(array, name=constant)
    again = quantize.quantize(
        graph,
        Recipe("static"),
        trained.ranges,
        find_target(target),
        Rounder(scales=trained.scales),
    )
    expected = pupil({"x": x})[made.graph.outputs[0].name].numpy()
    found = next(iter(run_as_defined(ir.to_proto(again.graph))({"x": x}).values()))
    same = np.isclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))
    assert same.mean() > 0.999  # the order of sums decides a tie between codes


def test_convolutions_of_one_pixel_with_strides_have_gradients():
    model = images(layers.Conv2D(8, 1, strides=2, padding="same"), layers.Conv2D(4, 3))
    x = GENERATOR.normal(size=(64, 8, 8, 4)).astype(np.float32)
    source, ranges, made = quantized(model, x)
    weights = {link.weights for link in find_links(model, source.graph)}
    pupil = Trainable(made, source.graph, ranges, weights, (), pairs=True)
    name = made.graph.outputs[0].name
    for _ in range(3):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(pupil({"x": x})[name] ** 2)
        found = tape.gradient(loss, pupil.variables)
    assert all(np.isfinite(each).all() for each in found if each is not None)


def test_an_operator_without_a_form_is_named():
    model = keras.Sequential([keras.Input((5, 3), name="x"), layers.LSTM(4), layers.Dense(2)])
    x = GENERATOR.normal(size=(16, 5, 3)).astype(np.float32)
    source, ranges, made = quantized(model, x)
    with pytest.raises(UnknownOperatorError, match=r"LSTM|Loop|Scan"):
        Trainable(made, source.graph, ranges, (), (), pairs=True)


def test_a_graph_that_is_not_what_was_trained_is_refused():
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [keras.Input((8,), name="x"), layers.Dense(6, "tanh"), layers.Dense(4)]
    )
    x = GENERATOR.normal(size=(400, 8)).astype(np.float32)
    source, ranges, made = quantized(model, x)
    weights = {link.weights for link in find_links(model, source.graph)}
    pupil = Trainable(made, source.graph, ranges, weights, (), pairs=True)
    data = TrainingData({"x": x}, {"x": x}, None, None, are_classes=False, sha256="")
    finetuner = Finetuner(Finetune(), model, data, lambda _: None, batch_size=40)
    before = run_as_defined(ir.to_proto(made))({"x": x})
    pupil.variables[0].assign_add(GENERATOR.normal(0, 3, pupil.variables[0].shape).astype("f"))
    after = pupil({"x": x})
    name = next(iter(before))
    changed = (before[name].argmax(1) != after[name].numpy().argmax(1)).mean()
    assert changed > 0.015  # of 400 samples, beyond chance
    share = f"{1 - changed:.2%} on 400 samples in the output '{name}'"
    with pytest.raises(
        CannotFinetuneError, match=f"agree to {share}, at most .* by Wilson's bound"
    ):
        finetuner._agreement(pupil, made)


def test_no_output_hides_behind_one_that_is_as_trained():
    keras.utils.set_random_seed(2)
    inputs = keras.Input((8,), name="x")
    hidden = layers.Dense(6, "tanh")(inputs)
    scores, number = layers.Dense(4, name="scores")(hidden), layers.Dense(1, name="number")(hidden)
    model = keras.Model(inputs, {"scores": scores, "number": number})
    x = GENERATOR.normal(size=(400, 8)).astype(np.float32)
    source, ranges, made = quantized(model, x)
    weights = {link.weights for link in find_links(model, source.graph)}
    pupil = Trainable(made, source.graph, ranges, weights, (), pairs=True)
    data = TrainingData({"x": x}, {"x": x}, None, None, are_classes=False, sha256="")
    finetuner = Finetuner(Finetune(), model, data, lambda _: None, batch_size=40)
    assert finetuner._agreement(pupil, made) > 0.97
    (rows,) = (each for each in pupil.variables if each.shape == (1, 6))
    rows.assign(-rows)
    with pytest.raises(CannotFinetuneError, match="in the output 'number', at most -"):
        finetuner._agreement(pupil, made)


@pytest.mark.parametrize("axis", [1, -1])
def test_other_shares_have_a_loss_whichever_axis_they_are_over(axis):
    shape = ["N", 4, 3]
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["x"], ["z"]),
            helper.make_node("Softmax", ["z"], ["y"], axis=axis),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    teacher = Teacher(ir.from_proto(onnx.shape_inference.infer_shapes(model)), [])
    x = np.abs(GENERATOR.normal(size=(5, 4, 3))).astype(np.float32)
    taught = teacher({"x": x})
    # The same number along an axis changes no shares over that axis, and all over the other one.
    along = 2 if axis == 1 else 1
    moved = x + np.abs(GENERATOR.normal(size=np.where(np.arange(3) == along, 1, x.shape)))
    moved = moved.astype(np.float32)
    answers = {"y": tf.nn.softmax(moved, axis), "before y": tf.constant(moved)}
    loss = _Loss(teacher, None, are_classes=False, border=0.5)._distilled(
        teacher.outputs[0], answers, taught
    )
    assert float(loss) > 0.01
