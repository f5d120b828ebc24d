"""The device as the engine sees it: CPU and build of onnxruntime.

A graph that was optimized, or settings that were measured, on one device are of no use on another;
``graph_cache`` and ``tuning_file`` store this with them. Nothing else uses it.
"""

from __future__ import annotations

import os

from edgeport.engine.session import engine_build
from edgeport.signals import reraise_signal

_CPUINFO = "/proc/cpuinfo"
_BOARD = "/proc/device-tree/model"

# The lines of Linux' description that tell the kind of a core, on x86, ARM, RISC-V, POWER and MIPS;
# the others number it, or tell its clock of this moment.
_KIND = (
    "vendor_id", "cpu family", "model", "model name", "stepping", "flags",
    "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",
    "isa", "uarch", "mvendorid", "marchid", "mimpid", "cpu", "revision", "cpu model",
)  # fmt: skip

# A core takes 1 to 2 kB, and a server has hundreds of them, all alike.
_MOST_BYTES = 2**16


def identity() -> dict[str, str]:
    """Return what the engine's choices depend on: the CPU, and onnxruntime's version and build."""
    return {"cpu": cpu_identity(), "onnxruntime": engine_build()}


def cpu_name() -> str:
    """Return the CPU's name, for people: the board's where its firmware tells, else the chip's."""
    lines = dict(line.partition(" : ")[::2] for line in cpu_identity().split("; "))
    try:
        with open(_BOARD, encoding="utf-8", errors="replace") as file:
            board = file.read(_MOST_BYTES).strip("\0 \n")
    except OSError as cause:
        reraise_signal(cause)
        board = ""
    chip = lines.get("model name") or lines.get("cpu model") or lines.get("uarch") or ""
    if not chip and "CPU part" in lines:
        chip = f"CPU part {lines['CPU part']} of implementer {lines.get('CPU implementer', '')}"
    return ", ".join(filter(None, (board, chip))) or cpu_identity().split("; ")[0]


def cpu_identity() -> str:
    """Return the CPU's architecture, model and features, the same at every call."""
    try:
        with open(_CPUINFO, encoding="utf-8", errors="replace") as file:
            text = file.read(_MOST_BYTES)
    except OSError as cause:
        reraise_signal(cause)
        text = ""
    said = (line.partition(":") for line in text.splitlines()[:-1])
    lines = {" ".join("".join(parts).split()) for parts in said if parts[0].strip() in _KIND}
    if not lines:
        import platform  # it starts a process on some systems, and knows less than Linux says

        lines = {platform.processor(), platform.platform()}
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_IDENTIFIER")
    return "; ".join([str(machine), *sorted(lines)])
