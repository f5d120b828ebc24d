"""Print the lowest versions that pyproject.toml files allow, as constraints for pip.

    python tests/runtime/scripts/lowest_versions.py runtime converter .

The folders' dependencies, extras and dependency groups are read; extras that these ask for, as in
ray[serve], are left out, since a constraint cannot have any. A bound has to be a release, such
as 24.2.1: pip finds nothing for ==24 where the first release of that year was 24.2.1.
"""

# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import re
import sys
from pathlib import Path

import tomllib

REPOSITORY = Path(__file__).parents[3]
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?(==|>=)([0-9.]+)")


def lowest_versions(*folders: str) -> list[str]:
    """Return "name==version" of all that these folders' pyproject.toml files name, ours left out.

    Raises:
        ValueError: a requirement has no lower bound.
    """
    lowest: dict[str, str] = {}
    for folder in folders:
        read = tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text(encoding="utf-8"))
        project = read.get("project", {})
        groups = [
            project.get("dependencies", []),
            *project.get("optional-dependencies", {}).values(),
            *read.get("dependency-groups", {}).values(),
        ]
        for requirement in (requirement for group in groups for requirement in group):
            match = _REQUIREMENT.match(requirement)
            if match is None:
                raise ValueError(f"'{requirement}' in {folder}/pyproject.toml has no lower bound")
            name, operator, version = match.groups()
            if operator == ">=":  # the converter needs exactly its own edgeport
                lowest[name] = max(version, lowest.get(name, version), key=_as_numbers)
    return [f"{name}=={version}" for name, version in sorted(lowest.items())]


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    print("\n".join(lowest_versions(*sys.argv[1:])))
