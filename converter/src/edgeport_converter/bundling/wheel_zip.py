"""Wheels as files: read, made of an installed package, and made smaller.

What is written has the same bytes for the same content. Format: PyPA's binary distribution format.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO

from edgeport import OptionError

_TIME = (1980, 1, 1, 0, 0, 0)  # the first that a zip file can hold
_LEVEL = 6

# What an installer adds to an installed package, and no wheel has.
_ADDED = frozenset(("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json"))


def wheel_of_installed(name: str, package: Path, level: int = _LEVEL) -> tuple[str, bytes]:
    """Return the file name and the bytes of a wheel with what is installed.

    Args:
        name: of the distribution.
        package: the folder that Python imports the package from.
        level: of the compression, 0 to 9.

    Raises:
        OptionError: it is not installed from a wheel, is imported from elsewhere, or was changed.
    """
    remedy = "build a wheel with 'pip wheel --no-deps' from its source and name it with --wheel"
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError as cause:
        raise OptionError(f"the package '{name}' is not installed: {remedy}") from cause
    contents: dict[str, bytes] = {}
    recorded = {str(path): path for path in found.files or ()}
    root = Path(str(found.locate_file(""))).resolve()
    if package.resolve().parent != root:
        raise OptionError(
            f"'{name}' is imported from '{package}', not from the package that is installed in "
            f"'{root}': {remedy}"
        )
    if f"{package.name}/__init__.py" not in {Path(path).as_posix() for path in recorded}:
        raise OptionError(f"'{name}' is installed as an editable one, without its files: {remedy}")
    for path, entry in recorded.items():
        place = Path(path).as_posix()
        is_own = not place.startswith(("/", "../")) and "__pycache__" not in entry.parts
        if not is_own or (".dist-info/" in place and entry.name in _ADDED):
            continue
        data = Path(str(entry.locate())).read_bytes()
        if entry.hash is not None and _digest(data, entry.hash.mode) != entry.hash.value:
            raise OptionError(
                f"'{entry.locate()}' changed since '{name}' was installed: install it again, or "
                f"{remedy}"
            )
        contents[place] = data
    info = next(place.split("/")[0] for place in contents if place.endswith(".dist-info/WHEEL"))
    lines = contents[f"{info}/WHEEL"].decode("utf-8").splitlines()
    tags = [line.partition(": ")[2].split("-") for line in lines if line.startswith("Tag: ")]
    parts = (".".join(sorted({tag[at] for tag in tags})) for at in range(3))
    file = io.BytesIO()
    write_wheel(file, contents, info, level)
    return f"{info.removesuffix('.dist-info')}-{'-'.join(parts)}.whl", file.getvalue()


def check_record(wheel: Path) -> None:
    """Compare each file of a wheel with the wheel's own RECORD.

    Raises:
        OptionError: a file is missing, was changed, or stands in no RECORD; or it is no wheel.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            place = next(name for name in names if name.endswith(".dist-info/RECORD"))
            rows = list(csv.reader(archive.read(place).decode("utf-8").splitlines()))
            digests = {row[0]: row[1].partition("=") for row in rows if row}
            folder = place.removesuffix("RECORD")
            own = {place, f"{folder}RECORD.jws", f"{folder}RECORD.p7s"}  # these have no digest
            wrong = None
            for name in sorted({*names, *digests} - own):
                kind, _, digest = digests.get(name, ("", "", ""))
                if name not in names or not kind or _digest(archive.read(name), kind) != digest:
                    wrong = name
                    break
    except (StopIteration, LookupError, ValueError, OSError, zipfile.BadZipFile) as cause:
        raise OptionError(
            f"'{wheel}' cannot be read as a wheel ({cause}): build or download it again"
        ) from cause
    if wrong is not None:
        raise OptionError(
            f"the wheel '{wheel.name}' is damaged: '{wrong}' is not as its RECORD says: build or "
            "download it again"
        )


def slimmed(
    wheel: Path, is_needed: Callable[[str], bool], target: Path, level: int = _LEVEL
) -> int:
    """Write a wheel without the files that nothing needs; return how many bytes they have."""
    with zipfile.ZipFile(wheel) as source:
        files = [info for info in source.infolist() if not info.is_dir()]
        info = next(
            entry.filename.split("/")[0]
            for entry in files
            if entry.filename.endswith(".dist-info/WHEEL")
        )
        kept = [entry for entry in files if is_needed(entry.filename)]
        contents = {entry.filename: source.read(entry) for entry in kept}
    with target.open("wb") as file:
        write_wheel(file, contents, info, level)
    return sum(entry.file_size for entry in files) - sum(entry.file_size for entry in kept)


def write_wheel(file: IO[bytes], contents: Mapping[str, bytes], info: str, level: int) -> None:
    """Write a wheel with a RECORD of its own.

    Args:
        file: where to.
        contents: by place in the wheel; a RECORD among them is left out.
        info: the name of its ``.dist-info`` folder.
        level: of the compression, 0 to 9.
    """
    record = f"{info}/RECORD"
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    places = sorted(place for place in contents if place != record)
    for place in places:
        data = contents[place]
        rows.writerow((place, f"sha256={_digest(data, 'sha256')}", len(data)))
    rows.writerow((record, "", ""))
    with zipfile.ZipFile(file, "w") as archive:
        for place in [*places, record]:
            data = contents[place] if place != record else table.getvalue().encode("utf-8")
            entry = zipfile.ZipInfo(place, _TIME)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever this runs
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, level)


def _digest(data: bytes, kind: str) -> str:
    """Return a digest as RECORD writes it."""
    digest = hashlib.new(kind, data).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
