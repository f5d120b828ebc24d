"""Folders of data: which of their files are read, and what is said of the others.

``cli.reading`` calls it for `edgeport predict`, and the converter for folders of photos and
recordings, so that both read the same files in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeport.errors import InputError

_MOST_NAMED = 5


def list_folder(folder: Path, endings: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Return the files of a folder and of those in it, in name order: those to read, and others.

    Whatever has a name that begins with a dot is no data: ``.DS_Store``, ``.git``. Links to folders
    are folders; a link that leads nowhere is among the others.

    Raises:
        InputError: a folder cannot be read, or a link in it leads back to it.
    """
    taken: list[Path] = []
    left: list[Path] = []
    for path in _files_of(folder):
        is_data = path.suffix.lower() in endings and path.is_file()
        (taken if is_data else left).append(path)
    return taken, left


def _files_of(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield what is no folder, in name order; ``above`` is the chain of folders that led here."""
    try:
        real = folder.resolve()
        entries = sorted(folder.iterdir())
    except OSError as cause:
        raise InputError.of(
            f"the folder '{folder}'",
            f"cannot be read ({cause.strerror})",
            "a folder of data",
            "check its permissions, or remove it",
        ) from cause
    if real in above:
        raise InputError.of(
            f"the folder '{folder}' is",
            f"a link that leads back to '{real}'",
            "folders without a circle",
            "remove the link",
        )
    for path in entries:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files_of(path, (*above, real))
        else:
            yield path


def say_left_out(folder: Path, left: Sequence[Path], endings: Sequence[str]) -> str:
    """Return the note that names the files of a folder that were not read."""
    names = ", ".join(path.relative_to(folder).as_posix() for path in left[:_MOST_NAMED])
    more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
    return (
        f"{len(left)} file{'s' if len(left) > 1 else ''} in '{folder}' left out, {names}{more}: "
        f"convert what belongs to the data to one of {', '.join(endings)}"
    )
