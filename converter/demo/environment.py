"""Where the demo runs: the CPU, and how much an installed distribution brings along."""

from __future__ import annotations

import platform
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path


def installed_footprint(name: str) -> dict[str, float]:
    """Return the number of packages, and MiB on disk, of a distribution and all it needs."""
    found: dict[str, Distribution] = {}
    waiting = [name]
    while waiting:
        wanted = _normal(waiting.pop())
        if wanted in found:
            continue
        try:
            found[wanted] = distribution(wanted)
        except PackageNotFoundError:
            continue  # for another system or Python version
        for requirement in found[wanted].requires or ():
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    total = sum(_bytes_on_disk(one) for one in found.values())
    return {"packages": len(found), "mib": round(total / 2**20, 1)}


def processor() -> str:
    """Return the CPU's name, and whether it has the int8 instructions called VNNI."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(map(str.strip, line.split(":", 1)) for line in lines if ":" in line)
    name = facts.get("model name", platform.machine())
    if "flags" not in facts:
        return name
    return f"{name}, {'with' if 'vnni' in facts['flags'] else 'without'} VNNI"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _bytes_on_disk(one: Distribution) -> int:
    paths = (Path(str(file.locate())) for file in one.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())
