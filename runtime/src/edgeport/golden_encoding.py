"""The compact JSON form of golden samples, written; ``golden`` says what it is and reads it.

For who makes artifacts: no device needs it.
"""

from __future__ import annotations

import binascii
import math
import zlib
from typing import Any

import numpy as np

from edgeport.golden import Array, GoldenOutput

_SMALLEST_WIDTH = 1e-30  # of a range; without one, every code stands for the same value


def encode_array(array: Array) -> dict[str, Any]:
    """Return the JSON form of a numeric or boolean array, bytes deflated."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    packed = binascii.b2a_base64(zlib.compress(little.tobytes(), 9), newline=False).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "zlib": packed}


def encode_ramp(
    shape: tuple[int, ...], dtype: np.dtype[Any], low: float, high: float, start: float
) -> dict[str, Any]:
    """Return the JSON form of ``ramp`` with the same arguments."""
    return {"dtype": dtype.name, "shape": list(shape), "ramp": [low, high, start]}


def encode_blocks(array: Array, low: float, high: float, max_values: int) -> dict[str, Any]:
    """Return the JSON form of a large numeric or boolean array, thinned out and coarse.

    Args:
        array: a sample. The longest axes are cut into fewer and fewer blocks until these are few
            enough; the element in the middle of each stands for it.
        low: the value of code 0.
        high: the value of code 255. What lies beyond either is written as the nearest.
        max_values: how many elements are kept at most.
    """
    counts = list(array.shape)
    while math.prod(counts) > max_values:
        longest = counts.index(max(counts))
        counts[longest] = -(-counts[longest] // 2)
    kept = array.astype(np.float64)
    for axis, (count, size) in enumerate(zip(counts, array.shape, strict=True)):
        length = max(1, -(-size // max(count, 1)))  # of a block, as it is read again
        kept = kept.take(np.minimum(np.arange(0, size, length) + length // 2, size - 1), axis)
    with np.errstate(all="ignore"):  # what overflows lies beyond the range
        place = np.nan_to_num((kept / 2 - low / 2) / max(high / 2 - low / 2, _SMALLEST_WIDTH))
    codes = np.rint(np.clip(place, 0.0, 1.0) * 255.0).astype(np.uint8)
    packed = encode_array(codes)
    blocks = {"shape": packed["shape"], "range": [low, high], "zlib": packed["zlib"]}
    return {"dtype": array.dtype.name, "shape": list(array.shape), "blocks": blocks}


def encode_output(output: GoldenOutput) -> dict[str, Any]:
    """Return the JSON form of an output's record."""
    return {
        "shape": list(output.shape),
        "step": output.step,
        "values": encode_array(output.values),
    }
