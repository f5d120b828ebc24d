"""SHA-256 by either way, beside hashlib's."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeport.artifact.seal import sha256


@given(st.lists(st.binary(max_size=300)))
def test_small_digests_are_hashlibs(parts: list[bytes]) -> None:
    digest = sha256(0)()
    for part in parts:
        digest.update(memoryview(part))
    assert digest.hexdigest() == hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("size", [2**19 - 1, 2**19, 2**19 + 1, 2**21])
def test_digests_of_any_size_are_hashlibs(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert sha256(size)(data).hexdigest() == hashlib.sha256(data).hexdigest()
