"""TensorFlow's Fourier transforms as ONNX's DFT.

ONNX keeps a complex number as two real ones along the last axis. Only the operations below read
such tensors; ``exporting`` refuses a graph in which others do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from edgeport_converter.exporting.tf_ops.builder import (
    NoOnnxFormError,
    int64_values,
    node_for,
    replace,
    tensor,
)


def _dft(graph: Any, node: Any) -> None:
    real_input = node.type == "RFFT"
    inverse = int(node.type in ("IFFT", "IRFFT"))
    rank = len(graph.get_shape(node.output[0]))
    source = node.input[0]
    if real_input:
        source = node_for(graph, node, "Unsqueeze", [source, int64_values(graph, node, [-1])])
    inputs = [source]
    if node.type in ("RFFT", "IRFFT"):
        length = node_for(graph, node, "Cast", [node.input[1]], {"to": TensorProto.INT64})
        inputs.append(node_for(graph, node, "Squeeze", [length]))
    attributes = {"axis": rank - 1, "inverse": inverse, "onesided": int(real_input)}
    if node.type != "IRFFT":
        _replace_complex(graph, node, "DFT", inputs, attributes)
        return
    # ONNX has no inverse that answers in real numbers: mirror the upper half, keep the real part.
    if not node.inputs[1].is_const():
        raise NoOnnxFormError("the length of its inverse Fourier transform is free")
    count = int(np.ravel(node.inputs[1].get_tensor_value(as_list=False))[0])
    half = count // 2 + 1
    index = np.r_[np.arange(half), np.arange(count - half, 0, -1)]
    sign = np.r_[np.ones(half), -np.ones(count - half)].astype(np.float32)
    flip = np.stack([np.ones(count, np.float32), sign], axis=-1)
    picked = node_for(
        graph,
        node,
        "Gather",
        [source, int64_values(graph, node, index.tolist())],
        {"axis": rank - 1},
    )
    signs = tensor(graph, node, flip)
    whole = node_for(graph, node, "Mul", [picked, signs])
    result = node_for(graph, node, "DFT", [whole], {"axis": rank - 1, "inverse": 1, "onesided": 0})
    replace(graph, node, "Gather", [result, tensor(graph, node, np.int64(0))], {"axis": -1})


def _complex(graph: Any, node: Any) -> None:
    last = int64_values(graph, node, [-1])
    parts = [node_for(graph, node, "Unsqueeze", [name, last]) for name in node.input]
    _replace_complex(graph, node, "Concat", parts, {"axis": -1})


def _conj(graph: Any, node: Any) -> None:
    sign = tensor(graph, node, np.array([1, -1], np.float32))
    _replace_complex(graph, node, "Mul", [node.input[0], sign], {})


def _real(graph: Any, node: Any) -> None:
    replace(graph, node, "Gather", [node.input[0], tensor(graph, node, np.int64(0))], {"axis": -1})


def _imag(graph: Any, node: Any) -> None:
    replace(graph, node, "Gather", [node.input[0], tensor(graph, node, np.int64(1))], {"axis": -1})


def _absolute(graph: Any, node: Any) -> None:
    replace(graph, node, "ReduceL2", [node.input[0]], {"axes": [-1], "keepdims": 0})


def _replace_complex(
    graph: Any, node: Any, op: str, inputs: list[str], attributes: dict[str, Any]
) -> None:
    """As ``replace``, with the axis of two that makes a real tensor of a complex one."""
    output, shape = node.output[0], graph.get_shape(node.output[0])
    replace(graph, node, op, inputs, attributes)
    graph.set_dtype(output, TensorProto.FLOAT)
    graph.set_shape(output, None if shape is None else [*shape, 2])


HANDLERS = {
    "RFFT": _dft,
    "FFT": _dft,
    "IFFT": _dft,
    "IRFFT": _dft,
    "Complex": _complex,
    "Conj": _conj,
    "Real": _real,
    "Imag": _imag,
    "ComplexAbs": _absolute,
}

COMPLEX_OPS = frozenset(HANDLERS) | {"Identity", "Const"}
"""The operations that may read or make complex numbers."""
