"""The nodes from pixels of any size to the model's picture.

The graph of one picture, by steps:

1. Spans: which rows and columns of the frame are resized, and where in the model's input they go.
2. Columns: new columns are made in blocks of a few. Each block reads only the columns of the frame
   that it needs, casts only these to float, brings them to gray if the model sees gray, and
   multiplies them by the block's part of the band matrix of weights. So no float copy of the whole
   frame exists, and most of the band matrix's zeros are never multiplied.
3. Rows: the same along the other axis.
4. Rounding where the library rounds, which for Pillow is also between 2 and 3.
5. Colours, padding, mean and scale, on the small picture.

Bilinear kinds without antialiasing read four pixels for a new one. They gather the rows that they
need, transpose them, gather the columns, and blend. Nearest neighbours are two gathers.

``spans`` has step 1, ``taps`` the weights; ``values`` decides what is computed now and what by
nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from onnx import TensorProto

from edgeport.artifact.golden import Array
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.spans import Span, find_spans
from edgeport_converter.sensors.taps import (
    Taps,
    find_growing_area,
    find_nearest,
    find_taps,
    is_shrinking_area,
)
from edgeport_converter.sensors.values import (
    F32,
    I64,
    GraphWriter,
    Value,
    floor,
    largest,
    maximum,
    minimum,
    pick,
    reshape,
    scatter,
    split,
    transpose,
)

_LANES = 16  # floats that a product computes at once; a block is as wide as that
# PIL's L24, OpenCV's RY15, and tf.image.rgb_to_grayscale: weights of red, green, blue, then the
# factor and what is added before the fraction is dropped.
_GRAY: dict[str, tuple[Array, float, float]] = {
    "pillow": (np.array([19595, 38470, 7471], F32), 1 / 65536, 0.5),
    "opencv": (np.array([9798, 19235, 3735], F32), 1 / 32768, 0.5),
    "keras": (np.array([0.2989, 0.5870, 0.1140], F32), 255.5 / 255, 0.0),
}


def write_picture(writer: GraphWriter, frames: Frames, source: str, picture: Sequence[int]) -> str:
    """Add the nodes from frames to the picture, and return its name.

    Args:
        writer: of the graph.
        frames: what the training code did.
        source: the name of the frames (N, H, W, C) uint8.
        picture: (h, w, c) of the model's input.

    Raises:
        OptionError: the model's channels are not for frames.
    """
    return _FrameGraph(writer, frames, source, picture).write()


class _FrameGraph:
    """One graph in the making; see the module's docstring for the steps."""

    def __init__(
        self, writer: GraphWriter, frames: Frames, source: str, picture: Sequence[int]
    ) -> None:
        self.writer, self.frames, self.source = writer, frames, source
        self.target_height, self.target_width, self.channels = (int(side) for side in picture)
        frames.require_channels(self.channels)
        self.frame_channels = 1 if frames.order == "gray" else 3
        self.to_gray = self.channels < self.frame_channels
        self.inner = min(self.channels, self.frame_channels)  # channels while resizing
        self.is_swapped = self.inner == 3 and frames.order != frames.model_order
        self.sides = self._sides()
        self.is_growing = False  # while OpenCV's area is written as a linear filter

    def write(self) -> str:
        targets = (self.target_height, self.target_width)
        rows, columns = find_spans(self.frames, self.sides, targets)
        if self.frames.kind == "nearest":
            small = self._nearest(rows, columns)
        elif self._is_linear():
            small = self._linear(rows, columns)
        else:
            small = self._filtered(rows, columns)
        return self._finish(small, rows, columns)

    def _sides(self) -> list[Value]:
        if self.frames.size:
            return [self.writer.known(side, I64) for side in self.frames.size]
        shape = Value(self.writer, None, self.writer.node("Shape", [self.source]), I64)
        return [pick(shape, axis) for axis in (1, 2)]

    def _is_linear(self) -> bool:
        return self.frames.resize in ("keras-bilinear", "opencv-linear")

    # Step 2 and 3, by kinds

    def _nearest(self, rows: Span, columns: Span) -> str:
        """Gather whole rows, then pixels."""
        node = self.writer.node
        row = find_nearest(self.frames, rows, np.arange(self.target_height))
        column = find_nearest(self.frames, columns, np.arange(self.target_width))
        small = node("Gather", [self.source, row.name], axis=1)
        small = node("Gather", [small, column.name], axis=2)
        small = node("Cast", [small], to=TensorProto.FLOAT)
        return self._gray(small) if self.to_gray else small

    def _linear(self, rows: Span, columns: Span) -> str:
        """Gather the four pixels around each new one, blend them along the row, then the rows."""
        node, constant = self.writer.node, self.writer.constant
        row = self._taps(rows, np.arange(self.target_height))
        column = self._taps(columns, np.arange(self.target_width))
        upper, lower = (
            self._blended_columns(pick(row.index, side, axis=1), column) for side in (0, 1)
        )
        if self.frames.library == "keras":
            step = node("Mul", [node("Sub", [lower, upper]), pick(row.weight, 1, axis=1).name])
            return self._upright(node("Add", [upper, step]))
        # VResizeLinear of 8 bits: (b * (s >> 4)) >> 16 for both rows, then (sum + 2) >> 2.
        # Casts drop the fraction of what is not negative in less time than Floor does.
        terms = []
        for side, blended in enumerate((upper, lower)):
            whole = node("Cast", [blended], to=TensorProto.INT32)
            weight = pick(row.weight, side, axis=1) * (1 / 65536)
            term = node("Mul", [node("Cast", [whole], to=TensorProto.FLOAT), weight.name])
            terms.append(node("Cast", [term], to=TensorProto.INT32))
        small = node("Cast", [node("Add", terms)], to=TensorProto.FLOAT)
        small = node(
            "QuantizeLinear", [small, constant(F32(4 * (1 - 1e-5))), constant(np.uint8(0))]
        )
        return node("Cast", [self._upright(small)], to=TensorProto.FLOAT)

    def _upright(self, small: str) -> str:
        """Return (N, h, w, inner) from (N, w, inner, h); colours are cheap to swap before that."""
        if self.is_swapped and self._is_linear():
            swapped = self.writer.constant(np.array([2, 1, 0]))
            small = self.writer.node("Gather", [small, swapped], axis=2)
        return self.writer.node("Transpose", [small], perm=[0, 3, 1, 2])

    def _blended_columns(self, row: Value, column: Taps) -> str:
        """Return some rows of the frame with the new columns, (N, w, inner, rows) float32.

        Single pixels are slow to gather. So the rows are transposed first, and a column is one
        stretch of memory.
        """
        node = self.writer.node
        pixels = node("Gather", [self.source, row.name], axis=1)
        pixels = node("Transpose", [pixels], perm=[0, 2, 3, 1])
        terms = []
        for side in (0, 1):
            term = node("Gather", [pixels, pick(column.index, side, axis=1).name], axis=1)
            weight = pick(column.weight, side, axis=1)
            if self.frames.library == "opencv":
                weight = weight * (1 / 16)  # the sums are shifted by 4 bits
            if self.to_gray:
                term = self._gray(node("Cast", [term], to=TensorProto.FLOAT), axis=2)
                term = node("Mul", [term, reshape(weight, [-1, 1, 1]).name])
            else:  # a cast and a product in one node
                term = node("DequantizeLinear", [term, weight.name], axis=1)
            terms.append(term)
        return node("Add", terms)

    def _filtered(self, rows: Span, columns: Span) -> str:
        """Make the new columns of all rows, then the new rows; Pillow may do the rows first."""

        def columns_first() -> str:
            return self._columns_first(rows, columns)

        if self.frames.resize == "opencv-area":
            return self.writer.choose(
                is_shrinking_area(rows, columns),
                columns_first,
                lambda: self._growing_area(rows, columns),
            )
        if self.frames.library == "pillow" and pillow_has_two_orders():
            return self.writer.choose(
                is_tall(rows, columns), lambda: self._rows_first(rows, columns), columns_first
            )
        return columns_first()

    def _growing_area(self, rows: Span, columns: Span) -> str:
        """Blend pairs of pixels, as OpenCV's area does where a side of the frame has to grow."""
        self.is_growing = True
        small = self._linear(rows, columns)
        self.is_growing = False
        return small

    def _taps(self, span: Span, places: Array) -> Taps:
        if self.is_growing:
            return find_growing_area(span, places)
        return find_taps(self.frames, span, places)

    def _columns_first(self, rows: Span, columns: Span) -> str:
        small = self._columns(self._flat(self.source), columns, is_frame=True)
        small = self._rows(small, rows)
        if self.frames.library == "opencv":
            small = self._to_levels(small)
        return self._shaped(small)

    def _rows_first(self, rows: Span, columns: Span) -> str:
        small = self._rows(self._flat(self.source), rows, is_frame=True)
        return self._shaped(self._columns(small, columns))

    def _to_levels(self, name: str) -> str:
        """Round and clip to 0 to 255, as OpenCV does."""
        node, constant = self.writer.node, self.writer.constant
        if self.frames.kind in ("area", "cubic"):
            name = node("Round", [name])
        else:
            name = node("Floor", [node("Add", [name, constant(F32(0.5))])])
        return node("Clip", [name, constant(F32(0)), constant(F32(255))])

    # Blocks of band matrices

    def _columns(self, flat: str, columns: Span, is_frame: bool = False) -> str:
        """Return (N, rows, w * inner) float32 from (N, rows, W * C), uint8 if it is the frame."""
        inner = self.inner
        count, starts, window, taps = self._blocks(columns, max(1, _LANES // inner))
        block = -(-self.target_width // count)
        # A column's weights hold for all its channels.
        each = np.repeat(np.arange(count * block), inner)
        channel = np.tile(np.arange(inner), count * block).reshape(-1, 1)
        shape = [count, block * inner, -1]
        index = transpose(reshape(pick(taps.index * inner, each) + channel, shape), (0, 2, 1))
        matrices = [
            scatter(
                transpose(reshape(pick(weight, each), shape), (0, 2, 1)),
                index,
                [count, window * inner, block * inner],
                axis=1,
            )
            for weight in self._parts(taps.weight)
        ]
        channels = self.frame_channels if is_frame else inner
        ends = (starts * channels, (starts + window) * channels)
        lengths = (count * block * inner, self.target_width * inner)
        return self._product(flat, ends, matrices, count, 2, lengths, is_frame)

    def _rows(self, flat: str, rows: Span, is_frame: bool = False) -> str:
        """Return (N, h, columns) float32 from (N, H, columns), uint8 if it is the frame."""
        count, starts, window, taps = self._blocks(rows, _LANES)
        block = -(-self.target_height // count)
        index = reshape(taps.index, [count, block, -1])
        matrices = [
            scatter(reshape(weight, [count, block, -1]), index, [count, block, window], axis=2)
            for weight in self._parts(taps.weight)
        ]
        ends, lengths = (starts, starts + window), (count * block, self.target_height)
        return self._product(flat, ends, matrices, count, 1, lengths, is_frame)

    def _parts(self, weight: Value) -> list[Value]:
        """Return weights as they are multiplied.

        Pillow adds up whole numbers of 30 bits, float32 has 24: the upper and the lower 11 bits of
        its weights are multiplied apart, so that both sums are exact.
        """
        if self.frames.library != "pillow":
            return [weight]
        upper = floor(weight * 2048.0)
        return [upper * (1 / 2048), weight * 2048.0 - upper]

    def _product(
        self,
        flat: str,
        ends: tuple[Value, Value],
        matrices: Sequence[Value],
        count: int,
        axis: int,
        lengths: tuple[int, int],
        is_frame: bool,
    ) -> str:
        """Cut the blocks' windows out of an axis, multiply them, and join the new pixels.

        Args:
            flat: (N, rows, columns).
            ends: of the windows, two of (blocks,) int64.
            matrices: one of (blocks, ...), or Pillow's upper and lower part.
            count: of blocks.
            axis: 1 for rows, where the matrix stands on the left, 2 for columns.
            lengths: of the joined axis, and of it without the last block's repetitions.
            is_frame: whether ``flat`` is the frame's uint8.
        """
        node, constant = self.writer.node, self.writer.constant
        begins, stops = (split(side, count) for side in ends)
        results: list[list[str]] = [[] for _ in matrices]
        parts = [split(matrix, count) for matrix in matrices]
        for place, (begin, stop) in enumerate(zip(begins, stops, strict=True)):
            values = node("Slice", [flat, begin.name, stop.name, constant(np.array([axis]))])
            if is_frame:
                values = self._floats(values)
            for part, result in zip(parts, results, strict=True):
                pair = [values, part[place].name]
                result.append(node("MatMul", pair if axis == 2 else pair[::-1]))
        upper, *lower = (node("Concat", result, axis=axis) for result in results)
        if lower:
            # clip8(floor((2048 * upper + lower + 2**21) / 2**22)) of whole numbers: to the nearest
            # whole number, which half a unit of the upper part keeps from being a tie.
            rest = node("Add", [node("Floor", lower), constant(F32(0.5))])
            rest = node("Mul", [rest, constant(F32(1 / 2048))])
            upper = node("Add", [upper, rest])
            upper = node("QuantizeLinear", [upper, constant(F32(1)), constant(np.uint8(0))])
        if lengths[0] != lengths[1]:
            upper = node(
                "Slice", [upper, *(constant(np.array([n])) for n in (0, lengths[1], axis))]
            )
        return node("Cast", [upper], to=TensorProto.FLOAT) if lower else upper

    def _floats(self, values: str) -> str:
        """Return a part of the frame (N, rows, columns * C) in float32, gray if the model is."""
        node, constant = self.writer.node, self.writer.constant
        values = node("Cast", [values], to=TensorProto.FLOAT)
        if not self.to_gray:
            return values
        # The batch and the rows stay; ONNX's Reshape has 0 for that, and one -1.
        values = node("Reshape", [values, constant(np.array([0, 0, -1, 3]))])
        return node("Squeeze", [self._gray(values), constant(np.array([3]))])

    def _blocks(self, span: Span, block: int) -> tuple[int, Value, Value, Taps]:
        """Return where each block of new pixels begins to read, and the taps within its window.

        Returns:
            count: of blocks; the last one repeats the last new pixel until it is full.
            starts: of the windows, (blocks,) int64.
            window: how many pixels each block reads, a scalar, int64.
            taps: of all blocks' new pixels, counted from their windows' starts.
        """
        count = -(-span.target // block)
        block = -(-span.target // count)
        places = np.minimum(np.arange(count * block), span.target - 1)
        taps = self._taps(span, places)
        low = pick(pick(taps.index, 0, axis=1), np.arange(count) * block)
        high = pick(pick(taps.index, -1, axis=1), np.arange(count) * block + block - 1)
        window = largest(high - low) + 1
        low = minimum(low, span.side - window)
        inside = taps.index - reshape(pick(low, np.repeat(np.arange(count), block)), [-1, 1])
        return count, low, window, Taps(inside, taps.weight)

    # Shapes and colours

    def _flat(self, source: str) -> str:
        """Return (N, H, W * C)."""
        return self.writer.node("Reshape", [source, self.writer.constant(np.array([0, 0, -1]))])

    def _shaped(self, name: str) -> str:
        shape = np.array([0, self.target_height, self.target_width, self.inner])
        return self.writer.node("Reshape", [name, self.writer.constant(shape)])

    def _gray(self, name: str, axis: int = 3) -> str:
        """Return one colour from three float32, in whole levels as the library computes them.

        Args:
            name: of four axes.
            axis: of the colours: 3, or 2, where rows are last.
        """
        node, constant = self.writer.node, self.writer.constant
        weight, factor, half = _GRAY[self.frames.library]
        if self.frames.order == "bgr":
            weight = weight[::-1]
        if self.frames.library == "keras":
            name = node("Mul", [name, constant(F32(1 / 255))])
            factor = 255.5
        if axis == 3:
            gray = node("MatMul", [name, constant(weight.reshape(3, 1))])
        else:
            gray = node("MatMul", [constant(weight.reshape(1, 3)), name])
        gray = node("Mul", [gray, constant(F32(factor))])
        if half:
            gray = node("Add", [gray, constant(F32(half))])
        return node("Floor", [gray])

    def _finish(self, small: str, rows: Span, columns: Span) -> str:
        """Bring (N, h, w, inner) in levels to the model's channels and numbers."""
        node, constant, frames = self.writer.node, self.writer.constant, self.frames
        if self.channels == 3:
            if self.frame_channels == 1:
                small = node("Concat", [small] * 3, axis=3)
            elif self.is_swapped and not self._is_linear():
                mirror = np.eye(3, dtype=F32)[::-1]
                small = node("MatMul", [small, constant(mirror)])
        if frames.fit == "pad":
            inside = _is_inside(rows, (-1, 1, 1)) & _is_inside(columns, (1, -1, 1))
            color = np.array(frames.numbers("pad"), F32)
            small = node("Where", [inside.name, small, constant(color)])
        mean, scale = (np.array(frames.numbers(name), F32) for name in ("mean", "scale"))
        if np.any(mean):
            small = node("Sub", [small, constant(mean)])
        if np.any(scale != 1):
            small = node("Mul", [small, constant(scale)])
        return small


def _is_inside(span: Span, shape: Sequence[int]) -> Value:
    place = span.side.writer.known(np.arange(span.target).reshape(shape))
    return (place >= span.offset) & (place < span.offset + span.shown)


def pillow_has_two_orders() -> bool:
    """Return whether this machine's Pillow resizes tall pictures along their rows first."""
    try:
        return int(version("pillow").partition(".")[0]) >= 13
    except PackageNotFoundError:
        return True


def is_tall(rows: Span, columns: Span) -> Value:
    """Return whether Pillow 13 resizes along the rows first; a scalar.

    Source: measured on 13.0.0 over 659 pairs of sizes.
    """
    shrinks = [maximum(span.side - span.new, 0) for span in (rows, columns)]
    return shrinks[0] > shrinks[1] * 2
