"""The article's three formulas in plain numpy, as the oracle of Keras and of the ONNX graph.

With the cost C, the cross-entropy of softmax outputs, averaged over the samples:

    forward pass        z_l = a_(l-1) W_l + b_l,   a_l = relu(z_l), the last one softmax(z_l)
    back-propagation    d_L = (a_L - y) / n,   d_l = (d_(l+1) W_(l+1)^T) * relu'(z_l)
                        dC/dW_l = a_(l-1)^T d_l,   dC/db_l = sum over the samples of d_l
    gradient descent    w <- w - alpha dC/dw
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from article_network import article_network

from edgeport import Predictor
from edgeport_converter import convert

pytestmark = pytest.mark.slow

SAMPLES = 16


class FormulaNetwork:
    """The formulas above, in float64."""

    def __init__(self, weights, biases):
        self.weights = [np.asarray(w, dtype=np.float64) for w in weights]
        self.biases = [np.asarray(b, dtype=np.float64) for b in biases]

    def forward(self, x):
        """Return the activations of every layer, the input first."""
        activations = [x.astype(np.float64)]
        last = len(self.weights) - 1
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = activations[-1] @ w + b
            activations.append(softmax(z) if layer == last else np.maximum(z, 0))
        return activations

    def cost(self, x, digits):
        scores = self.forward(x)[-1]
        return float(-np.mean(np.log(scores[np.arange(len(digits)), digits])))

    def gradients(self, x, digits):
        """Return dC/dW and dC/db of every layer, in the order W1, b1, W2, b2, ..."""
        activations = self.forward(x)
        delta = (activations[-1] - np.eye(activations[-1].shape[1])[digits]) / len(digits)
        found = []
        for layer in reversed(range(len(self.weights))):
            found = [activations[layer].T @ delta, delta.sum(axis=0), *found]
            delta = (delta @ self.weights[layer].T) * (activations[layer] > 0)
        return found


def softmax(z):
    exponentials = np.exp(z - z.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(11)
    model = article_network()
    for variable in model.trainable_variables:  # biases that are not zero
        if variable.name == "bias":
            variable.assign(keras.random.normal(variable.shape, stddev=0.1))
    return model


@pytest.fixture(scope="module")
def formula(network):
    values = network.get_weights()
    return FormulaNetwork(values[0::2], values[1::2])


@pytest.fixture(scope="module")
def samples(digits):
    images, labels = digits
    return images[:SAMPLES], labels[:SAMPLES]


def keras_gradients(model, x, digits):
    with tf.GradientTape() as tape:
        cost = model.compute_loss(x, digits, model(x, training=True))
    return [np.asarray(g) for g in tape.gradient(cost, [v.value for v in model.weights])]


def test_keras_forward_pass_is_the_formula(network, formula, samples):
    x, _ = samples
    np.testing.assert_allclose(network(x, training=False), formula.forward(x)[-1], atol=1e-5)


def test_float_onnx_is_the_formula(network, formula, samples, tmp_path):
    x, _ = samples
    convert(network, tmp_path / "float.onnx", quantize="none")
    with Predictor.load(tmp_path / "float.onnx") as predictor:
        np.testing.assert_allclose(predictor.predict(x), formula.forward(x)[-1], atol=1e-5)


def test_keras_gradients_are_those_of_the_formula(network, formula, samples):
    x, labels = samples
    found = keras_gradients(network, x, labels)
    for keras_gradient, expected in zip(found, formula.gradients(x, labels), strict=True):
        np.testing.assert_allclose(keras_gradient, expected, atol=1e-6)


def test_formula_gradients_are_finite_differences(formula, samples):
    x, labels = samples
    step = 1e-6
    generator = np.random.default_rng(5)
    parameters = [p for pair in zip(formula.weights, formula.biases, strict=True) for p in pair]
    for parameter, gradient in zip(parameters, formula.gradients(x, labels), strict=True):
        # The largest gradient and some at random; all 55,000 would say no more.
        places = [int(np.argmax(np.abs(gradient)))]
        places += generator.integers(0, gradient.size, 5).tolist()
        for place in places:
            index = np.unravel_index(place, parameter.shape)
            kept = parameter[index]
            parameter[index] = kept + step
            above = formula.cost(x, labels)
            parameter[index] = kept - step
            below = formula.cost(x, labels)
            parameter[index] = kept
            assert (above - below) / (2 * step) == pytest.approx(gradient[index], abs=1e-7)


def test_one_sgd_step_of_keras_is_gradient_descent(network, formula, samples):
    x, labels = samples
    rate = 0.1
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    copy.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
    before = copy.get_weights()
    copy.fit(x, labels, batch_size=SAMPLES, epochs=1, verbose=0)
    for old, new, gradient in zip(
        before, copy.get_weights(), formula.gradients(x, labels), strict=True
    ):
        np.testing.assert_allclose(new, old - rate * gradient, atol=1e-6)
        assert np.abs(new - old).max() > 1e-4  # the step did move the weights
