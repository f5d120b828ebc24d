"""uint8 inputs of an int8 graph: the bytes of an image serve as codes, without conversion.

``optimizing`` leaves ``pixels -> Cast -> Mul -> Add -> first layer``, of which Mul and Add may be
missing. With the activation's scale equal to the Mul's and a whole zero point in the Add's place,
quantizing gives each pixel back as it came, so Cast, Mul, Add and QuantizeLinear can all go: no
float copy of the image is made. An offset that is no whole number of pixels, such as 127.5, is
rounded, and what that changes is taken into the first layer's bias.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing.constants import array_of, constant
from edgeport_converter.optimizing.layer_inputs import take_offset
from edgeport_converter.quantization.tensors import only_use

_LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")

_EXACT = 1e-4  # of a pixel; what float32 loses when a scale such as 1/255 is computed


@dataclass(frozen=True, eq=False)
class PixelInput:
    """What stands between uint8 pixels and the first layer: ``scale * pixel + offset``.

    Attributes:
        source: the graph's uint8 input.
        pixels: the same in the first layer's layout.
        nodes: Cast, Mul and Add, as far as they are there.
        value: what the first layer reads.
        scale: one number.
        offset: one number, or one for each channel.
    """

    source: ir.Value
    pixels: ir.Value
    nodes: tuple[ir.Node, ...]
    value: ir.Value
    scale: float
    offset: Array

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and highest value that any image can give."""
        return float(self.offset.min()), float(self.offset.max() + 255 * self.scale)

    @property
    def zero_point(self) -> int | None:
        """The pixel whose value is zero, None where there is none for all channels."""
        if self.offset.size != 1:
            return None
        nearest = round(-float(self.offset.reshape(())) / self.scale)
        return nearest if 0 <= nearest <= 255 else None

    @property
    def shift(self) -> float:
        """What the rounded zero point takes away from every value."""
        return float(self.offset.reshape(-1)[0]) + (self.zero_point or 0) * self.scale

    @property
    def is_exact(self) -> bool:
        """Whether the pixels are codes of the value: one scale and a whole zero point."""
        return self.zero_point is not None and abs(self.shift) <= _EXACT * self.scale


def find_pixel_inputs(graph: ir.Graph) -> list[PixelInput]:
    """Return the uint8 tensors that are cast to float32 and scaled by constants."""
    sources = {value: value for value in graph.inputs if value.dtype == ir.DataType.UINT8}
    found = []
    for node in graph:
        pixels = node.inputs[0] if node.inputs else None
        if pixels is None or pixels not in sources:
            continue
        if node.op_type in _LAYOUT:
            sources[node.outputs[0]] = sources[pixels]
        elif node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
            found.append(_follow(sources[pixels], pixels, node))
    return found


def _follow(source: ir.Value, pixels: ir.Value, cast: ir.Node) -> PixelInput:
    nodes, value = [cast], cast.outputs[0]
    scale, offset = 1.0, np.zeros(())
    for kind in ("Mul", "Add"):
        node, _ = only_use(value)
        if node is None or node.op_type != kind:
            continue
        array = array_of(node.inputs[1])
        if array is None:
            continue
        array = array.astype(np.float64)
        if kind == "Mul":
            if array.size != 1 or array.reshape(-1)[0] <= 0:
                break
            scale = float(array.reshape(-1)[0])
        else:
            offset = array
        nodes.append(node)
        value = node.outputs[0]
    return PixelInput(source, pixels, tuple(nodes), value, scale, offset)


def round_offsets(graph: ir.Graph) -> list[PixelInput]:
    """Round the offsets to whole pixels, in place, where the first layers' biases can make up.

    Returns:
        All pixel inputs with their new offsets.
    """
    result = []
    for found in find_pixel_inputs(graph):
        uses = list(found.value.uses())
        if (
            found.zero_point is not None
            and not found.is_exact
            and all(_can_shift(node, place) for node, place in uses)
        ):
            for node, _ in uses:
                take_offset(graph, node, np.array(found.shift))
            offset, adding = np.array(-found.zero_point * found.scale), found.nodes[-1]
            stored = offset.reshape(found.offset.shape).astype(np.float32)
            # A constant of its own: another node may share the old one.
            own = constant(graph, f"{adding.name}/whole_pixels", stored)
            adding.replace_input_with(1, own)
            found = replace(found, offset=offset)
        result.append(found)
    return result


def _can_shift(node: ir.Node, place: int) -> bool:
    """Whether a layer that reads a tensor at this place can take an offset of it into its bias."""
    return (
        place == 0
        and node.op_type in ("Conv", "Gemm")
        and all(array_of(value) is not None for value in node.inputs[1:])
        and all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    )
