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


def resnet_1d(shared: Path) -> Any:
    """A residual network over 512 points in time of a sensor with six axes, as for activities."""
    import keras
    from keras import layers

    x = keras.Input((512, 6))
    h = layers.Conv1D(16, 7, strides=2, padding="same", use_bias=False)(x)
    h = layers.MaxPooling1D(3, 2, padding="same")(_normalized(h))
    for channels in (16, 32):
        past = layers.BatchNormalization()(layers.Conv1D(channels, 1, strides=2)(h))
        h = _normalized(layers.Conv1D(channels, 3, strides=2, padding="same")(h))
        h = layers.BatchNormalization()(layers.Conv1D(channels, 3, padding="same")(h))
        h = layers.AveragePooling1D(2)(layers.ReLU()(layers.Add()([h, past])))
    return _random(keras.Model(x, layers.Dense(4)(layers.GlobalMaxPooling1D()(h))))


def tcn(shared: Path) -> Any:
    """A temporal convolutional network: dilated causal convolutions with residual branches.

    Source: Bai et al., "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for
    Sequence Modeling" (2018).
    """
    import keras
    from keras import layers

    x = h = keras.Input((512, 6))
    for rate in (1, 2, 4, 8):
        past = layers.Conv1D(16, 1)(h)
        for _ in range(2):
            h = _normalized(layers.Conv1D(16, 3, padding="causal", dilation_rate=rate)(h))
        h = layers.ReLU()(layers.Add()([h, past]))
    return _random(keras.Model(x, layers.Dense(4)(h[:, -1])))


def _normalized(x: Any) -> Any:
    from keras import layers

    return layers.ReLU()(layers.BatchNormalization()(x))


def _random(model: Any) -> Any:
    """Return the model with statistics and factors that no optimization could leave out."""
    import numpy as np

    generator = np.random.default_rng(0)
    for weight in model.weights:
        noise = generator.normal(size=weight.shape)
        is_variance = weight.path.endswith("variance")
        weight.assign(0.5 + 0.3 * np.abs(noise) if is_variance else weight.numpy() + 0.1 * noise)
    return model


MADE: dict[str, Callable[[Path], Any]] = {
    "article_network": article_network,
    "mobilenet_v2": application("mobilenet_v2", "MobileNetV2"),
    "mobilenet_v3_small": application("mobilenet_v3_small", "MobileNetV3Small"),
    "efficientnet_b0": application("efficientnet_b0", "EfficientNetB0"),
    "resnet50": application("resnet50", "ResNet50"),
    "resnet_1d": resnet_1d,
    "tcn": tcn,
}
"""By name: the folder SHARED to a Keras model."""
