"""Whole small models, with the structures of inputs and outputs that users declare."""

from __future__ import annotations

import keras
from keras import layers, ops

from layer_cases.case import Registry, dense_head

CASES = Registry()


def _mnist():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="image"),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _cnn():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            layers.Rescaling(1 / 255.0),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Activation("relu6"),
            layers.Conv2D(12, 1),
            layers.BatchNormalization(),
            layers.Activation("hard_silu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4),
            layers.Softmax(),
        ]
    )


def _residual():
    x = keras.Input((12, 12, 4), name="image")
    y = layers.Conv2D(8, 3, strides=2, padding="same")(x)
    y = layers.BatchNormalization()(y)
    y = layers.ReLU()(y)
    y = layers.Conv2D(8, 3, padding="same")(y)
    y = layers.BatchNormalization()(y)
    short = layers.BatchNormalization()(layers.Conv2D(8, 1, strides=2)(x))
    y = layers.ReLU()(layers.Add()([y, short]))
    return keras.Model(x, dense_head(layers.GlobalAveragePooling2D()(y)))


def _autoencoder():
    x = keras.Input((24,), name="spectrum")
    y = x
    for units in (16, 4, 16):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Dense(units)(y)))
    return keras.Model(x, layers.Dense(24)(y))


def _u_net():
    x = keras.Input((None, None, 3), name="image")
    down = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    y = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(down))
    y = layers.Conv2DTranspose(6, 2, strides=2)(y)
    y = layers.Concatenate()([y, down])
    return keras.Model(x, layers.Conv2D(2, 1, activation="sigmoid", name="mask")(y))


def _transformer():
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(30, 8, mask_zero=True)(ids)
    y = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Dense(8)(layers.Dense(16, activation="gelu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    return keras.Model(ids, dense_head(layers.GlobalAveragePooling1D()(x)))


def _several():
    image = keras.Input((8, 8, 1), name="zebra")
    table = keras.Input((3,), name="ant")
    x = layers.Concatenate()([layers.Flatten()(image), layers.Dense(4)(table)])
    return keras.Model(
        [image, table], [layers.Dense(2, name="zulu")(x), layers.Dense(3, name="alpha")(x)]
    )


def _dicts():
    inputs = {"zebra": keras.Input((3,), name="zebra"), "ant": keras.Input((4,), name="ant")}
    x = layers.Concatenate()([inputs["zebra"], inputs["ant"]])
    return keras.Model(
        inputs, {"zulu": layers.Dense(2, name="q")(x), "alpha": layers.Dense(3, name="p")(x)}
    )


def _nested():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.BatchNormalization()])
    x = keras.Input((5,), name="x")
    outer = keras.Model(x, layers.Dense(2)(inner(x)))
    return keras.Sequential([keras.Input((5,), name="features"), outer, layers.Softmax()])


def _shared():
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    tower = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu"), layers.Dense(3)])
    return keras.Model([left, right], layers.Dot(1, normalize=True)([tower(left), tower(right)]))


def _same_tensor_twice():
    x = keras.Input((4,), name="x")
    y = layers.Dense(3)(x)
    return keras.Model(x, [y, y])


def _input_is_output():
    x = keras.Input((4,), name="x")
    return keras.Model(x, [x, layers.Dense(3)(x)])


def _fixed_batch():
    x = keras.Input((6, 6, 2), batch_size=2, name="image")
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(layers.Conv2D(3, 3)(x))))


def _uint8():
    x = keras.Input((6, 6, 3), dtype="uint8", name="image")
    y = layers.Rescaling(1 / 255.0)(x)
    return keras.Model(x, layers.Dense(3)(layers.Flatten()(y)))


def _argmax():
    x = keras.Input((6,), name="x")
    y = layers.Dense(4)(x)
    return keras.Model(x, [ops.argmax(y, axis=-1), ops.top_k(y, 2)[0]])


def _odd_names():
    x = keras.Input((6,), name="my input")
    return keras.Model(x, layers.Dense(3, name="out.put-1")(x))


def _operations():
    x = keras.Input((4, 6), name="x")
    y = ops.einsum("btf,bsf->bts", x, x)
    y = ops.where(y > 0, ops.sqrt(ops.abs(y)), ops.log1p(ops.abs(y)))
    y = ops.cumsum(y, axis=1) + ops.expm1(-ops.square(y)) + ops.erf(y)
    y = ops.concatenate([y, ops.flip(y, axis=1), ops.roll(y, 1, axis=2)], axis=-1)
    return keras.Model(x, ops.logsumexp(ops.sort(y, axis=-1), axis=-1))


class Subclassed(keras.Model):
    """A model without a declared graph, as the article's readers write them."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.out = layers.Dense(5, activation="relu"), layers.Dense(2)

    def call(self, x):
        return self.out(self.hidden(x))


def _stacked_lstm():
    return keras.Sequential(
        [
            keras.Input((None, 3), name="series"),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.LSTM(5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def _encoder_decoder():
    source = keras.Input((None, 4), name="source")
    target = keras.Input((None, 3), name="target")
    _, *state = layers.LSTM(5, return_state=True)(source)
    y = layers.LSTM(5, return_sequences=True)(target, initial_state=state)
    return keras.Model([source, target], layers.TimeDistributed(layers.Dense(3, "softmax"))(y))


def _keyword_spotting():
    x = keras.Input((800,), name="wave")
    y = layers.MelSpectrogram(fft_length=128, sequence_stride=64, num_mel_bins=12)(x)
    y = layers.Reshape((12, -1, 1))(y)
    y = layers.Conv2D(4, 3, activation="relu")(y)
    return keras.Model(x, dense_head(layers.GlobalMaxPooling2D()(y)))


def _tabular():
    number = keras.Input((2,), name="number")
    kind = keras.Input((1,), dtype="string", name="kind")
    encoded = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")(kind)
    scaled = layers.Normalization(mean=[1.0, 2.0], variance=[3.0, 4.0])(number)
    return keras.Model([number, kind], layers.Dense(2)(layers.Concatenate()([scaled, encoded])))


for _name, _build in {
    "model MNIST network": _mnist,
    "model residual": _residual,
    "model autoencoder": _autoencoder,
    "model several inputs and outputs": _several,
    "model dict inputs and outputs": _dicts,
    "model nested": _nested,
    "model shared tower": _shared,
    "model one tensor twice": _same_tensor_twice,
    "model input as output": _input_is_output,
    "model argmax and top_k": _argmax,
    "model odd names": _odd_names,
    "model keras.ops": _operations,
    "model stacked LSTM": _stacked_lstm,
    "model encoder and decoder": _encoder_decoder,
}.items():
    CASES.model(_name, _build)
CASES.model("model U-Net free", _u_net, free_sizes=(8, 12))
CASES.model("model CNN", _cnn, values="image")
CASES.model("model fixed batch", _fixed_batch, batches=(2,))
CASES.model("model uint8 image", _uint8, values="image")
CASES.model("model transformer", _transformer, values=("padded ids", 30))
CASES.model("model keyword spotting", _keyword_spotting, tolerance=1e-3)
CASES.model(
    "model tabular", _tabular, values={"number": "normal", "kind": ("choice", ["a", "b", "c"])}
)
