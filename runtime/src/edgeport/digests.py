"""SHA-256 for a process that has just begun: of a small file without loading OpenSSL.

``hashlib`` loads OpenSSL's library, which costs a cold start several milliseconds (python -X
importtime). CPython's own implementation is as right, only slower for each byte. Its module has no
public name; the standard library's ``random`` imports its sister the same way, for the same reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

_own: Callable[..., Any] | None = None  # stays so in another Python than CPython
try:
    from _sha2 import sha256 as _own  # type: ignore[import-not-found,no-redef] # from 3.12 on
except ImportError:
    with contextlib.suppress(ImportError):
        from _sha256 import sha256 as _own  # type: ignore[import-not-found,no-redef]

# Up to here the slower way is over before OpenSSL's library is loaded.
_SMALL = 2**19


def sha256(size: int) -> Callable[..., Any]:
    """Return the function that begins a digest, as ``hashlib.sha256`` does.

    Args:
        size: about how many bytes are to come.
    """
    if _own is not None and size <= _SMALL:
        return _own
    import hashlib

    return hashlib.sha256
