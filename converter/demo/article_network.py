"""The network of the article behind this project, and its training.

784 inputs, two Dense layers of 64 with relu, ten classes with softmax; adam, sparse categorical
cross-entropy, five epochs. TensorFlow is imported here; this module is imported late.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgeport.artifact.golden import Array

EPOCHS = 5
PIXELS = 784
CLASSES = 10


def article_network() -> Any:
    """Return the untrained, compiled network: (N, 784) floats in [0, 1] to (N, 10)."""
    model = keras.Sequential(
        [
            keras.Input((PIXELS,), name="pixels"),
            keras.layers.Dense(64, activation="relu", name="hidden_1"),
            keras.layers.Dense(64, activation="relu", name="hidden_2"),
            keras.layers.Dense(CLASSES, activation="softmax", name="digit"),
        ],
        name="digits",
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train_article_network(
    images: Array, digits: Array, *, seed: int, epochs: int = EPOCHS, verbose: int = 2
) -> Any:
    """Return the network after training; the same seed gives the same weights on one machine.

    Args:
        images: (N, H, W) uint8 with H * W = 784, values 0 to 255.
        digits: (N,) class numbers 0 to 9.
        seed: for the first weights and the order of the samples.
        epochs: how often each sample is seen.
        verbose: as for ``keras.Model.fit``; 2 prints a line an epoch.
    """
    keras.utils.set_random_seed(seed)
    model = article_network()
    model.fit(scale_pixels(images), digits, epochs=epochs, verbose=verbose)
    return model


def scale_pixels(images: Array) -> Array:
    """Return (N, 784) float32 in [0, 1] from (N, H, W) uint8."""
    return images.reshape(len(images), PIXELS).astype(np.float32) / np.float32(255)
