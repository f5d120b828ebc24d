"""Weights that a model keeps in files of their own ("external data" in ONNX).

The engine would read any file that the model names, without a check, and map it, so that a file
cut short later kills the process. So edgeport reads them itself: only files that the card lists,
beside the model, and only once their digests match; the engine gets the arrays.

To find the names, the few kinds of protobuf message in which a tensor can stand are walked here;
all other fields are stepped over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeport.errors import ArtifactError, IntegrityError, UnsupportedFormatError
from edgeport.golden import Array

# In every serializer's output the entry that names the file starts so: key = 1, "location".
# Searching for it costs next to nothing, and files without it need no walk.
_LOCATION = b"\x0a\x08location"

# Which fields of which message lead to tensors. Source: onnx.proto.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_DEEPEST = 64  # subgraphs in subgraphs; real models stay below ten

# TensorProto.DataType, as far as numpy has the type.
_ELEMENT_TYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip


class ExternalTensor(NamedTuple):
    """A tensor whose values are in another file."""

    name: str
    element_type: int
    shape: tuple[int, ...]
    entries: dict[str, str]
    is_weight: bool

    @property
    def location(self) -> str:
        """The file's name."""
        return self.entries.get("location", "")


def find(model: bytes, path: str | None = None) -> list[ExternalTensor]:
    """Return the tensors of a serialized ModelProto that are stored elsewhere.

    Raises:
        ArtifactError: the bytes are no protobuf message.
    """
    if _LOCATION not in model:
        return []
    try:
        return list(_walk(memoryview(model), "model", is_weight=False, depth=0))
    except (ValueError, IndexError) as cause:
        place = "the artifact" if path is None else f"'{path}'"
        raise ArtifactError(
            f"{place} is no ONNX file, or was cut short ({cause}): "
            "copy the .onnx file again from where it was converted",
            path=path,
        ) from cause


def load(
    model: bytes, listed: Mapping[str, str], folder: Path | None, path: str | None
) -> dict[str, Array]:
    """Return the weights stored elsewhere, by name, after the check of each file.

    Args:
        model: a serialized ModelProto.
        listed: the card's digests by file name.
        folder: where the files are; None where the model came as bytes.
        path: the model's path for messages.

    Raises:
        ArtifactError: a file is not listed, is missing, or is too short.
        IntegrityError: a file's digest is not the card's.
        UnsupportedFormatError: a tensor has an element type that numpy does not have.
    """
    place = "the artifact" if path is None else f"'{path}'"
    files: dict[str, bytes] = {}
    weights = {}
    for tensor in find(model, path):
        name = tensor.location
        if name not in listed or not tensor.is_weight:
            raise ArtifactError(
                f"{place} keeps the tensor '{tensor.name}' in another file, '{name}', which no "
                "card vouches for, expected everything in one file: save the model with its "
                "weights inside",
                path=path,
            )
        if name not in files:
            files[name] = _read(name, listed[name], folder, place, path)
        weights[tensor.name] = _as_array(tensor, files[name], place, path)
    return weights


def _read(name: str, digest: str, folder: Path | None, place: str, path: str | None) -> bytes:
    if folder is None or Path(name).name != name or name in {".", ".."} or "\\" in name:
        raise ArtifactError(
            f"{place} needs the file '{name}' beside it: load it by the path of the .onnx file, "
            "with that file in the same folder",
            path=path,
        )
    try:
        data = (folder / name).read_bytes()
    except OSError as cause:
        raise ArtifactError(
            f"{place} needs the file '{name}' beside it, which cannot be read "
            f"({cause.strerror or cause}): copy both files together",
            path=path,
        ) from cause
    if hashlib.sha256(data).hexdigest() != digest:
        raise IntegrityError(
            f"the file '{name}' beside {place} is damaged: its {len(data):,} bytes do not match "
            "the digest in the card; copy both files again from their source",
            path=path,
        )
    return data


def _as_array(tensor: ExternalTensor, data: bytes, place: str, path: str | None) -> Array:
    dtype = _ELEMENT_TYPES.get(tensor.element_type)
    if dtype is None:
        raise UnsupportedFormatError(
            f"{place} keeps the tensor '{tensor.name}' of ONNX element type {tensor.element_type} "
            f"in another file, expected one of {', '.join(_ELEMENT_TYPES.values())}: "
            "save the model with its weights inside",
            path=path,
            found=str(tensor.element_type),
            supported=", ".join(_ELEMENT_TYPES.values()),
        )
    count = 1
    for size in tensor.shape:
        count *= size
    stored = np.dtype(dtype).newbyteorder("<")
    try:
        start = int(tensor.entries.get("offset", "0"))
        if start < 0:
            raise ValueError("negative offset")
        values = np.frombuffer(data, stored, count, start)
    except ValueError as cause:
        raise ArtifactError(
            f"{place} expects {count} values of '{tensor.name}' in '{tensor.location}', "
            f"which are not there ({cause}): convert the model again",
            path=path,
        ) from cause
    return values.astype(dtype, copy=False).reshape(tensor.shape)


def _walk(data: memoryview, kind: str, *, is_weight: bool, depth: int) -> Iterator[ExternalTensor]:
    """Yield the external tensors of a message; ``is_weight``: it is one of the main graph's."""
    if kind == "tensor":
        tensor = _read_tensor(data, is_weight)
        if tensor is not None:
            yield tensor
        return
    if depth > _DEEPEST:
        raise ValueError("messages nested too deeply")
    for field, value in _fields(data):
        inner = _MESSAGES[kind].get(field)
        if inner is not None and isinstance(value, memoryview):
            main = kind == "graph" and depth == 1
            yield from _walk(value, inner, is_weight=main, depth=depth + 1)


def _read_tensor(data: memoryview, is_weight: bool) -> ExternalTensor | None:
    name, element_type, is_external = "", 0, False
    shape: list[int] = []
    entries: dict[str, str] = {}
    for field, value in _fields(data):
        if field == 1:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif field == 2 and isinstance(value, int):
            element_type = value
        elif field == 8 and isinstance(value, memoryview):
            name = str(value, "utf-8", "replace")
        elif field == 13 and isinstance(value, memoryview):
            pair = {key: str(text, "utf-8", "replace") for key, text in _fields(value) if key < 3
                    and isinstance(text, memoryview)}  # fmt: skip
            entries[pair.get(1, "")] = pair.get(2, "")
            is_external = True
        elif field == 14:
            is_external = is_external or value == 1
    if not is_external:
        return None
    return ExternalTensor(name, element_type, tuple(shape), entries, is_weight)


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield (field number, int or memoryview) of a protobuf message.

    Raises:
        ValueError: the bytes are no protobuf message.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            number, at = _varint(data, at)
            yield tag >> 3, number
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("a field of an unknown kind")
        if size > end - at:
            raise ValueError("a field longer than its message")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    number = 0
    for place in range(10):
        byte = data[at + place]  # IndexError: cut short
        number |= (byte & 127) << 7 * place
        if byte < 128:
            return number & (2**64 - 1), at + place + 1
    raise ValueError("a number of more than 64 bits")


def _packed(data: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(data):
        number, at = _varint(data, at)
        numbers.append(number)
    return numbers
