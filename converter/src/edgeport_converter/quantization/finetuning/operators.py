"""ONNX operators in TensorFlow, which can be differentiated.

``OPERATORS`` is by operator; each takes the node and its inputs as tensors, in ONNX's layout with
channels on axis 1. TensorFlow's convolutions on a CPU want channels last, so those turn the tensor
and turn it back. ``trainable`` computes a graph with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

Operator = Callable[..., Any]


class UnknownOperatorError(Exception):
    """A node has no form here; the text says which."""


def require_operators(graph: ir.Graph) -> None:
    """Raise UnknownOperatorError where a graph has an operator that is not here."""
    for node in graph:
        if node.op_type not in OPERATORS:
            raise UnknownOperatorError(f"the operator {node.op_type} ('{node.name}')")


def _ints(node: ir.Node, name: str, default: Any = None) -> Any:
    found = node.attributes.get_ints(name, ())
    return list(found) if found else default


def _constant(tensor: Any) -> Any:
    """Return what is known when the function is traced, such as axes."""
    value = tf.get_static_value(tensor)
    if value is None:
        raise UnknownOperatorError("sizes that are computed from the data")
    return np.asarray(value)


def _last(x: Any) -> Any:
    return tf.transpose(x, [0, *range(2, x.shape.rank), 1])


def _first(x: Any) -> Any:
    return tf.transpose(x, [0, x.shape.rank - 1, *range(1, x.shape.rank - 1)])


def _window(node: ir.Node, x: Any, fill: float = 0.0) -> tuple[Any, str]:
    """Return x (N, ..., C) with explicit padding done, and TensorFlow's word for the rest."""
    rank = x.shape.rank - 2
    if node.attributes.get_int("ceil_mode", 0):
        raise UnknownOperatorError(f"ceil_mode of '{node.name}'")
    how = node.attributes.get_string("auto_pad", "NOTSET")
    if how == "SAME_UPPER":
        return x, "SAME"
    if how not in ("NOTSET", "VALID"):
        raise UnknownOperatorError(f"auto_pad {how} of '{node.name}'")
    pads = _ints(node, "pads", [0] * 2 * rank) if how == "NOTSET" else [0] * 2 * rank
    if any(pads):
        sides = [[0, 0], *zip(pads[:rank], pads[rank:], strict=True), [0, 0]]
        x = tf.pad(x, sides, constant_values=fill)
    return x, "VALID"


def _conv(node: ir.Node, x: Any, w: Any, bias: Any = None) -> Any:
    groups, rank = node.attributes.get_int("group", 1), w.shape.rank - 2
    x, padding = _window(node, _last(x))
    strides, dilations = (_ints(node, name, [1] * rank) for name in ("strides", "dilations"))
    if set(w.shape[2:]) == {1}:
        # The gradient of such a convolution with strides writes beyond its memory in TensorFlow's
        # oneDNN kernels (seen in 2.21).
        x = x[(slice(None), *(slice(None, None, step) for step in strides))]
        strides = [1] * rank
    if groups > 1 and w.shape[1] == 1 and groups == x.shape[-1] and rank < 3:
        y = _depthwise(x, w, strides, dilations, padding)
    else:
        kernel = tf.transpose(w, [*range(2, rank + 2), 1, 0])
        parts = [
            tf.nn.convolution(each, part, strides, padding, dilations=dilations)
            for each, part in zip(
                tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True
            )
        ]
        y = parts[0] if groups == 1 else tf.concat(parts, -1)
    return _first(y if bias is None else y + bias)


def _depthwise(x: Any, w: Any, strides: Any, dilations: Any, padding: str) -> Any:
    if w.shape.rank == 3:  # one axis is the second of two
        x, w = tf.expand_dims(x, 1), tf.expand_dims(w, 2)
        y = _depthwise(x, w, [strides[0]] * 2, [1, dilations[0]], padding)
        return tf.squeeze(y, 1)
    channels = x.shape[-1]
    kernel = tf.transpose(w, [2, 3, 0, 1])
    kernel = tf.reshape(kernel, [*w.shape[2:], channels, w.shape[0] // channels])
    return tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], padding, dilations=dilations)


def _conv_transpose(node: ir.Node, x: Any, w: Any, bias: Any = None) -> Any:
    rank = w.shape.rank - 2
    dilations = _ints(node, "dilations", [1] * rank)
    plain = node.attributes.get_int("group", 1) == 1 and rank == 2 and set(dilations) == {1}
    if not plain or node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        raise UnknownOperatorError(f"the form of ConvTranspose of '{node.name}'")
    strides, pads = _ints(node, "strides", [1, 1]), _ints(node, "pads", [0] * 4)
    more = _ints(node, "output_padding", [0, 0])
    x = _last(x)
    sizes = tf.shape(x)
    full = [(sizes[1 + i] - 1) * strides[i] + w.shape[2 + i] + more[i] for i in range(2)]
    y = tf.nn.conv2d_transpose(
        x,
        tf.transpose(w, [2, 3, 1, 0]),
        tf.stack([sizes[0], *full, w.shape[1]]),
        strides,
        "VALID",
    )
    y = y[:, pads[0] : full[0] - pads[2], pads[1] : full[1] - pads[3]]
    y.set_shape([x.shape[0], None, None, w.shape[1]])
    return _first(y if bias is None else y + bias)


def _gemm(node: ir.Node, a: Any, b: Any, c: Any = None) -> Any:
    flags = {f"transpose_{name.lower()}": bool(node.attributes.get_int(f"trans{name}", 0))
             for name in "AB"}  # fmt: skip
    y = node.attributes.get_float("alpha", 1.0) * tf.matmul(a, b, **flags)
    return y if c is None else y + node.attributes.get_float("beta", 1.0) * c


def _pool(node: ir.Node, x: Any, kind: str) -> Any:
    shape = _ints(node, "kernel_shape")
    strides = _ints(node, "strides", [1] * len(shape))
    dilations = _ints(node, "dilations", [1] * len(shape))

    def pool(each: Any, padding: str) -> Any:
        return tf.nn.pool(each, shape, kind, strides, padding, dilations=dilations)

    x = _last(x)
    given, padding = _window(node, x, x.dtype.min if kind == "MAX" else 0.0)
    y = pool(given, padding)
    if kind == "AVG" and given is not x and not node.attributes.get_int("count_include_pad", 0):
        y = y / pool(_window(node, tf.ones_like(x))[0], padding)
    return _first(y)


def _global_pool(node: ir.Node, x: Any) -> Any:
    return tf.reduce_mean(x, list(range(2, x.shape.rank)), keepdims=True)


def _reshape(node: ir.Node, x: Any, shape: Any) -> Any:
    known = tf.get_static_value(shape)
    if known is None:
        return tf.reshape(x, shape)
    sizes = [tf.shape(x)[axis] if size == 0 else int(size) for axis, size in enumerate(known)]
    y = tf.reshape(x, tf.stack(sizes) if sizes else [])
    y.set_shape([x.shape[axis] if size == 0 else None if size == -1 else int(size)
                 for axis, size in enumerate(known)])  # fmt: skip
    if sum(size == -1 for size in known) == 1 and x.shape[1:].is_fully_defined():
        _set_free_size(x, y, list(known))
    return y


def _set_free_size(x: Any, y: Any, sizes: list[Any]) -> None:
    """Tell a size that is left to compute, where it does not take in the batch axis."""
    if sizes[0] == 0 or (x.shape[0] is not None and sizes[0] == x.shape[0]):
        rest = int(np.prod(x.shape[1:])) // int(
            np.prod([x.shape[i] if s == 0 else s for i, s in enumerate(sizes) if i and s != -1])
        )
        y.set_shape([x.shape[0], *[rest if s == -1 else None for s in sizes[1:]]])
    elif sizes[0] == -1 and 0 not in sizes and np.prod(sizes[1:]) == np.prod(x.shape[1:]):
        y.set_shape([x.shape[0], *sizes[1:]])


def _flatten(node: ir.Node, x: Any) -> Any:
    axis = node.attributes.get_int("axis", 1)
    if axis != 1 or not x.shape[1:].is_fully_defined():
        raise UnknownOperatorError(f"the form of Flatten of '{node.name}'")
    return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])


def _axes(node: ir.Node, given: Sequence[Any]) -> list[int] | None:
    if given and given[0] is not None:
        return [int(axis) for axis in _constant(given[0]).reshape(-1)]
    found = _ints(node, "axes")
    return None if found is None else list(found)


def _reduce(function: Any) -> Operator:
    def reduce(node: ir.Node, x: Any, *axes: Any) -> Any:
        keep = bool(node.attributes.get_int("keepdims", 1))
        return function(x, _axes(node, axes), keepdims=keep)

    return reduce


def _squeeze(node: ir.Node, x: Any, *axes: Any) -> Any:
    return tf.squeeze(x, _axes(node, axes))


def _unsqueeze(node: ir.Node, x: Any, *axes: Any) -> Any:
    wanted = _axes(node, axes) or []
    rank = x.shape.rank + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = tf.expand_dims(x, axis)
    return x


def _pad(node: ir.Node, x: Any, pads: Any, value: Any = None, axes: Any = None) -> Any:
    mode = node.attributes.get_string("mode", "constant")
    if mode not in ("constant", "reflect") or axes is not None:
        raise UnknownOperatorError(f"the form of Pad of '{node.name}'")
    sides = _constant(pads).reshape(2, -1).T
    filling = 0.0 if value is None else tf.cast(tf.reshape(value, []), x.dtype)
    return tf.pad(x, sides, mode.upper(), constant_values=filling)


def _slice(
    node: ir.Node, x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None
) -> Any:
    begin, end = (_constant(each).tolist() for each in (starts, ends))
    places = list(range(len(begin))) if axes is None else _constant(axes).tolist()
    by = [1] * len(begin) if steps is None else _constant(steps).tolist()
    cuts = [slice(None)] * x.shape.rank
    largest = np.iinfo(np.int32).max
    for axis, low, high, step in zip(places, begin, end, by, strict=True):
        stop = None if abs(high) >= largest else int(high)
        cuts[axis] = slice(None if abs(low) >= largest else int(low), stop, int(step))
    return x[tuple(cuts)]


def _clip(node: ir.Node, x: Any, low: Any = None, high: Any = None) -> Any:
    if low is not None:
        x = tf.maximum(x, tf.cast(low, x.dtype))
    return x if high is None else tf.minimum(x, tf.cast(high, x.dtype))


def _hard_sigmoid(node: ir.Node, x: Any) -> Any:
    slope = node.attributes.get_float("alpha", 0.2)
    return tf.clip_by_value(slope * x + node.attributes.get_float("beta", 0.5), 0.0, 1.0)


def _batch_norm(node: ir.Node, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    factor = gamma / tf.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    shape = [1, -1, *[1] * (x.shape.rank - 2)]
    return x * tf.reshape(factor, shape) + tf.reshape(beta - mean * factor, shape)


def _prelu(node: ir.Node, x: Any, slope: Any) -> Any:
    return tf.where(x > 0, x, slope * x)


def _split(node: ir.Node, x: Any, sizes: Any = None) -> Any:
    axis = node.attributes.get_int("axis", 0)
    count = len(node.outputs)
    return tuple(tf.split(x, count if sizes is None else _constant(sizes).tolist(), axis))


def _plain(function: Any) -> Operator:
    return lambda node, *given: function(*given)


def _axis(function: Any, default: int) -> Operator:
    return lambda node, x: function(x, axis=node.attributes.get_int("axis", default))


OPERATORS: dict[str, Operator] = {
    "Add": _plain(lambda a, b: a + b),
    "Sub": _plain(lambda a, b: a - b),
    "Mul": _plain(lambda a, b: a * b),
    "Div": _plain(lambda a, b: a / b),
    "Pow": _plain(lambda a, b: a ** tf.cast(b, a.dtype)),
    "Max": _plain(tf.maximum),
    "Min": _plain(tf.minimum),
    "Less": _plain(tf.less),  # an Embedding counts negative numbers from its end
    "Not": _plain(tf.logical_not),
    "Where": _plain(tf.where),
    "Neg": _plain(tf.negative),
    "Abs": _plain(tf.abs),
    "Sqrt": _plain(tf.sqrt),
    "Exp": _plain(tf.exp),
    "Log": _plain(tf.math.log),
    "Erf": _plain(tf.math.erf),
    "Reciprocal": _plain(tf.math.reciprocal),
    "Identity": _plain(tf.identity),
    "Relu": _plain(tf.nn.relu),
    "Sigmoid": _plain(tf.sigmoid),
    "Tanh": _plain(tf.tanh),
    "Softplus": _plain(tf.math.softplus),
    "Softsign": _plain(tf.math.softsign),
    "Elu": lambda node, x: tf.where(
        x > 0, x, node.attributes.get_float("alpha", 1.0) * tf.math.expm1(tf.minimum(x, 0.0))
    ),
    "LeakyRelu": lambda node, x: tf.nn.leaky_relu(x, node.attributes.get_float("alpha", 0.01)),
    "PRelu": _prelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(lambda x: x * tf.clip_by_value(x / 6.0 + 0.5, 0.0, 1.0)),
    "Clip": _clip,
    "Softmax": _axis(tf.nn.softmax, -1),
    "LogSoftmax": _axis(tf.nn.log_softmax, -1),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _plain(tf.matmul),
    "BatchNormalization": _batch_norm,
    "MaxPool": lambda node, x: _pool(node, x, "MAX"),
    "AveragePool": lambda node, x: _pool(node, x, "AVG"),
    "GlobalAveragePool": _global_pool,
    "ReduceMean": _reduce(tf.reduce_mean),
    "ReduceSum": _reduce(tf.reduce_sum),
    "ReduceMax": _reduce(tf.reduce_max),
    "Reshape": _reshape,
    "Expand": _plain(lambda x, shape: x * tf.ones(shape, x.dtype)),
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": lambda node, x: tf.transpose(x, _ints(node, "perm")),
    "Concat": lambda node, *given: tf.concat(given, node.attributes.get_int("axis", 0)),
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Gather": lambda node, x, places: tf.gather(x, places, axis=node.attributes.get_int("axis", 0)),
    "Shape": _plain(lambda x: tf.shape(x, out_type=tf.int64)),
    "Cast": lambda node, x: tf.cast(x, ir.DataType(node.attributes.get_int("to", 1)).numpy()),
    # Codes are floats with whole values, so that gradients pass.
    "QuantizeLinear": lambda node, *given: None,
    "DequantizeLinear": lambda node, *given: None,
}
"""By operator: the node and its inputs as tensors, to its output, or a tuple of its outputs.

``trainable`` computes QuantizeLinear and DequantizeLinear itself.
"""
