"""What stands between a file and the engine: no damaged byte reaches a parser.

Here live reading an artifact's bytes, naming what a bad file really is, and the seal. What the
engine thinks of the bytes is ``_session``'s business; what the card says is ``card``'s.

The seal. An artifact is a plain ONNX file (a protobuf message, whose fields may stand in any
order) that starts with a fixed head::

    08 vv                                   ir_version, as in any ONNX file
    72 57 0a 0f "edgeport.sha256" 12 40     metadata entry: key, length of the value
    64 hexadecimal digits                   SHA-256 of the whole file with these 64 as zeros
    72 .. 0a 0d "edgeport.card" 12 ..       metadata entry: the card's JSON
    ...                                     the rest of the model

Since both entries stand in fixed places, the digest is checked and the card is read without a
protobuf parser, and a file cut short still shows that it was sealed. Damage to the head itself is
noticed because the other entry's key is still there.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from edgeport.errors import ArtifactError, IntegrityError, OptionError

_SHA256_KEY = b"edgeport.sha256"
_CARD_KEY = b"edgeport.card"
_DIGEST_SIZE = 64
_NO_DIGEST = b"0" * _DIGEST_SIZE

# Protobuf tags: (field number << 3) | wire type, from onnx.proto: ModelProto.ir_version = 1
# (varint), ModelProto.metadata_props = 14, StringStringEntryProto.key = 1, .value = 2 (lengths).
_IR_VERSION_TAG = b"\x08"
_METADATA_TAG = b"\x72"
_KEY_TAG = b"\x0a"
_VALUE_TAG = b"\x12"


class Sealed(NamedTuple):
    """What the head of an artifact says."""

    sha256: str
    card_json: bytes


def read(source: str | os.PathLike[str] | bytes | bytearray | memoryview) -> bytes:
    """Return the bytes of a path, or those that were given.

    Raises:
        ArtifactError: there is no such file, it cannot be read, it is empty, or it is plainly
            something else than an ONNX file.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
        _refuse_other_files(data, "the data given", None)
        return data
    try:
        path = os.fspath(source)
    except TypeError:
        raise ArtifactError(
            f"an artifact is a path or bytes, found {type(source).__name__}: "
            "pass the path of the .onnx file"
        ) from None
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    try:
        data = Path(path).read_bytes()
    except OSError as cause:
        raise ArtifactError(_why_unreadable(path, cause), path=path) from cause
    except ValueError as cause:  # a NUL in the path
        raise ArtifactError(
            f"{path!r} is no path of a file ({cause}): pass the path of the .onnx file", path=path
        ) from cause
    _refuse_other_files(data, f"'{path}'", path)
    return data


def check_seal(data: bytes, path: str | None = None) -> Sealed | None:
    """Return what the head says once the digest matches; None for a file never sealed.

    Raises:
        IntegrityError: the file was sealed and its bytes have changed since.
    """
    head = _IR_VERSION_TAG + data[1:2] + _SEAL_HEAD
    start = len(head)
    end = start + _DIGEST_SIZE
    place = "the artifact" if path is None else f"'{path}'"
    if data.startswith(head) and len(data) > end:
        stated = data[start:end]
        digest = hashlib.sha256(data[:start])
        digest.update(_NO_DIGEST)
        digest.update(memoryview(data)[end:])
        actual = digest.hexdigest()
        if stated == actual.encode("ascii"):
            return Sealed(actual, _read_card(data, end, place, path))
    elif _SHA256_KEY not in data and _CARD_KEY not in data and not _starts_like(data, head):
        return None
    raise IntegrityError(
        f"{place} is damaged: its {len(data):,} bytes do not match the digest that it was sealed "
        "with, so it was cut short or changed; copy it again from its source, or convert again",
        path=path,
    )


def seal(model: bytes, card_json: str) -> bytes:
    """Return the artifact: head with digest and card, then the model.

    Args:
        model: a serialized ONNX ModelProto that starts with ir_version below 128, as every
            serializer writes it, and bears neither seal nor card yet.
        card_json: the card's JSON text.
    """
    if not b"\x00" <= model[1:2] < b"\x80" or model[:1] != _IR_VERSION_TAG or _SHA256_KEY in model:
        raise ValueError("seal() takes an unsealed ONNX model that starts with its ir_version")
    card = metadata_entry(_CARD_KEY, card_json.encode("utf-8"))
    return seal_again(model[:2] + _SEAL_HEAD, card, memoryview(model)[2:])


def write_atomically(path: str, data: bytes) -> None:
    """Replace the file in one step, or leave it as it was.

    Raises:
        OptionError: the file or its folder cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as cause:
        raise OptionError(
            f"'{path}' cannot be written ({cause.strerror or cause}): choose another place, or "
            "check the disk"
        ) from cause


def split_at_digest(data: bytes) -> tuple[memoryview, memoryview]:
    """Return what stands before and after the digest of a sealed file."""
    start = 2 + len(_SEAL_HEAD)
    view = memoryview(data)
    return view[:start], view[start + _DIGEST_SIZE :]


def seal_again(before: bytes, *after: bytes | memoryview) -> bytes:
    """Return the artifact of these parts with the digest that they have now.

    The parts are joined once: a file may be larger than what memory is left for copies of it.
    """
    digest = hashlib.sha256(before)
    for part in (_NO_DIGEST, *after):
        digest.update(part)
    return b"".join((before, digest.hexdigest().encode("ascii"), *after))


def _refuse_other_files(data: bytes, place: str, path: str | None) -> None:
    """Name what the bytes are where they are plainly no ONNX file."""
    start = data[:512].lstrip().lower()
    found = None
    if not data:
        found = "is empty (0 bytes)"
    elif start.startswith(b"version https://git-lfs"):
        found = "is a pointer file of Git LFS, not the file itself"
    elif start.startswith((b"<!doctype", b"<html", b"<?xml")):
        found = "is a web page or XML text"
    else:
        for magic, name in _OTHER_FILES:
            if data.startswith(magic):
                found = f"is {name}"
    if data[4:8] == b"TFL3":
        found = "is a LiteRT (.tflite) model"
    if found:
        raise ArtifactError(
            f"{place} {found}, expected an ONNX model: "
            "copy the .onnx file again from where it was converted",
            path=path,
        )


_OTHER_FILES = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"PK\x03\x04", "a ZIP archive (a .keras file is one: convert it first)"),
    (b"\x89HDF", "an HDF5 file (a .h5 file is one: convert it first)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"\x93NUMPY", "a numpy array"),
    (b"{", "JSON text"),
)


def _why_unreadable(path: str, cause: OSError) -> str:
    if isinstance(cause, FileNotFoundError):
        folder = Path(path).parent
        where = "" if folder.is_dir() else f" (nor a folder '{folder}')"
        return f"there is no file '{path}'{where}: pass the path of the .onnx file"
    if isinstance(cause, IsADirectoryError) or Path(path).is_dir():
        return f"'{path}' is a folder, expected a file: pass the path of the .onnx file inside"
    reason = cause.strerror or str(cause)
    return f"'{path}' cannot be read ({reason}): check the file's permissions and the disk"


def _starts_like(data: bytes, head: bytes) -> bool:
    """Whether a file shorter than the head is the beginning of one."""
    return 2 < len(data) < len(head) and head.startswith(data)


def metadata_entry(key: bytes, value: bytes) -> bytes:
    """Return one entry of ModelProto.metadata_props, serialized."""
    body = _KEY_TAG + _varint(len(key)) + key + _VALUE_TAG + _varint(len(value)) + value
    return _METADATA_TAG + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    """Return protobuf's base-128 form, least significant group first."""
    groups = bytearray()
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at`` and the position behind it."""
    number = shift = 0
    for byte in data[at : at + 10]:
        number |= (byte & 127) << shift
        shift += 7
        at += 1
        if byte < 128:
            break
    return number, at


def _read_card(data: bytes, start: int, place: str, path: str | None) -> bytes:
    """Return the value of the metadata entry at ``start``, which must be the card's."""
    key = _KEY_TAG + _varint(len(_CARD_KEY)) + _CARD_KEY + _VALUE_TAG
    _, at = _read_varint(data, start + len(_METADATA_TAG))
    if not data.startswith(_METADATA_TAG, start) or not data.startswith(key, at):
        raise ArtifactError(
            f"{place} is sealed but bears no card: convert it again with edgeport-converter",
            path=path,
        )
    size, at = _read_varint(data, at + len(key))
    return data[at : at + size]


_SEAL_HEAD = metadata_entry(_SHA256_KEY, _NO_DIGEST)[:-_DIGEST_SIZE]
