"""Networks that the benchmarks make themselves, since no file of them lies anywhere.

The article's network is trained; those of ``keras.applications`` have seeded random weights, as
nothing is downloaded: their speed and size hardly depend on what the weights know. Their
BatchNormalization has the statistics of the photos, so that activations are as large as in a
trained network; without, they fade from layer to layer and every answer is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The article's network is the demo's.
sys.path.append(str(Path(__file__).resolve().parents[2] / "converter" / "demo"))

STATISTICS_SAMPLES = 32


def article_network(shared: Path) -> Any:
    import numpy as np
    from article_network import train_article_network

    from edgeport_converter.loading.load import start_tensorflow

    start_tensorflow()
    with np.load(shared / "data" / "mnist" / "mnist_full.npz") as data:
        return train_article_network(data["x_train"], data["y_train"], seed=7, verbose=0)


def application(key: str, name: str) -> Callable[[Path], Any]:
    """Return a function that makes a network of keras.applications.

    Args:
        key: its name in ``quantization_data.SAMPLES``.
        name: its name in Keras.
    """

    def make(shared: Path) -> Any:
        from quantization_data import SAMPLES

        return random_application(name, SAMPLES[key](shared, STATISTICS_SAMPLES, 0))

    return make


def random_application(name: str, samples: Any) -> Any:
    """Return a network of keras.applications whose BatchNormalization knows these samples."""
    import keras

    keras.utils.set_random_seed(0)
    # Without a shape, MobileNetV3Small takes pictures of any size, so that its work is unknown.
    model = getattr(keras.applications, name)(weights=None, input_shape=samples.shape[1:])
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    usual = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # keep the statistics of one batch
    model(samples, training=True)
    for layer, momentum in zip(layers, usual, strict=True):
        layer.momentum = momentum
    return model


MADE: dict[str, Callable[[Path], Any]] = {
    "article_network": article_network,
    "mobilenet_v2": application("mobilenet_v2", "MobileNetV2"),
    "mobilenet_v3_small": application("mobilenet_v3_small", "MobileNetV3Small"),
    "efficientnet_b0": application("efficientnet_b0", "EfficientNetB0"),
    "resnet50": application("resnet50", "ResNet50"),
}
"""By name: the folder SHARED to a Keras model."""
