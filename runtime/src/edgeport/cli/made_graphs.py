"""Chains of operators as ONNX files, to measure what single operators take on this device.

The runtime has no ONNX package, and needs no more than this: one float input, operators one after
the other, two constants. ``conversion_times`` and ``profiles`` run such chains.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgeport.artifact.protobuf import varint

BLOCKED_DOMAIN = "com.microsoft.nchwc"
"""The domain of the engine's own operators on float channels in blocks."""

# IR 8 and opset 13 are read by every onnxruntime since 1.10.
_IR_VERSION, _OPSET = 8, 13
# AttributeProto.type: INT is 2, INTS is 7. TensorProto.data_type: FLOAT is 1, UINT8 is 2.
_INT, _INTS, _FLOAT, _UINT8 = 2, 7, 1, 2


@dataclass(frozen=True)
class Step:
    """One operator of a chain.

    Attributes:
        name: of its node.
        operator: ONNX' name of it.
        constants: what it reads after its input: "scale", a float, or "zero", a uint8.
        attributes: whole numbers, or tuples of them.
        domain: of the operator, "" for ONNX' own.
    """

    name: str
    operator: str
    constants: tuple[str, ...] = ()
    attributes: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    domain: str = ""


def chain(steps: Sequence[Step], shape: Sequence[int]) -> bytes:
    """Return an ONNX file of these operators from x to y, both float32 of this shape."""
    graph, source = b"", "x"
    for number, step in enumerate(steps):
        target = "y" if number == len(steps) - 1 else step.name
        # NodeProto: 1 input, 2 output, 3 name, 4 op_type, 5 attribute, 7 domain.
        node = b"".join(_block(1, text) for text in (source, *step.constants)) + _block(2, target)
        node += _block(3, step.name) + _block(4, step.operator)
        node += b"".join(_block(5, _attribute(*one)) for one in step.attributes.items())
        graph += _block(1, node + (_block(7, step.domain) if step.domain else b""))
        source = target
    # GraphProto: 1 node, 2 name, 5 initializer, 11 input, 12 output. TensorProto: 2 data_type,
    # 8 name, 9 raw_data. TypeProto.Tensor: 1 elem_type, 2 shape.
    graph += _block(2, "chain")
    scale = _number(2, _FLOAT) + _block(8, "scale") + _block(9, struct.pack("<f", 0.01))
    zero = _number(2, _UINT8) + _block(8, "zero") + _block(9, bytes([128]))
    graph += _block(5, scale) + _block(5, zero)
    dimensions = b"".join(_block(1, _number(1, size)) for size in shape)
    kind = _block(1, _number(1, _FLOAT) + _block(2, dimensions))
    graph += _block(11, _block(1, "x") + _block(2, kind))
    graph += _block(12, _block(1, "y") + _block(2, kind))
    # ModelProto: 1 ir_version, 7 graph, 8 opset_import.
    model = _number(1, _IR_VERSION) + _block(7, graph)
    domains = {"": _OPSET, **{step.domain: 1 for step in steps if step.domain}}
    for domain, version in domains.items():
        model += _block(8, _block(1, domain) + _number(2, version))
    return model


def _attribute(name: str, value: int | tuple[int, ...]) -> bytes:
    # AttributeProto: 1 name, 3 i, 8 ints, 20 type.
    if isinstance(value, int):
        return _block(1, name) + _number(3, value) + _number(20, _INT)
    return _block(1, name) + b"".join(_number(8, one) for one in value) + _number(20, _INTS)


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def _block(field: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data
