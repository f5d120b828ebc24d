"""Pooling with a scale of its own.

onnxruntime's quantizer gives the output of an AveragePool the scale of its input. A mean over many
places is far smaller than the largest value among them, so most of the codes would lie idle; the
kernel itself takes two scales.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeport_converter.quantization.calibration.ranges import Ranges

_CODES = 255
# These hand the codes on: what they read and what they give has one scale.
_PASSING = ("Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def rescale_pools(graph: onnx.GraphProto, ranges: Ranges) -> None:
    """Give each quantized AveragePool's output, and what passes it on, the scale of its range.

    Args:
        graph: onnxruntime's QDQ graph with uint8 activations, changed in place.
        ranges: by name of the float tensors.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for pool in [node for node in graph.node if node.op_type == "AveragePool"]:
        low, high = (float(end) for end in ranges.get(pool.output[0], (0.0, 0.0)))
        low, high = min(low, 0.0), max(high, 0.0)
        if not any(n.op_type == "QuantizeLinear" for n in readers.get(pool.output[0], [])):
            continue
        scale = np.float32((high - low) / _CODES)
        if not scale > np.finfo(np.float32).tiny:
            continue
        zero = np.uint8(np.clip(np.rint(-low / scale), 0, _CODES))
        names = (f"{pool.output[0]}/own_scale", f"{pool.output[0]}/own_zero_point")
        for name, value in zip(names, (scale, zero), strict=True):
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        waiting = [pool.output[0]]
        while waiting:
            for node in readers.get(waiting.pop(), []):
                if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
                    node.input[1:] = names
                    waiting.append(node.output[0])
                elif node.op_type in _PASSING:
                    waiting.append(node.output[0])


_FLOAT = onnx.TensorProto.FLOAT
_MOST_PLACES = 25


def convolve_pools(model: onnx.ModelProto, in_float: Collection[str] = ()) -> onnx.ModelProto:
    """Return the float graph with its small average pools as depthwise convolutions.

    A pool that leaves padding out of its means, or rounds its size up, stays: it divides by
    another number at the border. So does one over all of a map: its int8 kernel is fast, and the
    weights would be as large as what it reads.

    Args:
        model: a float graph with the shapes of its inner tensors; it is not changed, and it is
            returned as it is where there is no such pool.
        in_float: names of nodes that stay in float.
    """
    graph = model.graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.elem_type == _FLOAT
    }
    channels = {
        node.name: shapes[node.input[0]][1]
        for node in graph.node
        if node.op_type == "AveragePool"
        and node.name not in in_float
        and len(shapes.get(node.input[0], ())) == 4
        and shapes[node.input[0]][1] > 0
        and shapes.get(node.output[0], [])[2:] != [1, 1]
        and _divides_by_one_number(node)
    }
    if not channels:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    taken = {tensor.name for tensor in graph.initializer}
    taken.update(name for node in graph.node for name in (*node.input, *node.output))
    for place, node in enumerate(result.graph.node):
        if node.op_type == "AveragePool" and node.name in channels:
            options = _options(node)
            size, count = options["kernel_shape"], channels[node.name]
            weights = np.full((count, 1, *size), 1 / math.prod(size), np.float32)
            name = f"{node.name}/weights"
            while name in taken:
                name += "~"
            result.graph.initializer.append(numpy_helper.from_array(weights, name))
            kept = {key: options[key] for key in ("kernel_shape", "pads", "strides")
                    if key in options}  # fmt: skip
            convolution = helper.make_node(
                "Conv", [node.input[0], name], list(node.output), node.name, group=count, **kept
            )
            result.graph.node.remove(node)
            result.graph.node.insert(place, convolution)
    return result


def _divides_by_one_number(pool: onnx.NodeProto) -> bool:
    options = _options(pool)
    pads = any(options.get("pads", [])) or options.get("auto_pad", b"NOTSET") not in (
        b"NOTSET", b"VALID",
    )  # fmt: skip
    return (
        1 < math.prod(options["kernel_shape"]) <= _MOST_PLACES
        and not options.get("ceil_mode", 0)
        and (not pads or (bool(options.get("count_include_pad", 0)) and "auto_pad" not in options))
        and all(step == 1 for step in options.get("dilations", []))
    )


def _options(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}
