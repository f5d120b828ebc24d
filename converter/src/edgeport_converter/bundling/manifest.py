"""What is in a bundle, with every digest, and the signature.

    manifest.json   the artifact, the platform, the versions, and the digest of every other file
    manifest.sig    who made it, where a key was given: {"version": 7, "ed25519": "…"}
    SHA256SUMS      the digests of these two, so that a changed byte is found without a key, too

``install`` checks them on the device; the signature is made by the runtime's own code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeport.artifact.signature import load_private_key
from edgeport.checks import whole_number
from edgeport_converter.bundling import install

FORMAT = 1


def describe_files(contents: Mapping[str, bytes | Path]) -> dict[str, dict[str, Any]]:
    """Return digest and size of each file, by its name in the bundle."""
    found = {}
    for name, content in sorted(contents.items()):
        if isinstance(content, Path):
            digest, size = install.digest_of(content), content.stat().st_size
        else:
            digest, size = hashlib.sha256(content).hexdigest(), len(content)
        found[name] = {"bytes": size, "sha256": digest}
    return found


def manifest_files(
    facts: Mapping[str, Any],
    *,
    key: str | os.PathLike[str] | None = None,
    version: int | None = None,
) -> dict[str, bytes]:
    """Return the files of the manifest, by name.

    Args:
        facts: what the manifest says, with the ``files``.
        key: a private key of Ed25519 in PEM form, None to sign nothing.
        version: grows with each release; devices refuse a lower one than they serve.

    Raises:
        OptionError: the key or the version cannot be used.
    """
    text = json.dumps({"format": FORMAT, **facts}, indent=1, sort_keys=True).encode("ascii") + b"\n"
    files = {install.MANIFEST: text}
    if key is not None:
        whole_number(
            version, "the version", lowest=0, highest=2**63 - 1, remedy="count your releases"
        )
        digest = hashlib.sha256(text).hexdigest()
        message = install.SIGNED.format(version=version, digest=digest).encode("ascii")
        signature = load_private_key(key).sign(message).hex()
        said = json.dumps({"version": version, "ed25519": signature})
        files[install.SIGNATURE] = said.encode("ascii") + b"\n"
    files[install.SUMS] = install.sums_of(text, files.get(install.SIGNATURE))
    return files
