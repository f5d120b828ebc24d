"""Device profiles: the number formats that a CPU computes right, and the engine it has.

Plain data, read by ``exporting`` and ``quantizing`` through ``pipeline``.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeport import OptionError

ONNXRUNTIME_FLOOR = "1.19"
"""The oldest onnxruntime that the runtime package supports; artifacts open there."""

OPSET = 17
"""Below what onnxruntime 1.19 reads (21), and the newest that tf2onnx exports with every one of
its handlers; per-channel QuantizeLinear needs 13."""

IR_VERSION = 8
"""The IR version of ONNX 1.12, which introduced opset 17; newer stamps shut old devices out."""


@dataclass(frozen=True)
class Target:
    """What a family of devices computes right.

    Attributes:
        name: as the user writes it.
        weight_bits: how many bits of an int8 weight are used, 7 or 8.
        reason: why, for the report.
    """

    name: str
    weight_bits: int
    reason: str


TARGETS = {
    target.name: target
    for target in (
        Target(
            "any",
            7,
            # Source: AVX2 multiplies with vpmaddubsw, which adds two products u8 * s8 into a
            # saturating int16. 2 * 255 * 64 = 32,640 fits below 32,767; 2 * 255 * 127 does not.
            "7-bit weights, so that CPUs without VNNI cannot saturate",
        ),
    )
}


def find_target(name: str) -> Target:
    """Return the profile of that name.

    Raises:
        OptionError: there is none.
    """
    if name not in TARGETS:
        raise OptionError(
            f"the target is {name!r}, expected {' or '.join(map(repr, TARGETS))}: "
            "'any' is right on every CPU"
        )
    return TARGETS[name]
