"""CPU families of devices, by the int8 sums that saturate there, and onnxruntime versions.

``options`` offers the names; ``conversion`` passes the records to the stages that need them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgeport import OptionError
from edgeport_converter.errors import UnsupportedModelError

ONNXRUNTIME_FLOOR = "1.19"
"""The oldest onnxruntime that the runtime package supports; by default, artifacts open in it."""

_OPSET = 17
"""The newest opset for which tf2onnx has all of its handlers. It is all that our graphs need: it
brought LayerNormalization and DFT; QuantizeLinear per channel needs 13."""

_IR_VERSION = 8
"""The IR version of ONNX 1.12, which introduced opset 17; old devices refuse a newer one."""

# onnxruntime -> the newest opset and IR version that it reads. Measured; an engine between two
# entries reads what the older one does.
_LIMITS = {(1, 19): (21, 10)}


@dataclass(frozen=True)
class Engine:
    """What an artifact may ask of the devices' onnxruntime.

    Attributes:
        version: of the oldest onnxruntime that the artifact has to open in.
        opset, ir_version: what to export.
        newest_opset, newest_ir_version: what that onnxruntime reads.
    """

    version: str
    opset: int
    ir_version: int
    newest_opset: int
    newest_ir_version: int


def find_engine(version: str) -> Engine:
    """Return what an onnxruntime of that version reads.

    Raises:
        OptionError: it is no version, or older than the runtime package supports.
    """
    match = re.fullmatch(r"\s*(\d+)\.(\d+)(?:\.\d+)*\s*", str(version))
    if not match:
        raise OptionError(
            f"the onnxruntime version is {version!r}, expected one such as '{ONNXRUNTIME_FLOOR}': "
            "ask the device with python -c 'import onnxruntime; print(onnxruntime.__version__)'"
        )
    number = (int(match[1]), int(match[2]))
    known = [entry for entry in _LIMITS if entry <= number]
    if not known:
        raise OptionError(
            f"the onnxruntime version is {version}, expected {ONNXRUNTIME_FLOOR} or newer, the "
            "oldest that the edgeport package runs on: update onnxruntime on the device"
        )
    # A newer engine reads whatever an older one did.
    opset, ir_version = _LIMITS[max(known)]
    return Engine(f"{number[0]}.{number[1]}", _OPSET, _IR_VERSION, opset, ir_version)


def require_readable(engine: Engine, opsets: Mapping[str, int], ir_version: int) -> None:
    """Refuse a graph that asks more than the engine offers, by an UnsupportedModelError."""
    opset = max(opsets.get("", 0), opsets.get("ai.onnx", 0))
    for what, found, limit in (
        ("opset", opset, engine.newest_opset),
        ("IR version", ir_version, engine.newest_ir_version),
    ):
        if found > limit:
            raise UnsupportedModelError(
                f"the model needs ONNX {what} {found}, onnxruntime {engine.version} reads up to "
                f"{limit}: pass the version that the devices really have, or update onnxruntime "
                "there"
            )


@dataclass(frozen=True)
class Target:
    """What a family of devices computes right.

    Attributes:
        name: as the user writes it.
        saturates: whether its int8 kernels add two products in 16 bits, where weights of all 8
            bits can overflow.
        reason: for the report.
    """

    name: str
    saturates: bool
    reason: str

    @property
    def judged_as_defined(self) -> bool:
        """Whether graphs for it are judged as ONNX defines them, not by this machine's kernels.

        This machine's int8 kernels may compute wrong what the target's compute right. The answer
        does not depend on this machine's CPU, so every workstation writes the same artifact.
        """
        return not self.saturates


# Source: AVX2 multiplies with vpmaddubsw, which adds two products u8 * s8 into a saturating int16.
# VNNI's vpdpbusd and arm64's sdot add into 32 bits; arm64 without sdot widens each pair first
# (smlal, sadalp), and emulated Cortex-A72 and A76 gave the answers that ONNX defines.
TARGETS = {
    target.name: target
    for target in (
        Target("any", True, "weights whose pairs no CPU saturates at"),
        Target("x86-64-v3", True, "AVX2 adds pairs of products in 16 bits"),
        Target("x86-64-v4", False, "all 8 bits of the weights; needs VNNI"),
        Target("arm64", False, "all 8 bits of the weights"),
    )
}


def find_target(name: str) -> Target:
    """Return the profile of that name; raises OptionError if there is none."""
    if not isinstance(name, str) or name not in TARGETS:
        raise OptionError(
            f"the target is {name!r}, expected {' or '.join(map(repr, TARGETS))}: "
            "'any' is right on every CPU"
        )
    return TARGETS[name]
