"""Grouped 3-D convolutions, and transposed convolutions."""

from __future__ import annotations

from typing import Any

from tf2onnx.onnx_opset import nn

from edgeport_converter.exporting.tf_ops.builder import Builder


def _convolution(build: Builder) -> None:
    """tf2onnx counts the groups for two dimensions only.

    Conv2D has to stay out of this table: tf2onnx's rewriters call its handler in another way.
    """
    graph, node = build.graph, build.source
    spatial = int(node.type[-2])
    data, kernel = graph.get_shape(node.input[0]), graph.get_shape(node.input[1])
    channels = data[-1] if nn.is_channels_last(node) else data[1]
    groups = 1 if channels in (-1, None) or not channels else channels // kernel[spatial]
    nn.ConvOp.any_version(13, graph, node)
    node.set_attr("group", groups)


def _transposed_convolution(build: Builder) -> None:
    """Say where the output ends by padding added or taken away, for known sizes.

    TensorFlow's operation is the gradient of a convolution: element j of its output is element
    j + begin of the full one, and zero beyond its end, where ONNX wants output_padding.
    """
    graph, node = build.graph, build.source
    spatial = 3 if node.type == "Conv3DBackpropInputV2" else 2
    data, kernel = graph.get_shape(node.input[2]), graph.get_shape(node.input[1])
    if not nn.is_channels_last(node) or data is None:
        nn.ConvTranspose.version_1(graph, node)
        return
    wanted = graph.get_shape(node.output[0])
    sizes, out_sizes = data[1:-1], (wanted or [-1] * (spatial + 2))[1:-1]
    if -1 in sizes or -1 in out_sizes:
        nn.ConvTranspose.version_1(graph, node)
        return
    strides = _spatial(node, "strides", spatial)
    dilations = _spatial(node, "dilations", spatial)
    padding = node.get_attr_str("padding")
    begins, ends, extra = [], [], []
    for axis in range(spatial):
        full = (sizes[axis] - 1) * strides[axis] + (kernel[axis] - 1) * dilations[axis] + 1
        cut = full - out_sizes[axis]
        begin = max(cut, 0) // 2 if padding == "SAME" else 0
        begins.append(begin)
        ends.append(max(cut - begin, 0))
        extra.append(max(begin - cut, 0))
    channels_first = [0, spatial + 1, *range(1, spatial + 1)]
    channels_last = [0, *range(2, spatial + 2), 1]
    # (spatial..., out, in) becomes (in, out, spatial...)
    order = [spatial + 1, spatial, *range(spatial)]
    weights, source, *bias = build.inputs[1:]  # tf2onnx has moved a BiasAdd that follows into them
    source = build.node("Transpose", source, perm=channels_first)
    weights = build.node("Transpose", weights, perm=order)
    result = build.node(
        "ConvTranspose",
        *(source, weights, *bias),
        strides=strides,
        dilations=dilations,
        pads=begins + ends,
        kernel_shape=list(kernel[:spatial]),
        **({"output_padding": extra} if any(extra) else {}),
    )
    if wanted is not None:
        graph.set_shape(result, [wanted[0], wanted[-1], *wanted[1:-1]])
    build.replace("Transpose", result, perm=channels_last)


def _spatial(node: Any, name: str, spatial: int) -> list[int]:
    values = node.get_attr_value(name) or [1] * (spatial + 2)
    return [int(value) for value in values[1:-1]]


HANDLERS = {
    "Conv3D": _convolution,
    "Conv2DBackpropInput": _transposed_convolution,
    "Conv3DBackpropInputV2": _transposed_convolution,
}
