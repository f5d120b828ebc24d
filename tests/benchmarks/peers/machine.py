"""Where a run of ``make bench`` took place: the CPU and what else may explain its figures."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Instructions that the engines have kernels of their own for, by their names in /proc/cpuinfo.
INSTRUCTIONS = {
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "AVX-512 VNNI": "avx512_vnni",
    "AVX-VNNI": "avx_vnni",
    "AVX-512 BF16": "avx512_bf16",
    "AMX int8": "amx_int8",
}
PEER_PACKAGES = ("edgeport", "onnxruntime", "ai-edge-litert", "openvino", "nncf", "numpy")
VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def describe() -> dict[str, Any]:
    """Return the CPU with its instructions and, before anything runs, the machine's load."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if sys.platform == "linux" else ""
    name = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    known = set(flags[1].split()) if flags else set()
    return {
        "cpu": name[1] if name else platform.processor(),
        "instructions": {title: flag in known for title, flag in INSTRUCTIONS.items()},
        "cpus": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_average_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def kind(instructions: Mapping[str, bool], architecture: str) -> str:
    """Return the name of the folder below ``runs/`` for CPUs with these instructions.

    int8 kernels are another thing on CPUs with VNNI, so the figures of the kinds stay apart.
    """
    if has_vnni(instructions):
        return "avx512-vnni"
    return "avx2" if instructions["AVX2"] else architecture


def has_vnni(instructions: Mapping[str, bool]) -> bool:
    return instructions["AVX-512 VNNI"]


def versions_here(names: Sequence[str]) -> dict[str, str]:
    return {name: version(name) for name in names}


def versions_of_peers(python: Path) -> dict[str, str]:
    done = subprocess.run(
        [python, "-c", VERSIONS, *PEER_PACKAGES], check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found
