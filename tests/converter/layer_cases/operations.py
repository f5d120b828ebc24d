"""keras.ops between layers, as users write them into functional models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from layer_cases.case import Registry

CASES = Registry()


def _weights(*shape: int) -> np.ndarray:
    """Return a constant as after a training: no two values are equal, so that their order shows."""
    return np.random.default_rng(len(shape)).normal(0.0, 0.6, shape).astype(np.float32)


def _add(
    name: str,
    compute: Callable[..., Any],
    *shapes: Sequence[int | None],
    dtype: str = "float32",
    **options: Any,
) -> None:
    """Add a case of a function of inputs of these shapes."""

    def build() -> Any:
        inputs = [keras.Input(tuple(s), name=f"x{n}", dtype=dtype) for n, s in enumerate(shapes)]
        return keras.Model(inputs, compute(*inputs))

    CASES.model(f"keras.ops {name}", build, **options)


# One input of sequences (N, 6) or (N, T, 4).
for _name, _compute in {
    "where": lambda x: ops.where(x > 0, x, -2.0 * x),
    "sort": lambda x: ops.sort(x, axis=-1),
    "argsort": lambda x: ops.argsort(x, axis=-1),
    "cumsum": lambda x: ops.cumsum(x, axis=1),
    "cumprod": lambda x: ops.cumprod(x, axis=1),
    "logsumexp": lambda x: ops.logsumexp(x, axis=-1),
    "norm": lambda x: ops.norm(x, axis=-1),
    "norm 1": lambda x: ops.norm(x, ord=1, axis=-1),
    "softplus": ops.softplus,
    "normalize": lambda x: ops.normalize(x, axis=-1),
    "rsqrt": lambda x: ops.rsqrt(ops.abs(x) + 0.1),
    "expm1 log1p": lambda x: ops.log1p(ops.abs(ops.expm1(x / 4.0))),
    "floor ceil round": lambda x: ops.stack([ops.floor(x), ops.ceil(x), ops.round(x)], axis=-1),
    "sign": ops.sign,
    "mod": lambda x: ops.mod(x, 0.7),
    "floor_divide": lambda x: ops.floor_divide(x, 0.7),
    "arctan2": lambda x: ops.arctan2(x, x[:, ::-1]),
    "trigonometric": lambda x: ops.sin(x) + ops.cos(x) * ops.tan(x / 4.0),
    "inverse trigonometric": lambda x: ops.arcsin(ops.tanh(x)) + ops.arccos(ops.tanh(x)),
    "hyperbolic": lambda x: ops.sinh(x / 2.0) + ops.arcsinh(x) + ops.cosh(x / 2.0),
    "erf": ops.erf,
    "logical": lambda x: ops.cast(ops.logical_and(x > 0, ops.logical_not(x > 1)), "float32"),
    "logical_xor": lambda x: ops.cast(ops.logical_xor(x > 0, x > 1), "float32"),
    "isfinite": lambda x: ops.cast(ops.isfinite(ops.log(x)), "float32"),
    "isnan isinf": lambda x: (
        ops.cast(ops.isnan(ops.log(x)), "int32") + ops.cast(ops.isinf(1.0 / ops.relu(x)), "int32")
    ),
    "nan_to_num": lambda x: ops.nan_to_num(ops.log(x), nan=-7.0),
    "any all": lambda x: (
        ops.cast(ops.any(x > 1, axis=-1), "int32") + ops.cast(ops.all(x > -3, axis=-1), "int32")
    ),
    "max min": lambda x: ops.max(x, axis=-1) - ops.min(x, axis=-1),
    "var std": lambda x: ops.var(x, axis=-1, keepdims=True) + ops.std(x, axis=-1, keepdims=True),
    "moments": lambda x: list(ops.moments(x, axes=[1])),
    "median": lambda x: ops.median(x, axis=-1),
    "quantile": lambda x: ops.quantile(x, 0.3, axis=-1),
    "average": lambda x: ops.average(x, axis=-1, weights=np.arange(1.0, 7.0, dtype="float32")),
    "prod": lambda x: ops.prod(x, axis=-1),
    "count_nonzero": lambda x: ops.count_nonzero(ops.relu(x), axis=-1),
    "argmax": lambda x: ops.argmax(x, axis=-1),
    "argmin": lambda x: ops.argmin(x, axis=-1),
    "clip": lambda x: ops.clip(x, -0.5, 0.25),
    "one_hot": lambda x: ops.one_hot(ops.cast(ops.abs(x), "int32"), 4),
    "one_hot first axis": lambda x: ops.transpose(
        ops.one_hot(ops.cast(ops.abs(x), "int32"), 4, axis=0), (1, 0, 2)
    ),
    "one_hot middle axis": lambda x: ops.one_hot(
        ops.cast(ops.abs(ops.reshape(x, (-1, 2, 3))), "int32"), 4, axis=1
    ),
    "multi_hot": lambda x: ops.multi_hot(ops.cast(ops.abs(x), "int32"), 5),
    "top_k": lambda x: list(ops.top_k(x, 3)),
    "flip": lambda x: ops.flip(x, axis=1),
    "roll": lambda x: ops.roll(x, 2, axis=1),
    "repeat": lambda x: ops.repeat(x, 3, axis=1),
    "tile": lambda x: ops.tile(x, (1, 2)),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 2))),
    "pad reflect": lambda x: ops.pad(x, ((0, 0), (1, 2)), mode="reflect"),
    "pad symmetric": lambda x: ops.pad(x, ((0, 0), (1, 2)), mode="symmetric"),
    "diff": lambda x: ops.diff(x, axis=1),
    "outer": lambda x: ops.reshape(x, (-1, 6, 1)) * ops.reshape(x, (-1, 1, 6)),
    "diag": lambda x: ops.expand_dims(x, 1) * ops.eye(6),
    "tril": lambda x: ops.tril(ops.expand_dims(x, 1) * ops.ones((6, 6))),
    "triu": lambda x: ops.triu(ops.expand_dims(x, 1) * ops.ones((6, 6)), 1),
    "meshgrid": lambda x: x + ops.meshgrid(ops.arange(6.0), ops.arange(1.0))[0],
    "digitize": lambda x: ops.digitize(x, np.array([-1.0, 0.0, 1.0], "float32")),
    "searchsorted": lambda x: ops.searchsorted(ops.convert_to_tensor([-1.0, 0.0, 2.0]), x[0]),
    "take": lambda x: ops.take(x, [4, 0, 0, 2], axis=1),
    "take_along_axis": lambda x: ops.take_along_axis(x, ops.argsort(x, axis=-1), axis=-1),
    "split": lambda x: ops.split(x, [1, 3], axis=1),
    "unstack": lambda x: ops.unstack(ops.reshape(x, (-1, 2, 3)), axis=1),
    "reshape free": lambda x: ops.reshape(x, (-1, 3)),
    "slice_update": lambda x: ops.slice_update(x, (0, 2), x[:, :3] * 2.0),
    "slice_update beyond the end": lambda x: ops.slice_update(x, (0, 5), x[:, :3] * 2.0),
    "slice": lambda x: ops.slice(ops.reshape(x, (-1, 6)), (0, 1), (1, 3)),
    "fori_loop": lambda x: ops.fori_loop(0, 4, lambda i, v: v * 0.5 + ops.cast(i, "float32"), x),
    "while_loop": lambda x: ops.while_loop(
        lambda v: ops.max(v) < 100.0, lambda v: (v * 1.5 + 1.0,), (x,)
    )[0],
    "associative_scan": lambda x: ops.associative_scan(lambda a, b: a * 0.5 + b, x, axis=1),
    "map": lambda x: ops.map(lambda row: row / (1.0 + ops.sum(ops.abs(row))), x),
    "vectorized_map": lambda x: ops.vectorized_map(lambda row: row * ops.max(row), x),
    "stop_gradient": lambda x: ops.stop_gradient(x) * 2.0,
    "cross": lambda x: ops.cross(x[:, :3], x[:, 3:]),
    "dot": lambda x: ops.dot(x, _weights(6, 2)),
    "tensordot": lambda x: ops.tensordot(x, _weights(6, 2, 3), axes=1),
    "binary_crossentropy": lambda x: ops.binary_crossentropy(ops.ones_like(x), ops.sigmoid(x)),
    "categorical_crossentropy": lambda x: ops.categorical_crossentropy(
        ops.softmax(x), ops.softmax(2.0 * x)
    ),
    "log_softmax": lambda x: ops.log_softmax(x),
    "sparsemax": ops.sparsemax,
    "threshold": lambda x: ops.threshold(x, 0.5, -1.0),
    "glu": lambda x: ops.glu(x),
    "hard_shrink": lambda x: ops.hard_shrink(x) + ops.soft_shrink(x) + ops.tanh_shrink(x),
    "squareplus": ops.squareplus,
    "segment_sum": lambda x: ops.transpose(
        ops.segment_sum(ops.transpose(x), np.array([0, 0, 1, 1, 1, 3], "int32"), num_segments=4)
    ),
    "segment_max": lambda x: ops.transpose(
        ops.segment_max(ops.transpose(x), np.array([0, 0, 1, 1, 2, 2], "int32"), num_segments=3)
    ),
    "hypot": lambda x: ops.hypot(x, ops.ones_like(x)),
    "bincount": lambda x: ops.bincount(ops.cast(ops.abs(x), "int32"), minlength=8),
    "cast int": lambda x: ops.cast(x, "int8"),
    "saturate_cast": lambda x: ops.saturate_cast(x * 200.0, "uint8"),
    "cast by way of an integer": lambda x: ops.cast(
        ops.cast(ops.cast(x, "int32"), "bool"), "int32"
    ),
    "dtype float64": lambda x: ops.cast(x, "float64") / 3.0,
    "logaddexp": lambda x: ops.logaddexp(x, 1.0 - x),
}.items():
    _add(_name, _compute, (6,))

for _name, _compute in {
    "matmul": lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
    "mean free": lambda x: ops.mean(x, axis=1),
    "last step": lambda x: x[:, -1],
    "every second step": lambda x: x[:, ::2, 1:3],
    "flip free": lambda x: ops.flip(x, axis=1),
    "concatenate ones": lambda x: ops.concatenate([ops.ones_like(x[:, :1]), x], axis=1),
    "moveaxis": lambda x: ops.moveaxis(x, 1, 2),
    "swapaxes": lambda x: ops.swapaxes(x, 1, 2),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(x, 1), 1),
    "cumsum free": lambda x: ops.cumsum(x, axis=1),
    "sort free": lambda x: ops.sort(x, axis=1),
    "top_k free": lambda x: list(ops.top_k(ops.transpose(x, (0, 2, 1)), 3)),
    "dot_product_attention": lambda x: ops.dot_product_attention(*[ops.expand_dims(x, 2)] * 3),
    "max_pool": lambda x: ops.max_pool(x, 2, padding="same"),
    "conv": lambda x: ops.conv(x, _weights(3, 4, 2), padding="same"),
}.items():
    _add(_name, _compute, (None, 4))

for _name, _compute in {
    "extract_sequences": lambda x: ops.extract_sequences(x, 8, 4),
    "fft": lambda x: ops.fft((x, ops.zeros_like(x)))[0],
    "rfft": lambda x: list(ops.rfft(x)),
    "irfft": lambda x: ops.irfft(ops.rfft(x)),
    "stft": lambda x: list(ops.stft(x, 8, 4, 8)),
    "istft": lambda x: ops.istft(ops.stft(x, 8, 4, 8), 8, 4, 8),
}.items():
    _add(_name, _compute, (32,))

for _name, _compute in {
    "image.resize": lambda x: ops.image.resize(x, (5, 12)),
    "image.resize nearest": lambda x: ops.image.resize(x, (5, 12), interpolation="nearest"),
    "image.resize bicubic": lambda x: ops.image.resize(x, (5, 12), interpolation="bicubic"),
    "image.rgb_to_grayscale": ops.image.rgb_to_grayscale,
    "image.crop_images": lambda x: ops.image.crop_images(x, 1, 2, target_height=5, target_width=6),
    "image.pad_images": lambda x: ops.image.pad_images(x, 1, 2, target_height=12, target_width=14),
    "image.extract_patches": lambda x: ops.image.extract_patches(x, (3, 3), strides=(2, 2)),
    "image.gaussian_blur": lambda x: ops.image.gaussian_blur(x),
    "depth to space": lambda x: ops.reshape(
        ops.transpose(ops.reshape(x, (-1, 8, 10, 3, 1)), (0, 1, 4, 2, 3)), (-1, 8, 30)
    ),
    "average_pool": lambda x: ops.average_pool(x, 3, strides=2, padding="same"),
    "depthwise_conv": lambda x: ops.depthwise_conv(x, _weights(3, 3, 3, 1)),
    "separable_conv": lambda x: ops.separable_conv(x, _weights(3, 3, 3, 1), _weights(1, 1, 3, 2)),
    "batch_normalization": lambda x: ops.batch_normalization(
        x, _weights(3), np.exp(_weights(3)), axis=-1, offset=_weights(3)[::-1], scale=_weights(3)
    ),
    "rms_normalization": lambda x: ops.rms_normalization(x, scale=_weights(3)),
    "layer_normalization": lambda x: ops.layer_normalization(
        x, gamma=_weights(3), beta=_weights(3)[::-1]
    ),
    "rms_normalization without scale": lambda x: ops.rms_normalization(x),
    "layer_normalization without gamma": lambda x: ops.layer_normalization(x),
}.items():
    _add(_name, _compute, (8, 10, 3))

for _name, _compute in {
    "det": ops.det,
    "trace": lambda x: ops.trace(x, axis1=1, axis2=2),
    "diagonal": lambda x: ops.diagonal(x, axis1=1, axis2=2),
}.items():
    _add(_name, _compute, (3, 3))

_add(
    "two inputs", lambda a, b: ops.maximum(a, b) - ops.minimum(a, b) * ops.power(2.0, b), (4,), (4,)
)
_add(
    "gather rows",
    lambda a, b: ops.take_along_axis(a, ops.cast(ops.abs(b), "int32") % 4, axis=1),
    (4,),
    (3,),
)


def _with_zeros(shape: Sequence[int], generator: np.random.Generator) -> np.ndarray:
    """Return normal values of which every third one is exactly 0."""
    values = generator.normal(0.0, 1.5, shape)
    values.reshape(-1)[::3] = 0.0
    return values


# What where does not choose may be infinite or no number, and must leave no trace.
for _name, _compute in {
    "safe log": lambda x: ops.where(x > 0, ops.log(x), -1.0),
    "safe division": lambda x: ops.where(x == 0, 0.5, 2.0 / x),
    "sinc": ops.sinc,
    "nan_to_num at infinities": lambda x: ops.nan_to_num((x + 0.5) / x, nan=5, posinf=9, neginf=-8),
    "nan_to_num largest": lambda x: ops.nan_to_num((x + 0.5) / x) * 1e-36,
    "where of free sizes": lambda x: ops.where(x[:, :1] > 0, ops.sqrt(x[:, :1]), x),
}.items():
    _add(_name, _compute, (None, 4), values=_with_zeros)
_add("integers", lambda x: (x * 3 - 7) // 2 % 5, (4,), dtype="int32", values=("ids", 50))


def _large_integers(shape: Sequence[int], generator: np.random.Generator) -> np.ndarray:
    """Return integers that float32 does not tell apart, of both signs."""
    return (2**24 + generator.permutation(int(np.prod(shape))).reshape(shape)) * (
        1 - 2 * generator.integers(0, 2, shape)
    )


for _dtype in ("int32", "int64", "float64"):
    _add(
        f"top_k and sort of large numbers in {_dtype}",
        lambda x: [*ops.top_k(x, 3), ops.sort(x, axis=1), ops.argsort(x, axis=1)],
        (6,),
        dtype=_dtype,
        values=_large_integers,
    )
for _dtype in ("bool", "int8", "int16", "uint16"):
    _add(
        f"where of {_dtype}",
        lambda x: ops.where(ops.cast(x[:, :1], "int32") > 0, x, x[:, ::-1]),
        (6,),
        dtype=_dtype,
        values=("ids", 3),
    )
_add(
    "one_hot of bool and int8",
    lambda x: [ops.one_hot(x, 5, dtype="bool"), ops.one_hot(x, 5, dtype="int8")],
    (4,),
    dtype="int32",
    values=("ids", 6),
)
_add("int64", lambda x: ops.sum(x, axis=-1), (4,), dtype="int64", values=("ids", 50))
_add("int8", lambda x: x + x, (4,), dtype="int8", values=("ids", 50))
_add("uint8", lambda x: ops.cast(x, "float32") / 255.0, (4,), dtype="uint8", values=("ids", 250))
_add("bool", lambda x: ops.cast(ops.logical_not(x), "int32"), (4,), dtype="bool", values="bool")
_add("float16 input", lambda x: x * 2.0, (4,), dtype="float16")
_add("float64 input", lambda x: x / 3.0, (4,), dtype="float64")

# What ONNX has no operators for: each is refused by name.
for _name, _compute, _shape, _sentence in (
    ("erfinv", lambda x: ops.erfinv(ops.tanh(x) * 0.9), (6,), "Erfinv"),
    ("in_top_k", lambda x: ops.in_top_k(ops.argmax(x, axis=-1), x, 2), (6,), "InTopKV2"),
    (
        "bitwise_and",
        lambda x: ops.bitwise_and(ops.cast(x, "int32"), np.array([5], "int32")),
        (6,),
        "BitwiseAnd; not in opset 17",
    ),
    (
        "cholesky",
        lambda x: ops.cholesky(x @ ops.transpose(x, (0, 2, 1)) + 9.0 * ops.eye(3)),
        (3, 3),
        "Cholesky",
    ),
    ("inv", lambda x: ops.inv(x + 9.0 * ops.eye(3)), (3, 3), "MatrixInverse"),
    ("solve", lambda x: ops.solve(x + 9.0 * ops.eye(3), ops.ones_like(x)), (3, 3), "MatrixSolve"),
    ("qr", lambda x: ops.qr(x)[1], (3, 3), "Qr"),
    ("svd", lambda x: ops.svd(x, compute_uv=False), (3, 3), "Svd"),
    ("image.rgb_to_hsv", lambda x: ops.image.rgb_to_hsv(ops.sigmoid(x)), (8, 10, 3), "RGBToHSV"),
    (
        "image.affine_transform",
        lambda x: ops.image.affine_transform(
            x, np.array([1.0, 0.2, -1.0, 0.1, 0.9, 0.5, 0.0, 0.0], "float32")
        ),
        (8, 10, 3),
        "ImageProjectiveTransform",
    ),
):
    _add(_name, _compute, _shape, refused=_sentence)
