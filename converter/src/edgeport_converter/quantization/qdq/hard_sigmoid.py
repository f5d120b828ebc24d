"""A hard-sigmoid as one Clip of the codes that it reads.

A code stands for scale * (code - zero point), a linear function. A hard-sigmoid
``clip(alpha * x + beta, 0, 1)`` is linear, too, between two bounds. So its output has the codes of
its input, clipped, with another scale and zero point; nothing is rounded again. In a hard-swish one
Clip of bytes then replaces DequantizeLinear, HardSigmoid and QuantizeLinear;
``tests/benchmarks/passes.py`` measures what that is worth.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeport_converter.optimizing.constants import array_of, constant, known
from edgeport_converter.quantization.tensors import only_use, replace_constant

_CODES = 255
# By how much the steps of what is read may grow so that zero and one fall on codes. Chosen.
_WIDEST = 1.5
_EXACT = 1e-4  # of a code


@dataclass(frozen=True, slots=True)
class _Fit:
    """Scale and zero point of what a hard sigmoid reads, and the codes where it is zero and one."""

    scale: float
    zero: int
    lowest: int
    highest: int


def bound_codes(
    graph: ir.Graph,
    float_nodes: Collection[str] = (),
    limited: Collection[ir.Value] = (),
) -> frozenset[str]:
    """Replace hard sigmoids between int8 layers by bounds of their codes; return their names.

    ``limited`` are tensors whose scale does the work of a relu or a clip, which another scale would
    undo.
    """
    settled: set[ir.Value | None] = set()  # scales that one hard sigmoid has chosen
    done = set()
    for node in [each for each in graph if each.op_type == "HardSigmoid"]:
        pair = None if node.name in float_nodes else _conversions_around(node, limited)
        if pair is None:
            continue
        reading, writing = pair
        read_scale, read_zero = reading.inputs[1], reading.inputs[2]
        scale, zero = writing.inputs[1], writing.inputs[2]
        if scale in settled or zero in settled:
            continue
        slope = node.attributes.get_float("alpha", 0.2)
        offset = node.attributes.get_float("beta", 0.5)
        widest = 1 + _EXACT if read_scale in settled else _WIDEST
        given = float(known(read_scale)), int(known(read_zero))
        found = _fit(*given, slope, offset, widest=widest)
        if found is None:
            continue
        for value, number in (
            (read_scale, found.scale),
            (read_zero, found.zero),
            (scale, found.scale * slope),
            (zero, found.lowest),
        ):
            replace_constant(value, np.full(known(value).shape, number))
            settled.add(value)
        _replace_by_clip(graph, node, reading, writing, found)
        done.add(node.name or "")
    return frozenset(done)


def _conversions_around(
    node: ir.Node, limited: Collection[ir.Value]
) -> tuple[ir.Node, ir.Node] | None:
    """Return the DequantizeLinear before and the QuantizeLinear after, if both may change."""
    assert node.inputs[0] is not None  # noqa: S101 - an operator with one input
    reading, (writing, _) = node.inputs[0].producer(), only_use(node.outputs[0])
    if reading is None or writing is None:
        return None
    if reading.op_type != "DequantizeLinear" or writing.op_type != "QuantizeLinear":
        return None
    if not all(_is_uint8(each) and _can_change(each, limited) for each in (reading, writing)):
        return None
    return reading, writing


def _replace_by_clip(
    graph: ir.Graph, node: ir.Node, reading: ir.Node, writing: ir.Node, found: _Fit
) -> None:
    bounds = [
        constant(graph, f"{node.name}/{end}", np.array(code, np.uint8))
        for end, code in (("lowest", found.lowest), ("highest", found.highest))
    ]
    clip = ir.node("Clip", [reading.inputs[0], *bounds], name=node.name)
    ir.convenience.replace_nodes_and_values(
        graph, writing, [writing, node], [clip], writing.outputs, clip.outputs
    )


def _fit(scale: float, zero: int, slope: float, offset: float, *, widest: float) -> _Fit | None:
    """Return the finest scale whose codes hold the present range, and the answer's zero and one.

    The scale may grow by the factor ``widest``.
    """
    if scale <= 0 or slope <= 0 or not 0 < offset < 1:
        return None
    low, high = -zero * scale, (_CODES - zero) * scale
    # From where the hard sigmoid is zero to where its input is.
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


def _is_uint8(conversion: ir.Node) -> bool:
    """Whether it has one scale, and a zero point of uint8."""
    if len(conversion.inputs) != 3:
        return False
    scale, zero = (array_of(value) for value in conversion.inputs[1:])
    return scale is not None and scale.ndim == 0 and zero is not None and zero.dtype == np.uint8


def _can_change(conversion: ir.Node, limited: Collection[ir.Value]) -> bool:
    """Whether the scale is that of codes which are all made with it, and nothing but a scale.

    What passes codes on shares the scale with what it reads. The bytes of an image are codes that
    no QuantizeLinear has made.
    """
    scale = conversion.inputs[1]
    assert scale is not None  # noqa: S101 - _is_uint8 has seen it
    for node, _ in scale.uses():
        given = node.inputs[0]
        if node.op_type == "QuantizeLinear":
            if given in limited:
                return False
            continue
        maker = None if given is None else given.producer()
        if node.op_type != "DequantizeLinear" or maker is None:
            return False
        if maker.op_type != "QuantizeLinear":
            return False
    return True
