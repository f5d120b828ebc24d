"""Small models whose answers numpy can work out."""

import signal

import keras
import numpy as np
import pytest

# A shell starts its background jobs with Ctrl-C ignored, and the tests of it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

layers = keras.layers


@pytest.fixture
def two_layer_model():
    """A classifier: (N, 6) to (N, 3) through a hidden layer of 8."""
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [
            keras.Input((6,), name="x"),
            layers.Dense(8, activation="relu", bias_initializer="random_normal", name="hidden"),
            layers.Dense(3, activation="softmax", bias_initializer="random_normal", name="scores"),
        ],
        name="small",
    )


@pytest.fixture
def regression_model():
    """A model that is no classifier: two inputs, two outputs, declared in an unsorted order."""
    keras.utils.set_random_seed(6)
    second, first = keras.Input((3,), name="zeta"), keras.Input((2,), name="alpha")
    joined = layers.Concatenate()([second, first])
    return keras.Model(
        [second, first],
        [layers.Dense(2, name="wide")(joined), layers.Dense(1, name="thin")(first)],
        name="pair",
    )


@pytest.fixture
def samples():
    """300 samples for ``two_layer_model``, uniform in [-1, 1)."""
    return np.random.default_rng(8).uniform(-1, 1, (300, 6)).astype(np.float32)
