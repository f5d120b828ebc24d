"""The bundle's file: a .tar.gz with the same bytes for the same content.

Only names and contents count: names are sorted, and times, owners and modes are fixed. The
compression is zlib's, so that another version of zlib may write other bytes. GNU's format has room
for the names of wheels of many tags, and busybox reads it, too.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

FOLDER = "edgeport-bundle"
"""The one folder that the archive unpacks to."""

_TIME = 1
"""Seconds since 1970 of every file: tar warns of 0, and of times after the device's clock."""


def write_archive(file: IO[bytes], contents: Mapping[str, bytes | Path]) -> None:
    """Write an archive of files, by their names within the one folder.

    Args:
        file: where to; raises OSError as its own write does.
        contents: bytes, or the path of a file of them.
    """
    # Wheels are compressed already, so that the best level would cost time alone.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name in sorted(contents):
            content = contents[name]
            info = tarfile.TarInfo(f"{FOLDER}/{name}")
            info.mtime, info.mode = _TIME, 0o644
            if isinstance(content, Path):
                info.size = content.stat().st_size
                with content.open("rb") as source:
                    archive.addfile(info, source)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
