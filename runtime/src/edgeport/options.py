"""What callers may ask for, and the refusal of what cannot be met."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from edgeport.errors import OptionError
from edgeport.watching import Deadline

Provider = str | tuple[str, dict[str, Any]]
PublicKey = str | os.PathLike[str] | bytes


TUNING_SUFFIX = ".tune.json"
"""Behind the artifact's whole name: the tuning file that ``Predictor.load`` looks for."""


class Options(NamedTuple):
    """What ``Predictor.load`` was asked for; a reload and another process ask for the same."""

    threads: int | None
    finite: bool
    providers: Sequence[Provider] | None
    public_key: PublicKey | None
    minimum_version: int | None
    chunk_bytes: int
    cache_dir: str | os.PathLike[str] | None = None
    tuning: str | os.PathLike[str] | bool = True

    def checked(self) -> Options:
        """Refuse what can be seen to be wrong before anything is loaded.

        Returns:
            These options, with paths that stay right when the process moves to another folder.

        Raises:
            OptionError: a number is none, a path is none, or nothing vouches for a version.
        """
        whole_number(self.chunk_bytes, "chunk_bytes", remedy="leave it out")
        if self.minimum_version is not None:
            whole_number(self.minimum_version, "minimum_version", lowest=0)
            if self.public_key is None:
                raise OptionError(
                    "minimum_version was given without public_key, but a version that nobody "
                    "signed can be forged: pass the key too"
                )
        paths: dict[str, Any] = {}
        if self.cache_dir is not None:
            paths["cache_dir"] = absolute(self.cache_dir, "cache_dir")
        if not isinstance(self.tuning, bool):
            paths["tuning"] = absolute(self.tuning, "tuning")
        if self.public_key is not None and not holds_key(self.public_key):
            paths["public_key"] = absolute(self.public_key, "public_key")
        return self._replace(**paths)


def holds_key(given: object) -> bool:
    """Whether it is the text or the bytes of a public key, rather than the path of one."""
    if isinstance(given, str):
        return given.lstrip().startswith("-----BEGIN")
    if not isinstance(given, bytes):
        return False
    return len(given) == 32 or given.lstrip().startswith(b"-----BEGIN")


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


def whole_number(
    value: object,
    name: str,
    *,
    lowest: int = 1,
    highest: int | None = None,
    remedy: str = "pass one",
) -> int:
    """Return the number.

    Raises:
        OptionError: it is no whole number, or out of bounds.
    """
    try:
        number = lowest - 1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = lowest - 1
    if number < lowest or (highest is not None and number > highest):
        bounds = f"of at least {lowest}" if highest is None else f"from {lowest} to {highest}"
        raise OptionError(f"{name} is {value!r}, expected a whole number {bounds}: {remedy}")
    return number


def deadline_after(timeout: float | None) -> Deadline | None:
    """Return the time at which so many seconds are over.

    Raises:
        OptionError: the timeout is no number above 0.
    """
    if timeout is None:
        return None
    try:
        seconds = 0.0 if isinstance(timeout, (bool, str, bytes)) else float(timeout)
    except OverflowError:
        seconds = float("inf")
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise OptionError(
            f"timeout is {timeout!r}, expected seconds above 0: leave it out to wait for the answer"
        )
    return Deadline(time.monotonic() + seconds)
