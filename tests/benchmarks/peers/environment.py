"""An environment of the benchmarks' own: engines that do not share one with TensorFlow."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path


def make_environment(
    folder: Path, packages: Sequence[str], wheels: Sequence[Path] = (), constraints: str = ""
) -> Path:
    """Return the Python of an environment with these packages, made again where they changed.

    Args:
        folder: where it is, or is to be.
        packages: requirements as pip takes them.
        wheels: files to install as well; their bytes count, since a version may stay.
        constraints: lines of a constraints file.
    """
    wanted = sha256("\n".join([sys.version, *packages, constraints]).encode())
    for wheel in wheels:
        wanted.update(wheel.read_bytes())
    python, mark = folder / "bin" / "python", folder / "complete"
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted.hexdigest():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    limits = folder / "constraints.txt"
    limits.write_text(constraints, encoding="utf-8")
    subprocess.run(
        [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-c",
            limits,
            *packages,
            *wheels,
        ],
        check=True,
    )
    mark.write_text(wanted.hexdigest(), encoding="utf-8")
    return python
