"""Making signatures, for the command line; ``signatures`` has their form and the check."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from edgeport.errors import ArtifactError, OptionError
from edgeport.files import replacing
from edgeport.integrity import (
    check_seal,
    digest_of,
    metadata_entry,
    read,
    seal_again,
    split_at_digest,
)
from edgeport.options import whole_number
from edgeport.signatures import KEY, import_library, message, require_kind, without_signature


def sign(source: str | os.PathLike[str], private_key: str | os.PathLike[str], version: int) -> str:
    """Sign an artifact in place, or sign it anew; the file is replaced in one step.

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
        data = read(path)
        if check_seal(data) is None:
            raise ArtifactError(
                "the artifact bears no card, expected an artifact of edgeport: convert the model "
                "first"
            )
    except ArtifactError as error:
        error.path = path
        raise
    before, after = split_at_digest(without_signature(data))
    key = _load_private_key(private_key)
    value = {"version": version, "ed25519": key.sign(message(version, before, after)).hex()}
    entry = metadata_entry(KEY, json.dumps(value).encode("ascii"))
    with replacing(path) as file:
        file.write(seal_again(bytes(before), after, entry))
    return digest_of(before, after, entry)


def _load_private_key(path: str | os.PathLike[str]) -> Any:
    serialization, ed25519 = import_library()
    try:
        key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    except Exception as cause:
        raise OptionError(
            f"the private key '{os.fspath(path)}' cannot be read ({cause}), expected an Ed25519 "
            "key in PEM form: make one with 'openssl genpkey -algorithm ed25519 -out private.pem'"
        ) from cause
    return require_kind(key, ed25519.Ed25519PrivateKey)
