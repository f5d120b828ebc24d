"""Recurrent layers, masks, wrappers."""

from __future__ import annotations

from functools import partial

import keras
from keras import layers

from layer_cases.case import Registry

CASES = Registry()

for _kind in ("LSTM", "GRU", "SimpleRNN"):
    _layer = getattr(layers, _kind)
    _node = {"LSTM": "LSTM", "GRU": "GRU", "SimpleRNN": "RNN"}[_kind]
    _native = frozenset({f"node:{_node}", "no-node:Loop"})
    CASES.layers_on(
        (7, 4),
        {
            f"{_kind}": partial(_layer, 5),
            f"{_kind} sequences": partial(_layer, 5, return_sequences=True),
            f"{_kind} backwards": partial(_layer, 5, go_backwards=True, return_sequences=True),
            f"{_kind} no bias": partial(_layer, 5, use_bias=False),
            f"{_kind} return_state": partial(_layer, 5, return_sequences=True, return_state=True),
            f"{_kind} relu": partial(_layer, 5, activation="relu"),
            f"Bidirectional {_kind}": lambda c=_layer: layers.Bidirectional(
                c(5, return_sequences=True)
            ),
            f"Bidirectional {_kind} last": lambda c=_layer: layers.Bidirectional(c(5)),
            f"Bidirectional {_kind} sum": lambda c=_layer: layers.Bidirectional(
                c(5, return_sequences=True), merge_mode="sum"
            ),
            f"Bidirectional {_kind} list": lambda c=_layer: layers.Bidirectional(
                c(5), merge_mode=None
            ),
            f"Bidirectional {_kind} states": lambda c=_layer: layers.Bidirectional(
                c(5, return_sequences=True, return_state=True)
            ),
        },
        tags=_native,
    )
    CASES.layers_on(
        (None, 4),
        {
            f"{_kind} free": partial(_layer, 5),
            f"{_kind} free sequences": partial(_layer, 5, return_sequences=True),
            f"Bidirectional {_kind} free": lambda c=_layer: layers.Bidirectional(
                c(5, return_sequences=True)
            ),
        },
        tags=_native,
    )
    CASES.layer(f"{_kind} fixed batch", (6, 4), partial(_layer, 5), batch=2, tags=_native)
    CASES.layer(f"{_kind} unrolled", (4, 3), partial(_layer, 5, unroll=True))
    CASES.layer(f"{_kind} elu", (4, 3), partial(_layer, 5, activation="elu"))
    CASES.layer(f"{_kind} gelu", (4, 3), partial(_layer, 5, activation="gelu"))
    CASES.layer(
        f"{_kind} stateful",
        (6, 4),
        partial(_layer, 5, stateful=True),
        batch=2,
        refused="stateful",
    )

    def _masked(c=_layer, wrap=None, **options):
        def build():
            x = keras.Input((None, 4), name="x")
            layer = c(5, **options)
            return keras.Model(x, (wrap(layer) if wrap else layer)(layers.Masking()(x)))

        return build

    CASES.model(f"{_kind} masked", _masked(), values="padded", tags=_native)
    CASES.model(
        f"{_kind} masked sequences", _masked(return_sequences=True), values="padded", tags=_native
    )
    CASES.model(
        f"{_kind} masked zero_output",
        _masked(return_sequences=True, zero_output_for_mask=True),
        values="padded",
        tags=_native,
    )
    CASES.model(f"{_kind} masked backwards", _masked(go_backwards=True), values="padded")
    CASES.model(
        f"{_kind} masked with gaps",
        _masked(return_sequences=True),
        values=lambda s, g: g.normal(size=s) * (g.random((*s[:2], 1)) < 0.6),
    )
    CASES.model(
        f"{_kind} masked return_state",
        _masked(return_sequences=True, return_state=True),
        values="padded",
        tags=_native,
    )
    CASES.model(
        f"Bidirectional {_kind} masked",
        _masked(wrap=layers.Bidirectional, return_sequences=True),
        values="padded",
    )
    CASES.model(
        f"Bidirectional {_kind} masked last", _masked(wrap=layers.Bidirectional), values="padded"
    )

    def _embedded(c=_layer):
        ids = keras.Input((None,), dtype="int32", name="ids")
        x = layers.Embedding(15, 6, mask_zero=True)(ids)
        x = c(5, return_sequences=True)(x)
        x = c(4)(x)
        return keras.Model(ids, layers.Dense(3, activation="softmax")(x))

    CASES.model(
        f"{_kind} stack after Embedding mask_zero",
        _embedded,
        values=("padded ids", 15),
        tags=_native,
    )

    def _initial(c=_layer, kind=_kind):
        x = keras.Input((None, 4), name="x")
        states = [keras.Input((5,), name=f"state{i}") for i in range(2 if kind == "LSTM" else 1)]
        outputs = c(5, return_state=True, return_sequences=True)(x, initial_state=states)
        return keras.Model([x, *states], outputs)

    CASES.model(f"{_kind} initial_state", _initial, tags=_native)

    def _cells(kind=_kind):
        cell = getattr(layers, f"{kind}Cell")
        return layers.RNN([cell(5), cell(4)], return_sequences=True)

    CASES.layer(f"RNN stacked {_kind}Cell", (6, 3), _cells)
    CASES.layer(
        f"RNN {_kind}Cell",
        (None, 3),
        lambda kind=_kind: layers.RNN(getattr(layers, f"{kind}Cell")(5)),
    )

CASES.layer("GRU reset before", (7, 4), lambda: layers.GRU(5, reset_after=False))
CASES.layer(
    "GRU reset before no bias", (7, 4), lambda: layers.GRU(5, reset_after=False, use_bias=False)
)
CASES.layer(
    "LSTM recurrent hard_sigmoid",
    (7, 4),
    lambda: layers.LSTM(5, recurrent_activation="hard_sigmoid"),
)
CASES.layer(
    "Bidirectional of two kinds",
    (7, 4),
    lambda: layers.Bidirectional(
        layers.LSTM(5, return_sequences=True),
        backward_layer=layers.GRU(5, return_sequences=True, go_backwards=True),
    ),
)
CASES.layer("ConvLSTM1D", (4, 7, 3), lambda: layers.ConvLSTM1D(4, 3, padding="same"))
CASES.layer("ConvLSTM2D", (4, 6, 5, 3), lambda: layers.ConvLSTM2D(4, 3))
CASES.layer(
    "ConvLSTM2D sequences",
    (4, 6, 5, 3),
    lambda: layers.ConvLSTM2D(4, 3, padding="same", return_sequences=True),
)
CASES.layer(
    "ConvLSTM2D free length", (None, 6, 5, 3), lambda: layers.ConvLSTM2D(4, 3, padding="same")
)
CASES.layer("ConvLSTM3D", (3, 4, 5, 4, 2), lambda: layers.ConvLSTM3D(3, 2, padding="same"))
CASES.layer("TimeDistributed Dense", (5, 4), lambda: layers.TimeDistributed(layers.Dense(3)))
CASES.layer(
    "TimeDistributed Dense free", (None, 4), lambda: layers.TimeDistributed(layers.Dense(3))
)
CASES.layer(
    "TimeDistributed Conv2D free",
    (None, 6, 5, 2),
    lambda: layers.TimeDistributed(layers.Conv2D(3, 3)),
)
CASES.layer("TimeDistributed LSTM", (4, 5, 3), lambda: layers.TimeDistributed(layers.LSTM(4)))
CASES.layer(
    "TimeDistributed BatchNormalization",
    (4, 5, 3),
    lambda: layers.TimeDistributed(layers.BatchNormalization()),
)


def _masked_mean():
    ids = keras.Input((None,), dtype="int32", name="ids")
    return keras.Model(
        ids, layers.GlobalAveragePooling1D()(layers.Embedding(15, 6, mask_zero=True)(ids))
    )


def _masked_time_distributed():
    x = keras.Input((6, 4), name="x")
    y = layers.TimeDistributed(layers.Dense(3))(layers.Masking()(x))
    return keras.Model(x, layers.LSTM(4)(y))


CASES.model("GlobalAveragePooling1D masked", _masked_mean, values=("padded ids", 15))
CASES.model("TimeDistributed masked", _masked_time_distributed, values="padded")
