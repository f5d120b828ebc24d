"""The constraints of `make test-lowest`, which CI does not run, beside packaging's own reading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
FOLDERS = ("runtime", "converter", ".")


def requirements(folder: str) -> list[Requirement]:
    """Return what a pyproject.toml asks for: dependencies, extras and groups."""
    read = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))
    project = read.get("project", {})
    lists = [
        project.get("dependencies", []),
        *project.get("optional-dependencies", {}).values(),
        *read.get("dependency-groups", {}).values(),
    ]
    return [Requirement(text) for texts in lists for text in texts]


def test_each_package_gets_the_highest_of_its_lower_bounds():
    bounds: dict[str, Version] = {}
    for requirement in (each for folder in FOLDERS for each in requirements(folder)):
        for bound in requirement.specifier:
            if bound.operator == ">=":
                version = Version(bound.version)
                bounds[requirement.name] = max(version, bounds.get(requirement.name, version))
    script = ROOT / "tests/runtime/scripts/lowest_versions.py"
    printed = subprocess.check_output([sys.executable, script, *FOLDERS], text=True)
    pinned = [line.split("==") for line in printed.splitlines()]
    assert {name: Version(version) for name, version in pinned} == bounds
