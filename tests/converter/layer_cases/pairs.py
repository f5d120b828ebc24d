"""Pairs of neighbours: every kind of layer after every other one, with weights as after a training.

A layer alone does not show what a rewrite of the graph does to it and its neighbour: a moved
Transpose, a bias taken for another one's, a normalization folded into the wrong kernel. Before the
pair stands a layer that ends in a Transpose in ONNX, which the rewrites then try to move through
both.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from keras import layers, ops

from layer_cases.case import Registry

CASES = Registry()

Build = Callable[[], Any]

# Neighbours that take any rank.
_ANY: dict[str, Build] = {
    "BatchNormalization": layers.BatchNormalization,
    "LayerNormalization": layers.LayerNormalization,
    "UnitNormalization": layers.UnitNormalization,
    "RMSNormalization": layers.RMSNormalization,
    "Normalization": partial(
        layers.Normalization, mean=[0.4, -0.7, 1.1, 0.2], variance=[0.3, 2.0, 1.2, 0.6]
    ),
    "Rescaling": partial(layers.Rescaling, 0.5, offset=0.3),
    "ReLU": layers.ReLU,
    "ReLU6": partial(layers.ReLU, 6.0),
    "LeakyReLU": layers.LeakyReLU,
    "PReLU": partial(layers.PReLU, shared_axes=[1]),
    "tanh": partial(layers.Activation, "tanh"),
    "hard_silu": partial(layers.Activation, "hard_silu"),
    "gelu": partial(layers.Activation, "gelu"),
    "Softmax": layers.Softmax,
    "Dropout": partial(layers.Dropout, 0.3),
    "Dense": partial(layers.Dense, 6),
    "constant": partial(layers.Lambda, lambda x: x * 1.5 - 0.25),
    "itself": partial(layers.Lambda, lambda x: x + ops.sigmoid(x)),
}

# By rank of the input: what only this rank has.
_OF_SEQUENCES: dict[str, Build] = {
    "ZeroPadding1D": partial(layers.ZeroPadding1D, (1, 2)),
    "Cropping1D": partial(layers.Cropping1D, (1, 0)),
    "UpSampling1D": partial(layers.UpSampling1D, 2),
    "MaxPooling1D": partial(layers.MaxPooling1D, 2, padding="same"),
    "AveragePooling1D": partial(layers.AveragePooling1D, 2, padding="same"),
    "Permute": partial(layers.Permute, (2, 1)),
    "Reshape": partial(layers.Reshape, (-1, 4)),
    "Conv1D": partial(layers.Conv1D, 4, 3, padding="same"),
    "Conv1D no bias": partial(layers.Conv1D, 4, 3, use_bias=False),
    "Conv1D causal": partial(layers.Conv1D, 4, 3, padding="causal", dilation_rate=2),
    "Conv1DTranspose": partial(layers.Conv1DTranspose, 4, 3, strides=2, padding="same"),
    "DepthwiseConv1D": partial(layers.DepthwiseConv1D, 3, padding="same"),
    "SeparableConv1D": partial(layers.SeparableConv1D, 4, 3),
    "GroupNormalization": partial(layers.GroupNormalization, 2),
    "LSTM": partial(layers.LSTM, 4, return_sequences=True),
    "GRU": partial(layers.GRU, 4, return_sequences=True),
    "SimpleRNN": partial(layers.SimpleRNN, 4, return_sequences=True),
    "LSTM in a loop": partial(layers.LSTM, 4, activation="elu", return_sequences=True),
    "GRU in a loop": partial(layers.GRU, 4, activation="gelu", return_sequences=True),
    "GRU in a loop backwards": partial(
        layers.GRU, 4, activation="elu", return_sequences=True, go_backwards=True
    ),
    "SimpleRNN in a loop": partial(layers.SimpleRNN, 4, activation="silu", return_sequences=True),
    "Bidirectional LSTM": lambda: layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
    "Bidirectional GRU in a loop": lambda: layers.Bidirectional(
        layers.GRU(2, activation="elu", return_sequences=True)
    ),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(5, activation="relu")),
    "GlobalAveragePooling1D": layers.GlobalAveragePooling1D,
    "GlobalMaxPooling1D": layers.GlobalMaxPooling1D,
    "Flatten": layers.Flatten,
}
_OF_IMAGES: dict[str, Build] = {
    "ZeroPadding2D": partial(layers.ZeroPadding2D, ((1, 0), (0, 2))),
    "Cropping2D": partial(layers.Cropping2D, ((1, 0), (0, 1))),
    "UpSampling2D": partial(layers.UpSampling2D, 2),
    "UpSampling2D bilinear": partial(layers.UpSampling2D, 2, interpolation="bilinear"),
    "MaxPooling2D": partial(layers.MaxPooling2D, 2, padding="same"),
    "AveragePooling2D": partial(layers.AveragePooling2D, 3, strides=2, padding="same"),
    "Permute": partial(layers.Permute, (2, 3, 1)),
    "Reshape": partial(layers.Reshape, (-1, 2, 4)),
    "Conv2D": partial(layers.Conv2D, 4, 3, padding="same"),
    "Conv2D no bias": partial(layers.Conv2D, 4, 3, use_bias=False),
    "Conv2D strides": partial(layers.Conv2D, 4, 3, strides=2, padding="same", activation="relu"),
    "Conv2D dilated": partial(layers.Conv2D, 4, 3, dilation_rate=2, padding="same"),
    "Conv2D groups": partial(layers.Conv2D, 4, 3, groups=2, padding="same"),
    "Conv2DTranspose": partial(layers.Conv2DTranspose, 4, 3, strides=2, padding="same"),
    "DepthwiseConv2D": partial(layers.DepthwiseConv2D, 3, padding="same"),
    "SeparableConv2D": partial(layers.SeparableConv2D, 4, 3),
    "GroupNormalization": partial(layers.GroupNormalization, 2),
    "SpectralNormalization": lambda: layers.SpectralNormalization(layers.Conv2D(4, 2)),
    "Resizing": partial(layers.Resizing, 5, 6),
    "ConvLSTM1D": partial(layers.ConvLSTM1D, 4, 3, padding="same", return_sequences=True),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Conv1D(4, 2)),
    "GlobalAveragePooling2D": layers.GlobalAveragePooling2D,
    "GlobalMaxPooling2D keepdims": partial(layers.GlobalMaxPooling2D, keepdims=True),
    "Flatten": layers.Flatten,
}
_OF_CLIPS: dict[str, Build] = {
    "ConvLSTM2D": partial(layers.ConvLSTM2D, 4, 3, padding="same", return_sequences=True),
    "ConvLSTM2D last": partial(layers.ConvLSTM2D, 4, 3, padding="same"),
    "Conv3D": partial(layers.Conv3D, 4, 2, padding="same"),
    "Conv3DTranspose": partial(layers.Conv3DTranspose, 4, 2, strides=2, padding="same"),
    "MaxPooling3D": partial(layers.MaxPooling3D, 2, padding="same"),
    "ZeroPadding3D": partial(layers.ZeroPadding3D, 1),
    "Permute": partial(layers.Permute, (1, 4, 2, 3)),
    "TimeDistributed": lambda: layers.TimeDistributed(layers.Conv2D(4, 2)),
    "GlobalAveragePooling3D": layers.GlobalAveragePooling3D,
}


# The layer before a pair, by rank: a loop over time or a convolution.
_BEFORE: dict[str, Build] = {
    "sequence": _OF_SEQUENCES["GRU in a loop"],
    "image": _OF_IMAGES["Conv2D"],
    "clip": _OF_CLIPS["ConvLSTM2D"],
}


# Only layers of any rank take a vector.
_TO_VECTORS = ("Flatten", "GlobalAverage", "GlobalMaxPooling1D")


def _neighbours(shape: tuple[int, ...], *builders: Build) -> Callable[[], Any]:
    def build() -> Any:
        return keras.Sequential([keras.Input(shape, name="x"), *(make() for make in builders)])

    return build


for _data, _shape, _kinds in (
    ("sequence", (8, 4), _OF_SEQUENCES),
    ("image", (7, 8, 4), _OF_IMAGES),
    ("clip", (4, 6, 5, 4), _OF_CLIPS),
):
    for _first, _build_first in (_ANY | _kinds).items():
        _fitting = _ANY if _first.startswith(_TO_VECTORS) else _ANY | _kinds
        for _second, _build_second in _fitting.items():
            CASES.model(
                f"pair in a {_data}: {_first}, {_second}",
                _neighbours(_shape, _BEFORE[_data], _build_first, _build_second),
                tags=frozenset({"may not build"}),  # the first one may leave too few axes or steps
            )
