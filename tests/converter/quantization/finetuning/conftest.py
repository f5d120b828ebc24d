"""Networks that int8 breaks, small enough to train in seconds."""

import keras
import numpy as np
import pytest

layers = keras.layers


def classes(seed, samples):
    """Rows (N, 8) of four classes, and these."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(1).normal(size=(4, 8))
    y = generator.integers(0, 4, samples)
    return (centres[y] + 0.6 * generator.normal(size=(samples, 8))).astype(np.float32), y


@pytest.fixture(scope="session")
def taught():
    """1,200 samples to train on and 800 others to judge by, with labels."""
    return classes(2, 1200), classes(3, 800)


@pytest.fixture(scope="session")
def broken_by_int8(taught):
    """A classifier with one huge weight in each unit, beside which int8 rounds all others off."""
    (x, y), _ = taught
    keras.utils.set_random_seed(5)
    model = keras.Sequential(
        [
            keras.Input((8,), name="x"),
            layers.Dense(12, activation="tanh", name="first"),
            layers.Dense(8, activation="tanh", name="second"),
            layers.Dense(4, activation="softmax", name="scores"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=8, batch_size=64, verbose=0)
    # The last unit becomes a constant that is hardly there, with a weight that makes up for it.
    kernel, bias = model.get_layer("first").get_weights()
    kernel[:, -1] = 0.0
    kernel[0, -1] = 0.0001
    bias[-1] = 0.0
    model.get_layer("first").set_weights([kernel, bias])
    kernel, bias = model.get_layer("second").get_weights()
    kernel[-1] = 400.0
    model.get_layer("second").set_weights([kernel, bias])
    return model
