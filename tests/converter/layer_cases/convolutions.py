"""Convolutions of every kind, pooling, padding, cropping, resampling."""

from __future__ import annotations

from functools import partial

from keras import layers

from layer_cases.case import IS_KERAS_3_12, NOT_IN_KERAS_3_12, Registry

CASES = Registry()
_ADAPTIVE = () if IS_KERAS_3_12 else ("AdaptiveMaxPooling", "AdaptiveAveragePooling")
_SHAPES = {1: (11, 4), 2: (9, 8, 4), 3: (6, 5, 7, 4)}
_FREE = {1: (None, 4), 2: (None, None, 4), 3: (None, None, None, 4)}

for _rank, _shape in _SHAPES.items():
    _conv = getattr(layers, f"Conv{_rank}D")
    _transposed = getattr(layers, f"Conv{_rank}DTranspose")
    _free = _FREE[_rank]
    CASES.layers_on(
        _shape,
        {
            f"Conv{_rank}D": partial(_conv, 5, 3),
            f"Conv{_rank}D same": partial(_conv, 5, 3, padding="same", activation="relu"),
            f"Conv{_rank}D even kernel same strides": partial(
                _conv, 5, 4, strides=2, padding="same"
            ),
            f"Conv{_rank}D dilated": partial(_conv, 5, 2, dilation_rate=2, padding="same"),
            f"Conv{_rank}D dilated valid": partial(_conv, 5, 2, dilation_rate=3),
            f"Conv{_rank}D groups": partial(_conv, 6, 3, groups=2, padding="same"),
            f"Conv{_rank}D groups strides": partial(
                _conv, 8, 2, groups=4, strides=2, use_bias=False
            ),
            f"Conv{_rank}D groups dilated": partial(
                _conv, 6, 2, groups=2, dilation_rate=2, padding="same"
            ),
            f"Conv{_rank}D no bias": partial(_conv, 3, 1, use_bias=False),
            f"Conv{_rank}DTranspose": partial(_transposed, 5, 3),
            f"Conv{_rank}DTranspose same strides": partial(
                _transposed, 5, 3, strides=2, padding="same"
            ),
            f"Conv{_rank}DTranspose even kernel same": partial(
                _transposed, 5, 4, strides=2, padding="same", activation="relu"
            ),
            f"Conv{_rank}DTranspose kernel below stride": partial(
                _transposed, 3, 2, strides=3, padding="valid"
            ),
            f"Conv{_rank}DTranspose output_padding": partial(
                _transposed, 3, 3, strides=2, padding="same", output_padding=0
            ),
            f"Conv{_rank}DTranspose no strides same": partial(
                _transposed, 3, 4, padding="same", use_bias=False
            ),
        },
    )
    CASES.layers_on(
        _free,
        {
            f"Conv{_rank}D free": partial(_conv, 5, 3),
            f"Conv{_rank}D free same strides": partial(_conv, 5, 3, strides=2, padding="same"),
            f"Conv{_rank}D free dilated": partial(_conv, 5, 2, dilation_rate=2, padding="same"),
            f"Conv{_rank}D free groups": partial(_conv, 6, 3, groups=2, strides=2, padding="same"),
            f"Conv{_rank}DTranspose free": partial(_transposed, 5, 3, strides=2),
            f"Conv{_rank}DTranspose free same": partial(
                _transposed, 5, 3, strides=2, padding="same"
            ),
            f"Conv{_rank}DTranspose free same even": partial(
                _transposed, 5, 4, strides=3, padding="same"
            ),
        },
        free_sizes=(5, 8),
    )
    for _kind in ("MaxPooling", "AveragePooling"):
        _pool = getattr(layers, f"{_kind}{_rank}D")
        CASES.layers_on(
            _shape,
            {
                f"{_kind}{_rank}D": partial(_pool, 2),
                f"{_kind}{_rank}D same": partial(_pool, 3, strides=2, padding="same"),
                f"{_kind}{_rank}D overlapping": partial(_pool, 3, strides=1),
            },
        )
        CASES.layer(
            f"{_kind}{_rank}D free same",
            _free,
            partial(_pool, 2, padding="same"),
            free_sizes=(5, 8),
        )
        _global = getattr(layers, f"Global{_kind}{_rank}D")
        CASES.layer(f"Global{_kind}{_rank}D", _shape, _global)
        CASES.layer(f"Global{_kind}{_rank}D free keepdims", _free, partial(_global, keepdims=True))
    for _kind in _ADAPTIVE:
        _pool = getattr(layers, f"{_kind}{_rank}D")
        CASES.layer(f"{_kind}{_rank}D", _shape, partial(_pool, 3))
    CASES.layer(
        f"ZeroPadding{_rank}D", _shape, lambda r=_rank: getattr(layers, f"ZeroPadding{r}D")(2)
    )
    CASES.layer(f"Cropping{_rank}D", _shape, lambda r=_rank: getattr(layers, f"Cropping{r}D")(1))
    CASES.layer(
        f"UpSampling{_rank}D", _shape, lambda r=_rank: getattr(layers, f"UpSampling{r}D")(2)
    )
    CASES.layer(
        f"UpSampling{_rank}D free",
        _free,
        lambda r=_rank: getattr(layers, f"UpSampling{r}D")(3),
        free_sizes=(3, 4),
    )

CASES.layer("Conv1D causal", (11, 3), lambda: layers.Conv1D(4, 3, padding="causal"))
CASES.layer(
    "Conv1D causal dilated free",
    (None, 3),
    lambda: layers.Conv1D(4, 3, padding="causal", dilation_rate=4),
)
CASES.layer(
    "Conv2D rectangular",
    (9, 10, 3),
    lambda: layers.Conv2D(4, (2, 5), strides=(3, 1), padding="same"),
)
CASES.layer(
    "Conv2D dilated rectangular",
    (12, 10, 3),
    lambda: layers.Conv2D(4, (2, 3), dilation_rate=(3, 2), padding="valid"),
)
CASES.layer(
    "Conv2D height free only", (None, 10, 3), lambda: layers.Conv2D(4, 3, strides=2, padding="same")
)
CASES.layer(
    "Conv2D channels_first",
    (3, 9, 10),
    lambda: layers.Conv2D(4, 3, data_format="channels_first", padding="same"),
    refused="channels_first",
)
CASES.layer(
    "Conv2D rank 5 batch of frames",
    (3, 9, 10, 3),
    lambda: layers.TimeDistributed(layers.Conv2D(4, 3)),
)
CASES.layer(
    "Conv2DTranspose dilated",
    (6, 5, 3),
    lambda: layers.Conv2DTranspose(4, 3, dilation_rate=2, padding="same"),
    refused="dilation_rate",
)
CASES.layer(
    "Conv2DTranspose output_padding 1",
    (6, 5, 3),
    lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same", output_padding=1),
)
CASES.layer(
    "Conv2DTranspose rectangular free",
    (None, None, 3),
    lambda: layers.Conv2DTranspose(4, (3, 4), strides=(1, 2), padding="same"),
)
CASES.layer(
    "Conv2DTranspose channels_first",
    (3, 6, 5),
    lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same", data_format="channels_first"),
    refused="channels_first",
)
CASES.layers_on(
    (10, 4),
    {
        "DepthwiseConv1D": lambda: layers.DepthwiseConv1D(3),
        "DepthwiseConv1D multiplier same": lambda: layers.DepthwiseConv1D(
            4, strides=2, depth_multiplier=2, padding="same"
        ),
        "DepthwiseConv1D dilated": lambda: layers.DepthwiseConv1D(3, dilation_rate=2),
        "SeparableConv1D": lambda: layers.SeparableConv1D(5, 3, padding="same"),
        "SeparableConv1D strides": lambda: layers.SeparableConv1D(5, 3, strides=2),
    },
)
CASES.layers_on(
    (9, 10, 4),
    {
        "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3),
        "DepthwiseConv2D multiplier same": lambda: layers.DepthwiseConv2D(
            3, strides=2, depth_multiplier=3, padding="same"
        ),
        "DepthwiseConv2D dilated": lambda: layers.DepthwiseConv2D(
            3, dilation_rate=2, padding="same"
        ),
        "SeparableConv2D": lambda: layers.SeparableConv2D(5, 3, padding="same"),
        "SeparableConv2D strides multiplier": lambda: layers.SeparableConv2D(
            5, 3, strides=2, depth_multiplier=2
        ),
        "SeparableConv2D dilated": lambda: layers.SeparableConv2D(5, 3, dilation_rate=2),
        "ZeroPadding2D asymmetric": lambda: layers.ZeroPadding2D(((1, 2), (0, 3))),
        "Cropping2D asymmetric": lambda: layers.Cropping2D(((1, 2), (0, 3))),
        "UpSampling2D rectangular": lambda: layers.UpSampling2D((2, 3)),
        "UpSampling2D bilinear": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
        "UpSampling2D bicubic": lambda: layers.UpSampling2D(2, interpolation="bicubic"),
        "UpSampling2D lanczos3": lambda: layers.UpSampling2D(2, interpolation="lanczos3"),
        "UpSampling2D lanczos5": lambda: layers.UpSampling2D(2, interpolation="lanczos5"),
        "MaxPooling2D channels_first": lambda: layers.MaxPooling2D(2, data_format="channels_first"),
        "GlobalAveragePooling2D channels_first": lambda: layers.GlobalAveragePooling2D(
            data_format="channels_first"
        ),
    },
)
CASES.layer(
    "DepthwiseConv2D strides dilated",
    (9, 10, 4),
    lambda: layers.DepthwiseConv2D(3, strides=2, dilation_rate=2, padding="same"),
    tags=NOT_IN_KERAS_3_12,
)
for _kind in _ADAPTIVE:
    CASES.layer(
        f"{_kind}2D rectangular",
        (9, 10, 4),
        lambda kind=_kind: getattr(layers, f"{kind}2D")((2, 5)),
    )
CASES.layer(
    "DepthwiseConv2D rectangular strides",
    (9, 10, 4),
    lambda: layers.DepthwiseConv2D(3, strides=(1, 2), padding="same"),
    refused="strides",
)
CASES.layers_on(
    (None, None, 4),
    {
        "DepthwiseConv2D free same": lambda: layers.DepthwiseConv2D(3, strides=2, padding="same"),
        "SeparableConv2D free": lambda: layers.SeparableConv2D(5, 3, padding="same"),
        "UpSampling2D bilinear free": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
        "ZeroPadding2D free": lambda: layers.ZeroPadding2D(1),
        "Cropping2D free": lambda: layers.Cropping2D(1),
    },
)
