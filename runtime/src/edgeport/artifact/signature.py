"""Signatures: who made an artifact. The seal says only that it is whole.

Ed25519, offline, with one public key. The library for it, ``cryptography``, is the extra
``edgeport[sign]`` and is imported only when a signature is made or checked. Both the check,
which every device needs, and the signing live here.

The signature is one more metadata entry, the last thing in the file::

    72 .. 0a 12 "edgeport.signature" 12 ..  {"version": 7, "ed25519": "128 hexadecimal digits"}

It covers the version and the SHA-256 of the file as it was before: without this entry, and with
the digest's place zeroed. The seal is renewed afterwards, so that it covers the signature too.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from edgeport.artifact import seal
from edgeport.atomic_files import replacing
from edgeport.checks import whole_number
from edgeport.errors import ArtifactError, IntegrityError, OptionError
from edgeport.options import PublicKey, holds_key
from edgeport.signals import passing_signals, reraise_signal

KEY = b"edgeport.signature"
_LONGEST = 512  # bytes of the entry: some 220, for any version number
_CONTEXT = b"edgeport signature 1\n"


class Signature(NamedTuple):
    """The last entry of a signed artifact."""

    version: int
    ed25519: bytes


def check(data: bytes, public_key: PublicKey, minimum_version: int | None) -> int:
    """Return the version that the artifact was signed as.

    Args:
        data: the bytes of an artifact whose seal was checked.
        public_key: a PEM file's path, the text of one, or the key's 32 bytes.
        minimum_version: the lowest version to accept, None for any.

    Raises:
        IntegrityError: unsigned, signed with another key, or of too low a version.
        OptionError: the key cannot be read, or the library for it is not installed.
    """
    key = _load_public_key(public_key)
    signature = read_signature(data)
    if signature is None:
        raise IntegrityError(
            "the artifact has no signature, expected one by the key that was given: "
            "sign it with 'edgeport sign'"
        )
    parts = seal.split_at_digest(without_signature(data))
    try:
        key.verify(signature.ed25519, message(signature.version, *parts))
    except Exception as cause:
        raise IntegrityError(
            "the artifact was signed with another key than the one that was given, or changed "
            "since: get it from its maker again"
        ) from cause
    if minimum_version is not None and signature.version < minimum_version:
        raise IntegrityError(
            f"the artifact is version {signature.version}, expected at least {minimum_version}: "
            "install a newer release"
        )
    return signature.version


def read_signature(data: bytes) -> Signature | None:
    """Return the last entry of a sealed file, None where it is no signature."""
    entry = _signature_entry(data)
    try:
        value = json.loads(entry[entry.index(b"{") :])
        return Signature(int(value["version"]), bytes.fromhex(value["ed25519"]))
    except (ValueError, KeyError, TypeError, OverflowError) as cause:  # the last for "Infinity"
        reraise_signal(cause)
        return None


def _signature_entry(data: bytes) -> bytes:
    """Return the bytes of the signature's entry if it is the last thing in the file, else none."""
    at = data.rfind(KEY, max(0, len(data) - _LONGEST))
    for start in range(max(0, at - 6), at):
        value = data[data.find(b"{", at) :]
        if at > 0 and data[start:] == seal.metadata_entry(KEY, value):
            return data[start:]
    return b""


def without_signature(data: bytes) -> bytes:
    """Return the file as it was before it was signed, but for the digest."""
    return data[: len(data) - len(_signature_entry(data))]


def message(version: int, before: memoryview, after: memoryview) -> bytes:
    """Return the bytes that are signed, of the two parts around the digest's place."""
    return _CONTEXT + f"{version}\n{seal.digest_of(before, after)}\n".encode("ascii")


def _load_public_key(key: PublicKey) -> Any:
    serialization, ed25519 = import_library()
    try:
        if isinstance(key, bytes) and len(key) == 32:
            return ed25519.Ed25519PublicKey.from_public_bytes(key)
        text: Any = key if holds_key(key) else Path(os.fsdecode(key)).read_bytes()
        loaded = serialization.load_pem_public_key(os.fsencode(text))
    except Exception as cause:
        raise OptionError(
            f"the public key cannot be read ({cause}), expected an Ed25519 key as a PEM file, its "
            "text or 32 bytes: make it with 'openssl pkey -in private.pem -pubout -out public.pem'"
        ) from cause
    return require_kind(loaded, ed25519.Ed25519PublicKey)


def require_kind(key: Any, kind: type) -> Any:
    """Return the key; raises OptionError where it is of another kind."""
    if not isinstance(key, kind):
        raise OptionError(
            f"the key is a {type(key).__name__}, expected Ed25519: "
            "make one with 'openssl genpkey -algorithm ed25519'"
        )
    return key


def import_library() -> tuple[Any, Any]:
    """Return the two modules of ``cryptography`` that are needed; raises OptionError without it."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as cause:
        raise OptionError(
            "signatures need the package 'cryptography', which is not installed: "
            "pip install 'edgeport[sign]'"
        ) from cause
    return serialization, ed25519


@passing_signals
def sign(source: str | os.PathLike[str], private_key: str | os.PathLike[str], version: int) -> str:
    """Sign an artifact in place, also one that was signed before; it is replaced in one step.

    Args:
        source: the artifact.
        private_key: a PEM file, as ``openssl genpkey -algorithm ed25519`` writes it.
        version: a number that grows with each release, so that devices can refuse old ones.

    Returns:
        The artifact's new digest.

    Raises:
        ArtifactError: there is no sealed artifact at that path.
        OptionError: the key or the version cannot be used, or the file cannot be written.
    """
    remedy = "count your releases"
    whole_number(version, "the version", lowest=0, highest=2**63 - 1, remedy=remedy)
    path = os.fspath(source)
    try:
        data = seal.read(path)
        if seal.check_seal(data) is None:
            raise ArtifactError(
                "the artifact has no card, expected an artifact of edgeport: convert the model "
                "first"
            )
    except ArtifactError as error:
        error.path = path
        raise
    before, after = seal.split_at_digest(without_signature(data))
    key = load_private_key(private_key)
    value = {"version": version, "ed25519": key.sign(message(version, before, after)).hex()}
    entry = seal.metadata_entry(KEY, json.dumps(value).encode("ascii"))
    with replacing(path) as file:
        file.write(seal.seal_again(bytes(before), after, entry))
    return seal.digest_of(before, after, entry)


def load_private_key(path: str | os.PathLike[str]) -> Any:
    """Return the key in a PEM file; raises OptionError where it cannot be read or is another."""
    serialization, ed25519 = import_library()
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    except Exception as cause:
        raise OptionError(
            f"the private key '{os.fspath(path)}' cannot be read ({cause}), expected an Ed25519 "
            "key in PEM form: make one with 'openssl genpkey -algorithm ed25519 -out private.pem'"
        ) from cause
    return require_kind(key, ed25519.Ed25519PrivateKey)
