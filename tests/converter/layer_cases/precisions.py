"""Other number formats than float32: policies, Keras' own quantization, LoRA."""

from __future__ import annotations

import keras
from keras import layers

from layer_cases.case import Registry

CASES = Registry()


def _with_policy(policy, build):
    def make():
        previous = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            return build()
        finally:
            keras.config.set_dtype_policy(previous)

    return make


def small_network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2), name="x"),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )


# Rebuilt in float32; what is left is the rounding of Keras itself. `loading/test_models.py` has
# those whose outputs change their dtype with it.
CASES.model(
    "precision policy mixed_float16", _with_policy("mixed_float16", small_network), tolerance=5e-3
)
CASES.model("precision policy float16", _with_policy("float16", small_network), tolerance=5e-3)
CASES.model("precision policy float64", _with_policy("float64", small_network))


def _quantized(mode):
    def build():
        model = keras.Sequential(
            [
                keras.Input((16,)),
                layers.Dense(8, activation="relu"),
                layers.Dense(4),
            ]
        )
        model.quantize(mode)
        return model

    return build


for _mode in ("int8", "int4"):
    CASES.model(f"precision quantize {_mode}", _quantized(_mode))
CASES.model(
    "precision quantize float8",
    _quantized("float8"),
    refused=r"the layer 'dense\w*' \(Dense\) with quantization_mode='float8'",
)


def _lora():
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(20, 8),
            layers.Flatten(),
            layers.Dense(6),
            layers.Dense(2),
        ]
    )
    model.layers[0].enable_lora(2)
    model.layers[2].enable_lora(2)
    return model


CASES.model("precision LoRA", _lora, values=("ids", 20))
