"""uint8 inputs of an int8 graph: the bytes of the image are the codes of the first activation.

``optimizing`` leaves ``pixels -> Cast -> Mul -> Add -> first layer``, of which Mul and Add may be
missing. With the activation's scale equal to the Mul's and a whole zero point in the Add's place,
quantizing gives each pixel back as it came, so Cast, Mul, Add and QuantizeLinear can all go: no
float copy of the image is made. An offset that is no whole number of pixels, such as 127.5, is
rounded, and what that changes is taken into the first layer's bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from edgeport.artifact.golden import Array

_LAYOUT = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")

_EXACT = 1e-4  # of a pixel; what float32 loses when a scale such as 1/255 is computed


@dataclass(frozen=True)
class PixelInput:
    """What stands between uint8 pixels and the first layer: ``scale * pixel + offset``.

    Attributes:
        source: the graph's uint8 input.
        pixels: the same in the first layer's layout.
        nodes: names of Cast, Mul and Add, as far as they are there.
        value: what the first layer reads.
        scale: one number.
        offset: one number, or one for each channel.
    """

    source: str
    pixels: str
    nodes: tuple[str, ...]
    value: str
    scale: float
    offset: Array

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and highest value that any image can give."""
        return float(self.offset.min()), float(self.offset.max() + 255 * self.scale)

    @property
    def zero_point(self) -> int | None:
        """The pixel that stands for zero, None where there is none for all channels."""
        if self.offset.size != 1:
            return None
        nearest = round(-float(self.offset.reshape(())) / self.scale)
        return nearest if 0 <= nearest <= 255 else None

    @property
    def shift(self) -> float:
        """What the rounded zero point takes away from every value."""
        return float(self.offset.reshape(-1)[0]) + (self.zero_point or 0) * self.scale


def find_pixel_inputs(graph: onnx.GraphProto) -> list[PixelInput]:
    """Return the uint8 tensors that are cast to float32 and scaled by constants."""
    sources = {
        value.name: value.name
        for value in graph.input
        if value.type.tensor_type.elem_type == TensorProto.UINT8
    }
    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = _readers(graph)
    found = []
    for node in graph.node:
        source = sources.get(node.input[0]) if node.input else None
        if source is None:
            continue
        if node.op_type in _LAYOUT:
            sources[node.output[0]] = source
        elif node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT:
            found.append(_follow(source, node, readers, constants))
    return found


def _follow(
    source: str,
    cast: onnx.NodeProto,
    readers: Mapping[str, list[onnx.NodeProto]],
    constants: Mapping[str, TensorProto],
) -> PixelInput:
    nodes, value = [cast.name], cast.output[0]
    scale, offset = 1.0, np.zeros(())
    for kind in ("Mul", "Add"):
        behind = readers.get(value, [])
        if len(behind) != 1 or behind[0].op_type != kind or behind[0].input[1] not in constants:
            continue
        array = numpy_helper.to_array(constants[behind[0].input[1]]).astype(np.float64)
        if kind == "Mul":
            if array.size != 1 or array.reshape(-1)[0] <= 0:
                break
            scale = float(array.reshape(-1)[0])
        else:
            offset = array
        nodes.append(behind[0].name)
        value = behind[0].output[0]
    return PixelInput(source, cast.input[0], tuple(nodes), value, scale, offset)


def prepare_pixel_inputs(graph: onnx.GraphProto) -> list[PixelInput]:
    """Round the offsets that have to be, in place; return the inputs with their new offsets."""
    result = []
    for found in find_pixel_inputs(graph):
        if found.zero_point is None or abs(found.shift) <= _EXACT * found.scale:
            result.append(found)
            continue
        layers = [node for node in graph.node if found.value in node.input]
        if all(_can_shift(graph, node, found.value) for node in layers):
            for node in layers:
                _shift_bias(graph, node, found.shift)
            offset = np.array(-found.zero_point * found.scale)
            (add,) = (node for node in graph.node if node.name == found.nodes[-1])
            _replace_constant(graph, add, 1, offset.reshape(found.offset.shape))
            found = replace(found, offset=offset)
        result.append(found)
    return result


def read_pixels_as_codes(graph: onnx.GraphProto, inputs: Iterable[PixelInput]) -> None:
    """Let the quantized graph read the bytes as they are, in place, where that is exact."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for found in inputs:
        if found.zero_point is None or abs(found.shift) > _EXACT * found.scale:
            continue
        for node in [node for node in graph.node if node.op_type == "QuantizeLinear"]:
            if node.input[0] != found.value:
                continue
            scale, zero = (constants[name] for name in node.input[1:3])
            if zero.data_type != TensorProto.UINT8:
                continue
            exact = np.array(found.scale, np.float32).reshape(tuple(scale.dims))
            scale.CopyFrom(numpy_helper.from_array(exact, scale.name))
            byte = np.array(found.zero_point, np.uint8).reshape(tuple(zero.dims))
            zero.CopyFrom(numpy_helper.from_array(byte, zero.name))
            for reader in _readers(graph).get(node.output[0], []):
                reader.input[:] = [
                    found.pixels if name == node.output[0] else name for name in reader.input
                ]
            graph.node.remove(node)
        for name in reversed(found.nodes):
            (node,) = (node for node in graph.node if node.name == name)
            if not _readers(graph).get(node.output[0]):
                graph.node.remove(node)


def _can_shift(graph: onnx.GraphProto, node: onnx.NodeProto, value: str) -> bool:
    constants = {tensor.name for tensor in graph.initializer}
    return (
        node.op_type in ("Conv", "Gemm")
        and list(node.input).count(value) == 1
        and node.input[0] == value
        and all(name in constants for name in node.input[1:])
        and all(a.f == 1.0 for a in node.attribute if a.name in ("alpha", "beta"))
    )


def _shift_bias(graph: onnx.GraphProto, node: onnx.NodeProto, shift: float) -> None:
    """Add to a layer's bias what a constant input gives."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = constants[node.input[1]].astype(np.float64)
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    axes = tuple(range(1, weights.ndim)) if node.op_type == "Conv" or transposed else (0,)
    bias = weights.sum(axis=axes) * shift
    if len(node.input) > 2:
        bias = bias + constants[node.input[2]]
    _replace_constant(graph, node, 2, bias)


def _replace_constant(
    graph: onnx.GraphProto, node: onnx.NodeProto, place: int, array: Array
) -> None:
    """Give a node a constant of its own: another node may share the old one."""
    name = f"{node.name}/pixels_{place}"
    graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    if place < len(node.input):
        node.input[place] = name
    else:
        node.input.append(name)


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers
