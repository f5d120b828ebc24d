"""One sample as a person would look at it: a picture of an image, else its values."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping

import numpy as np

from edgeport import ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.reporting import words

_LONGEST = 112  # pixels of a picture's side: twice what a phone shows of it
_LEAST_ROW = 64  # values of a row that may be an image: 8 by 8
_ROWS_OF_PIXELS = ("pixel", "image")
_MOST_VALUES = 8
_LONGEST_TEXT = 80


def find_picture(inputs: Mapping[str, Array], card: ModelCard) -> str | None:
    """Return the first image among the inputs of one sample as a PNG in a data URI, or None.

    Args:
        inputs: one sample, without the batch axis, by input name.
        card: says what the axes are, and which values black and white have.
    """
    for spec in card.inputs:
        pixels = _as_image(inputs[spec.name], spec, is_frame=spec.name in card.frames)
        if pixels is not None:
            return _as_png(pixels, spec)
    return None


def _as_image(array: Array, spec: TensorSpec, *, is_frame: bool) -> Array | None:
    """Return (H, W) or (H, W, C) of an image, None of anything else.

    A row (N, F) is an image only if the input is named for pixels and the row fills a square.
    """
    if array.dtype.kind not in "fiu":
        return None
    axes = spec.axes[1:] if spec.has_batch_axis else spec.axes
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4) and (is_frame or axes[:2] == ("H", "W")):
        return array[..., 0] if array.shape[-1] == 1 else array[..., :3]
    if array.ndim == 2 and axes == ("H", "W"):
        return array
    side = math.isqrt(array.size)
    named = any(word in spec.name.lower() for word in _ROWS_OF_PIXELS)
    if array.ndim == 1 and named and side**2 == array.size >= _LEAST_ROW:
        return array.reshape(side, side)
    if array.ndim == 2 and named and min(array.shape) >= 8:  # axes that nobody named
        return array
    return None


def _as_png(pixels: Array, spec: TensorSpec) -> str:
    from PIL import Image

    wide = pixels.astype(np.float64)
    low, high = spec.value_range or (float(wide.min()), float(wide.max()))
    levels = np.clip((wide - low) / max(high - low, 1e-12), 0, 1) * 255
    image = Image.fromarray(np.rint(levels).astype(np.uint8))
    if max(image.size) > _LONGEST:
        image.thumbnail((_LONGEST, _LONGEST))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def describe_values(inputs: Mapping[str, Array], card: ModelCard) -> tuple[tuple[str, str], ...]:
    """Return name and value of a sample's first features, or what a larger input holds.

    Args:
        inputs: one sample, without the batch axis, by input name.
        card: names the columns of a table.
    """
    found = []
    for spec in card.inputs:
        array = inputs[spec.name]
        columns = [column.name for column in card.columns if column.input == spec.name]
        flat = array.reshape(-1)
        if array.ndim <= 1 and flat.size <= _MOST_VALUES * 4:
            values = [_value(value) for value in flat[:_MOST_VALUES]]
            more = flat.size - len(values)
            if len(columns) == flat.size:
                found += list(zip(columns, values, strict=False))
                found += [(spec.name, f"{more} values more")] if more else []
            else:
                found.append((spec.name, ", ".join(values) + (f" and {more} more" if more else "")))
        elif array.dtype.kind in "fiub":
            low, high, mean = float(flat.min()), float(flat.max()), float(flat.mean())
            ends = f"{words.number(low)} to {words.number(high)}, mean {words.number(mean)}"
            found.append((spec.name, f"{' × '.join(map(str, array.shape))} values, {ends}"))
        else:
            found.append((spec.name, f"{flat.size} texts, the first {_value(flat[0])}"))
    return tuple(found)


def _value(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return words.shortened(value, _LONGEST_TEXT)
    return words.number(float(value))  # type: ignore[arg-type]
