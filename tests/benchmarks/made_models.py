"""Networks that the benchmarks make themselves, since no file of them lies anywhere.

The article's network is trained; those of ``keras.applications`` have seeded random weights, as
nothing is downloaded: their speed and size hardly depend on what the weights know. Some of them
answer the same to everything, so that any number format keeps their answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def article_network(shared: Path) -> Any:
    import numpy as np

    from edgeport_converter import loading
    from edgeport_converter.training.article import train_article_network

    loading.start_tensorflow()
    with np.load(shared / "data" / "mnist" / "mnist_full.npz") as data:
        return train_article_network(data["x_train"], data["y_train"], seed=7, verbose=0)


def application(name: str) -> Callable[[Path], Any]:
    """Return a function that makes a network of keras.applications."""

    def make(shared: Path) -> Any:
        import keras

        keras.utils.set_random_seed(0)
        return getattr(keras.applications, name)(weights=None)

    return make


MADE: dict[str, Callable[[Path], Any]] = {
    "article_network": article_network,
    "mobilenet_v2": application("MobileNetV2"),
    "mobilenet_v3_small": application("MobileNetV3Small"),
    "efficientnet_b0": application("EfficientNetB0"),
    "resnet50": application("ResNet50"),
}
"""By name: the folder SHARED to a Keras model."""
