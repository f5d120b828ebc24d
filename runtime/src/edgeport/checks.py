"""Checks of plain values that callers pass: whole numbers, yes or no, and paths."""

from __future__ import annotations

import operator
import os

from edgeport.errors import OptionError
from edgeport.signals import reraise_signal


def absolute(path: str | bytes | os.PathLike[str], name: str) -> str:
    """Return the path as it is from every folder; raises OptionError where it is none."""
    try:
        text = os.fsdecode(path)
        if not text:
            raise ValueError("an empty path would be this folder")
        return os.path.abspath(text)
    except (TypeError, ValueError, OSError) as cause:  # the last where this folder is gone
        raise OptionError(
            f"{name} is {path!r}, expected a path: pass one, or leave it out"
        ) from cause


def truth(value: object, name: str) -> bool:
    """Return the answer to a yes-or-no option; raises OptionError where it is another value.

    Python takes any text for yes, ``"no"`` included.
    """
    if value is True or value is False:
        return value
    raise OptionError(f"{name} is {value!r:.60}, expected True or False: pass one of them")


def whole_number(
    value: object,
    name: str,
    *,
    lowest: int = 1,
    highest: int | None = None,
    remedy: str = "pass one",
) -> int:
    """Return the number; raises OptionError where it is no whole number, or out of bounds."""
    try:
        number = lowest - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError as cause:
        reraise_signal(cause)
        number = lowest - 1
    if number < lowest or (highest is not None and number > highest):
        bounds = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise OptionError(f"{name} is {value!r}, expected a whole number {bounds}: {remedy}")
    return number
