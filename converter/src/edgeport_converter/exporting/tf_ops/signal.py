"""TensorFlow's Fourier transforms as ONNX's DFT.

ONNX keeps a complex number as two real ones along the last axis. Only the operations below read
such tensors; ``exporting`` refuses a graph in which others do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from edgeport_converter.exporting.tf_ops.builder import Builder, NoOnnxFormError


def _dft(build: Builder) -> None:
    kind = build.source.type
    last = len(build.graph.get_shape(build.source.output[0])) - 1
    inputs = build.inputs[:1]
    if kind == "RFFT":
        inputs = [build.node("Unsqueeze", inputs[0], build.int64(-1))]
    if kind in ("RFFT", "IRFFT"):
        length = build.node("Cast", build.inputs[1], to=TensorProto.INT64)
        inputs.append(build.node("Squeeze", length))
    if kind != "IRFFT":
        options = {"axis": last, "inverse": int(kind == "IFFT"), "onesided": int(kind == "RFFT")}
        _replace_complex(build, "DFT", *inputs, **options)
        return
    # ONNX has no inverse that answers in real numbers: mirror the upper half, keep the real part.
    length_node = build.source.inputs[1]
    if not length_node.is_const():
        raise NoOnnxFormError("the length of its inverse Fourier transform is free")
    count = int(np.ravel(length_node.get_tensor_value(as_list=False))[0])
    half = count // 2 + 1
    index = np.r_[np.arange(half), np.arange(count - half, 0, -1)]
    sign = np.r_[np.ones(half), -np.ones(count - half)].astype(np.float32)
    flip = np.stack([np.ones(count, np.float32), sign], axis=-1)
    picked = build.node("Gather", inputs[0], build.int64(*index.tolist()), axis=last)
    whole = build.node("Mul", picked, build.constant(flip))
    result = build.node("DFT", whole, axis=last, inverse=1, onesided=0)
    build.replace("Gather", result, build.constant(np.int64(0)), axis=-1)


def _complex(build: Builder) -> None:
    last = build.int64(-1)
    parts = [build.node("Unsqueeze", name, last) for name in build.inputs]
    _replace_complex(build, "Concat", *parts, axis=-1)


def _conj(build: Builder) -> None:
    sign = build.constant(np.array([1, -1], np.float32))
    _replace_complex(build, "Mul", build.inputs[0], sign)


def _real(build: Builder) -> None:
    build.replace("Gather", build.inputs[0], build.constant(np.int64(0)), axis=-1)


def _imag(build: Builder) -> None:
    build.replace("Gather", build.inputs[0], build.constant(np.int64(1)), axis=-1)


def _absolute(build: Builder) -> None:
    build.replace("ReduceL2", build.inputs[0], axes=[-1], keepdims=0)


def _replace_complex(build: Builder, op: str, *inputs: str, **attributes: Any) -> None:
    """As ``Builder.replace``, with the axis of two that makes a real tensor of a complex one."""
    graph, output = build.graph, build.source.output[0]
    shape = graph.get_shape(output)
    build.replace(op, *inputs, **attributes)
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
