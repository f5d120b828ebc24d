"""TensorFlow operations that tf2onnx lacks or gets wrong, as ONNX nodes.

Each function takes tf2onnx's graph and the TensorFlow node, and puts ONNX nodes in its place.
What is passed over by tf2onnx without an error would leave an invalid file, so ``exporting`` checks
that nothing but ONNX is left. Resizing is in ``tf_images``, the Fourier transforms in
``tf_signal``, integers in ``tf_integers``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from tf2onnx import utils
from tf2onnx.onnx_opset import nn

from edgeport_converter.exporting.keras_patches import lookups
from edgeport_converter.exporting.keras_patches.placeholders import Markers
from edgeport_converter.exporting.tf_ops import einsum, images, integers, search, signal
from edgeport_converter.exporting.tf_ops.builder import constant, int64_values, node_for, replace

Handler = Callable[[Any, Any], None]

EXTRA_OPSETS = (helper.make_opsetid(lookups.DOMAIN, lookups.VERSION),)


def handlers(markers: Markers) -> dict[str, tuple[Callable[..., None], list[Any]]]:
    """Return the table that ``tf2onnx.tfonnx.process_tf_graph`` takes.

    Args:
        markers: what the PyFunc nodes of this graph stand for.
    """

    def marker(graph: Any, node: Any) -> None:
        emit = markers.emitter(node.get_attr_str("token"))
        if emit is None:
            raise ValueError("it calls Python code, which no ONNX file can hold")
        emit(graph, node)

    table: dict[str, Handler] = {
        **_HANDLERS,
        **images.HANDLERS,
        **integers.HANDLERS,
        **search.HANDLERS,
        **signal.HANDLERS,
        "PyFunc": marker,
        "EagerPyFunc": marker,
    }
    return {op: (_adapt(handler), []) for op, handler in table.items()}


def _adapt(handler: Handler) -> Callable[..., None]:
    """Give a handler tf2onnx's signature."""

    def call(graph: Any, node: Any, name: str, args: Sequence[Any]) -> None:
        handler(graph, node)

    return call


def _erfc(graph: Any, node: Any) -> None:
    """erfc(x) = 1 - erf(x); the exact gelu is made of it."""
    erf = node_for(graph, node, "Erf", node.input)
    one = constant(graph, node, 1.0)
    replace(graph, node, "Sub", [one, erf])


def _expm1(graph: Any, node: Any) -> None:
    exp = node_for(graph, node, "Exp", node.input)
    replace(graph, node, "Sub", [exp, constant(graph, node, 1.0)])


def _log1p(graph: Any, node: Any) -> None:
    one = constant(graph, node, 1.0)
    replace(graph, node, "Log", [node_for(graph, node, "Add", [node.input[0], one])])


def _bucketize(graph: Any, node: Any) -> None:
    """Count the boundaries that a value has reached."""
    boundaries = np.asarray(node.get_attr_value("boundaries"), dtype=np.float32)
    source = node.input[0]
    if graph.get_dtype(source) != TensorProto.FLOAT:
        source = node_for(graph, node, "Cast", [source], {"to": TensorProto.FLOAT})
    last = int64_values(graph, node, [-1])
    edges = graph.make_const(utils.make_name(node.name), boundaries).output[0]
    column = node_for(graph, node, "Unsqueeze", [source, last])
    reached = node_for(graph, node, "GreaterOrEqual", [column, edges])
    counted = node_for(graph, node, "Cast", [reached], {"to": TensorProto.INT32})
    replace(graph, node, "ReduceSum", [counted, last], {"keepdims": 0})


def _bincount(graph: Any, node: Any) -> None:
    """Count each value along the last axis; tf2onnx counts over all of them."""
    dtype = graph.get_dtype(node.output[0])
    size = graph.get_shape(node.output[0])
    values = node_for(graph, node, "Cast", [node.input[0]], {"to": TensorProto.INT64})
    last = int64_values(graph, node, [-1])
    if size and size[-1] not in (-1, None):
        bins = int64_values(graph, node, range(size[-1]))
    else:
        zero, one = (
            graph.make_const(utils.make_name(node.name), np.array(n, np.int64)).output[0]
            for n in (0, 1)
        )
        end = node_for(graph, node, "Cast", [node.input[1]], {"to": TensorProto.INT64})
        bins = node_for(graph, node, "Range", [zero, end, one])
    column = node_for(graph, node, "Unsqueeze", [values, last])
    hits = node_for(graph, node, "Equal", [column, bins])
    numbers = node_for(graph, node, "Cast", [hits], {"to": dtype})
    weights = graph.get_shape(node.input[2])
    if weights is None or 0 not in weights:
        numbers = node_for(
            graph, node, "Mul", [numbers, node_for(graph, node, "Unsqueeze", [node.input[2], last])]
        )
    axis = int64_values(graph, node, [-2])
    if node.get_attr_value("binary_output"):
        replace(graph, node, "ReduceMax", [numbers], {"axes": [-2], "keepdims": 0})
    else:
        replace(graph, node, "ReduceSum", [numbers, axis], {"keepdims": 0})


def _equal(graph: Any, node: Any) -> None:
    """Compare text through a table, since ONNX compares it from opset 19 on only."""
    if graph.get_dtype(node.input[0]) != TensorProto.STRING:
        from tf2onnx.onnx_opset import logical

        logical.Equal.version_11(graph, node)
        return
    sides = list(zip(node.input, node.inputs, strict=True))
    known = next((other for _, other in sides if other.is_const()), None)
    if known is None or known.get_tensor_value(as_list=False).size != 1:
        raise ValueError("it compares two texts that both come from the inputs")
    asked = next(name for name, other in sides if other is not known)
    text = known.get_tensor_value(as_list=False).reshape(-1)[0]
    text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
    found = graph.make_node(
        "LabelEncoder",
        [asked],
        domain=lookups.DOMAIN,
        name=utils.make_name(node.name),
        attr={"keys_strings": [text], "values_int64s": [1], "default_int64": 0},
        dtypes=[TensorProto.INT64],
        shapes=[graph.get_shape(asked)],
    ).output[0]
    replace(graph, node, "Cast", [found], {"to": TensorProto.BOOL})


def _convolution(graph: Any, node: Any) -> None:
    """tf2onnx counts the groups for two dimensions only.

    Conv2D has to stay out of this table: tf2onnx's rewriters call its handler in another way.
    """
    spatial = int(node.type[-2])
    data, kernel = graph.get_shape(node.input[0]), graph.get_shape(node.input[1])
    channels = data[-1] if nn.is_channels_last(node) else data[1]
    groups = 1 if channels in (-1, None) or not channels else channels // kernel[spatial]
    nn.ConvOp.any_version(13, graph, node)
    node.set_attr("group", groups)


def _transposed_convolution(graph: Any, node: Any) -> None:
    """Say where the output ends by padding added or taken away, for known sizes.

    TensorFlow's operation is the gradient of a convolution: element j of its output is element
    j + begin of the full one, and zero beyond its end, where ONNX wants output_padding.
    """
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
    source = node_for(graph, node, "Transpose", [node.input[2]], {"perm": channels_first})
    weights = node_for(graph, node, "Transpose", [node.input[1]], {"perm": order})
    attributes: dict[str, Any] = {
        "strides": strides,
        "dilations": dilations,
        "pads": begins + ends,
        "kernel_shape": list(kernel[:spatial]),
    }
    if any(extra):
        attributes["output_padding"] = extra
    # tf2onnx has moved a BiasAdd that follows into the node's inputs.
    result = node_for(graph, node, "ConvTranspose", [source, weights, *node.input[3:]], attributes)
    if wanted is not None:
        graph.set_shape(result, [wanted[0], wanted[-1], *wanted[1:-1]])
    replace(graph, node, "Transpose", [result], {"perm": channels_last})


def _spatial(node: Any, name: str, spatial: int) -> list[int]:
    values = node.get_attr_value(name) or [1] * (spatial + 2)
    return [int(value) for value in values[1:-1]]


_HANDLERS: dict[str, Handler] = {
    "Erfc": _erfc,
    "Expm1": _expm1,
    "Log1p": _log1p,
    "Bucketize": _bucketize,
    "DenseBincount": _bincount,
    "Equal": _equal,
    "Einsum": einsum.convert,
    "Conv3D": _convolution,
    "Conv2DBackpropInput": _transposed_convolution,
    "Conv3DBackpropInputV2": _transposed_convolution,
}
