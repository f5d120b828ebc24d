"""The seal: a digest over the whole file, checked before any parser sees a byte.

This module reads an artifact's bytes, recognizes files of other kinds, and makes and checks the
seal. ``card`` parses the card; ``engine.session`` loads the graph.

An artifact is a plain ONNX file (a protobuf message, whose fields may come in any order) that
starts with a fixed head::

    08 vv                                   ir_version, as in any ONNX file
    72 53 0a 0f "edgeport.sha256" 12 40     metadata entry: key, length of the value
    64 hexadecimal digits                   SHA-256 of the whole file with these 64 as zeros
    72 .. 0a 0d "edgeport.card" 12 ..       metadata entry: the card's JSON
    ...                                     the rest of the model

Since both entries are in fixed places, the digest is checked and the card is read without a
protobuf parser, and a file cut short still shows that it was sealed. Damage to the head itself is
noticed because the other entry's key is still there.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from edgeport.artifact.card import ModelCard
from edgeport.artifact.protobuf import read_varint, varint
from edgeport.errors import ArtifactError, IntegrityError
from edgeport.signals import reraise_signal

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
    else:
        path = ""
        try:
            path = os.fsdecode(source)
            kind = stat.S_IFMT(os.stat(path).st_mode)
            if kind not in (stat.S_IFREG, stat.S_IFDIR):  # opening a pipe may wait for ever
                raise OSError(None, "it is a pipe or a device, expected a file")
            with open(path, "rb", buffering=0) as file:
                data = file.read()
        except OSError as cause:
            raise ArtifactError(_why_unreadable(path, cause)) from cause
        except (TypeError, ValueError) as cause:  # no path at all, or a NUL in it
            raise ArtifactError(
                f"an artifact is a path or bytes, found {source!r:.60}: pass the path of the "
                ".onnx file"
            ) from cause
    found = _other_kind(data)
    if found:
        raise ArtifactError(
            f"the artifact {found}, expected an ONNX model: "
            "copy the .onnx file again from where it was converted"
        )
    return data


def check_seal(data: bytes) -> Sealed | None:
    """Return what the head says once the digest matches; None for a file never sealed.

    Raises:
        IntegrityError: the file was sealed and its bytes have changed since.
    """
    head = _IR_VERSION_TAG + data[1:2] + _SEAL_HEAD
    before, after = split_at_digest(data)
    if data.startswith(head) and after:
        actual = digest_of(before, after)
        if data.startswith(actual.encode("ascii"), len(before)):
            return Sealed(actual, _read_card(data, len(data) - len(after)))
    elif (
        _SHA256_KEY not in data
        and _CARD_KEY not in data
        and not (len(data) > 2 and head.startswith(data))  # cut short within the head
    ):
        return None
    raise IntegrityError(
        f"the artifact is damaged: its {len(data):,} bytes do not match the digest that it was "
        "sealed with, so it was cut short or changed; copy it again from its source, or convert "
        "again"
    )


def read_card(path: str | os.PathLike[str]) -> ModelCard | None:
    """Return what a file says of itself, without starting an engine; None for a file never sealed.

    Raises:
        ArtifactError: the file cannot be read or was changed, or its card cannot be read.
    """
    try:
        sealed = check_seal(read(path))
        if sealed is None:
            return None
        return ModelCard.from_json(sealed.card_json, sha256=sealed.sha256)
    except ArtifactError as error:
        error.path = os.fspath(path)
        raise


def seal(model: bytes, card_json: str) -> bytes:
    """Return the artifact: head with digest and card, then the model.

    Args:
        model: a serialized ONNX ModelProto that starts with ir_version below 128, as every
            serializer writes it, and has neither seal nor card yet.
        card_json: the card's JSON text.
    """
    starts_well = model[:1] == _IR_VERSION_TAG and b"\x00" <= model[1:2] < b"\x80"
    if not starts_well or _SHA256_KEY in model or _CARD_KEY in model:
        raise ValueError("seal() takes an unsealed ONNX model that starts with its ir_version")
    card = metadata_entry(_CARD_KEY, card_json.encode("utf-8"))
    return seal_again(model[:2] + _SEAL_HEAD, card, memoryview(model)[2:])


def split_at_digest(data: bytes) -> tuple[memoryview, memoryview]:
    """Return the bytes before and after the digest of a sealed file."""
    start = 2 + len(_SEAL_HEAD)
    view = memoryview(data)
    return view[:start], view[start + _DIGEST_SIZE :]


def digest_of(before: bytes | memoryview, *after: bytes | memoryview) -> str:
    """Return the SHA-256 of a sealed file: of these parts with zeros after the first."""
    digest = sha256(sum(map(len, after)))(before)
    for part in (_NO_DIGEST, *after):
        digest.update(part)
    return str(digest.hexdigest())


def seal_again(before: bytes, *after: bytes | memoryview) -> bytes:
    """Return the artifact of these parts with the digest that they have now.

    The parts are joined once: a file may be larger than what memory is left for copies of it.
    """
    return b"".join((before, digest_of(before, *after).encode("ascii"), *after))


def _other_kind(data: bytes) -> str | None:
    """Return what the bytes are where they are plainly no ONNX file."""
    start = data[:512].lstrip().lower()
    if not data:
        return "is empty (0 bytes)"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer file of Git LFS, not the file itself"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page or XML text"
    return next(
        (f"is {name}" for at, mark, name in _OTHER_FILES if data.startswith(mark, at)), None
    )


_OTHER_FILES = (
    (4, b"TFL3", "a LiteRT (.tflite) model"),
    # An old engine accepts a damaged one, and ends the process.
    (4, b"ORTM", "a model in onnxruntime's own format (.ort)"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"PK\x03\x04", "a ZIP archive (a .keras file is one: convert it first)"),
    (0, b"\x89HDF", "an HDF5 file (a .h5 file is one: convert it first)"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x7fELF", "a program"),
    (0, b"\x93NUMPY", "a numpy array"),
    (0, b"{", "JSON text"),
)


def _why_unreadable(path: str, cause: OSError) -> str:
    folder = os.path.dirname(path) or "."
    if isinstance(cause, FileNotFoundError):
        where = "" if os.path.isdir(folder) else f" (nor a folder '{folder}')"
        return f"there is no file '{path}'{where}: pass the path of the .onnx file"
    if os.path.isdir(path):
        return f"'{path}' is a folder, expected a file: pass the path of the .onnx file inside"
    reason = cause.strerror or str(cause)
    return f"'{path}' cannot be read ({reason}): check the file's permissions and the disk"


def metadata_entry(key: bytes, value: bytes) -> bytes:
    """Return one entry of ModelProto.metadata_props, serialized."""
    body = _KEY_TAG + varint(len(key)) + key + _VALUE_TAG + varint(len(value)) + value
    return _METADATA_TAG + varint(len(body)) + body


def _read_card(data: bytes, start: int) -> bytes:
    """Return the value of the metadata entry at ``start``, which must be the card's."""
    key = _KEY_TAG + varint(len(_CARD_KEY)) + _CARD_KEY + _VALUE_TAG
    try:
        _, at = read_varint(data, start + len(_METADATA_TAG))
        if data.startswith(_METADATA_TAG, start) and data.startswith(key, at):
            size, at = read_varint(data, at + len(key))
            return data[at : at + size]
    except (IndexError, ValueError) as cause:  # sealed by another program
        reraise_signal(cause)
    raise ArtifactError(
        "the artifact is sealed but has no card: convert it again with edgeport-converter"
    )


_SEAL_HEAD = metadata_entry(_SHA256_KEY, _NO_DIGEST)[:-_DIGEST_SIZE]


# `hashlib` loads OpenSSL's library, which takes 2.6 ms or 2.4 % of a cold start; CPython's own
# implementation takes 0.2 ms to import and is as right, only slower for each byte. Its module has
# no public name, so another Python may lack it.
_own: Callable[..., Any] | None = None
try:
    from _sha2 import sha256 as _own  # type: ignore[import-not-found,no-redef] # from 3.12 on
except ImportError:
    with contextlib.suppress(ImportError):
        from _sha256 import sha256 as _own  # type: ignore[import-not-found,no-redef]

# So many bytes take the slower implementation about as long as OpenSSL's library takes to load.
_SMALL = 2**19
_slowly = 0  # how many bytes it was used for; a race of threads would cost some microseconds


def sha256(size: int) -> Callable[..., Any]:
    """Return the function that begins a digest, as ``hashlib.sha256`` does.

    A process that loads often pays for OpenSSL's library once its digests have cost as much.

    Args:
        size: about how many bytes are to come.
    """
    global _slowly
    if _own is not None and "hashlib" not in sys.modules:
        _slowly += size
        if _slowly <= _SMALL:
            return _own
    import hashlib

    return hashlib.sha256
