"""From addresses to files: paths, patterns, folders, whatever fsspec opens; their digests."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from edgeport.addresses import hide_secrets
from edgeport.device.cpus import usable_cpus
from edgeport.errors import EdgeportError, InputError, OptionError
from edgeport.scoring.job import Source
from edgeport.signals import reraise_signal

_BLOCK = 2**20
_REQUEST = 5 * 2**20  # what is asked of a server at a time, as by fsspec itself
_MARKS = ("ETag", "Last-Modified", "Content-MD5", "Digest")  # what http servers tell of a file


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
        if (shown := hide_secrets(path)) in seen:
            raise InputError.of(
                f"'{path}' is", "named twice", "each file once", "drop one of the two"
            )
        seen.add(shown)
        if not path.isascii() and any("\ud800" <= sign <= "\udfff" for sign in path):
            raise InputError.of(f"'{path}' has", "a name that is no UTF-8", "text", "rename it")
        if not path.lower().endswith(tuple(endings)):
            raise InputError.of(
                f"'{path}' is",
                f"a file that ends in '{Path(shown).suffix}'",
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
        names = _without_hidden(sorted(system.find(path)), path, address, tell)
    elif any(sign in path for sign in "*?[") and not system.exists(path):
        names = sorted(name for name in system.glob(path) if not system.isdir(name))
        names = _without_hidden(names, path, address, tell)
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
    if "file" in _protocols(system):
        return names
    whole = address.rstrip("/")
    if whole.endswith(path):  # with user, password and host, which some file systems drop
        return [whole.removesuffix(path) + name for name in names]
    return [system.unstrip_protocol(name) for name in names]


def _without_hidden(
    names: list[str], path: str, address: str, tell: Callable[[str], None]
) -> list[str]:
    """Return the names without those of hidden files, or of files in hidden folders.

    Desktops and notebooks leave such copies, ``._x.jpg`` and ``.ipynb_checkpoints/x.csv``. What
    the address itself names is not hidden.
    """
    begin = min([len(path), *(path.find(sign) for sign in "*?[" if sign in path)])
    if "/." in path[path.rfind("/", 0, begin) :]:
        return names
    fixed = path.count("/", 0, begin) + (begin == len(path))
    shown = [name for name in names if not any(p[:1] == "." for p in name.split("/")[fixed:])]
    if len(shown) < len(names):
        tell(f"'{address}' has {len(names) - len(shown)} hidden files, which are left out")
    return shown


def _protocols(system: Any) -> tuple[str, ...]:
    found = system.protocol
    return (found,) if isinstance(found, str) else tuple(found)


@contextlib.contextmanager
def naming(of: Source | str) -> Iterator[None]:
    """Name the file, or the address, in whatever goes wrong with it."""
    address = of if isinstance(of, str) else of.opened_by or of.path
    path = hide_secrets(address)

    def reason(cause: BaseException) -> str:
        return hide_secrets(str(cause) or type(cause).__name__, address)

    try:
        yield
    except (EdgeportError, MemoryError):
        raise
    except ImportError as cause:  # of fsspec, about the package for a protocol
        raise OptionError(
            f"'{path}' cannot be opened ({reason(cause)}): install that package"
        ) from cause
    except Exception as cause:
        reraise_signal(cause)
        raise InputError(
            f"'{path}' cannot be read ({reason(cause)}): check the file, or leave it out"
        ) from cause


def open_file(source: Source, *, is_buffered: bool = True) -> IO[bytes]:
    """Open a file or an address for reading; it can be searched.

    Without a buffer, which does not matter for addresses, large blocks are read in half the time.
    """
    path = source.opened_by or source.path
    if "://" not in path:
        return Path(path).open("rb", buffering=-1 if is_buffered else 0)
    import fsspec

    system, inner = fsspec.core.url_to_fs(path)
    # Its caches put blocks together without looking whether one is short.
    return _Answers(system.open(inner, "rb", cache_type="none")).buffered()


class _Answers(io.RawIOBase):
    """The bytes at an address; a server that sends fewer than were asked for is an error.

    To whoever reads lines or pictures, an empty answer would be the end of the file.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._size: int = file.seek(0, os.SEEK_END)
        file.seek(0)

    def buffered(self) -> IO[bytes]:
        """Return it with a buffer."""
        return io.BufferedReader(self, max(1, min(self._size, _REQUEST)))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; return it."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the place."""
        return int(self._file.tell())

    def readinto(self, block: Any) -> int:
        """Fill a block as far as the file goes; raises EOFError if fewer bytes come."""
        start = self.tell()
        count: int = max(0, min(len(block), self._size - start))
        content = self._file.read(count) if count else b""
        if len(content) != count:
            raise EOFError(f"{len(content):,} of {count:,} bytes came from byte {start:,} on")
        block[:count] = content
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def look(paths: Sequence[str]) -> list[Source]:
    """Return sizes and stamps of the files; raises InputError if one cannot be read."""

    def one(path: str) -> Source:
        with naming(path):
            shown = hide_secrets(path)
            return Source(shown, *_stamp(path), opened_by=path if shown != path else "")

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(one, paths))


def refuse_changed(source: Source) -> None:
    """Refuse a file that was written since the run was begun.

    Called when a piece of it was read, so that all its bytes were those of the beginning.

    Raises:
        InputError: it has another stamp, or is gone.
    """
    with naming(source):
        now = _stamp(source.opened_by or source.path, is_asked_again=True)
        if now != (source.bytes, source.stamp):
            raise InputError.of(
                f"'{source.path}' was",
                "changed while it was scored",
                "a file that stays as it is",
                "score it again, into another folder",
            )


def _stamp(path: str, *, is_asked_again: bool = False) -> tuple[int, str]:
    """Return size and stamp of a file; object stores may else repeat what they listed."""
    if "://" not in path:
        about = os.stat(path)  # noqa: PTH116 - a million files
        return about.st_size, str(about.st_mtime_ns)
    import fsspec

    system, inner = fsspec.core.url_to_fs(path)
    if is_asked_again:
        system.invalidate_cache(inner)
    found = system.info(inner)
    if found["size"] is None:
        raise ValueError("its server tells no size")
    marks = [str(found[name]) for name in _MARKS if found.get(name)]
    if not {"http", "https"} & set(_protocols(system)):  # whose key is the address and its password
        marks.insert(0, str(system.ukey(inner)))
    return int(found["size"]), " ".join(marks)


def read_into(file: IO[bytes], block: memoryview) -> None:
    """Fill a block; raises EOFError if the file ends before."""
    while block:
        taken = file.readinto(block)  # type: ignore[attr-defined]
        if not taken:
            raise EOFError("it ends too early")
        block = block[taken:]


class Digest:
    """A digest of input bytes: AES-GMAC with a key of zeros, 128 bits.

    It finds what was damaged or edited, not what somebody forged. SHA-256 takes 0.46 s for 1 GB,
    ten times as long as this and more than small networks take for the rows in it.
    """

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._state = Cipher(algorithms.AES(bytes(16)), modes.GCM(bytes(12))).encryptor()

    def update(self, content: bytes | memoryview) -> None:
        """Add bytes; how they are divided into calls does not matter."""
        self._state.authenticate_additional_data(content)

    def add_from(self, file: IO[bytes], start: int, stop: int) -> None:
        """Add the bytes of a file from ``start`` to ``stop``; raises EOFError if it ends there."""
        block = memoryview(bytearray(min(_BLOCK, max(0, stop - start))))
        file.seek(start)
        while start < stop:
            content = block[: stop - start]
            read_into(file, content)
            self.update(content)
            start += len(content)

    def hex(self) -> str:
        """Return it, and end it: nothing can be added."""
        self._state.finalize()
        return self._state.tag.hex()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    state, block = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with path.open("rb") as file:
        while taken := file.readinto(block):
            state.update(block[:taken])
    return state.hexdigest()
