"""Models as other people build them: odd structures, policies, names, wrappers and states."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from layer_cases.case import NOT_IN_KERAS_3_12, Registry
from layer_cases.precisions import small_network

CASES = Registry()


def _model(name, **options):
    def add(build):
        CASES.model(f"structure {name}", build, **options)
        return build

    return add


@_model("200 layers deep")
def _deep():
    x = inputs = keras.Input((4,), name="x")
    for place in range(200):
        x = layers.Dense(4, activation="tanh" if place % 2 else None)(x)
    return keras.Model(inputs, x)


@_model("no weights")
def _no_weights():
    return keras.Sequential([keras.Input((4, 4, 1)), layers.MaxPooling2D(), layers.Flatten()])


@_model("names of all kinds")
def _names():
    x = keras.Input((4,), name="größe in µm")
    y = layers.Dense(3, name="Schicht eins")(x)
    y = layers.Dense(3, name="a.b:c,d")(y)
    return keras.Model(x, layers.Dense(2, name="выход 1")(y), name="mein Modell")


@_model("outputs of the same name")
def _same_names():
    def tower(shape):
        inner = keras.Input(shape)
        return keras.Model(inner, layers.Dense(2, name="out")(inner), name="tower")

    x = keras.Input((4,), name="x")
    first, second = tower((4,))(x), layers.Dense(2, name="tower_1")(x)
    return keras.Model(x, [first, second, first])


@_model("input and its copy as outputs", tags=NOT_IN_KERAS_3_12)
def _echo():
    x, y = keras.Input((4,), name="x"), keras.Input((3,), name="y")
    return keras.Model([x, y], [y, layers.Dense(2)(x), x])


@_model("input that nothing uses", tags=NOT_IN_KERAS_3_12)
def _unused():
    x, y = keras.Input((4,), name="x"), keras.Input((3,), name="y")
    return keras.Model([x, y], layers.Dense(2)(x))


@_model("constant output")
def _constant():
    x = keras.Input((4,), name="x")
    return keras.Model(x, [layers.Dense(2)(x), ops.zeros_like(x) + 3.0])


@_model("nested three times")
def _nested():
    def wrap(model, name):
        inner = keras.Input((4,))
        return keras.Model(inner, layers.Dense(4)(model(inner)), name=name)

    core = keras.Sequential([keras.Input((4,)), layers.Dense(4, activation="relu")], name="core")
    return wrap(wrap(wrap(core, "one"), "two"), "three")


@_model("Sequential in Sequential")
def _sequences():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.Sequential([layers.Conv2D(2, 3), layers.BatchNormalization(), layers.ReLU()]),
            keras.Sequential([layers.Flatten(), layers.Dense(3)]),
        ]
    )


@_model("shared layer in a loop")
def _shared():
    x = keras.Input((4,), name="x")
    cell = layers.Dense(4, activation="tanh", name="cell")
    state = x
    for _ in range(5):
        state = cell(state) + x
    return keras.Model(x, state)


@_model("dict of lists")
def _dict_of_lists():
    a, b, c = (keras.Input((3,), name=name) for name in ("a", "b", "c"))
    x = layers.Concatenate()([a, b, c])
    outputs = {"z": [layers.Dense(2)(x), layers.Dense(1)(x)], "a": layers.Dense(4)(x)}
    return keras.Model([a, b, c], outputs)


@_model("training=True on BatchNormalization")
def _training():
    x = keras.Input((4,), name="x")
    y = layers.BatchNormalization()(layers.Dense(4)(x), training=True)
    return keras.Model(x, y)


# Keras' own predict overrules what a layer was called with.
@_model("training=True on Dropout")
def _dropping():
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Dropout(0.5, name="drop")(layers.Dense(4)(x), training=True))


@_model("training=False everywhere")
def _inference():
    x = keras.Input((4,), name="x")
    y = layers.BatchNormalization()(layers.Dense(4)(x), training=False)
    return keras.Model(x, layers.Dropout(0.5)(y, training=False))


class _MinimalCell(layers.Layer):
    """A cell that the author wrote, one matrix and a gate."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = self.output_size = units

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.recurrent = self.add_weight(shape=(self.units, self.units), name="recurrent")

    def call(self, inputs, states, training=False):
        after = ops.tanh(inputs @ self.kernel + states[0] @ self.recurrent)
        return after, [after]


for _name, _shape, _build in (
    ("RNN of a cell of one's own", (5, 3), lambda: layers.RNN(_MinimalCell(4))),
    (
        "RNN of a cell of one's own, free",
        (None, 3),
        lambda: layers.RNN(_MinimalCell(4), return_sequences=True),
    ),
    (
        "RNN of mixed cells",
        (5, 3),
        lambda: layers.RNN([layers.LSTMCell(4), layers.GRUCell(3), _MinimalCell(2)]),
    ),
    ("LSTM unroll", (5, 3), lambda: layers.LSTM(4, unroll=True)),
    ("GRU unroll backwards", (5, 3), lambda: layers.GRU(4, unroll=True, go_backwards=True)),
    (
        "LSTM odd activations",
        (5, 3),
        lambda: layers.LSTM(4, activation="elu", recurrent_activation="hard_sigmoid"),
    ),
    ("LSTM dropout", (5, 3), lambda: layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2)),
    (
        "LSTM no bias no forget",
        (5, 3),
        lambda: layers.LSTM(4, use_bias=False, unit_forget_bias=False),
    ),
    (
        "Bidirectional mul",
        (None, 3),
        lambda: layers.Bidirectional(layers.LSTM(4, return_sequences=True), merge_mode="mul"),
    ),
    (
        "Bidirectional ave GRU",
        (5, 3),
        lambda: layers.Bidirectional(layers.GRU(4), merge_mode="ave"),
    ),
    ("Bidirectional none", (5, 3), lambda: layers.Bidirectional(layers.LSTM(4), merge_mode=None)),
    (
        "Bidirectional two layers",
        (5, 3),
        lambda: layers.Bidirectional(
            layers.LSTM(4, return_sequences=True),
            backward_layer=layers.GRU(4, return_sequences=True, go_backwards=True),
        ),
    ),
    ("Bidirectional RNN", (5, 3), lambda: layers.Bidirectional(layers.RNN(layers.GRUCell(3)))),
    ("SpectralNormalization", (8, 8, 2), lambda: layers.SpectralNormalization(layers.Conv2D(3, 3))),
    (
        "TimeDistributed of a model",
        (None, 6, 6, 1),
        lambda: layers.TimeDistributed(
            keras.Sequential([layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(3)])
        ),
    ),
    (
        "TimeDistributed twice",
        (None, 3, 4),
        lambda: layers.TimeDistributed(layers.TimeDistributed(layers.Dense(2))),
    ),
    ("BatchNormalization renorm axis", (4, 6), lambda: layers.BatchNormalization(axis=1)),
    (
        "BatchNormalization bare",
        (4, 6),
        lambda: layers.BatchNormalization(center=False, scale=False),
    ),
    ("LayerNormalization two axes", (4, 6), lambda: layers.LayerNormalization(axis=[1, 2])),
    ("GroupNormalization instance", (6, 6, 4), lambda: layers.GroupNormalization(groups=-1)),
    ("Dense on images", (4, 5, 6), lambda: layers.Dense(3)),
    ("Softmax masked axis", (4, 5), lambda: layers.Softmax(axis=1)),
    ("Reshape free", (None, 6), lambda: layers.Reshape((-1, 3))),
    ("Permute free", (None, 6, 2), lambda: layers.Permute((3, 1, 2))),
    ("Flatten of a scalar", (), lambda: layers.Flatten()),
    ("Cropping to nothing wide", (None, 6), lambda: layers.Cropping1D((2, 3))),
    (
        "UpSampling by three, free",
        (None, None, 2),
        lambda: layers.UpSampling2D((3, 2), interpolation="bilinear"),
    ),
    (
        "Conv1D causal free",
        (None, 3),
        lambda: layers.Conv1D(4, 3, padding="causal", dilation_rate=2),
    ),
    ("SeparableConv1D strided", (None, 3), lambda: layers.SeparableConv1D(4, 3, strides=2)),
    (
        "Conv2D same strides free",
        (None, None, 3),
        lambda: layers.Conv2D(4, (5, 2), strides=(3, 2), padding="same"),
    ),
    (
        "MaxPooling same strides free",
        (None, None, 3),
        lambda: layers.MaxPooling2D(3, strides=2, padding="same"),
    ),
    (
        "AveragePooling same free",
        (None, None, 3),
        lambda: layers.AveragePooling2D((3, 2), strides=2, padding="same"),
    ),
):
    CASES.layer(f"structure {_name}", _shape, _build)


@_model("attention with flash off and on")
def _flash():
    x = keras.Input((None, 8), name="x")
    first = layers.MultiHeadAttention(2, 4, flash_attention=False)(x, x)
    return keras.Model(x, layers.GroupQueryAttention(4, 4, 2, flash_attention=False)(first, first))


@_model("mask through a custom layer", values=("padded ids", 12))
def _mask():
    class Scale(layers.Layer):
        def __init__(self):
            super().__init__()
            self.supports_masking = True

        def call(self, x, mask=None):
            kept = ops.cast(mask, "float32")[:, :, None]
            return x * kept / (1.0 + ops.sum(kept, axis=1, keepdims=True))

    ids = keras.Input((None,), dtype="int32", name="ids")
    x = Scale()(layers.Embedding(12, 4, mask_zero=True)(ids))
    return keras.Model(ids, layers.GRU(3)(x))


@_model("python loop over a list of layers")
def _subclassed_block():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.stages = [layers.Dense(4, activation="relu") for _ in range(3)]
            self.table = {"last": layers.Dense(2)}

        def call(self, x):
            for stage in self.stages:
                x = x + stage(x)
            return self.table["last"](x)

    x = keras.Input((4,), name="x")
    return keras.Model(x, Block()(x))


@_model("weights in int and bool")
def _integer_weights():
    class Pick(layers.Layer):
        def build(self, shape):
            self.order = self.add_weight(
                shape=(4,), dtype="int32", trainable=False, initializer="zeros"
            )
            self.order.assign([3, 1, 0, 2])

        def call(self, x):
            return ops.take(x, self.order, axis=-1)

    x = keras.Input((4,), name="x")
    return keras.Model(x, Pick()(x))


@_model("scalar inputs")
def _scalars():
    x, y = keras.Input((), name="x"), keras.Input((3,), name="y")
    return keras.Model([x, y], layers.Multiply()([ops.expand_dims(x, -1), y]))


@_model("rank 6")
def _rank_six():
    x = keras.Input((2, 3, 2, 3, 4), name="x")
    return keras.Model(x, layers.Dense(2)(ops.transpose(x, (0, 5, 1, 3, 2, 4))))


@_model("infinite constants")
def _infinite():
    x = keras.Input((4,), name="x")
    return keras.Model(x, layers.Softmax()(ops.where(x > -1.0, x, -np.inf)))


@_model("large constants")
def _large():
    x = keras.Input((4,), name="x")
    return keras.Model(x, ops.softmax(x + (1.0 - ops.cast(x > 0, "float32")) * -1e9))


@_model("Functional from a part of a Sequential")
def _part():
    whole = small_network()
    return keras.Model(whole.inputs, [whole.layers[0].output, whole.layers[-1].output])


@_model("images of uint8 scaled inside", values="image")
def _bytes():
    x = keras.Input((None, None, 3), dtype="uint8", name="image")
    y = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    y = layers.Resizing(8, 8)(y)
    return keras.Model(x, layers.Conv2D(2, 3)(y))


@_model("a number after a convolution without bias")
def _number_behind():
    x = keras.Input((6, 6, 2), name="x")
    y = layers.Conv2D(4, 3, use_bias=False, activation="hard_sigmoid")(x)
    return keras.Model(x, layers.Conv2D(3, 1, use_bias=False)(y) + 0.5)


@_model("one value a column after a convolution without bias")
def _value_a_column():
    x = keras.Input((6, 6, 2), name="x")
    column = np.arange(4, dtype="float32")[:, None]
    return keras.Model(x, layers.Conv2D(4, 3, use_bias=False)(x) + column)


class _TwoConditions(layers.Layer):
    """The second condition passes on what the first one gave."""

    def call(self, x):
        y = ops.cond(ops.sum(x) > 0.0, lambda: x * 2.0, lambda: x)
        return ops.cond(ops.min(x) > -1.0, lambda: y * 3.0, lambda: y)

    def compute_output_shape(self, input_shape):
        return input_shape


@_model("two conditions in a row", batches=(1, 2, 3, 5))
def _two_conditions():
    x = keras.Input((4,), name="x")
    return keras.Model(x, _TwoConditions()(x))
