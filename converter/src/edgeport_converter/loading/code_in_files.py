"""Python code that a model file carries, and what it would do.

A ``Lambda`` layer stores Python bytecode in the file. Loading such a file runs whatever its author
wrote, so it is refused unless the user allows it, and then it is said what will run.
"""

from __future__ import annotations

import binascii
import codecs
import marshal
from collections.abc import Iterator
from types import CodeType
from typing import Any

_NAMES_SHOWN = 12


def find_code(config: Any, owner: str = "") -> Iterator[str]:
    """Yield a description of each piece of Python code in a model's config.

    Args:
        config: a config of Keras 2 or 3, or any part of one.
        owner: the name of the layer that the part belongs to.
    """
    if isinstance(config, dict):
        inner = config.get("config")
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            owner = inner["name"]
        if config.get("class_name") == "__lambda__" and isinstance(inner, dict):
            yield _describe(owner, inner.get("value", inner.get("code")))
            return
        if config.get("class_name") == "Lambda" and isinstance(inner, dict):
            # Keras 2: [bytecode, defaults, closure]; a plain string names a custom object.
            function = inner.get("function")
            if isinstance(function, list) and function:
                yield _describe(owner, function[0])
            shape = inner.get("output_shape")
            if inner.get("output_shape_type") == "lambda" and isinstance(shape, list) and shape:
                yield _describe(owner, shape[0])
        for value in config.values():
            yield from find_code(value, owner)
    elif isinstance(config, list):
        for value in config:
            yield from find_code(value, owner)


def _describe(owner: str, text: Any) -> str:
    code = _unmarshal(text)
    if code is None:
        return f"layer '{owner}': Python bytecode of another Python version, unreadable here"
    names = ", ".join(code.co_names[:_NAMES_SHOWN]) or "no names"
    if len(code.co_names) > _NAMES_SHOWN:
        names += ", …"
    return f"layer '{owner}': a Python function of {len(code.co_code)} bytes that uses {names}"


def _unmarshal(text: Any) -> CodeType | None:
    """Return the code object without running it."""
    if not isinstance(text, str):
        return None
    try:
        raw = codecs.decode(text.encode("ascii"), "base64")
    except (UnicodeEncodeError, binascii.Error):
        return None
    try:
        code = marshal.loads(raw)  # noqa: S302 reads the code object, runs nothing
    except (ValueError, TypeError, EOFError):
        return None
    return code if isinstance(code, CodeType) else None
