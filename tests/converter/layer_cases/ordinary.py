"""Core, merging, reshaping, normalization, regularization and attention layers."""

from __future__ import annotations

import keras
from keras import layers, ops

from layer_cases.case import Registry

CASES = Registry()

CASES.layers_on(
    (6,),
    {
        "Dense": lambda: layers.Dense(5, activation="relu"),
        "Dense no bias": lambda: layers.Dense(5, use_bias=False),
        "Dense gelu": lambda: layers.Dense(5, activation="gelu"),
        "Identity": lambda: layers.Identity(),
        "ActivityRegularization": lambda: layers.ActivityRegularization(0.1),
        "Dropout": lambda: layers.Dropout(0.5),
        "AlphaDropout": lambda: layers.AlphaDropout(0.5),
        "GaussianDropout": lambda: layers.GaussianDropout(0.5),
        "GaussianNoise": lambda: layers.GaussianNoise(0.5),
        "RepeatVector": lambda: layers.RepeatVector(4),
        "BatchNormalization rank 2": lambda: layers.BatchNormalization(),
        "LayerNormalization rank 2": lambda: layers.LayerNormalization(),
        "RMSNormalization": lambda: layers.RMSNormalization(),
        "UnitNormalization": lambda: layers.UnitNormalization(),
        "Rescaling": lambda: layers.Rescaling(1 / 127.5, offset=-1.0),
        "Reshape": lambda: layers.Reshape((2, 3)),
        "SpectralNormalization of Dense": lambda: layers.SpectralNormalization(layers.Dense(4)),
    },
)
CASES.layers_on(
    (4, 5, 6),
    {
        "Dense rank 4": lambda: layers.Dense(5, activation="tanh"),
        "Flatten": lambda: layers.Flatten(),
        "Flatten channels_first": lambda: layers.Flatten(data_format="channels_first"),
        "Permute": lambda: layers.Permute((3, 1, 2)),
        "Reshape with free axis": lambda: layers.Reshape((-1, 6)),
        "BatchNormalization": lambda: layers.BatchNormalization(),
        "BatchNormalization no scale": lambda: layers.BatchNormalization(scale=False, center=False),
        "BatchNormalization axis 1": lambda: layers.BatchNormalization(axis=1),
        "LayerNormalization": lambda: layers.LayerNormalization(),
        "LayerNormalization axes": lambda: layers.LayerNormalization(axis=[1, 2]),
        "LayerNormalization no scale": lambda: layers.LayerNormalization(scale=False, center=False),
        "GroupNormalization": lambda: layers.GroupNormalization(groups=3),
        "GroupNormalization instance": lambda: layers.GroupNormalization(groups=-1),
        "UnitNormalization axes": lambda: layers.UnitNormalization(axis=(1, 2)),
        "RMSNormalization rank 4": lambda: layers.RMSNormalization(),
        "SpatialDropout2D": lambda: layers.SpatialDropout2D(0.4),
        "SpectralNormalization of Conv2D": lambda: layers.SpectralNormalization(
            layers.Conv2D(4, 3)
        ),
        "EinsumDense heads": lambda: layers.EinsumDense(
            "abcd,de->abce", output_shape=(None, None, 7), bias_axes="e"
        ),
    },
)
CASES.layers_on(
    (None, 6),
    {
        "Dense free length": lambda: layers.Dense(5),
        "EinsumDense": lambda: layers.EinsumDense(
            "abc,cd->abd", output_shape=(None, 5), bias_axes="d"
        ),
        "EinsumDense two axes out": lambda: layers.EinsumDense(
            "abc,cde->abde", output_shape=(None, 2, 3), bias_axes="de"
        ),
        "LayerNormalization free length": lambda: layers.LayerNormalization(),
        "BatchNormalization free length": lambda: layers.BatchNormalization(),
        "SpatialDropout1D": lambda: layers.SpatialDropout1D(0.4),
        "Reshape of a free length": lambda: layers.Reshape((-1, 3)),
        "Flatten rank 3": lambda: layers.Permute((2, 1)),
        "Masking": lambda: layers.Masking(),
    },
)
CASES.layer(
    "EinsumDense transposed",
    (4, 6),
    lambda: layers.EinsumDense("abc,bcd->ad", output_shape=(5,), bias_axes="d"),
)
CASES.layer("SpatialDropout3D", (3, 3, 3, 2), lambda: layers.SpatialDropout3D(0.4))
CASES.layer("GroupNormalization free", (None, None, 6), lambda: layers.GroupNormalization(groups=2))
CASES.layer("BatchNormalization fixed batch", (4, 6), lambda: layers.BatchNormalization(), batch=2)
CASES.layer("Embedding", (7,), lambda: layers.Embedding(20, 4), dtype="int32", values=("ids", 20))
CASES.layer(
    "Embedding free", (None,), lambda: layers.Embedding(20, 4), dtype="int64", values=("ids", 20)
)
CASES.layer("Embedding of floats", (7,), lambda: layers.Embedding(20, 4), values=("ids", 20))
CASES.layer(
    "ReversibleEmbedding",
    (7,),
    lambda: layers.ReversibleEmbedding(20, 4),
    dtype="int32",
    values=("ids", 20),
)


def _reversed_embedding():
    ids = keras.Input((None,), dtype="int32", name="ids")
    embedding = layers.ReversibleEmbedding(20, 4, tie_weights=False, logit_soft_cap=3.0)
    return keras.Model(ids, embedding(layers.Dense(4)(embedding(ids)), reverse=True))


CASES.model("ReversibleEmbedding reversed", _reversed_embedding, values=("ids", 20))


def _merge(kind: str, shapes=((4, 3), (4, 3)), **options):
    def build():
        inputs = [keras.Input(shape, name=f"x{i}") for i, shape in enumerate(shapes)]
        return keras.Model(inputs, getattr(layers, kind)(**options)(inputs))

    return build


for _kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"):
    CASES.model(f"{_kind}", _merge(_kind))
for _kind in ("Add", "Multiply", "Maximum"):
    CASES.model(f"{_kind} broadcast of three", _merge(_kind, ((4, 3), (1, 3), (4, 1))))
CASES.model("Concatenate axis 1", _merge("Concatenate", ((2, 3), (4, 3)), axis=1))
CASES.model("Concatenate free axis", _merge("Concatenate", ((None, 3), (None, 2))))
CASES.model("Dot", _merge("Dot", ((4,), (4,)), axes=1))
CASES.model("Dot normalized", _merge("Dot", ((4, 3), (5, 3)), axes=(2, 2), normalize=True))
CASES.model("Dot axes", _merge("Dot", ((4, 3), (5, 4)), axes=(1, 2)))


def _attention(build_layer, shapes=((None, 6), (None, 6)), **call):
    def build():
        inputs = [keras.Input(shape, name=name) for name, shape in zip("qvk", shapes, strict=False)]
        return keras.Model(inputs, build_layer()(inputs, **call))

    return build


CASES.model("Attention", _attention(lambda: layers.Attention()))
CASES.model(
    "Attention scaled concat",
    _attention(lambda: layers.Attention(use_scale=True, score_mode="concat")),
)
CASES.model("Attention causal", _attention(lambda: layers.Attention(), use_causal_mask=True))
CASES.model(
    "Attention scores", _attention(lambda: layers.Attention(), return_attention_scores=True)
)
CASES.model(
    "Attention fixed keys",
    _attention(lambda: layers.Attention(use_scale=True), ((4, 6), (5, 6), (5, 6))),
)
CASES.model("AdditiveAttention", _attention(lambda: layers.AdditiveAttention()))
CASES.model(
    "AdditiveAttention fixed",
    _attention(lambda: layers.AdditiveAttention(use_scale=False), ((4, 6), (5, 6))),
)


def _multi_head(build_layer, shapes=((None, 8), (None, 8)), **call):
    def build():
        inputs = [keras.Input(shape, name=name) for name, shape in zip("qvk", shapes, strict=False)]
        return keras.Model(inputs, build_layer()(*inputs, **call))

    return build


CASES.model("MultiHeadAttention", _multi_head(lambda: layers.MultiHeadAttention(2, 4)))
CASES.model(
    "MultiHeadAttention fixed",
    _multi_head(lambda: layers.MultiHeadAttention(2, 3, value_dim=5), ((5, 8), (6, 8))),
)
CASES.model(
    "MultiHeadAttention causal",
    _multi_head(lambda: layers.MultiHeadAttention(2, 4), use_causal_mask=True),
)
CASES.model(
    "MultiHeadAttention scores",
    _multi_head(
        lambda: layers.MultiHeadAttention(2, 4, output_shape=6), return_attention_scores=True
    ),
)
CASES.model(
    "MultiHeadAttention axes",
    _multi_head(
        lambda: layers.MultiHeadAttention(2, 4, attention_axes=(1, 2)), ((3, 4, 8), (3, 4, 8))
    ),
)
CASES.model(
    "GroupQueryAttention",
    _multi_head(lambda: layers.GroupQueryAttention(4, 4, 2), ((None, 8), (None, 8))),
)
CASES.model(
    "GroupQueryAttention causal",
    _multi_head(
        lambda: layers.GroupQueryAttention(4, 4, 2), ((5, 8), (5, 8)), use_causal_mask=True
    ),
)


def _masked_attention():
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(12, 8, mask_zero=True)(ids)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    return keras.Model(ids, layers.GlobalAveragePooling1D()(x))


def _explicit_mask_attention():
    x = keras.Input((5, 8), name="x")
    mask = keras.Input((5, 5), dtype="bool", name="mask")
    return keras.Model([x, mask], layers.MultiHeadAttention(2, 4)(x, x, attention_mask=mask))


CASES.model("MultiHeadAttention masked by Embedding", _masked_attention, values=("padded ids", 12))
CASES.model(
    "MultiHeadAttention attention_mask",
    _explicit_mask_attention,
    values={"x": "normal", "mask": "bool"},
)


def _einsum(equation, *shapes):
    def build():
        inputs = [keras.Input(shape, name=f"x{place}") for place, shape in enumerate(shapes)]
        return keras.Model(inputs, ops.einsum(equation, *inputs))

    return build


for _equation, *_shapes in (
    ("abc,adc->abd", (3, 4), (5, 4)),
    ("abc,abd->acd", (None, 4), (None, 5)),
    ("abcd,aecd->aebd", (3, None, 4), (5, None, 4)),
    ("abcd,abed->acbe", (None, 2, 4), (None, 3, 4)),
    ("abcd,aed->aebc", (None, None, 4), (None, 4)),
    ("ab,ab->a", (4,), (4,)),
    ("ab,ac->abc", (4,), (5,)),
    ("abcd,adcef->aefb", (3, None, 2), (2, None, 2, 3)),
    ("abcdef,aghief->abcdghi", (2, 3, 1, 2, 4), (3, 1, 2, 2, 4)),
    ("abcd->adbc", (3, None, 2)),
    ("abcd->ac", (3, None, 2)),
    ("...ab,...bc->...ac", (1, None, 3), (4, 3, 2)),
    ("a...b,acb->ac...", (3, None, 4), (5, 4)),
    ("abb->ab", (3, 3)),
    ("abc,acd,ade->aeb", (3, 4), (4, 5), (5, 2)),
):
    CASES.model(f"keras.ops.einsum {_equation}", _einsum(_equation, *_shapes))
