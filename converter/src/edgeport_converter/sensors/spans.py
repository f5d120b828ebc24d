"""Which rows and columns of a frame are resized, and where they go in the model's input.

Each fit of each library cuts or pads in its own way and number format. ``taps`` says which pixels
make up a new one; ``resizing`` writes both as nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.values import (
    F32,
    F64,
    I64,
    Value,
    cast,
    floor,
    maximum,
    minimum,
    round_half_even,
    where,
)


@dataclass(frozen=True, slots=True)
class Span:
    """One axis of a resize.

    Attributes:
        axis: 0 for rows, 1 for columns.
        side: the frame's height or width, a scalar, int64.
        first, last: the part that is resized, up to and without ``last``; int64, or float32 where
            Pillow cuts within pixels.
        new: how many pixels it becomes, int64, at least one.
        offset: where they begin in the model's input; above 0 where it is padded.
        shown: how many of them are in the model's input: 0, or ``new``.
        target: the model's height or width.
    """

    axis: int
    side: Value
    first: Value
    last: Value
    new: Value
    offset: Value
    shown: Value
    target: int


def find_spans(frames: Frames, sides: Sequence[Value], targets: Sequence[int]) -> tuple[Span, Span]:
    """Return the rows and the columns that are resized, as the library cuts or pads them."""
    if frames.fit == "stretch":
        rows, columns = (
            _whole_span(axis, side, _zero(side), side, target)
            for axis, (side, target) in enumerate(zip(sides, targets, strict=True))
        )
        return rows, columns
    if frames.fit == "pad":
        return (_pad_pillow if frames.library == "pillow" else _pad_keras)(sides, targets)
    return (_crop_fit if frames.resize.startswith("pillow") else _crop_whole)(sides, targets)


def _whole_span(axis: int, side: Value, first: Value, last: Value, target: int) -> Span:
    """Return a span that fills the model's input."""
    new = side.writer.known(target, I64)
    return Span(axis, side, first, last, new, _zero(side), new, target)


def _zero(side: Value) -> Value:
    return side.writer.known(0, I64)


def _crop_whole(sides: Sequence[Value], targets: Sequence[int]) -> tuple[Span, Span]:
    """smart_resize and load_img: the largest part of the model's aspect, in whole pixels."""
    spans = []
    for axis in (0, 1):
        side, other = sides[axis], sides[1 - axis]
        part = maximum(minimum(side, other * targets[axis] // targets[1 - axis]), 1)
        first = (side - part) // 2
        spans.append(_whole_span(axis, side, first, first + part, targets[axis]))
    return spans[0], spans[1]


def _crop_fit(sides: Sequence[Value], targets: Sequence[int]) -> tuple[Span, Span]:
    """ImageOps.fit: the same with fractions of pixels, in double, and then in float32."""
    height, width = (cast(side, F64) for side in sides)
    wanted = targets[1] / targets[0]
    ratio = width / height
    is_wide = ratio >= wanted
    part_width = where(is_wide, wanted * height, width)
    part_height = where(is_wide, height, width / wanted)
    is_same = (ratio >= wanted) & (ratio <= wanted)
    parts = (where(is_same, height, part_height), where(is_same, width, part_width))
    spans = []
    for axis, (side, whole, part) in enumerate(zip(sides, (height, width), parts, strict=True)):
        first = (whole - part) * 0.5
        spans.append(
            _whole_span(axis, side, cast(first, F32), cast(first + part, F32), targets[axis])
        )
    return spans[0], spans[1]


def _pad_keras(sides: Sequence[Value], targets: Sequence[int]) -> tuple[Span, Span]:
    """tf.image.resize_with_pad, in float32."""
    height, width = (cast(side, F32) for side in sides)
    ratio = maximum(width / float(targets[1]), height / float(targets[0]))
    spans = []
    for axis, (side, whole) in enumerate(zip(sides, (height, width), strict=True)):
        resized = whole / ratio
        new = maximum(cast(floor(resized), I64), 1)
        offset = maximum(cast(floor((float(targets[axis]) - resized) / 2.0), I64), 0)
        spans.append(Span(axis, side, _zero(side), side, new, offset, new, targets[axis]))
    return spans[0], spans[1]


def _pad_pillow(sides: Sequence[Value], targets: Sequence[int]) -> tuple[Span, Span]:
    """ImageOps.contain and ImageOps.pad, in double; both round halves to even."""
    height, width = (cast(side, F64) for side in sides)
    wanted = targets[1] / targets[0]
    ratio = width / height
    new_height = cast(round_half_even(height / width * float(targets[1])), I64)
    new_width = cast(round_half_even(width / height * float(targets[0])), I64)
    news = (
        where(ratio > wanted, new_height, targets[0]),
        where(ratio < wanted, new_width, targets[1]),
    )
    spans = []
    for axis, (side, new) in enumerate(zip(sides, news, strict=True)):
        offset = cast(round_half_even(cast(targets[axis] - new, F64) * 0.5), I64)
        resized = maximum(new, 1)
        spans.append(Span(axis, side, _zero(side), side, resized, offset, new, targets[axis]))
    return spans[0], spans[1]
