"""Run the runtime's tests from the built wheel in every Python that this machine has.

    python tests/runtime/scripts/in_every_python.py BUILD_FOLDER [pytest arguments]

Each gets an environment below BUILD_FOLDER that holds the wheel, its extras and pytest, and no
TensorFlow. Python 3.10 gets the lowest versions that runtime/pyproject.toml allows, the others the
versions of constraints.txt. At the end it says which were run and which were not found.
"""

# ruff: noqa: T201 - a script that prints

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lowest_versions import lowest_versions

REPOSITORY = Path(__file__).parents[3]
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
FLOOR = "3.10"
VERSIONS = """
import json, platform, numpy, onnxruntime
print(json.dumps([platform.python_version(), onnxruntime.__version__, numpy.__version__]))
"""


def find(version: str) -> str | None:
    """Return an interpreter of that minor version: on the path, of pyenv, or this one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")), reverse=True),
        sys.executable,
    ]
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [candidate, "-c", "import sys, venv, ensurepip; print(*sys.version_info[:2], sep='.')"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.stdout.strip() == version:
            return candidate
    return None


def install(python: str, version: str, folder: Path, wheel: Path) -> Path:
    """Return the interpreter of an environment with this very wheel."""
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "wheel.sha256"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return inside
    subprocess.run([python, "-m", "venv", folder], check=True)
    pip = [inside, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--upgrade", "pip>=25.1"], check=True)
    # Ray has tests of its own, `make test-scale`; it and its pandas are large.
    lowest = [one for one in lowest_versions("runtime") if not one.startswith(("ray=", "pandas="))]
    pinned = lowest if version == FLOOR else ["-c", "constraints.txt"]
    wanted = f"edgeport[images,sign,score] @ {wheel.resolve().as_uri()}"
    subprocess.run([*pip, *pinned, "--group", "test", wanted], check=True, cwd=REPOSITORY)
    # An unchanged version number would keep the old code.
    subprocess.run([*pip, "--no-deps", "--force-reinstall", wheel], check=True)
    stamp.write_text(digest)
    return inside


def main(build: Path, arguments: list[str]) -> int:
    (wheel,) = (build / "wheels").glob("edgeport-*.whl")
    passed, failed, missing = [], [], []
    for version in SUPPORTED:
        python = find(version)
        if python is None:
            missing.append(version)
            continue
        inside = install(python, version, build / f"venv-runtime-{version}", wheel)
        name = "Python {} with onnxruntime {} and numpy {}".format(
            *json.loads(subprocess.check_output([inside, "-c", VERSIONS]))
        )
        print(f"tests/runtime in {name}", flush=True)
        run = subprocess.run(
            [inside, "-m", "pytest", "-q", "tests/runtime", *arguments], cwd=REPOSITORY, check=False
        )
        (failed if run.returncode else passed).append(name)
    for title, names in (("passed in", passed), ("FAILED in", failed), ("not found:", missing)):
        for name in names:
            print(f"tests/runtime {title} {name}")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
