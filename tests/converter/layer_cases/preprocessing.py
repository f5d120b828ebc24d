"""Preprocessing layers: numbers, categories, text, images, sound."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from layer_cases.case import IS_KERAS_3_12, Registry

CASES = Registry()
_WORDS = ["ash", "birch", "cedar", "oak"]
_UNKNOWN = [*_WORDS, "palm", "Zürich", ""]


def _adapted(layer, data):
    layer.adapt(data)
    return layer


_rng = np.random.default_rng(5)
_TABLE = _rng.normal(3.0, 2.0, (200, 4)).astype(np.float32)

CASES.layers_on(
    (4,),
    {
        "Normalization adapted": lambda: _adapted(layers.Normalization(), _TABLE),
        "Normalization given": lambda: layers.Normalization(
            mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 0.5, 2.0]
        ),
        "Normalization invert": lambda: layers.Normalization(
            mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 4.0, 0.5, 2.0], invert=True
        ),
        "Normalization one axis": lambda: layers.Normalization(axis=None, mean=2.0, variance=3.0),
        "Discretization": lambda: layers.Discretization(bin_boundaries=[-1.0, 0.0, 0.5, 2.0]),
        "Discretization one_hot": lambda: layers.Discretization(
            bin_boundaries=[-1.0, 0.0, 0.5, 2.0], output_mode="multi_hot"
        ),
        "Discretization adapted": lambda: _adapted(
            layers.Discretization(num_bins=5), _TABLE[:, :1]
        ),
    },
)
CASES.layer(
    "Normalization of an image",
    (5, 6, 3),
    lambda: layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[900.0, 800.0, 700.0]),
    values="image",
)
CASES.layer(
    "Discretization one column one_hot",
    (1,),
    lambda: layers.Discretization(bin_boundaries=[-1.0, 0.0, 0.5, 2.0], output_mode="one_hot"),
)
CASES.layer(
    "Discretization on the boundaries",
    (3,),
    lambda: layers.Discretization(bin_boundaries=[-1.0, 0.0, 2.0]),
    values=("choice", [-1.0, 0.0, 2.0, 1.0]),
)
CASES.layer(
    "CategoryEncoding one_hot",
    (1,),
    lambda: layers.CategoryEncoding(6, output_mode="one_hot"),
    dtype="int32",
    values=("ids", 6),
)
CASES.layer(
    "CategoryEncoding multi_hot",
    (3,),
    lambda: layers.CategoryEncoding(6),
    dtype="int32",
    values=("ids", 6),
)
CASES.layer(
    "CategoryEncoding count",
    (3,),
    lambda: layers.CategoryEncoding(6, output_mode="count"),
    dtype="int32",
    values=("ids", 6),
)
_INTS = [3, 7, 11, -2]
_INT_INPUTS = {"dtype": "int64", "values": ("choice", [*_INTS, 5, 100])}
CASES.layers_on(
    (3,),
    {
        "IntegerLookup": lambda: layers.IntegerLookup(vocabulary=_INTS),
        "IntegerLookup mask_token": lambda: layers.IntegerLookup(vocabulary=_INTS, mask_token=0),
        "IntegerLookup multi_hot": lambda: layers.IntegerLookup(
            vocabulary=_INTS, output_mode="multi_hot"
        ),
        "IntegerLookup count": lambda: layers.IntegerLookup(vocabulary=_INTS, output_mode="count"),
        "IntegerLookup tf_idf": lambda: layers.IntegerLookup(
            vocabulary=_INTS, output_mode="tf_idf", idf_weights=[0.5, 1.0, 1.5, 2.0]
        ),
    },
    **_INT_INPUTS,
)
CASES.layer(
    "IntegerLookup two oov",
    (3,),
    lambda: layers.IntegerLookup(vocabulary=_INTS, num_oov_indices=2),
    refused="hash function" if IS_KERAS_3_12 else None,  # later ones take the remainder
    **_INT_INPUTS,
)
CASES.layer(
    "IntegerLookup one_hot",
    (1,),
    lambda: layers.IntegerLookup(vocabulary=_INTS, output_mode="one_hot"),
    **_INT_INPUTS,
)
CASES.layer(
    "IntegerLookup invert",
    (3,),
    lambda: layers.IntegerLookup(vocabulary=_INTS, invert=True),
    dtype="int64",
    values=("ids", 5),
)
_TEXT_INPUTS = {"dtype": "string", "values": ("choice", _UNKNOWN)}
CASES.layers_on(
    (3,),
    {
        "StringLookup": lambda: layers.StringLookup(vocabulary=_WORDS),
        "StringLookup mask_token": lambda: layers.StringLookup(vocabulary=_WORDS, mask_token=""),
        "StringLookup no oov": lambda: layers.StringLookup(
            vocabulary=[*_UNKNOWN[:-1], "x"], num_oov_indices=1
        ),
        "StringLookup multi_hot": lambda: layers.StringLookup(
            vocabulary=_WORDS, output_mode="multi_hot"
        ),
        "StringLookup count": lambda: layers.StringLookup(vocabulary=_WORDS, output_mode="count"),
    },
    **_TEXT_INPUTS,
)
CASES.layer(
    "StringLookup one_hot",
    (1,),
    lambda: layers.StringLookup(vocabulary=_WORDS, output_mode="one_hot"),
    **_TEXT_INPUTS,
)
CASES.layer(
    "StringLookup invert",
    (3,),
    lambda: layers.StringLookup(vocabulary=_WORDS, invert=True),
    dtype="int64",
    values=("ids", 5),
)
CASES.layer(
    "StringLookup two oov",
    (3,),
    lambda: layers.StringLookup(vocabulary=_WORDS, num_oov_indices=2),
    refused="StringLookup",
    **_TEXT_INPUTS,
)
CASES.layer(
    "Hashing of text", (3,), lambda: layers.Hashing(5), refused="'hashing' .Hashing", **_TEXT_INPUTS
)
CASES.layer("Hashing of numbers", (3,), lambda: layers.Hashing(5), refused="Hashing", **_INT_INPUTS)
CASES.layer(
    "TextVectorization",
    (1,),
    lambda: layers.TextVectorization(vocabulary=_WORDS),
    refused="TextVectorization",
    **_TEXT_INPUTS,
)


def _crossing():
    a = keras.Input((1,), dtype="int64", name="a")
    b = keras.Input((1,), dtype="int64", name="b")
    return keras.Model([a, b], layers.HashedCrossing(7)((a, b)))


CASES.model("HashedCrossing", _crossing, values=("ids", 9), refused="HashedCrossing")

_IMAGE = (9, 8, 3)
CASES.layers_on(
    _IMAGE,
    {
        "Resizing bilinear": lambda: layers.Resizing(5, 13),
        "Resizing bilinear up": lambda: layers.Resizing(17, 16),
        "Resizing nearest": lambda: layers.Resizing(5, 13, interpolation="nearest"),
        "Resizing bicubic": lambda: layers.Resizing(5, 13, interpolation="bicubic"),
        "Resizing area": lambda: layers.Resizing(5, 13, interpolation="area"),
        "Resizing lanczos3": lambda: layers.Resizing(5, 13, interpolation="lanczos3"),
        "Resizing lanczos5": lambda: layers.Resizing(5, 13, interpolation="lanczos5"),
        "Resizing antialias": lambda: layers.Resizing(4, 4, antialias=True),
        "Resizing crop_to_aspect_ratio": lambda: layers.Resizing(5, 13, crop_to_aspect_ratio=True),
        "Resizing pad_to_aspect_ratio": lambda: layers.Resizing(5, 13, pad_to_aspect_ratio=True),
        "CenterCrop": lambda: layers.CenterCrop(4, 5),
        "CenterCrop of a smaller image": lambda: layers.CenterCrop(12, 7),
        "Rescaling of an image": lambda: layers.Rescaling(
            [1 / 255, 0.5, 0.1], offset=[0.0, 1.0, 2.0]
        ),
        "RandomBrightness": lambda: layers.RandomBrightness(0.2),
        "RandomColorDegeneration": lambda: layers.RandomColorDegeneration(0.2),
        "RandomColorJitter": lambda: layers.RandomColorJitter(brightness_factor=0.2),
        "RandomContrast": lambda: layers.RandomContrast(0.2),
        "RandomCrop": lambda: layers.RandomCrop(5, 4),
        "RandomCrop of a smaller image": lambda: layers.RandomCrop(12, 14),
        "RandomElasticTransform": lambda: layers.RandomElasticTransform(0.5),
        "RandomErasing": lambda: layers.RandomErasing(0.5),
        "RandomFlip": lambda: layers.RandomFlip(),
        "RandomGaussianBlur": lambda: layers.RandomGaussianBlur(0.5),
        "RandomGrayscale": lambda: layers.RandomGrayscale(0.5),
        "RandomHue": lambda: layers.RandomHue(0.2),
        "RandomInvert": lambda: layers.RandomInvert(0.5),
        "RandomPerspective": lambda: layers.RandomPerspective(0.5),
        "RandomPosterization": lambda: layers.RandomPosterization(4),
        "RandomRotation": lambda: layers.RandomRotation(0.2),
        "RandomSaturation": lambda: layers.RandomSaturation(0.2),
        "RandomSharpness": lambda: layers.RandomSharpness(0.2),
        "RandomShear": lambda: layers.RandomShear(0.2, 0.2),
        "RandomTranslation": lambda: layers.RandomTranslation(0.2, 0.2),
        "RandomZoom": lambda: layers.RandomZoom(0.2),
        "AugMix": lambda: layers.AugMix(),
        "CutMix": lambda: layers.CutMix(),
        "MixUp": lambda: layers.MixUp(),
        "RandAugment": lambda: layers.RandAugment(),
        "AutoContrast": lambda: layers.AutoContrast(),
        "Solarization": lambda: layers.Solarization(addition_factor=0.1, threshold_factor=0.3),
        "Pipeline": lambda: layers.Pipeline([layers.RandomFlip(), layers.Rescaling(1 / 255)]),
    },
    values="image",
)
if not IS_KERAS_3_12:
    CASES.layer(
        "ContrastLimitedAdaptiveHistogramEqualization",
        _IMAGE,
        lambda: layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2)),
        values="image",
    )
# Wider, higher, of the wanted size, and smaller than it.
CASES.layers_on(
    (None, None, 3),
    {
        "Resizing pad_to_aspect_ratio free": lambda: layers.Resizing(
            9, 14, pad_to_aspect_ratio=True, fill_value=7.0
        ),
        "Resizing nearest pad_to_aspect_ratio free": lambda: layers.Resizing(
            14, 9, "nearest", pad_to_aspect_ratio=True
        ),
        "Resizing crop_to_aspect_ratio free": lambda: layers.Resizing(
            9, 14, crop_to_aspect_ratio=True
        ),
        "CenterCrop free of any size": lambda: layers.CenterCrop(9, 14),
        "CenterCrop free higher than wide": lambda: layers.CenterCrop(14, 9),
    },
    values="image",
    free_sizes=(8, 9, 14, 31),
)
CASES.layer(
    "CenterCrop height free",
    (None, 11, 3),
    lambda: layers.CenterCrop(9, 14),
    values="image",
    free_sizes=(5, 9, 20),
)
CASES.layer(
    "CenterCrop channels_first free",
    (3, None, None),
    lambda: layers.CenterCrop(9, 14, data_format="channels_first"),
    values="image",
    free_sizes=(5, 20),
)
CASES.layer(
    "Resizing pad_to_aspect_ratio width free",
    (10, None, 3),
    lambda: layers.Resizing(6, 6, pad_to_aspect_ratio=True),
    values="image",
    free_sizes=(5, 10, 20),
)
CASES.layers_on(
    (None, None, 3),
    {
        "Resizing free": lambda: layers.Resizing(6, 7),
        "Resizing nearest free": lambda: layers.Resizing(6, 7, interpolation="nearest"),
        "CenterCrop free": lambda: layers.CenterCrop(4, 5),
        "RandomFlip free": lambda: layers.RandomFlip(),
    },
    values="image",
)
CASES.layer(
    "Resizing bicubic free",
    (None, None, 3),
    lambda: layers.Resizing(6, 7, interpolation="bicubic"),
    values="image",
    refused="Resizing.*fixed size",
)
CASES.layer(
    "Resizing of uint8", _IMAGE, lambda: layers.Resizing(5, 13), dtype="uint8", values="image"
)
CASES.layer(
    "STFTSpectrogram",
    (320, 1),
    lambda: layers.STFTSpectrogram(frame_length=64, frame_step=32),
    tolerance=2e-3,
)
for _mode in ("magnitude", "psd", "real", "imag", "angle", "stft"):
    CASES.layer(
        f"STFTSpectrogram {_mode}",
        (160, 1),
        lambda mode=_mode: layers.STFTSpectrogram(
            mode=mode, frame_length=32, frame_step=16, fft_length=48, padding="same"
        ),
        tolerance=1e-3,
    )
CASES.layer(
    "MelSpectrogram",
    (400,),
    lambda: layers.MelSpectrogram(fft_length=128, sequence_stride=64, num_mel_bins=16),
    tolerance=1e-3,
)
CASES.layer(
    "MelSpectrogram free",
    (None,),
    lambda: layers.MelSpectrogram(
        fft_length=64, sequence_stride=32, num_mel_bins=8, power_to_db=False
    ),
    free_sizes=(200, 331),
    tolerance=1e-3,
)
