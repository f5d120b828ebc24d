"""Hard sigmoids without arithmetic: the codes of what they read are the codes of what they give.

``clip(alpha * x + beta, 0, 1)`` is a straight line between two bounds, and so is what a code stands
for. So the same codes, bounded, under another scale and zero point are the answer, and nothing is
rounded twice. In a hard-swish one Clip of bytes then stands for DequantizeLinear, HardSigmoid and
QuantizeLinear; ``tests/benchmarks/passes.py`` says what that is worth.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_CODES = 255
# By how much the steps of what is read may grow so that zero and one fall on codes. Chosen.
_WIDEST = 1.5
_EXACT = 1e-4  # of a code


class _Fit(NamedTuple):
    """Scale and zero point of what a hard sigmoid reads, and the codes where it is zero and one."""

    scale: float
    zero: int
    lowest: int
    highest: int


def bound_codes(
    graph: onnx.GraphProto, float_nodes: Collection[str] = (), limited: Collection[str] = ()
) -> frozenset[str]:
    """Let hard sigmoids between int8 layers bound codes, in place; return their names.

    Args:
        graph: onnxruntime's QDQ graph with uint8 activations.
        float_nodes: names of nodes that are to stay in float.
        limited: tensors whose scale stands for a relu or a clip, which another scale would lose.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    settled: set[str] = set()  # constants that one hard sigmoid has chosen
    done = set()
    for gate in [node for node in graph.node if node.op_type == "HardSigmoid"]:
        if gate.name in float_nodes:
            continue
        reading = producers.get(gate.input[0])
        behind = readers.get(gate.output[0], [])
        if (
            reading is None
            or reading.op_type != "DequantizeLinear"
            or len(behind) != 1
            or behind[0].op_type != "QuantizeLinear"
            or gate.output[0] in outputs
            or settled.intersection(behind[0].input[1:3])
            or not all(
                _is_uint8(node, constants)
                and _can_change(readers[node.input[1]], producers, limited)
                for node in (reading, behind[0])
            )
        ):
            continue
        scale, zero = (numpy_helper.to_array(constants[name]) for name in reading.input[1:3])
        slope, offset = (_attribute(gate, name, usual) for name, usual in
                         (("alpha", 0.2), ("beta", 0.5)))  # fmt: skip
        widest = 1 + _EXACT if reading.input[1] in settled else _WIDEST
        found = _fit(float(scale), int(zero), slope, offset, widest=widest)
        if found is None:
            continue
        scale_name, zero_name = reading.input[1:3]
        settled.update(reading.input[1:3], behind[0].input[1:3])
        _set(constants[scale_name], found.scale)
        _set(constants[zero_name], found.zero)
        _set(constants[behind[0].input[1]], found.scale * slope)
        _set(constants[behind[0].input[2]], found.lowest)
        bounds = [f"{gate.name}/{end}" for end in ("lowest", "highest")]
        for name, code in zip(bounds, (found.lowest, found.highest), strict=True):
            graph.initializer.append(numpy_helper.from_array(np.array(code, np.uint8), name))
        clip = helper.make_node(
            "Clip", [reading.input[0], *bounds], [behind[0].output[0]], name=gate.name
        )
        for node in (gate, behind[0]):
            graph.node.remove(node)
        graph.node.append(clip)
        done.add(gate.name)
    return frozenset(done)


def _fit(scale: float, zero: int, slope: float, offset: float, *, widest: float) -> _Fit | None:
    """Return the finest scale whose codes hold the present range, and zero and one of the gate.

    Args:
        scale: of what the gate reads.
        zero: its zero point.
        slope: the gate's alpha.
        offset: the gate's beta.
        widest: by what factor the scale may grow.
    """
    if scale <= 0 or slope <= 0 or not 0 < offset < 1:
        return None
    low, high = -zero * scale, (_CODES - zero) * scale
    # From the zero of the gate to that of its input.
    steps = int(min(offset / (slope * scale) + _EXACT, _CODES))
    while steps >= 1:
        wider = offset / (slope * steps)
        if wider > widest * scale:
            return None
        upwards = steps * (1 - offset) / offset  # from there to one
        point = max(steps, round(-low / wider))
        fits = point <= _CODES and (_CODES - point + 0.5) * wider >= high
        if fits and abs(upwards - round(upwards)) <= _EXACT:
            return _Fit(wider, point, point - steps, min(point + round(upwards), _CODES))
        steps -= 1
    return None


def _is_uint8(node: onnx.NodeProto, constants: Mapping[str, TensorProto]) -> bool:
    """Whether a conversion has one scale, and a zero point of uint8."""
    names = node.input[1:3]
    return (
        len(names) == 2
        and all(name in constants for name in names)
        and not constants[names[0]].dims
        and constants[names[1]].data_type == TensorProto.UINT8
    )


def _can_change(
    conversions: Sequence[onnx.NodeProto],
    producers: Mapping[str, onnx.NodeProto],
    limited: Collection[str],
) -> bool:
    """Whether a scale is that of codes which are all made with it, and nothing but a scale.

    Args:
        conversions: all that read it: what hands codes on shares it with what it reads. Bytes of an
            image are codes that nobody has made.
        producers: of all tensors.
        limited: as for ``bound_codes``.
    """
    for node in conversions:
        maker = producers.get(node.input[0])
        if node.op_type == "QuantizeLinear":
            if node.input[0] in limited:
                return False
        elif node.op_type != "DequantizeLinear" or getattr(maker, "op_type", "") != (
            "QuantizeLinear"
        ):
            return False
    return True


def _attribute(node: onnx.NodeProto, name: str, usual: float) -> float:
    return next((a.f for a in node.attribute if a.name == name), usual)


def _set(tensor: TensorProto, value: float) -> None:
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    array = np.full(tuple(tensor.dims), value, kind)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
