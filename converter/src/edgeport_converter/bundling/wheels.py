"""The wheels for a platform: found by pip, and a refusal that says what exists.

``edgeport`` itself comes from the workstation; numpy and onnxruntime from wherever this user's pip
is told to look, or from a folder of wheels. Nothing else is taken: what onnxruntime names besides
numpy is for its converters, and a session never imports it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version

import edgeport
from edgeport import OptionError
from edgeport_converter.bundling.platforms import PLATFORMS, PYTHONS, Platform
from edgeport_converter.bundling.wheel_zip import wheel_of_installed

_ENGINE = "onnxruntime"


@dataclass(frozen=True)
class Source:
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
    source: Source,
) -> list[Path]:
    """Return the wheels that edgeport needs on that platform, newest versions first.

    Args:
        runtime: the wheel of edgeport.
        platform: what the device is.
        python: the device's Python.
        folder: where to write them.
        oldest_engine: the version of onnxruntime that the artifact's card asks for, if it does.
        source: where they come from.

    Raises:
        OptionError: there is none for this platform and Python, with what exists; or pip is
            missing or fails.
    """
    if importlib.util.find_spec("pip") is None:
        raise OptionError(
            "wheels for devices are found by pip, which this Python has not: install it with "
            "'python -m ensurepip' or 'uv pip install pip'"
        )
    needed = {need.name: need for need in requirements(runtime, python)}
    if oldest_engine is not None:
        needed[_ENGINE].specifier &= f">={oldest_engine}"
    found = _fetch(list(needed.values()), platform, python, folder, source)
    for need in requirements(found[_ENGINE], python):  # numpy is the only one of both
        if need.name in found and not need.specifier.contains(_version(found[need.name])):
            needed[need.name].specifier &= need.specifier
            found |= _fetch([needed[need.name]], platform, python, folder, source)
    return [found[name] for name in sorted(found)]


def _version(wheel: Path) -> Version:
    return parse_wheel_filename(wheel.name)[1]


def requirements(wheel: Path, python: str) -> Iterator[Requirement]:
    """Yield what a wheel needs on a device with that Python, without extras.

    Raises:
        OptionError: the wheel is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            place = next(
                name for name in archive.namelist() if name.endswith(".dist-info/METADATA")
            )
            fields = Parser().parsestr(archive.read(place).decode("utf-8"))
        for text in fields.get_all("Requires-Dist", []):
            need = Requirement(text)
            variables = {"extra": "", "python_version": python, "python_full_version": python}
            if need.marker is None or need.marker.evaluate(variables):
                yield need
    except (StopIteration, OSError, zipfile.BadZipFile, InvalidRequirement) as cause:
        raise OptionError(
            f"'{wheel}' cannot be read as a wheel ({cause}): build or download it again"
        ) from cause


def _fetch(
    needs: Sequence[Requirement], platform: Platform, python: str, folder: Path, source: Source
) -> dict[str, Path]:
    """Return the wheels that pip chose, by name."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        said = _pip("download", needs, platform, python, Path(scratch), source)
        if said is None:
            found = [path.replace(folder / path.name) for path in Path(scratch).glob("*.whl")]
            return {str(parse_wheel_filename(path.name)[0]): path for path in found}
    missing = [need for need in needs if f"No matching distribution found for {need.name}" in said]
    if not missing:
        lines = said.strip().splitlines() or ["no message"]
        raise OptionError(
            f"pip cannot download {' and '.join(map(str, needs))} "
            f"({lines[-1].removeprefix('ERROR: ')}): connect to its index, or name a folder of "
            "wheels with --wheels"
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


def _what_exists(need: Requirement, platform: Platform, python: str, source: Source) -> list[str]:
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


def _pip(
    verb: str,
    needs: Sequence[Requirement],
    platform: Platform,
    python: str,
    folder: Path,
    source: Source,
) -> str | None:
    """Run pip for another platform: "download" a wheel, or ask "install" whether there is one.

    Returns:
        None, or what it complains about.
    """
    own: Sequence[str] = ("--dest", str(folder))
    if verb == "install":
        own = ("--dry-run", "--ignore-installed", "--target", str(folder))
    done = subprocess.run(  # noqa: S603 - pip of this very Python
        [
            *(sys.executable, "-m", "pip", verb, *own, "--quiet", "--no-input", "--no-deps"),
            *("--disable-pip-version-check", "--only-binary=:all:", "--implementation", "cp"),
            *("--python-version", python, *source.arguments()),
            *(part for tag in platform.tags for part in ("--platform", tag)),
            *map(str, needs),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    return None if done.returncode == 0 else done.stderr


def system_version(wheels: Sequence[Path]) -> str | None:
    """Return the oldest glibc or macOS that all of these wheels run on, as their tags say."""
    newest = (0, 0)
    for wheel in wheels:
        tags = wheel.stem.rsplit("-", 1)[1].replace("manylinux2014", "manylinux_2_17")
        found = re.findall(r"(?:manylinux|macosx)_(\d+)_(\d+)_", tags)
        if found:
            newest = max(newest, min((int(major), int(minor)) for major, minor in found))
    return f"{newest[0]}.{newest[1]}" if newest > (0, 0) else None
