"""tf.signal and complex numbers, as users' own front ends for sound and vibration call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import layers

from layer_cases.case import Registry

CASES = Registry()


class FrontEnd(layers.Layer):
    """A user's layer that calls TensorFlow."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)

    def compute_output_shape(self, input_shape):
        signature = tf.TensorSpec(input_shape, tf.float32)
        return tf.function(self.function).get_concrete_function(signature).outputs[0].shape


def _stft(x):
    return tf.signal.stft(x, 32, 16)


def _power(x):
    spectrum = _stft(x)
    return tf.math.real(spectrum * tf.math.conj(spectrum))


def _autocorrelation(x):
    return tf.signal.irfft(tf.cast(tf.abs(tf.signal.rfft(x)) ** 2, tf.complex64))


def _mfcc(x):
    return tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(tf.abs(x) + 1e-3))[..., :13]


def _envelope(x):
    gain = tf.constant([1] + [2] * 7 + [1] + [0] * 7, tf.complex64)
    return tf.abs(tf.signal.ifft(tf.signal.fft(tf.cast(x, tf.complex64)) * gain))


def _weighted(x):
    rows = tf.unstack(tf.complex(x, 2.0 * x), axis=1)
    return tf.math.real(tf.stack(rows[::-1], axis=1) * tf.complex(0.5, 1.0))


def _square_root(x):
    whole = tf.concat([tf.complex(x, -x), tf.complex(x, tf.zeros_like(x))], axis=-1)
    root = tf.sqrt(whole)
    return tf.concat([tf.math.real(root), tf.math.imag(root)], axis=-1)


def _product(x):
    left, right = tf.complex(x, 2.0 * x), tf.complex(x, 1.0 - x)
    return tf.math.imag(tf.matmul(left, right, adjoint_b=True))


for _name, _shape, _function in (
    ("dct 1", (10,), lambda x: tf.signal.dct(x, type=1)),
    ("dct 2 ortho", (10, 40), lambda x: tf.signal.dct(x, type=2, norm="ortho")[..., :13]),
    ("dct 3", (10,), lambda x: tf.signal.dct(x, type=3, norm="ortho")),
    ("dct 4", (10,), lambda x: tf.signal.dct(x, type=4)),
    ("idct", (3, 10), lambda x: tf.signal.idct(x)),
    ("mdct", (64,), lambda x: tf.signal.mdct(x, 16)),
    ("inverse_mdct", (5, 8), lambda x: tf.signal.inverse_mdct(x)),
    ("mfcc", (20, 40), _mfcc),
    ("inverse_stft", (160,), lambda x: tf.signal.inverse_stft(_stft(x) * 0.5, 32, 16)),
    ("power", (160,), _power),
    ("autocorrelation", (64,), _autocorrelation),
    ("envelope", (16,), _envelope),
    ("phase", (64,), lambda x: tf.math.angle(tf.signal.rfft(x)[:, 1:-1])),
    ("fft2d", (8, 6), lambda x: tf.abs(tf.signal.fft2d(tf.cast(x, tf.complex64)))),
    ("ifft2d", (8, 6), lambda x: tf.math.imag(tf.signal.ifft2d(tf.complex(x, 2.0 * x)))),
    ("rfft2d", (3, 8, 6), lambda x: tf.abs(tf.signal.rfft2d(x))),
    ("irfft2d", (8, 6), lambda x: tf.signal.irfft2d(tf.signal.rfft2d(x) * 2.0)),
    ("quotient", (6,), lambda x: tf.math.real(tf.exp(tf.complex(x, x)) / tf.complex(x, 1.0 + x))),
    ("mean of phasors", (6, 4), lambda x: tf.abs(tf.reduce_mean(tf.exp(tf.complex(0.0, x)), 1))),
    ("norm", (8,), lambda x: tf.math.real(tf.norm(tf.complex(x, 2.0 * x), axis=-1))),
    ("square root", (8,), _square_root),
    ("rows", (4, 6), _weighted),
    ("matrices", (4, 4), _product),
):
    CASES.layer(f"signal {_name}", _shape, lambda function=_function: FrontEnd(function))
CASES.layer("signal power free", (None,), lambda: FrontEnd(_power), free_sizes=(50, 83))
CASES.layer(
    "signal complex output",
    (8,),
    lambda: FrontEnd(lambda x: tf.norm(tf.complex(x, 2.0 * x), axis=-1)),
    refused="FrontEnd.*complex numbers",
)
