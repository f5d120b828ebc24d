"""A model's bytes without the values of its large weights: all that a search has to read.

What a graph consists of is told by a few kilobytes of it. Searching the megabytes between them
takes as long as their digest, and may find there by chance what is searched for.
"""

from __future__ import annotations

from edgeport.artifact.seal import read_varint

# Below this, searching everything is over before the first field is read.
_SMALL_MODEL = 2**14
_LARGE = 2**10

# From the model to a weight: ModelProto.graph, GraphProto.initializer. Source: onnx.proto.
_WAY = (7, 5)
# TensorProto's float_data, int32_data, string_data, int64_data, raw_data, double_data, uint64_data.
_VALUES = frozenset((4, 5, 6, 7, 9, 10, 11))


def outline(model: bytes) -> bytes:
    """Return every byte of a serialized ModelProto but the values of large weights.

    Weights inside of subgraphs and attributes stay. Of bytes that are no protobuf message, all do.
    """
    if len(model) <= _SMALL_MODEL:
        return model
    kept: list[memoryview] = []
    try:
        _walk(model, 0, len(model), 0, kept)
    except (IndexError, ValueError):
        return model
    return b"".join(kept)


def _walk(model: bytes, at: int, end: int, depth: int, kept: list[memoryview]) -> None:
    """Add the parts of the message from ``at`` to ``end`` to ``kept``.

    Raises:
        IndexError: it ends within a field.
        ValueError: it holds what is no field.
    """
    begin = at
    while at < end:
        tag, at = model[at], at + 1
        if tag > 127:
            tag, at = read_varint(model, at - 1)
        kind = tag & 7
        if kind == 2:
            size, at = model[at], at + 1
            if size > 127:  # most are not, and a call takes longer than all the rest
                size, at = read_varint(model, at - 1)
            if size > _LARGE and at + size <= end:
                is_on_the_way = depth < len(_WAY) and tag >> 3 == _WAY[depth]
                if is_on_the_way or (depth == len(_WAY) and tag >> 3 in _VALUES):
                    kept.append(memoryview(model)[begin:at])
                    begin = at + size
                if is_on_the_way:
                    _walk(model, at, begin, depth + 1, kept)
            at += size
        elif kind == 0:
            _, at = read_varint(model, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
    if at != end:
        raise IndexError("the message ends within a field")
    kept.append(memoryview(model)[begin:end])
