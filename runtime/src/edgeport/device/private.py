"""Files that only this user and root can have written."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO


def open_file(path: str) -> BinaryIO:
    """Open a file for reading; where a pipe lies in its place, nobody waits for the other side.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no regular file, or ``check`` refuses it.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    stream = os.fdopen(os.open(path, flags), "rb")
    try:
        about = os.fstat(stream.fileno())
        check(about, "the file")
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no file")
    except BaseException:
        stream.close()
        raise
    return stream


def check(about: os.stat_result, what: str) -> None:
    """Refuse what another user could have written; on Windows the folder's own rules hold.

    Raises:
        ValueError: it belongs to another user than this one or root, or others may write it.
    """
    if not hasattr(os, "geteuid"):
        return
    if about.st_uid not in (os.geteuid(), 0):
        raise ValueError(f"{what} belongs to user {about.st_uid}, expected this one or root")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError(f"{what} may be written by others, expected by its owner alone")
