"""From addresses to files: paths, patterns, folders, whatever fsspec opens; their digests."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from edgeport.device.cpus import usable_cpus
from edgeport.errors import EdgeportError, InputError, OptionError
from edgeport.scoring.job import Source
from edgeport.signals import reraise_signal

_BLOCK = 2**20


def find(
    addresses: Sequence[str], endings: Sequence[str], tell: Callable[[str], None], out: str
) -> list[str]:
    """Return the files, those of a folder or pattern in the order of their names.

    Args:
        addresses: files, folders, and patterns with ``*``, ``?`` or ``[]``; each may have a
            protocol such as ``s3://``, for which its package must be installed.
        endings: of the files that are taken from folders; others are told and left out.
        tell: is called with a sentence about each folder that has other files.
        out: the folder of the run, whose files are left out.

    Raises:
        InputError: nothing is there, a file occurs twice, or one has an ending of no known kind.
        OptionError: the protocol's package is missing.
    """
    found: list[str] = []
    for address in addresses:
        with naming(address):
            found += _files_of(address, endings, tell)
    real = functools.cache(os.path.realpath)
    folder = Path(real(out))
    found = [path for path in found if "://" in path or not _is_in(real(Path(path).parent), folder)]
    if not found:
        raise InputError.of("the input has", "files of the output alone", "others", "name them")
    seen: set[str] = set()
    for path in found:
        if path in seen:
            raise InputError.of(
                f"'{path}' is", "named twice", "each file once", "drop one of the two"
            )
        seen.add(path)
        if not path.isascii() and any("\ud800" <= sign <= "\udfff" for sign in path):
            raise InputError.of(f"'{path}' has", "a name that is no UTF-8", "text", "rename it")
        if not path.lower().endswith(tuple(endings)):
            raise InputError.of(
                f"'{path}' is",
                f"a file that ends in '{Path(path).suffix}'",
                f"one of {', '.join(endings)}",
                "convert or rename it",
            )
    return found


def _is_in(place: str, folder: Path) -> bool:
    return Path(place).is_relative_to(folder)


def _files_of(address: str, endings: Sequence[str], tell: Callable[[str], None]) -> list[str]:
    import fsspec

    system, path = fsspec.core.url_to_fs(address)
    is_folder = system.isdir(path)
    if is_folder:
        names = sorted(system.find(path))
    elif any(sign in path for sign in "*?[") and not system.exists(path):
        names = sorted(name for name in system.glob(path) if not system.isdir(name))
    else:
        names = [path] if system.exists(path) else []
    if is_folder:
        taken = [name for name in names if name.lower().endswith(tuple(endings))]
        for name in names if "file" in _protocols(system) else ():
            if not name.lower().endswith(tuple(endings)) and Path(name).is_dir():
                raise InputError.of(
                    f"'{name}' is",
                    "a link to a folder",
                    "files, since links are not followed there",
                    "name that folder beside this one, or move the link away",
                )
        if len(taken) < len(names):
            left = len(names) - len(taken)
            tell(f"'{address}' has {left} files of other kinds, which are left out")
        names = taken
    if not names:
        raise InputError.of(
            f"'{address}' has", "no file", f"one of {', '.join(endings)}", "check the address"
        )
    is_local = "file" in _protocols(system)
    return [name if is_local else system.unstrip_protocol(name) for name in names]


def _protocols(system: Any) -> tuple[str, ...]:
    found = system.protocol
    return (found,) if isinstance(found, str) else tuple(found)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Name the file in whatever goes wrong with it."""
    try:
        yield
    except (EdgeportError, MemoryError):
        raise
    except ImportError as cause:  # of fsspec, about the package for a protocol
        raise OptionError(f"'{path}' cannot be opened ({cause}): install that package") from cause
    except Exception as cause:
        reraise_signal(cause)
        raise InputError(
            f"'{path}' cannot be read ({str(cause) or type(cause).__name__}): check the file, or "
            "leave it out"
        ) from cause


def open_file(path: str) -> IO[bytes]:
    """Open a file or an address for reading; it can be searched."""
    if "://" not in path:
        return Path(path).open("rb")
    import fsspec

    system, inner = fsspec.core.url_to_fs(path)
    opened: IO[bytes] = system.open(inner, "rb")
    return opened


def look(paths: Sequence[str], begun: Mapping[str, Source] | None) -> list[Source]:
    """Return sizes and stamps of the files, with digests as far as they are needed now.

    Args:
        paths: of the files.
        begun: what an earlier run found, by path; None for a first run, whose digests are made
            beside the scoring. A file whose stamp has changed since is read for its digest.

    Raises:
        InputError: a file cannot be read.
    """

    def one(path: str) -> Source:
        with naming(path):
            size, stamp = _stamp(path)
            before = begun.get(path) if begun else None
            if before is not None and (before.bytes, before.stamp) == (size, stamp):
                return before
            return Source(path, size, stamp, digest(path) if begun is not None else "")

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(one, paths))


class Digesting:
    """Digests of files, made by threads while the files are scored.

    A context manager; what is not done when its block ends is dropped.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(usable_cpus())
        self._made = [self._pool.submit(self._digested, source) for source in sources]

    def __enter__(self) -> Digesting:
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)

    def wait(self) -> list[Source]:
        """Return the files with their digests.

        Raises:
            InputError: one cannot be read, or was changed since it was first looked at.
        """
        found = [made.result() for made in self._made]
        # A file whose digest was made long ago may have changed before its last row was read.
        list(self._pool.map(_refuse_changed, found))
        return found

    def _digested(self, source: Source) -> Source:
        if source.sha256:
            return source
        with naming(source.path):
            found = digest(source.path, self._ended)
        _refuse_changed(source)
        return replace(source, sha256=found)


def _refuse_changed(source: Source) -> None:
    with naming(source.path):
        if _stamp(source.path) != (source.bytes, source.stamp):
            raise InputError.of(
                f"'{source.path}' was",
                "changed while it was scored",
                "a file that stays as it is",
                "score it again, into another folder",
            )


def _stamp(path: str) -> tuple[int, str]:
    if "://" not in path:
        about = os.stat(path)  # noqa: PTH116 - a million files
        return about.st_size, str(about.st_mtime_ns)
    import fsspec

    system, inner = fsspec.core.url_to_fs(path)
    return int(system.size(inner)), str(system.ukey(inner))


def digest(path: str, ended: threading.Event | None = None) -> str:
    """Return the SHA-256 of a file's bytes, or of a part of them once ``ended`` is set."""
    state, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with open_file(path) as file:
        while taken := file.readinto(block):  # type: ignore[attr-defined]
            state.update(block[:taken])
            if ended is not None and ended.is_set():
                break
    return state.hexdigest()
