"""Golden samples: known inputs with known outputs that travel inside the artifact.

Here live the samples, and the compact JSON form that they are read from and written to. ``loading``
runs them on an engine; the converter chooses them.

An array is written in one of three ways:

- ``zlib``: its little-endian bytes, deflated, in base64;
- ``blocks``: a large array is cut into blocks, and each is kept as one code of 8 bits, so that a
  photo of 224 x 224 pixels costs the file a kilobyte and is still like a photo;
- ``ramp``: no values at all. Where there is no data, both sides generate it by the same formula.
"""

from __future__ import annotations

import binascii
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeport.artifact.records import Record, record

Array = np.ndarray[Any, np.dtype[Any]]
"""What numpy.typing calls NDArray[Any]; that module's import costs a cold start 1 ms."""

# Fractional parts of the multiples of 1/golden ratio cover [0, 1) evenly for every length
# (Weyl's equidistribution; the golden ratio has the lowest discrepancy of all such steps).
_STEP = (math.sqrt(5.0) - 1.0) / 2.0


MOST_VALUES = 2**26
"""How many values all golden samples of a card may have: two colour images of 4,096 x 2,160 fit.
A few bytes of JSON can ask for any number of values, and each costs time and memory at load."""

_MOST_ITEM_BYTES = 16
_PART = 2**16  # values of a ramp that are made at once, so that they stay in the CPU's cache


@record
class GoldenOutput(Record):
    """What one output was: every ``step``-th element in row-major order.

    A large output is thinned out, so that it costs the file a few kilobytes at most.
    """

    shape: tuple[int, ...]
    step: int
    values: Array

    @classmethod
    def of(cls, array: Array, max_values: int) -> GoldenOutput:
        """Return the output's record, at most ``max_values`` elements."""
        step = max(1, math.ceil(array.size / max_values))
        return cls(array.shape, step, array.reshape(-1)[::step])

    def difference(self, actual: Array) -> float:
        """Return the largest absolute difference; infinity for another shape, dtype or NaN."""
        if actual.shape != self.shape or actual.dtype != self.values.dtype:
            return math.inf
        found = actual.reshape(-1)[:: self.step]
        if found.shape != self.values.shape:
            return math.inf
        if found.dtype.kind not in "iuf":
            return 0.0 if np.array_equal(found, self.values) else math.inf
        first, second = found.astype(np.float64), self.values.astype(np.float64)
        with np.errstate(all="ignore"):
            largest = float(np.abs(first - second).max(initial=0.0))
        if math.isfinite(largest):
            return largest
        same = (first == second) | (np.isnan(first) & np.isnan(second))  # infinities, too
        with np.errstate(all="ignore"):
            gap = np.where(same, 0.0, np.abs(first - second))
        return float(np.max(np.where(np.isnan(gap), math.inf, gap), initial=0.0))


@record
class GoldenSample(Record):
    """One sample with its answer, both by name.

    Attributes:
        inputs: arrays with the batch axis, N = 1.
        outputs: what came out, with the batch axis; of large outputs a part.
    """

    inputs: Mapping[str, Array]
    outputs: Mapping[str, GoldenOutput]


@np.errstate(all="ignore")  # a small value may round to zero
def ramp(
    shape: tuple[int, ...], dtype: np.dtype[Any], low: float, high: float, start: float
) -> Array:
    """Return the same well-spread values on every machine.

    Args:
        shape: the array's shape.
        dtype: a boolean, integer or floating dtype; integers are rounded down.
        low: the smallest value, inclusive.
        high: the upper end; exclusive but for rounding to ``dtype``.
        start: an offset in [0, 1) that makes one ramp differ from another.

    Source:
        Element i is ``low + (high - low) * frac(start + i * (sqrt(5) - 1) / 2)`` in float64.
        IEEE 754 fixes the result of each of these operations, so it is exact everywhere.
    """
    array = np.empty(math.prod(shape), dtype)
    for begin in range(0, array.size, _PART):
        index = np.arange(begin, min(begin + _PART, array.size), dtype=np.float64)
        place = start + index * _STEP
        fraction = place - np.floor(place)  # exact, and a tenth of the time of np.mod
        values = low + (high - low) * fraction
        if dtype.kind in "biu":
            values = np.floor(values)
        array[begin : begin + _PART] = _cast(values, dtype)
    return array.reshape(shape)


def check_size(samples: Sequence[Mapping[str, Any]]) -> None:
    """Refuse samples in their JSON form that would fill the memory, before any array is made.

    Raises:
        ValueError: they hold more than ``MOST_VALUES``, or a size or dtype that no array has.
        KeyError: a part is missing.
    """
    total = 0
    for sample in samples:
        arrays = [output["values"] for output in sample["outputs"].values()]
        for encoded in [*sample["inputs"].values(), *arrays]:
            total += _count(encoded["shape"], encoded["dtype"])
            if "blocks" in encoded:
                total += _count(encoded["blocks"]["shape"], "uint8")
    if total > MOST_VALUES:
        raise ValueError(f"golden samples of {total:,} values, expected at most {MOST_VALUES:,}")


def _count(shape: Sequence[Any], dtype: str) -> int:
    sizes = [int(size) for size in shape]
    # A negative size would have a crafted stream inflated without a bound, as would a dtype such
    # as "S1000000000".
    if any(size < 0 for size in sizes) or np.dtype(dtype).itemsize > _MOST_ITEM_BYTES:
        raise ValueError(f"a golden array of shape {sizes} and dtype {dtype}")
    return math.prod(sizes)


def decode_output(encoded: Mapping[str, Any]) -> GoldenOutput:
    """Return an output's record; raises as ``decode_array`` does."""
    shape = tuple(int(size) for size in encoded["shape"])
    return GoldenOutput(shape, max(1, int(encoded["step"])), decode_array(encoded["values"]))


def decode_array(encoded: Mapping[str, Any]) -> Array:
    """Return the array of any JSON form.

    Raises:
        ValueError: the bytes do not fill the shape, or no form is there.
        KeyError: a part is missing.
        zlib.error: the deflated bytes are damaged.
    """
    dtype = np.dtype(encoded["dtype"])
    shape = tuple(int(size) for size in encoded["shape"])
    if "ramp" in encoded:
        low, high, start = (float(value) for value in encoded["ramp"])
        return ramp(shape, dtype, low, high, start)
    if "blocks" in encoded:
        return _of_blocks(encoded["blocks"], shape, dtype)
    return _inflate(encoded["zlib"], shape, dtype)


def _inflate(packed: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = math.prod(shape) * dtype.itemsize
    # The length is bounded by the shape, so a crafted stream cannot fill the memory.
    data = zlib.decompressobj().decompress(binascii.a2b_base64(packed), size + 1)
    if len(data) != size:
        raise ValueError(f"a golden array of shape {shape} holds {len(data)} of {size} bytes")
    return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype).reshape(shape)


@np.errstate(all="ignore")  # a value may overflow a small dtype
def _of_blocks(blocks: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return the array in which each code fills its block; the last ones may be cut short.

    Source:
        Code c is ``low * (1 - c / 255) + high * (c / 255)`` in float64, rounded to the nearest
        for integers, exact everywhere as in ``ramp``.
    """
    low, high = (float(value) for value in blocks["range"])
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"a golden array from {low} to {high}")
    codes = _inflate(blocks["zlib"], tuple(map(int, blocks["shape"])), np.dtype("uint8"))
    place = codes / 255.0
    values = low * (1.0 - place) + high * place
    array = _cast(np.rint(values) if dtype.kind in "biu" else values, dtype)
    if array.ndim != len(shape):
        raise ValueError(f"blocks of shape {array.shape} for a golden array of shape {shape}")
    # The last axis first, while the others are short: later ones repeat whole rows.
    for axis in reversed(range(array.ndim)):
        kept, size = array.shape[axis], shape[axis]
        if kept < size:
            array = array.repeat(-(-size // max(kept, 1)), axis)
            array = array[(slice(None),) * axis + (slice(size),)]
    return array.reshape(shape)


def _cast(values: Array, dtype: np.dtype[Any]) -> Array:
    """Return float64 values in another dtype; each CPU would turn too large ones into others."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        top = float(limits.max)
        values = values.clip(limits.min, top if int(top) <= limits.max else np.nextafter(top, 0))
    return values.astype(dtype)


_SMALLEST_WIDTH = 1e-30  # of a range; in an empty one, every code is the same value


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
            enough; the element in the middle of each is kept.
        low: the value of code 0.
        high: the value of code 255. A value beyond either limit is written as the limit.
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
