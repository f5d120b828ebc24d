"""Weights that a model keeps in files of their own ("external data" in ONNX).

The engine would read any file that the model names, without a check, and map it, so that a file
cut short later kills the process. So edgeport reads them itself: only files that the card lists,
beside the model, and only once their digests match; the engine gets the arrays.

To find the names, the few kinds of protobuf message in which a tensor can stand are walked here;
all other fields are stepped over.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeport.artifact.golden import Array
from edgeport.artifact.seal import read_varint
from edgeport.errors import ArtifactError, IntegrityError, UnsupportedFormatError

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


def find(model: bytes) -> list[ExternalTensor]:
    """Return the tensors of a serialized ModelProto that are stored elsewhere.

    Raises:
        ArtifactError: the bytes are no protobuf message.
    """
    try:
        return list(_walk(memoryview(model), "model", is_weight=False, depth=0))
    except (ValueError, IndexError, TypeError) as cause:  # TypeError: a field of another kind
        raise ArtifactError(
            f"the artifact is no ONNX file, or was cut short ({cause}): "
            "copy the .onnx file again from where it was converted"
        ) from cause


def load(model: bytes, listed: Mapping[str, str], folder: str | None) -> dict[str, Array]:
    """Return the weights stored elsewhere, by name, after the check of each file.

    Args:
        model: a serialized ModelProto.
        listed: the card's digests by file name.
        folder: where the files are; None where the model came as bytes.

    Raises:
        ArtifactError: a tensor is in a file that the card does not list, or that is not there.
        IntegrityError: a file's digest is not the card's.
        UnsupportedFormatError: a tensor has an element type that numpy does not have.
    """
    files: dict[str, bytes] = {}
    weights = {}
    for tensor in find(model):
        name = tensor.location
        if name not in listed or not tensor.is_weight:
            raise ArtifactError(
                f"the artifact keeps the tensor '{tensor.name}' in another file, '{name}', which "
                "no card vouches for, expected everything in one file: save the model with its "
                "weights inside"
            )
        if name not in files:
            files[name] = _read(name, listed[name], folder)
        weights[tensor.name] = _as_array(tensor, files[name])
    return weights


def _read(name: str, digest: str, folder: str | None) -> bytes:
    if folder is None or Path(name).name != name or name in {".", ".."} or "\\" in name:
        raise ArtifactError(
            f"the artifact needs the file '{name}' beside it: load it by the path of the .onnx "
            "file, with that file in the same folder"
        )
    try:
        data = Path(folder, name).read_bytes()
    except OSError as cause:
        raise ArtifactError(
            f"the artifact needs the file '{name}' beside it, which cannot be read "
            f"({cause.strerror or cause}): copy both files together"
        ) from cause
    if hashlib.sha256(data).hexdigest() != digest:
        raise IntegrityError(
            f"the file '{name}' beside the artifact is damaged: its {len(data):,} bytes do not "
            "match the digest in the card; copy both files again from their source"
        )
    return data


def _as_array(tensor: ExternalTensor, data: bytes) -> Array:
    dtype = _ELEMENT_TYPES.get(tensor.element_type)
    if dtype is None:
        raise UnsupportedFormatError(
            f"the artifact keeps the tensor '{tensor.name}' of ONNX element type "
            f"{tensor.element_type} in another file, expected one of "
            f"{', '.join(_ELEMENT_TYPES.values())}: save the model with its weights inside",
            found=str(tensor.element_type),
            supported=", ".join(_ELEMENT_TYPES.values()),
        )
    count = math.prod(tensor.shape)
    try:
        start = int(tensor.entries.get("offset", "0"))
        if start < 0:
            raise ValueError("negative offset")
        values = np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), count, start)
        return values.astype(dtype, copy=False).reshape(tensor.shape)
    except (ValueError, OverflowError) as cause:
        raise ArtifactError(
            f"the artifact expects {count} values of '{tensor.name}' in '{tensor.location}', "
            f"which are not there ({cause}): convert the model again"
        ) from cause


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
    """Return the tensor, None where its values are inside the message."""
    fields: dict[int, list[Any]] = {}
    for field, value in _fields(data):
        fields.setdefault(field, []).append(value)
    pairs = [dict(_fields(pair)) for pair in fields.get(13, [])]
    if not pairs and 1 not in fields.get(14, []):
        return None
    entries = {_text(pair.get(1, b"")): _text(pair.get(2, b"")) for pair in pairs}
    parts = [[part] if isinstance(part, int) else _packed(part) for part in fields.get(1, [])]
    shape = tuple(size for part in parts for size in part)
    name, element_type = _text(fields.get(8, [b""])[-1]), fields.get(2, [0])[-1]
    return ExternalTensor(name, element_type, shape, entries, is_weight)


def _text(value: Any) -> str:
    return str(value, "utf-8", "replace")


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield (field number, int or memoryview) of a protobuf message.

    Raises:
        ValueError, IndexError: the bytes are no protobuf message.
    """
    at, end = 0, len(data)
    while at < end:
        tag, at = read_varint(data, at)
        if tag >= 2**32:  # the engine would drop the bits above, and see another field
            raise ValueError("a field of too high a number")
        kind = tag & 7
        if kind == 0:
            number, at = read_varint(data, at)
            yield tag >> 3, number
            continue
        if kind == 2:
            size, at = read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("a field of an unknown kind")
        if size > end - at:
            raise ValueError("a field longer than its message")
        yield tag >> 3, data[at : at + size]
        at += size


def _packed(data: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(data):
        number, at = read_varint(data, at)
        numbers.append(number)
    return numbers
