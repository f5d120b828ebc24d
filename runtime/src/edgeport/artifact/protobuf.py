"""The one reader of protobuf messages: numbers, fields, and tensors whose values are elsewhere.

``seal`` reads the head of an artifact with it, ``loading`` asks it about every file before the
engine sees one. Only messages in which a tensor can stand are opened; all others are stepped over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeport.errors import ArtifactError
from edgeport.signals import reraise_signal

# Which fields of which message lead to tensors. Source: onnx.proto.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DEEPEST = 64  # subgraphs in subgraphs; real models stay below ten

# TensorProto.name, .external_data and .data_location, of which 1 is EXTERNAL. Source: onnx.proto.
_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_EXTERNAL = 1
# The key of the entry that names the file: the engine refuses a tensor without it.
_LOCATION = b"location"
# To look for it in a field of fewer bytes takes less time than to open the field.
_SMALL = 2**12


def read_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return protobuf's number at ``at`` and the position after it.

    Raises:
        IndexError: the bytes end within the number.
        ValueError: the number has more than 64 bits.
    """
    number = 0
    for place in range(10):
        byte = data[at + place]
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number & (2**64 - 1), at + place + 1
    raise ValueError("a number of more than 64 bits")


def varint(number: int) -> bytes:
    """Return protobuf's base-128 form, least significant group first."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int | None, int, int]]:
    """Yield each field of the message from ``at`` to ``end``.

    Returns:
        Its number; its value where it is a number of variable length, else None; and where its
        content begins and ends.

    Raises:
        ValueError, IndexError: the bytes are no protobuf message.
    """
    while at < end:
        tag, at = data[at], at + 1
        if tag > 127:  # most are not, and a call takes longer than all the rest
            tag, at = read_varint(data, at - 1)
            if tag >= 2**32:  # the engine would drop the bits above, and see another field
                raise ValueError("a field of too high a number")
        kind, start, value = tag & 7, at, None
        if kind == 2:
            size, start = data[at], at + 1
            if size > 127:
                more = data[start]
                if more < 128:  # two bytes, as most that are not one
                    size, start = size & 127 | more << 7, start + 1
                else:
                    size, start = read_varint(data, at)
            at = start + size
        elif kind == 0:
            value, at = read_varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("a field of an unknown kind")
        if at > end:
            raise ValueError("a field longer than its message")
        yield tag >> 3, value, start, at


def no_onnx_file(cause: Exception) -> ArtifactError:
    """Return the error for what ``fields`` raised; what a signal's handler raised goes on."""
    reraise_signal(cause)
    return ArtifactError(
        f"the artifact is no ONNX file, or was cut short ({cause}): "
        "copy the .onnx file again from where it was converted"
    )


def refuse_external_tensors(model: bytes) -> None:
    """Refuse a model that keeps values of tensors in other files ("external data" in ONNX).

    The engine would read any file that the model names, also from within a subgraph or a function,
    and map it, so that a file cut short later kills the process.

    Raises:
        ArtifactError: it does, or the bytes are no protobuf message.
    """
    try:
        name = _external(model, 0, len(model), "model", 0)
    except (ValueError, IndexError) as cause:
        raise no_onnx_file(cause) from cause
    if name is not None:
        raise ArtifactError(
            f"the artifact keeps the values of the tensor '{name}' in another file, expected all "
            "in one: save the model with its weights inside (onnx.save after onnx.load does)"
        )


def _external(model: bytes, at: int, end: int, kind: str, depth: int) -> str | None:
    """Return the name of the first tensor of a message whose values are elsewhere.

    Small fields that follow one another are searched for ``_LOCATION`` in one piece, and opened
    where it is there, which it nearly never is.
    """
    if depth > _DEEPEST:
        raise ValueError("messages nested too deeply")
    inner, searched, last = _MESSAGES[kind], at, at
    for number, value, start, stop in fields(model, at, end):
        if stop - start >= _SMALL and value is None and number in inner:
            name = _in_small(model, searched, last, kind, depth)
            name = name or _in_field(model, start, stop, inner[number], depth)
            if name is not None:
                return name
            searched = stop
        last = stop
    return _in_small(model, searched, end, kind, depth)


def _in_small(model: bytes, at: int, end: int, kind: str, depth: int) -> str | None:
    if model.find(_LOCATION, at, end) >= 0:
        for number, value, start, stop in fields(model, at, end):
            if value is None and number in _MESSAGES[kind]:
                name = _in_field(model, start, stop, _MESSAGES[kind][number], depth)
                if name is not None:
                    return name
    return None


def _in_field(model: bytes, at: int, end: int, kind: str, depth: int) -> str | None:
    if kind == "tensor":
        return _name_if_external(model, at, end)
    if kind in ("node", "attribute") and model.find(_LOCATION, at, end) < 0:
        return None
    return _external(model, at, end, kind, depth + 1)


def _name_if_external(model: bytes, at: int, end: int) -> str | None:
    name, is_external = b"", False
    for number, value, start, stop in fields(model, at, end):
        if number == _NAME:
            name = model[start:stop]
        elif number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == _EXTERNAL):
            is_external = True
    return name.decode("utf-8", "replace") if is_external else None


# ModelProto.graph, GraphProto.input and .output; ValueInfoProto.name and .type,
# TypeProto.tensor_type, TypeProto.Tensor.shape. Source: onnx.proto.
_GRAPH, _PORTS = 7, (11, 12)
_PORT_NAME, _WAY_TO_SHAPE = 1, (2, 1, 2)


def without_shape(model: bytes) -> set[str]:
    """Return the names of the inputs and outputs whose rank the graph leaves open."""
    found = set()
    for number, _, at, end in fields(model, 0, len(model)):
        for inner, _, start, stop in fields(model, at, end) if number == _GRAPH else ():
            if inner in _PORTS:
                names = [model[a:b] for n, _, a, b in fields(model, start, stop) if n == _PORT_NAME]
                if not _has(model, start, stop, _WAY_TO_SHAPE):
                    found.add(b"".join(names[-1:]).decode("utf-8", "replace"))
    return found


def _has(model: bytes, at: int, end: int, way: tuple[int, ...]) -> bool:
    """Whether the message holds the field at the end of this way of fields."""
    return not way or any(
        number == way[0] and value is None and _has(model, start, stop, way[1:])
        for number, value, start, stop in fields(model, at, end)
    )
