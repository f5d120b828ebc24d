"""Writes small ONNX files field by field, so that these tests need neither onnx nor TensorFlow.

The field numbers are those of onnx.proto. Nothing here uses edgeport.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

ELEMENT_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "str": 8,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
    "bfloat16": 16,
    "float8e4m3fn": 17,
}

Shape = Sequence["int | str | None"]


def varint(number: int) -> bytes:
    groups = []
    number &= 2**64 - 1
    while True:
        number, low = number >> 7, number & 127
        groups.append(low | (128 if number else 0))
        if not number:
            return bytes(groups)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data


def text_map(field: int, entries: Mapping[str, str]) -> bytes:
    return b"".join(block(field, block(1, key) + block(2, text)) for key, text in entries.items())


def tensor(name: str, array: Any, *, external: Mapping[str, str] | None = None) -> bytes:
    """TensorProto: dims 1, data_type 2, name 8, raw_data 9, external_data 13, data_location 14."""
    array = np.asarray(array)
    body = b"".join(number(1, size) for size in array.shape)
    body += number(2, ELEMENT_TYPES[array.dtype.name]) + block(8, name)
    if external is not None:
        return body + text_map(13, external) + number(14, 1)
    return body + block(9, array.astype(array.dtype.newbyteorder("<")).tobytes())


def attribute(name: str, value: Any) -> bytes:
    """AttributeProto: name 1, f 2, i 3, s 4, t 5, floats 7, ints 8, type 20; bytes are a graph."""
    if isinstance(value, bool | int):
        body, kind = number(3, int(value)), 2
    elif isinstance(value, float):
        body, kind = varint(2 << 3 | 5) + np.float32(value).tobytes(), 1
    elif isinstance(value, str):
        body, kind = block(4, value), 3
    elif isinstance(value, np.ndarray):
        body, kind = block(5, tensor("", value)), 4
    elif isinstance(value, bytes):
        body, kind = block(6, value), 5
    else:
        body, kind = b"".join(number(8, item) for item in value), 7
    return block(1, name) + body + number(20, kind)


def node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any
) -> bytes:
    """NodeProto: input 1, output 2, op_type 4, attribute 5, domain 7."""
    body = b"".join(block(1, name) for name in inputs)
    body += b"".join(block(2, name) for name in outputs)
    body += block(4, kind)
    body += b"".join(block(5, attribute(name, value)) for name, value in attributes.items())
    return body + (block(7, domain) if domain else b"")


def port(name: str, dtype: str, shape: Shape) -> bytes:
    """ValueInfoProto: name 1, type 2 { tensor_type 1 { elem_type 1, shape 2 { dim 1 }}}."""
    axes = b""
    for size in shape:
        if isinstance(size, int):
            axes += block(1, number(1, size))
        else:
            axes += block(1, block(2, size) if size else b"")
    tensor_type = number(1, ELEMENT_TYPES[dtype]) + block(2, axes)
    return block(1, name) + block(2, block(1, tensor_type))


def graph(
    nodes: Iterable[bytes],
    inputs: Iterable[tuple[str, str, Shape]],
    outputs: Iterable[tuple[str, str, Shape] | bytes],
    weights: Mapping[str, Any] | None = None,
    *,
    name: str = "network",
    raw_weights: Iterable[bytes] = (),
) -> bytes:
    """GraphProto: node 1, name 2, initializer 5, input 11, output 12; bytes are a whole port."""
    body = b"".join(block(1, one) for one in nodes) + block(2, name)
    body += b"".join(block(5, tensor(key, array)) for key, array in (weights or {}).items())
    body += b"".join(block(5, one) for one in raw_weights)
    body += b"".join(block(11, port(*one)) for one in inputs)
    ports = (one if isinstance(one, bytes) else port(*one) for one in outputs)
    return body + b"".join(block(12, one) for one in ports)


def model(
    content: bytes,
    *,
    ir_version: int = 8,
    opset: int = 17,
    domains: Mapping[str, int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8, metadata_props 14."""
    body = number(1, ir_version) + block(2, "handwritten") + block(7, content)
    for domain, version in {"": opset, **(domains or {})}.items():
        body += block(8, block(1, domain) + number(2, version))
    return body + text_map(14, metadata or {})
