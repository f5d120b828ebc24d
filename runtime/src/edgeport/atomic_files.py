"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edgeport.errors import OptionError


@contextlib.contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Write a file beside the target that takes its place at the end, in one step.

    After an error or Ctrl-C within the block, the target is as it was and nothing else is left.
    A link stays one, and a file that is replaced hands its permissions on.

    Raises:
        OptionError: the file or its folder cannot be written.
    """
    target = Path(os.path.realpath(path))
    # Cut, since the target's own name may be as long as a name can be.
    temporary = target.with_name(f".{target.name[:40]}.{os.urandom(4).hex()}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                if target.exists():
                    temporary.chmod(stat.S_IMODE(target.stat().st_mode))
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
