"""The options of a load, and their checks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from edgeport.checks import absolute, truth, whole_number
from edgeport.errors import OptionError

Provider = str | tuple[str, dict[str, Any]]
PublicKey = str | os.PathLike[str] | bytes


TUNING_SUFFIX = ".tune.json"
"""Appended to the artifact's file name: the tuning file that ``Predictor.load`` looks for."""


class Options(NamedTuple):
    """The options of ``Predictor.load``; reloads, copies and pickled predictors keep them."""

    threads: int | None
    finite: bool
    providers: Sequence[Provider] | None
    public_key: PublicKey | None
    minimum_version: int | None
    chunk_bytes: int
    cache_dir: str | os.PathLike[str] | None = None
    tuning: str | os.PathLike[str] | bool = True

    def checked(self) -> Options:
        """Check every option before anything is loaded.

        Returns:
            These options, with absolute paths, since the process may change its folder.

        Raises:
            OptionError: an option has the wrong type or range, or a minimum version is given
                without a public key.
        """
        truth(self.finite, "finite")
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
