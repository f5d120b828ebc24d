"""The ONNX graph of ``Frames``, alone or before a model: uint8 frames in, the float32 picture out.

``resizing`` writes the nodes between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper

from edgeport import OptionError
from edgeport_converter.sensors.frames import Frames, free_axes
from edgeport_converter.sensors.resizing import write_picture
from edgeport_converter.sensors.values import GraphWriter

_PREFIX = "frames/"
_OLDEST_OPSET = 16  # ScatterElements that adds


def make_frames_model(
    frames: Frames, picture: Sequence[int], *, opset: int = 17
) -> onnx.ModelProto:
    """Return a model of the frames alone.

    Args:
        frames: what the training code did.
        picture: (h, w, c) of the model's input.
        opset: 16 to 21.

    Returns:
        ``frames`` (N, H, W, C) uint8 to ``picture`` (N, h, w, c) float32.

    Raises:
        OptionError: the model's channels are not for frames.
    """
    writer = GraphWriter(_PREFIX)
    result = write_picture(writer, frames, "frames", picture)
    writer.nodes.append(helper.make_node("Identity", [result], ["picture"], name="picture"))
    graph = helper.make_graph(
        writer.nodes,
        "frames",
        [_frames_info("frames", frames, "N", ("H", "W"))],
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["N", *picture])],
        writer.initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def prepend_frames(model: onnx.ModelProto, input_name: str, frames: Frames) -> onnx.ModelProto:
    """Return the model with uint8 frames as one of its inputs, under the same name.

    Args:
        model: float or quantized; it stays as it is.
        input_name: of a float32 picture (N, h, w, c), one of the model's inputs.
        frames: what the training code did to the picture.

    Returns:
        A copy whose input of that name is uint8 (N, H, W, C). All other names, inputs and outputs
        and the known shapes inside stay.

    Raises:
        OptionError: there is no such input, or it is no picture of fixed size, or the model's
            opset lacks an operator.
    """
    opset = max((entry.version for entry in model.opset_import if not entry.domain), default=0)
    if opset < _OLDEST_OPSET:
        raise OptionError(
            f"frames are for a model of opset {opset}, expected {_OLDEST_OPSET} or newer, which "
            "adds up weights at their places: export it with the default opset"
        )
    combined = onnx.ModelProto()
    combined.CopyFrom(model)
    graph = combined.graph
    position, info = _find_input(graph, input_name)
    batch, *picture = _picture_of(info)
    writer = GraphWriter(_PREFIX, sorted(_names_in(graph)))
    result = write_picture(writer, frames, input_name, picture)
    for node in _all_nodes(graph):
        for place, name in enumerate(node.input):
            if name == input_name:
                node.input[place] = result
    for output in graph.output:
        if output.name == input_name:
            raise OptionError(
                f"the model's input '{input_name}' is also an output, expected a picture that the "
                "model computes with: leave frames out"
            )
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend([*writer.nodes, *old])
    graph.initializer.extend(writer.initializers)
    graph.value_info.append(
        helper.make_tensor_value_info(result, TensorProto.FLOAT, [batch, *picture])
    )
    taken = {side.dim_param for each in graph.input for side in each.type.tensor_type.shape.dim}
    axes = free_axes(taken)
    graph.input[position].CopyFrom(_frames_info(input_name, frames, batch, axes))
    return combined


def _find_input(graph: onnx.GraphProto, name: str) -> tuple[int, onnx.ValueInfoProto]:
    for position, info in enumerate(graph.input):
        if info.name == name:
            return position, info
    listed = ", ".join(f"'{info.name}'" for info in graph.input)
    raise OptionError(
        f"frames are for the input '{name}', found the inputs {listed}: name one of these"
    )


def _picture_of(info: onnx.ValueInfoProto) -> list[Any]:
    tensor = info.type.tensor_type
    sides = [
        side.dim_value if side.HasField("dim_value") else side.dim_param or None
        for side in tensor.shape.dim
    ]
    if (
        tensor.elem_type != TensorProto.FLOAT
        or len(sides) != 4
        or not all(isinstance(side, int) for side in sides[1:])
    ):
        raise OptionError(
            f"frames are for the input '{info.name}', found one of shape {tuple(sides)} and type "
            f"{TensorProto.DataType.Name(tensor.elem_type)}, expected a float picture (N, H, W, C) "
            "of fixed height and width: give it one, as with "
            "keras.Sequential([keras.Input((96, 96, 3)), model])"
        )
    return sides


def _all_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes, and those of the subgraphs, which see the graph's names too."""
    found = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found.extend(_all_nodes(inner))
    return found


def _names_in(graph: onnx.GraphProto) -> set[str]:
    names = {tensor.name for tensor in (*graph.initializer, *graph.input, *graph.output)}
    for node in _all_nodes(graph):
        names.update((node.name, *node.input, *node.output))
        for attribute in node.attribute:
            names.update(tensor.name for tensor in attribute.g.initializer)
    return names


def _frames_info(
    name: str, frames: Frames, batch: Any, axes: tuple[str, str]
) -> onnx.ValueInfoProto:
    sides = frames.size or axes
    channels = 1 if frames.order == "gray" else 3
    return helper.make_tensor_value_info(name, TensorProto.UINT8, [batch, *sides, channels])
