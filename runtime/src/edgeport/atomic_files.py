"""The one place that writes files: whole or not at all, and never over what is read.

Every file that a user names is written here, by both packages and in any format; only
``device.graph_cache`` writes its own private files. What the target is decides how:

- a regular file, or none yet: a temporary file beside it takes its place in one step. A symbolic
  link stays one; a file that is replaced hands its permissions on;
- a named pipe or a character device (``/dev/null``, ``/dev/stdout``): stays what it is, and gets
  the bytes when all of them are there;
- a folder, a socket or a disk: is refused.

A process that is killed leaves its temporary file; the next write to the same target removes it.
It cannot remove that of a living process, not even of one in another container: each writer holds a
lock on its own file until the end, and only a file that can be locked is removed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from edgeport.errors import OptionError
from edgeport.signals import reraise_signal

try:
    import fcntl
except ImportError:  # Windows, where no open file can be removed anyway
    fcntl = None  # type: ignore[assignment]

AnyPath = str | os.PathLike[str]


@contextlib.contextmanager
def replacing(
    path: AnyPath, *, reads: Iterable[AnyPath] = (), in_bulk: bool = False
) -> Iterator[IO[bytes]]:
    """Open a file that becomes ``path`` at the end of the block, in one step.

    After an error or Ctrl-C within the block, the target is as it was and nothing else is left.

    Args:
        path: of the file.
        reads: as for :func:`check_target`.
        in_bulk: for one of many files in a folder, whose cost must not grow with their number. The
            caller has called :func:`remove_leftovers`, and synchronizes what a power cut may not
            leave empty; it may take the name away in any case.

    Yields:
        A seekable binary file; what was flushed can be read again under its ``name``.

    Raises:
        OptionError: as :func:`check_target`, or writing fails; the target is as it was.
    """
    check_target(path, reads=reads)
    with _naming(path):
        stream = _open_stream(path)
        with _beside(path, in_bulk) if stream is None else _through(stream) as file:
            yield file


def check_target(path: AnyPath, *, reads: Iterable[AnyPath] = ()) -> None:
    """Refuse what ``replacing`` could not write, before anything is computed.

    Args:
        path: where something is to be written later.
        reads: files that are read in the same call, and folders, which stand for every file in
            them. Files are compared by identity (device and inode), so that another name, a
            link, or ``/dev/stdin`` hides none. A path that does not exist is ignored.

    Raises:
        OptionError: the target is a folder, a socket or a disk, is read, or its folder is missing
            or may not be written, or another user's link leads there; nothing was touched.
    """
    name = os.fspath(path)
    with _naming(path):
        _refuse_planted(name)
        found = _status(name)
        if name.endswith(("/", os.sep)) or (found and stat.S_ISDIR(found.st_mode)):
            raise OptionError(f"'{name}' is a folder, expected a file: choose a name inside it")
        is_own = _own_descriptor(name) is not None
        if found and not (is_own or _is_replaced(found) or _is_stream(found)):
            raise OptionError(
                f"'{name}' is a socket or a disk, expected a file, a pipe or a character device: "
                "choose another place"
            )
        # Writing to a character device, such as a terminal, destroys nothing.
        if found and not stat.S_ISCHR(found.st_mode):
            for given in reads:
                if _holds(given, found):
                    raise OptionError(
                        f"'{name}' would be overwritten, but '{os.fspath(given)}' is read by the "
                        "same call and is or holds this file: choose another place"
                    )
        if not is_own and (found is None or _is_replaced(found)):
            folder = _resolved(name).parent
            if not folder.is_dir():
                raise FileNotFoundError(None, f"there is no folder '{folder}'")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(None, f"nothing may be written in '{folder}'")


@contextlib.contextmanager
def _naming(path: AnyPath) -> Iterator[None]:
    """Name the target in whatever the system says about it."""
    try:
        yield
    except OSError as cause:
        reraise_signal(cause)
        raise OptionError(
            f"'{os.fspath(path)}' cannot be written ({cause.strerror or cause}): choose another "
            "place, or check the disk"
        ) from cause


def _refuse_planted(name: str) -> None:
    """Refuse another user's link in a folder that all may write, such as ``/tmp``.

    Source: the kernel's admin guide, fs.protected_symlinks. The kernel does so when a file is
    opened; here one is renamed to where the link leads.

    Raises:
        PermissionError: there is one on the way to the target.
    """
    for place in _way(name):
        if not hasattr(os, "geteuid") or not place.is_symlink():
            return
        link, folder = place.lstat(), place.parent.stat()
        is_shared = folder.st_mode & stat.S_ISVTX and folder.st_mode & stat.S_IWOTH
        if is_shared and link.st_uid not in (os.geteuid(), folder.st_uid):
            raise PermissionError(None, f"'{place}' is a link that user {link.st_uid} planted")


def _way(path: AnyPath) -> Iterator[Path]:
    """Yield a path, and what each link in its place leads to: as many as Linux follows."""
    place = Path(path).absolute()
    for _ in range(40):
        yield place
        if not place.is_symlink():
            return
        place = place.parent / place.readlink()


def _status(name: str) -> os.stat_result | None:
    """Return what is at the end of all links, None for nothing."""
    try:
        return Path(name).stat()
    except FileNotFoundError as cause:
        reraise_signal(cause)
        return None
    except ValueError as cause:  # a NUL within
        raise OSError(None, str(cause)) from cause


def _resolved(path: AnyPath) -> Path:
    """Return the path with all links followed; unlike pathlib's own way, of a missing file too."""
    return Path(os.path.realpath(path))


def _is_replaced(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode)


def _is_stream(found: os.stat_result) -> bool:
    return stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode)


def _holds(given: AnyPath, wanted: os.stat_result) -> bool:
    """Whether a path is this file, or a folder with it somewhere inside; links are followed."""
    seen = set()
    waiting = [Path(given)]
    while waiting:
        place = waiting.pop()
        try:
            found = place.stat()
            if os.path.samestat(found, wanted):
                return True
            if stat.S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))  # links may lead in a circle
                waiting += place.iterdir()
        except (OSError, ValueError) as cause:  # what cannot be seen is not read either
            reraise_signal(cause)
    return False


def _own_descriptor(path: AnyPath) -> int | None:
    """Return the number in a name such as ``/dev/stdout`` or ``/dev/fd/3``; None for all others.

    A file that the shell opened for this process (``> out.json``, then ``-o /dev/stdout``) must
    stay the one that it holds, so links are followed no further than to the descriptor.
    """
    for place in _way(path):
        if place.name.isdecimal() and _resolved(place.parent) == _resolved("/dev/fd"):
            return int(place.name)
    return None


def _open_stream(path: AnyPath) -> int | None:
    """Return a descriptor of a pipe, a device or an open file of this process; else None."""
    own = _own_descriptor(path)
    if own is not None:
        return os.dup(own)
    found = _status(os.fspath(path))
    # Without O_CREAT: Linux would refuse it for pipes of other users in a folder such as /tmp.
    return os.open(path, os.O_WRONLY) if found and _is_stream(found) else None


@contextlib.contextmanager
def _through(stream: int) -> Iterator[IO[bytes]]:
    """Collect what is written in a temporary file, and copy it to the stream at the end."""
    import shutil
    import tempfile

    with open(stream, "wb", buffering=0) as target, tempfile.NamedTemporaryFile() as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, target)


@contextlib.contextmanager
def temporary_beside(
    target: Path, *, mode: int = 0o666, in_bulk: bool = False
) -> Iterator[IO[bytes]]:
    """Open a new, locked file beside the target; it is removed at the end, unless it was renamed.

    What killed processes left for the same target is removed first.

    It has the permissions ``mode`` from the first, less those that the umask takes away.

    Raises:
        OSError: it cannot be made.
    """
    if not in_bulk:
        remove_leftovers(target.parent, _prefix(target))
    temporary, file = _create(target, mode)
    try:
        with file:
            yield file
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _beside(path: AnyPath, in_bulk: bool) -> Iterator[IO[bytes]]:
    """Write a temporary file beside the target, and rename it to the target at the end."""
    target = _resolved(path)
    with temporary_beside(target, in_bulk=in_bulk) as file:
        if target.exists():
            Path(file.name).chmod(stat.S_IMODE(target.stat().st_mode))
        yield file
        file.flush()
        if not in_bulk:
            os.fsync(file.fileno())
        if fcntl is None:
            file.close()  # Windows renames no open file
        Path(file.name).replace(target)  # still locked; else it could be taken for a leftover
    if not in_bulk:
        _sync_folder(target.parent)


def _create(target: Path, mode: int) -> tuple[Path, IO[bytes]]:
    """Create a temporary file beside the target, and lock it."""
    while True:
        temporary = target.with_name(f"{_prefix(target)}{os.urandom(4).hex()}.tmp")
        opener = functools.partial(os.open, mode=mode)
        file = open(temporary, "x+b", opener=opener)  # noqa: SIM115 - closed by the caller
        try:
            _lock(file, is_patient=True)
            if temporary.exists():
                return temporary, file
        except BaseException:
            file.close()
            temporary.unlink(missing_ok=True)
            raise
        file.close()  # before the lock was there, another process took it for a leftover


def remove_leftovers(folder: Path, prefix: str | None = None) -> None:
    """Remove temporary files whose writer is gone: those of one target's prefix, or all."""
    start = r"\..*\.edgeport-" if prefix is None else re.escape(prefix)
    ours = re.compile(start + r"[0-9a-f]{8}\.tmp")
    with _going_on(), os.scandir(folder) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with _going_on(), Path(entry.path).open("r+b") as file:
                    if _lock(file, is_patient=False):
                        Path(entry.path).unlink(missing_ok=True)


def _prefix(target: Path) -> str:
    # Cut, since the target's own name may be as long as a name can be.
    return f".{target.name[:40]}.edgeport-"


def _lock(file: IO[bytes], *, is_patient: bool) -> bool:
    """Lock a file for this process' life; False where another has it, or no locks exist."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if is_patient else fcntl.LOCK_NB))
    except OSError as cause:  # held by its writer; or a system without locks: leftovers stay
        reraise_signal(cause)
        return False
    return True


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system can."""
    with _going_on():
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _going_on() -> Iterator[None]:
    """Go on after what the system refuses, but not after what a signal's handler raised."""
    try:
        yield
    except OSError as cause:
        reraise_signal(cause)
