"""The Keras model as the reference of an exported graph."""

import keras
import numpy as np
import pytest

from edgeport_converter import exporting
from edgeport_converter.exporting.logits import logits_of
from edgeport_converter.exporting.reference import reference_of
from edgeport_converter.loading.load import load_model

layers = keras.layers


@pytest.mark.parametrize(
    "recurrent",
    [layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.ConvLSTM1D(2, 1)],
    ids=["lstm", "convlstm"],
)
def test_keras_runs_a_loop_over_time_as_one_function(recurrent):
    """Op by op, every batch would take as long as the first one."""
    calls = []

    class Watched(layers.Layer):
        def call(self, x):
            calls.append(x.shape)
            return x + 1.0

    shape = (30, 3) if isinstance(recurrent, layers.Bidirectional) else (30, 5, 3)
    model = keras.Sequential([keras.Input(shape, name="x"), Watched(), recurrent])
    exported = exporting.export(load_model(model), opset=17, ir_version=8)
    x = np.random.default_rng(0).normal(size=(20, *shape)).astype(np.float32)
    calls.clear()
    answers = [next(iter(exported.reference({"x": x[:n]}).values())) for n in range(1, 21)]
    assert len(calls) == 1
    np.testing.assert_allclose(answers[-1], model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((None, 6), [layers.TimeDistributed(layers.Dense(4, activation="relu"))]),
        (
            (None, 6, 8),
            [
                layers.TimeDistributed(layers.Conv1D(4, 3)),
                layers.TimeDistributed(layers.GlobalMaxPooling1D()),
            ],
        ),
    ],
    ids=["dense", "convolution"],
)
def test_the_reference_is_the_eager_model_for_every_number_of_steps(shape, first):
    """Keras' own graph of TimeDistributed is wrong for a free number of steps."""
    model = keras.Sequential([keras.Input(shape, name="x"), *first, layers.LSTM(3)])
    exported = exporting.export(load_model(model), opset=17, ir_version=8)
    for steps in (4, 7):
        x = np.random.default_rng(steps).normal(size=(2, steps, *shape[1:])).astype(np.float32)
        (found,) = exported.reference({"x": x}).values()
        np.testing.assert_allclose(found, np.asarray(model(x)), atol=1e-6)


@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_layers_that_write_while_they_answer_leave_the_model_as_it_is(package):
    kit = pytest.importorskip(package)

    class Whitened(kit.layers.Layer):
        def __init__(self):
            super().__init__()
            self.norm = kit.layers.BatchNormalization()

        def build(self, shape):
            self.norm.build(shape)

        def call(self, x):
            return self.norm(x, training=True)  # moves its statistics at each call

    x = kit.Input((3,), name="x")
    model = kit.Model(x, kit.layers.Activation("softmax")(Whitened()(x)))
    before = [each.copy() for each in model.get_weights()]
    given = np.random.default_rng(0).normal(5, 2, (9, 3)).astype(np.float32)
    loaded = load_model(model)
    for compute in (reference_of(loaded), reference_of(loaded, loops=True), logits_of(loaded)):
        found = next(iter(compute({"x": given}).values()))
        scaled = (given - given.mean(0)) / np.sqrt(given.var(0) + 0.001)
        wanted = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
