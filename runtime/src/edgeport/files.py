"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgeport.errors import OptionError


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Write a file beside the target that takes its place at the end, in one step.

    After an error or Ctrl-C within the block, the target is as it was and nothing else is left.

    Raises:
        OptionError: the file or its folder cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as cause:
        raise OptionError(
            f"'{path}' cannot be written ({cause.strerror or cause}): choose another place, or "
            "check the disk"
        ) from cause
