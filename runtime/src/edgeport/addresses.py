"""Passwords and tokens in addresses, of which no message, manifest or table shows any.

``errors`` hides them in every message, `edgeport score` in the names of files, the converter in the
addresses of databases.
"""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote_plus

HIDDEN = "***"

# What stands between the user's name and the host: up to the last @ before a slash, or where the
# password has a slash itself, up to the last @ there is. Ports and IPv6 hosts are no passwords.
_BEFORE_HOST = re.compile(r"(://[^/\s:@'\"\[]*:)([^/\s]*(?=@)|(?!\d*/)\S*(?=@))")
_WORDS = (
    r"[^=&\s]*(?:pass|pwd|secret|token|credential|odbc_connect)[^=&\s]*"
    r"|[^=&\s]*signature|(?:[^=&\s]*[-_])?(?:sig|api_?key|key|auth)"
)
_IN_QUERY = re.compile(rf"([?&#](?:{_WORDS})=)([^&\s'\"]*)", re.IGNORECASE)


def hide_secrets(text: str, address: str = "") -> str:
    """Return a text with ``***`` for each password and token of the addresses in it.

    Args:
        text: any, such as an address alone, or a sentence with some.
        address: hide its secrets also where they stand outside of an address.
    """
    if "://" in text:
        text = _BEFORE_HOST.sub(rf"\g<1>{HIDDEN}", text)
        text = _IN_QUERY.sub(rf"\g<1>{HIDDEN}", text)
    for secret in _find_secrets(address):
        for written in {secret, quote(secret, safe=""), quote_plus(secret), quote(secret)}:
            text = text.replace(written, HIDDEN)
    return text


def _find_secrets(address: str) -> list[str]:
    """Return the secrets of an address, the longest first: one may be a part of another.

    A shorter one than four letters may be a part of any word, and is hidden by its place alone.
    """
    found = {match[2] for rule in (_BEFORE_HOST, _IN_QUERY) for match in rule.finditer(address)}
    found |= {unquote_plus(secret) for secret in found}
    return sorted((secret for secret in found if len(secret) >= 4), key=len, reverse=True)
