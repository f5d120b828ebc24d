"""Platforms that bundles are made for, and how wheels name them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgeport import OptionError

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
"""The versions of Python that the runtime supports: ``requires-python`` and its tests."""

_GLIBC = ("2_28", "2_27", "2_24", "2_17")


@dataclass(frozen=True)
class Platform:
    """One kind of device.

    Attributes:
        name: as the user gives it, and as the installer finds it on the device.
        tags: the platform tags of wheels that run there, best first.
        system: what the wheels need of the device: "glibc" or "macOS", None on Windows.
        markers: what Python says there of itself, by the names that requirements have for it.
    """

    name: str
    tags: tuple[str, ...]
    system: str | None
    markers: Mapping[str, str]


def _markers(os_name: str, sys_platform: str, system: str, machine: str) -> dict[str, str]:
    names = {"os_name": os_name, "sys_platform": sys_platform, "platform_system": system}
    python = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return {**names, **python, "platform_machine": machine}


def _linux(machine: str, glibc: tuple[str, ...] = _GLIBC) -> Platform:
    # pip derives the older names of manylinux2014 by itself, but no other tag from a newer one.
    tags = (*(f"manylinux_{version}_{machine}" for version in glibc), f"manylinux2014_{machine}")
    markers = _markers("posix", "linux", "Linux", machine)
    return Platform(f"linux-{machine}", tags, "glibc", markers)


PLATFORMS = {
    platform.name: platform
    for platform in (
        _linux("x86_64"),
        _linux("aarch64"),
        # PEP 600 knows armv7l from glibc 2.17 on; the builds for Debian 11 need 2.31.
        _linux("armv7l", ("2_31", *_GLIBC)),
        Platform(
            "windows-x86_64", ("win_amd64",), None, _markers("nt", "win32", "Windows", "AMD64")
        ),
        # pip adds the older systems. onnxruntime's wheels need 14.
        Platform(
            *("macos-arm64", ("macosx_14_0_arm64",), "macOS"),
            _markers("posix", "darwin", "Darwin", "arm64"),
        ),
    )
}


def find_platform(name: str) -> Platform:
    """Return the platform of that name; raises OptionError for an unknown one."""
    if name not in PLATFORMS:
        raise OptionError(
            f"the platform is {name!r}, expected one of {', '.join(PLATFORMS)}: ask the device "
            "with 'uname -sm'"
        )
    return PLATFORMS[name]


def find_python(version: str) -> str:
    """Return a version of Python as "3.11"; raises OptionError where the runtime has none."""
    match = re.fullmatch(r"(\d+\.\d+)(?:\.\d+)?", version)
    if not match or match[1] not in PYTHONS:
        raise OptionError(
            f"the device's Python is {version!r}, expected one of {', '.join(PYTHONS)}: ask the "
            "device with 'python3 --version'"
        )
    return match[1]
