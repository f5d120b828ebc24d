"""Which pixels make up a new one, and with which weights, as each library does it.

Every resize here works on rows and columns apart. Along one axis, new pixel i is the sum of
``weight[i, t] * pixel[index[i, t]]``. The formulas keep each library's number formats and order of
operations: a filter that jumps, or a position that falls on a pixel's border, would else choose
another pixel. ``resizing`` turns taps into nodes.

Sources: Pillow's ``Resample.c`` and ``Geometry.c``; TensorFlow's ``image_resizer_state.h``,
``resize_bilinear_op.cc``, ``resize_bicubic_op.cc``, ``resize_area_op.cc``,
``scale_and_translate_op.cc`` and ``sampling_kernels.h``; OpenCV's ``resize.cpp``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgeport.artifact.golden import Array
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.spans import Span
from edgeport_converter.sensors.values import (
    F32,
    F64,
    I64,
    Value,
    absolute,
    cast,
    ceil,
    count_to,
    exponential,
    floor,
    join,
    maximum,
    minimum,
    reciprocal,
    reshape,
    round_half_even,
    row_sums,
    running_sums,
    sine,
    take,
    where,
)

FIXED_POINT = 2048
"""OpenCV's integer weights are rounded to this part of one (INTER_RESIZE_COEF_SCALE)."""

_PILLOW_FIXED_POINT = float(2**22)  # PRECISION_BITS = 32 - 8 - 2


@dataclass(frozen=True, slots=True)
class Taps:
    """The pixels of one axis and their weights.

    Attributes:
        index: (new, taps) into the frame's side, int64, never falling from row to row.
        weight: (new, taps), float32; rows of OpenCV's ``linear`` add up to ``FIXED_POINT``, all
            others to one.
    """

    index: Value
    weight: Value


def find_taps(frames: Frames, span: Span, places: Array) -> Taps:
    """Return the taps of some new pixels.

    Args:
        frames: with any resize but nearest, whose one tap is ``find_nearest``'s.
        span: the axis.
        places: of the new pixels in the model's input, rising.
    """
    index = _inside(span, places)
    if frames.library == "pillow":
        return _pillow(span, index, *_PILLOW[frames.kind])
    if frames.library == "opencv":
        return _OPENCV[frames.kind](span, index)
    if frames.kind in _KERAS and not frames.antialias:
        return _KERAS[frames.kind](span, index)
    kernel, radius = _KERNELS[frames.kind]
    return _scale_and_translate(span, index, kernel, radius, frames.antialias)


def find_nearest(frames: Frames, span: Span, places: Array) -> Value:
    """Return the one pixel (new,) that each new pixel repeats."""
    index = reshape(_inside(span, places), [len(places)])
    if frames.library == "pillow":
        # ImagingScaleAffine adds the scale up in double, one new pixel after the other.
        first = cast(span.first, F32)
        scale = cast(cast(span.last, F32) - first, F64) / cast(span.new, F64)
        begin = cast(first, F64) + scale * 0.5
        steps = scale * np.ones(span.target - 1)
        position = take(running_sums(join([reshape(begin, [1]), steps])), index)
        return minimum(cast(position, I64), span.side - 1)
    length = span.last - span.first
    if frames.library == "opencv":
        position = floor(cast(index, F64) * _opencv_scale(span))
    else:
        position = floor((cast(index, F32) + 0.5) * _keras_scale(span))
    return span.first + minimum(cast(position, I64), length - 1)


def _inside(span: Span, places: Array) -> Value:
    """Return which new pixel (places, 1) stands at each place; padding repeats the outermost."""
    known = span.side.writer.known(places.reshape(-1, 1), I64)
    return minimum(maximum(known - span.offset, 0), span.new - 1)


# Pillow


def _pillow(span: Span, index: Value, kernel: Callable[[Value], Value], support: float) -> Taps:
    """precompute_coeffs and normalize_coeffs_8bpc, in double."""
    first = cast(span.first, F32)
    scale = cast(cast(span.last, F32) - first, F64) / cast(span.new, F64)
    wide = maximum(scale, 1.0)
    reach = wide * support
    center = cast(first, F64) + (cast(index, F64) + 0.5) * scale
    low = maximum(cast(center - reach + 0.5, I64), 0)
    high = minimum(cast(center + reach + 0.5, I64), span.side)
    pixel = low + count_to(cast(ceil(reach), I64) * 2 + 1)
    weight = kernel((cast(pixel, F64) - center + 0.5) * reciprocal(wide))
    weight = where(pixel < high, weight, 0.0)
    weight = weight / row_sums(weight)
    weight = round_half_even(weight * _PILLOW_FIXED_POINT) * (1 / _PILLOW_FIXED_POINT)
    return Taps(minimum(pixel, span.side - 1), cast(weight, F32))


def _sinc(x: Value) -> Value:
    x = where(absolute(x) < 1e-9, 1e-9, x) * math.pi  # sin(x) / x is 1 to the last bit there
    return sine(x) / x


def _box(x: Value) -> Value:
    return where((x > -0.5) & (x <= 0.5), 1.0, x * 0.0)


def _triangle(x: Value) -> Value:
    return maximum(1.0 - absolute(x), 0.0)


def _hamming(x: Value) -> Value:
    window = sine(x * math.pi + math.pi / 2) * float(F32(0.46)) + float(F32(0.54))
    return where(absolute(x) < 1.0, _sinc(x) * window, 0.0)


def _cubic(x: Value, a: float) -> Value:
    """Return Keys' cubic convolution with the slope ``a``."""
    x = absolute(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return where(x < 1.0, near, where(x < 2.0, far, 0.0))


def _lanczos(x: Value) -> Value:
    return where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)


_PILLOW: dict[str, tuple[Callable[[Value], Value], float]] = {
    "box": (_box, 0.5),
    "bilinear": (_triangle, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (partial(_cubic, a=-0.5), 2.0),
    "lanczos": (_lanczos, 3.0),
}

# TensorFlow, in float32


def _keras_scale(span: Span) -> Value:
    return cast(span.last - span.first, F32) / cast(span.new, F32)


def _keras_bilinear(span: Span, index: Value) -> Taps:
    position = (cast(index, F32) + 0.5) * _keras_scale(span) - 0.5
    below = floor(position)
    lower = maximum(cast(below, I64), 0)
    upper = minimum(cast(ceil(position), I64), span.last - span.first - 1)
    pair = lower + (upper - lower) * np.array([[0, 1]])
    share = position - below
    weight = share * np.array([[-1, 1]], F32) + np.array([[1, 0]], F32)
    return Taps(pair + span.first, weight)


def _keras_bicubic(span: Span, index: Value) -> Taps:
    """Keys' cubic on four pixels, from a table of 1024 steps; none outside of the picture."""
    position = (cast(index, F32) + 0.5) * _keras_scale(span) - 0.5
    below = floor(position)
    step = round_half_even((position - below) * 1024.0) * (1 / 1024)
    pixel = cast(below, I64) + np.array([[-1, 0, 1, 2]])
    distance = step * np.array([[1, 1, -1, -1]], F32) + np.array([[1, 0, 1, 2]], F32)
    return _normalized(span, pixel, _cubic(distance, -0.5))


def _keras_area(span: Span, index: Value) -> Taps:
    scale = _keras_scale(span)
    low, high = cast(index, F32) * scale, (cast(index, F32) + 1.0) * scale
    begin, end = cast(floor(low), I64), cast(ceil(high), I64)
    pixel = begin + count_to(cast(ceil(scale), I64) + 2)
    edge = cast(pixel, F32)
    right_end = edge + 1.0 > high
    covered = where(
        edge < low,
        where(right_end, scale + edge * 0.0, edge + 1.0 - low),
        where(right_end, high - edge, edge * 0.0 + 1.0),
    )
    weight = where(pixel < end, covered, 0.0) / scale
    last = span.last - span.first - 1
    return Taps(span.first + minimum(pixel, last), weight)


def _scale_and_translate(
    span: Span, index: Value, kernel: Callable[[Value], Value], radius: float, antialias: bool
) -> Taps:
    """ComputeSpansCore."""
    length = span.last - span.first
    inverse = reciprocal(cast(span.new, F32) / cast(length, F32))
    wide = maximum(inverse, 1.0) if antialias else inverse.writer.known(1, F32)
    reach = wide * radius
    sample = (cast(index, F32) + 0.5) * inverse
    begin = minimum(maximum(cast(ceil(sample - reach - 0.5), I64), 0), length - 1)
    end = minimum(maximum(cast(floor(sample + reach - 0.5), I64), 0), length - 1) + 1
    pixel = begin + count_to(cast(ceil(reach), I64) * 2 + 1)
    weight = kernel(absolute((cast(pixel, F32) + 0.5 - sample) * reciprocal(wide)))
    return _normalized(span, pixel, where(pixel < end, weight, 0.0))


def _normalized(span: Span, pixel: Value, weight: Value) -> Taps:
    """Leave out what is outside of the picture, and let the rest add up to one."""
    last = span.last - span.first - 1
    weight = where((pixel >= 0) & (pixel <= last), weight, 0.0)
    total = row_sums(weight)
    weight = weight / where(absolute(total) > 1e-30, total, 1.0)
    return Taps(span.first + minimum(maximum(pixel, 0), last), weight)


def _sinc_window(x: Value, radius: float) -> Value:
    pi = float(F32(math.pi))
    safe = maximum(x, 1e-3)
    waves = sine(safe * pi) * radius * sine(safe * pi / radius) / (safe * safe * (pi * pi))
    return where(x <= 1e-3, x * 0.0 + 1.0, where(x > radius, 0.0, waves))


def _gaussian(x: Value) -> Value:
    return where(x >= 1.5, 0.0, exponential(x * x * -2.0))  # sigma 0.5


def _mitchell(x: Value) -> Value:
    near = (7 / 6 * x - 2.0) * x * x + 8 / 9
    far = ((-7 / 18 * x + 2.0) * x - 10 / 3) * x + 16 / 9
    return where(x < 1.0, near, where(x < 2.0, far, 0.0))


_KERAS = {"bilinear": _keras_bilinear, "bicubic": _keras_bicubic, "area": _keras_area}
_KERNELS: dict[str, tuple[Callable[[Value], Value], float]] = {
    "bilinear": (_triangle, 1.0),
    "bicubic": (partial(_cubic, a=-0.5), 2.0),
    "lanczos3": (partial(_sinc_window, radius=3.0), 3.0),
    "lanczos5": (partial(_sinc_window, radius=5.0), 5.0),
    "gaussian": (_gaussian, 1.5),
    "mitchellcubic": (_mitchell, 2.0),
}

# OpenCV: positions in double, weights in float32, then in parts of FIXED_POINT


def _opencv_scale(span: Span) -> Value:
    return reciprocal(cast(span.new, F64) / cast(span.last - span.first, F64))


def _opencv_position(span: Span, index: Value) -> tuple[Value, Value]:
    """Return the pixel before each new one, int64, and how far after it that lies."""
    position = cast((cast(index, F64) + 0.5) * _opencv_scale(span) - 0.5, F32)
    below = floor(position)
    return cast(below, I64), position - below


def _opencv_linear(span: Span, index: Value) -> Taps:
    below, share = _opencv_position(span, index)
    return _opencv_pair(span, below, share)


def _opencv_pair(span: Span, below: Value, share: Value) -> Taps:
    last = span.last - span.first - 1
    if span.axis == 1:  # beyond the first and the last row, OpenCV blends a row with itself
        share = where((below >= 0) & (below < last), share, 0.0)
    pair = minimum(maximum(below + np.array([[0, 1]]), 0), last)
    weight = share * np.array([[-1, 1]], F32) + np.array([[1, 0]], F32)
    return Taps(pair + span.first, round_half_even(weight * float(FIXED_POINT)))


def _opencv_cubic(span: Span, index: Value) -> Taps:
    """Keys' cubic with another slope.

    OpenCV's builds for x86 leave it to IPP, which computes in float. Other builds round the weights
    to parts of ``FIXED_POINT``, which is at most one level away.
    """
    below, share = _opencv_position(span, index)
    distance = share * np.array([[1, 1, -1, -1]], F32) + np.array([[1, 0, 1, 2]], F32)
    return Taps(_clamped(span, below + np.array([[-1, 0, 1, 2]])), _cubic(distance, -0.75))


def _opencv_lanczos4(span: Span, index: Value) -> Taps:
    below, share = _opencv_position(span, index)
    steps = np.arange(-3, 5)
    x = cast(share, F64) - steps.astype(F64).reshape(1, -1)
    weight = _sinc(x) * _sinc(x / 4.0)
    weight = cast(weight / row_sums(weight), F32)
    weight = round_half_even(weight * float(FIXED_POINT)) * (1 / FIXED_POINT)
    return Taps(_clamped(span, below + steps.reshape(1, -1)), weight)


def _clamped(span: Span, pixel: Value) -> Value:
    """Return the outermost pixels for those beyond."""
    return span.first + minimum(maximum(pixel, 0), span.last - span.first - 1)


def _opencv_area(span: Span, index: Value) -> Taps:
    """ComputeResizeAreaTab."""
    scale = _opencv_scale(span)
    length = span.last - span.first
    low = cast(index, F64) * scale
    high = low + scale
    width = minimum(scale, cast(length, F64) - low)
    pixel = cast(floor(low), I64) + count_to(cast(ceil(scale), I64) + 2)
    edge = cast(pixel, F64)
    covered = minimum(edge + 1.0, high) - maximum(edge, low)
    covered = where((covered > 1e-3) & (pixel < length), covered, 0.0) / width
    return Taps(span.first + minimum(pixel, length - 1), cast(covered, F32))


def find_growing_area(span: Span, places: Array) -> Taps:
    """Return the pairs that OpenCV's area blends where ``is_shrinking_area`` does not hold."""
    index = _inside(span, places)
    length = cast(span.last - span.first, F64)
    below = cast(floor(cast(index, F64) * _opencv_scale(span)), I64)
    inverse = cast(span.new, F64) / length
    share = cast((cast(index, F64) + 1.0) - (cast(below, F64) + 1.0) * inverse, F32)
    return _opencv_pair(span, below, where(share > 0.0, share - floor(share), 0.0))


def is_shrinking_area(rows: Span, columns: Span) -> Value:
    """Return whether OpenCV's area averages, a scalar: where no axis grows."""
    return (_opencv_scale(rows) >= 1.0) & (_opencv_scale(columns) >= 1.0)


_OPENCV = {
    "linear": _opencv_linear,
    "cubic": _opencv_cubic,
    "lanczos4": _opencv_lanczos4,
    "area": _opencv_area,
}
