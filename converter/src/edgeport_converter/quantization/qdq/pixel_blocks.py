"""Convolutions of few channels computed over blocks of pixels: the same codes, bit for bit.

onnxruntime's fast int8 kernels read channels in fours and write at least 16 of them. Any other
convolution first copies what each output reads, kernel row by kernel row, which takes longer than
its arithmetic (source: ``MlasConvSymPackWSize`` of onnxruntime). With the channels last, k
neighbouring pixels of a row with C channels each are one pixel of k * C channels, without any copy.
A convolution over such blocks, whose weights are those of the original one at the right places and
zero elsewhere, gives the outputs of several pixels at once: more arithmetic, of which a CPU with
int8 instructions has plenty, and no copies.

Steps of ``compute_over_blocks``, for a convolution with stride s, kernel width w and left pad p:

1. Take k pixels to a block, so that a block holds R = k / s outputs. Output r of a block reads
   pixel r * s - p + t at place t of the kernel, counted from the block's first pixel.
2. Let the new kernel reach from the block that holds the first of these pixels to the one that
   holds the last, and put the weight of place t where its pixel stands.
3. Read the codes as blocks, convolve with stride 1 along the rows, and read the blocks as pixels;
   cut off what the last block has computed beyond the image.

A depthwise convolution of fewer than 16 channels has no fast kernel either; it becomes a dense one.
Each sum has the same products in it, and zeros, so that no code and no limit of two weights that an
AVX2 kernel adds changes. Whether it pays differs by CPU: ``search.faster_forms`` measures it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, constant, known
from edgeport_converter.quantization.tensors import only_use

# What the fast kernels of AVX2, AVX-512 and VNNI ask for; source: convsym.cpp of onnxruntime.
_READ = 4
_WRITTEN = 16

_BLOCKS = (2, 4, 8)  # pixels
# In wider blocks the zeros among the weights cost more than the copies did.
_MOST_CHANNELS = 32


@dataclass(frozen=True, eq=False)
class _Blocks:
    """A convolution that can be computed over blocks.

    Attributes:
        conv, reading, writing: it, the DequantizeLinear before it and the QuantizeLinear after it.
        codes: its weights (O, C, height, width); those of a depthwise one are made dense.
        pixels: of a block.
        stride: along a row.
        pads: top, left, bottom.
        image, answer: height and width of what it reads and writes.
    """

    conv: ir.Node
    reading: ir.Node
    writing: ir.Node
    codes: Array
    pixels: int
    stride: int
    pads: tuple[int, int, int]
    image: tuple[int, int]
    answer: tuple[int, int]


def find_blocks(graph: ir.Graph) -> frozenset[str]:
    """Return the names of the int8 convolutions that can be computed over blocks."""
    return frozenset(node.name or "" for node in graph if _read(node) is not None)


def compute_over_blocks(model: ir.Model, names: Collection[str]) -> None:
    """Compute the named convolutions over blocks, in place; those that cannot be stay.

    The convolution keeps its name, and the nodes around it get names that begin with it and a
    slash.
    """
    for node in [node for node in model.graph if node.name in names]:
        found = _read(node)
        if found is not None:
            _replace(model.graph, found)
    if names:
        common.RemoveUnusedNodesPass()(model)


def as_pixels(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Return what a convolution over blocks answers, before it is rounded, in its own layout.

    Args:
        blocks: (N, R * O, height, blocks), R outputs of a row to a block.
        shape: (N, O, height, width) of the same convolution without blocks.
    """
    samples, outputs, height, width = shape
    split = blocks.reshape(samples, -1, outputs, height, blocks.shape[-1])
    pixels = split.transpose(0, 2, 3, 4, 1).reshape(samples, outputs, height, -1)
    return pixels[..., :width]


def _read(conv: ir.Node) -> _Blocks | None:
    """Return a convolution in int8 of an image of known size, None for anything else."""
    if conv.op_type != "Conv":
        return None
    reading, weights = (None if each is None else each.producer() for each in conv.inputs[:2])
    writing, _ = only_use(conv.outputs[0])
    converts = [each.op_type for each in (reading, weights, writing) if each is not None]
    if converts != ["DequantizeLinear", "DequantizeLinear", "QuantizeLinear"]:
        return None
    assert reading is not None and weights is not None and writing is not None  # noqa: S101, PT018
    codes, shape = array_of(weights.inputs[0]), reading.outputs[0].shape
    attributes = conv.attributes
    if codes is None or codes.ndim != 4 or shape is None or len(shape) != 4:
        return None
    if any(step != 1 for step in attributes.get_ints("dilations", [])):
        return None
    if attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    channels, height, width = shape[1:]
    if not (isinstance(channels, int) and isinstance(height, int) and isinstance(width, int)):
        return None
    groups = attributes.get_int("group", 1)
    if groups > 1:
        if not groups == channels == codes.shape[0] < _WRITTEN:
            return None
        dense = np.zeros((groups, groups, *codes.shape[2:]), codes.dtype)
        dense[np.arange(groups), np.arange(groups)] = codes[:, 0]
        codes = dense
    elif channels % _READ == 0 and codes.shape[0] >= _WRITTEN:
        return None
    strides = attributes.get_ints("strides", [1, 1])
    top, left, bottom, right = attributes.get_ints("pads", [0] * 4)
    pixels = _block_size(channels, codes.shape[0], strides[1], width)
    if not pixels or codes.shape[3] == 1:
        return None
    answer = (
        (height + top + bottom - codes.shape[2]) // strides[0] + 1,
        (width + left + right - codes.shape[3]) // strides[1] + 1,
    )
    return _Blocks(
        conv, reading, writing, codes, pixels, strides[1], (top, left, bottom), (height, width),
        answer,
    )  # fmt: skip


def _block_size(channels: int, outputs: int, stride: int, width: int) -> int:
    """Return the fewest pixels whose block has a fast kernel, 0 where there are none."""
    for pixels in _BLOCKS:
        if pixels % stride or width % pixels or pixels * channels > _MOST_CHANNELS:
            continue
        written = pixels // stride * outputs
        if pixels * channels % _READ == 0 and written >= _WRITTEN and written % _READ == 0:
            return pixels
    return 0


def _replace(graph: ir.Graph, found: _Blocks) -> None:
    conv, codes, pixels = found.conv, found.codes, found.pixels
    name, (outputs, channels, height, width) = conv.name or "", codes.shape
    top, left, bottom = found.pads
    places = pixels // found.stride  # outputs of a block
    first = -(-left // pixels)  # blocks before the one whose outputs are computed
    last = ((places - 1) * found.stride - left + width - 1) // pixels
    wide = np.zeros(
        (places, outputs, pixels, channels, height, first + last + 1), found.codes.dtype
    )
    for place in range(places):
        for step in range(width):
            block, pixel = divmod(place * found.stride - left + step, pixels)
            wide[place, :, pixel, :, :, first + block] = codes[..., step]
    blocks = found.image[1] // pixels
    wanted = -(-found.answer[1] // places)
    after = max(0, wanted - blocks + last)  # blocks of padding
    computed = (blocks + first + after - wide.shape[-1] + 1) * places

    def number(what: str, *values: int) -> ir.Value:
        return constant(graph, f"{name}/{what}", np.array(values, np.int64))

    def add(operator: str, inputs: list[ir.Value | None], what: str, **attributes: object) -> None:
        own = f"{name}/{what}" if what else name if operator == "Conv" else ""
        nodes.append(ir.node(operator, inputs, attributes or None, name=own))  # type: ignore[arg-type]

    def made() -> ir.Value:
        return nodes[-1].outputs[0]

    nodes: list[ir.Node] = []
    add("Transpose", [found.reading.inputs[0]], "channels_last", perm=[0, 2, 3, 1])
    size = number("blocks", 0, found.image[0], blocks, pixels * channels)
    add("Reshape", [made(), size], "blocks")
    add("Transpose", [made()], "channels_first", perm=[0, 3, 1, 2])
    add("DequantizeLinear", [made(), *found.reading.inputs[1:]], "")
    inputs: list[ir.Value | None] = [made()]
    stored = wide.reshape(places * outputs, pixels * channels, height, -1)
    for constants, array in zip(conv.inputs[1:], (stored, None), strict=False):
        assert constants is not None  # noqa: S101 - for types
        producer = constants.producer()
        assert producer is not None  # noqa: S101 - a DequantizeLinear, as for all int8 layers
        given = [known(value) for value in producer.inputs]
        repeated = [np.tile(np.broadcast_to(values, outputs), places) for values in given[1:]]
        whole = np.tile(given[0], places) if array is None else array
        label = constants.name or name
        parts = [
            constant(graph, f"{label}/blocks/{what}", values)
            for what, values in zip(("codes", "scale", "zero"), (whole, *repeated), strict=True)
        ]
        add("DequantizeLinear", [*parts], "", axis=0)
        inputs.append(made())
    strides = [conv.attributes.get_ints("strides", [1, 1])[0], 1]
    pads, kernel = [top, first, bottom, after], list(wide.shape[-2:])
    add("Conv", inputs, "", strides=strides, pads=pads, kernel_shape=kernel)
    add("QuantizeLinear", [made(), *found.writing.inputs[1:]], "")
    add("Transpose", [made()], "blocks_last", perm=[0, 2, 3, 1])
    add("Reshape", [made(), number("pixels", 0, found.answer[0], computed, outputs)], "pixels")
    if computed > found.answer[1]:
        ends = (number("start", 0), number("end", found.answer[1]), number("axis", 2))
        add("Slice", [made(), *ends], "image")
    add("Transpose", [made()], "pixels_first", perm=[0, 3, 1, 2])
    answer = found.writing.outputs[0]
    made().shape, made().type = answer.shape, answer.type
    graph.insert_before(conv, nodes)
    answer.replace_all_uses_with(made())
    graph.remove([found.writing, conv], safe=True)
