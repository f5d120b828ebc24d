"""The wheels for a platform: found by pip, and a refusal that says what exists.

``edgeport`` itself comes from the workstation; numpy and onnxruntime from wherever this user's pip
is told to look, or from a folder of wheels, and so does what extras need. What onnxruntime names
besides numpy is left out: it is for its converters, and a session never imports it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

import edgeport
from edgeport import OptionError
from edgeport_converter.bundling.platforms import PLATFORMS, PYTHONS, Platform
from edgeport_converter.bundling.wheel_zip import wheel_of_installed

_ENGINE = "onnxruntime"

_SIGNING = "cryptography.hazmat.primitives.asymmetric.ed25519"
IMPORTS = {
    "images": ("PIL.Image",),
    "sign": (_SIGNING,),
    "score": (_SIGNING, "fsspec", "pyarrow"),
    "ray": (_SIGNING, "fsspec", "pandas", "pyarrow", "ray"),
}
"""What the installer imports once on the device, for each extra of edgeport."""


@dataclass(frozen=True)
class WheelSource:
    """Where wheels come from.

    Attributes:
        folder: the only place to look, without a network; None for pip's own settings.
        constraints: a file that pip reads as ``--constraint``.
    """

    folder: Path | None = None
    constraints: Path | None = None

    def arguments(self) -> list[str]:
        """Return what to tell pip."""
        told = []
        if self.folder is not None:
            told += ["--no-index", "--find-links", str(self.folder)]
        if self.constraints is not None:
            told += ["--constraint", str(self.constraints)]
        return told


def runtime_wheel(given: Path | None, folder: Path) -> Path:
    """Return the wheel of edgeport: the given one, or one of what is installed here.

    Args:
        given: a wheel of this version.
        folder: where to write the other one.

    Raises:
        OptionError: it is another package's or version's, or what is installed is no whole wheel.
    """
    if given is None:
        name, data = wheel_of_installed("edgeport", Path(edgeport.__file__).parent)
        given = folder / name
        given.write_bytes(data)
    try:
        name, version, _, _ = parse_wheel_filename(given.name)
        is_wheel = zipfile.is_zipfile(given)
    except (InvalidWheelFilename, OSError):
        is_wheel = False
    if not is_wheel or name != "edgeport" or version != Version(edgeport.__version__):
        raise OptionError(
            f"'{given}' is no wheel of edgeport {edgeport.__version__}, which this artifact was "
            "checked with: build it with 'pip wheel --no-deps' from the same source"
        )
    return given


def download(
    runtime: Path,
    platform: Platform,
    python: str,
    folder: Path,
    *,
    oldest_engine: str | None,
    source: WheelSource,
    extras: Sequence[str] = (),
) -> list[Path]:
    """Return the wheels that edgeport needs on that platform, newest versions first.

    1. Fetch what edgeport needs, with the extras.
    2. Read what these need: add what is missing, and fetch again what is too new or too old.
    3. Repeat 2 until nothing changes; a need is only ever added or narrowed, so that it ends.

    Args:
        runtime: the wheel of edgeport.
        platform: what the device is.
        python: the device's Python.
        folder: where to write them.
        oldest_engine: the version of onnxruntime that the artifact's card asks for, if it does.
        source: where they come from.
        extras: of edgeport, such as "images".

    Raises:
        OptionError: edgeport has no such extra; or there is no wheel for this platform and Python,
            with what exists; or pip is missing or fails.
    """
    if importlib.util.find_spec("pip") is None:
        raise OptionError(
            "wheels for devices are found by pip, which this Python has not: install it with "
            "'python -m ensurepip' or 'uv pip install pip'"
        )
    known = _metadata(runtime).get_all("Provides-Extra", [])
    for extra in extras:
        if extra not in known:
            raise OptionError(
                f"edgeport has no extra '{extra}', expected one of {', '.join(known)}: correct "
                "--extras"
            )
    device = {**platform.markers, "python_version": python, "python_full_version": f"{python}.0"}
    needed: dict[str, Requirement] = {}
    for need in requirements(runtime, device, extras):
        _narrow(needed, need)
    if oldest_engine is not None:
        needed[_ENGINE].specifier &= f">={oldest_engine}"
    found = _fetch(list(needed.values()), platform, python, folder, source)
    while True:
        changed = set()
        for own, wheel in sorted(found.items()):
            for need in requirements(wheel, device, needed[own].extras):
                name = canonicalize_name(need.name)
                if own == _ENGINE and name not in needed:
                    continue  # only its converters and tools import these
                is_right = name in found and need.specifier.contains(_version(found[name]))
                if not (is_right and need.extras <= needed[name].extras):
                    _narrow(needed, need)
                    changed.add(name)
        if not changed:
            return [found[name] for name in sorted(found)]
        found |= _fetch(
            [needed[name] for name in sorted(changed)], platform, python, folder, source
        )


def _narrow(needed: dict[str, Requirement], need: Requirement) -> None:
    """Add a requirement, or narrow the one that is there."""
    former = needed.setdefault(canonicalize_name(need.name), need)
    former.specifier &= need.specifier
    former.extras |= need.extras
    former.marker = None  # the device fulfils it


def _version(wheel: Path) -> Version:
    return parse_wheel_filename(wheel.name)[1]


def _metadata(wheel: Path) -> Message:
    try:
        with zipfile.ZipFile(wheel) as archive:
            place = next(
                name for name in archive.namelist() if name.endswith(".dist-info/METADATA")
            )
            return Parser().parsestr(archive.read(place).decode("utf-8"))
    except (StopIteration, OSError, UnicodeDecodeError, zipfile.BadZipFile) as cause:
        raise _unreadable(wheel, cause) from cause


def _unreadable(wheel: Path, cause: Exception) -> OptionError:
    return OptionError(f"'{wheel}' cannot be read as a wheel ({cause}): build or download it again")


def requirements(
    wheel: Path, device: Mapping[str, str], extras: Iterable[str] = ()
) -> Iterator[Requirement]:
    """Yield what a wheel needs on a device, with extras.

    Args:
        wheel: its file.
        device: the variables of markers, as they are there.
        extras: of this wheel.

    Raises:
        OptionError: the wheel is damaged.
    """
    for text in _metadata(wheel).get_all("Requires-Dist", []):
        try:
            need = Requirement(text)
        except InvalidRequirement as cause:
            raise _unreadable(wheel, cause) from cause
        if need.marker is None or any(
            need.marker.evaluate({**device, "extra": extra}) for extra in ("", *sorted(extras))
        ):
            yield need


def _fetch(
    needs: Sequence[Requirement], platform: Platform, python: str, folder: Path, source: WheelSource
) -> dict[str, Path]:
    """Return the wheels that pip chose, by name."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        said = _pip("download", needs, platform, python, Path(scratch), source)
        if said is None:
            found = [path.replace(folder / path.name) for path in Path(scratch).glob("*.whl")]
            return {str(parse_wheel_filename(path.name)[0]): path for path in found}
    missing = [need for need in needs if f"No matching distribution found for {need.name}" in said]
    cut_off = next(_unanswered(said), None)
    if cut_off or not missing:
        last = (said.strip().splitlines() or ["no message"])[-1].removeprefix("ERROR: ")
        complaint = f"{cut_off} does not answer" if cut_off else last
        raise OptionError(
            f"pip cannot download {' and '.join(map(str, needs))} "
            f"({complaint}): connect to its index, or name a folder of wheels with --wheels"
        )
    others = _what_exists(missing[0], platform, python, source)
    raise OptionError(
        f"there is no wheel of {missing[0]} for {platform.name} and Python {python}; "
        + (
            f"there are some for {', '.join(others)}: choose one of these"
            if others
            else "there are none for any other platform either: name other versions with "
            "--constraint, or a folder of wheels with --wheels"
        )
    )


def _what_exists(
    need: Requirement, platform: Platform, python: str, source: WheelSource
) -> list[str]:
    """Return the other Pythons on this platform, and the other platforms, that have a wheel."""
    choices = [(platform, other) for other in PYTHONS if other != python]
    choices += [(other, python) for other in PLATFORMS.values() if other != platform]

    def exists(choice: tuple[Platform, str]) -> bool:
        with tempfile.TemporaryDirectory() as scratch:
            return _pip("install", [need], *choice, Path(scratch), source) is None

    with ThreadPoolExecutor(max_workers=4) as pool:
        found = list(pool.map(exists, choices))
    return [
        f"{system.name} with Python {version}"
        for (system, version), is_there in zip(choices, found, strict=True)
        if is_there
    ]


def _unanswered(log: str) -> Iterator[str]:
    """Yield the addresses that pip got no page from, which it takes for empty ones in silence.

    An index without the package answers so: 404.
    """
    for found in re.finditer(r"Could not fetch URL (\S+): (.*) - skipping", log):
        if not found[2].startswith("404 "):
            yield found[1]


def _pip(
    verb: str,
    needs: Sequence[Requirement],
    platform: Platform,
    python: str,
    folder: Path,
    source: WheelSource,
) -> str | None:
    """Run pip for another platform: "download" a wheel, or ask "install" whether there is one.

    Returns:
        None, or what it complains about: also of an index that is down beside another one, which
        may have an older version alone.
    """
    own: Sequence[str] = ("--dest", str(folder))
    if verb == "install":
        own = ("--dry-run", "--ignore-installed", "--no-user", "--target", str(folder))
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    if source.folder is not None:  # no further folder of the user's settings, and no index
        environment = {
            name: text for name, text in environment.items() if not name.startswith("PIP_")
        }
        environment["PIP_CONFIG_FILE"] = os.devnull
    log = folder / "pip.log"  # with what pip says of its indexes to nobody else
    done = subprocess.run(  # noqa: S603 - pip of this very Python
        [
            *(sys.executable, "-m", "pip", verb, *own, "--no-color", "--no-input", "--no-deps"),
            *("--disable-pip-version-check", "--log", str(log), "--only-binary=:all:"),
            *("--implementation", "cp"),
            *("--python-version", python, *source.arguments()),
            *(part for tag in platform.tags for part in ("--platform", tag)),
            *map(str, needs),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env=environment,
    )
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    is_whole = done.returncode == 0 and not any(_unanswered(text))
    return None if is_whole else text + done.stdout + done.stderr


def system_version(wheels: Sequence[Path]) -> str | None:
    """Return the oldest glibc or macOS that all of these wheels run on, as their tags say."""
    newest = (0, 0)
    for wheel in wheels:
        tags = wheel.stem.rsplit("-", 1)[1].replace("manylinux2014", "manylinux_2_17")
        found = re.findall(r"(?:manylinux|macosx)_(\d+)_(\d+)_", tags)
        if found:
            newest = max(newest, min((int(major), int(minor)) for major, minor in found))
    return f"{newest[0]}.{newest[1]}" if newest > (0, 0) else None
