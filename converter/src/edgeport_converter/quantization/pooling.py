"""Pooling with a scale of its own.

onnxruntime's quantizer gives the output of an AveragePool the scale of its input. A mean over many
places is far smaller than the largest value among them, so most of the codes would lie idle; the
kernel itself takes two scales.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edgeport_converter.quantization.calibrating import Ranges

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
