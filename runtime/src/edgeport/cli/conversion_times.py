"""How long this device takes to bring a tensor from float to int8 and back, measured by size.

Between a layer in float and one in int8 the engine quantizes or dequantizes the tensor. A picture
changes its layout, too: int8 convolutions take the channels last, float ones take them first, and
on many CPUs in blocks. No profile of a graph in one format has these operators at every size, so a
graph of nothing else is made, run with a profile, and dropped. ``layer_times`` calls it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from edgeport.cli.made_graphs import BLOCKED_DOMAIN, Step, chain
from edgeport.cli.profiles import ProfiledGraph
from edgeport.errors import ArtifactError, InferenceError
from edgeport.signals import reraise_signal

_ROUNDS = 3

_BLOCK = 16  # channels; the largest that the engine uses, and a multiple of the others


@dataclass(frozen=True)
class ConversionTimes:
    """What it takes to bring one tensor into the other format, in seconds.

    Attributes:
        quantize, dequantize: from float to codes, and back.
        channels_last, channels_first: of codes, a change of layout; 0 of a tensor that is no
            picture.
        to_blocks, from_blocks: of floats, between channels first and channels in blocks; 0 where
            the engine has no such layout.
    """

    quantize: float
    dequantize: float
    channels_last: float = 0.0
    channels_first: float = 0.0
    to_blocks: float = 0.0
    from_blocks: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Return the times as JSON-ready data."""
        return asdict(self)


def measure_conversions(
    shapes: Iterable[tuple[int, ...]],
    threads: int,
    seconds: float,
    folder: Path,
    call_seconds: float,
    *,
    blocks: bool,
) -> dict[tuple[int, ...], ConversionTimes]:
    """Return the times by shape; a tensor of four axes is (N, C, H, W).

    Args:
        shapes: of the tensors.
        threads: of a run.
        seconds: how long for all of them; each is run a few times however short that is.
        folder: where the engine writes its profiles.
        call_seconds: what a run takes beside its nodes, as ``measure_call`` finds it.
        blocks: whether the engine keeps float channels in blocks on this CPU.
    """
    wanted = list(dict.fromkeys(shapes))
    share = seconds / max(1, len(wanted)) / _ROUNDS
    return {
        shape: _measure(shape, threads, share, folder, call_seconds, blocks) for shape in wanted
    }


def _measure(
    shape: tuple[int, ...],
    threads: int,
    seconds: float,
    folder: Path,
    call_seconds: float,
    blocks: bool,
) -> ConversionTimes:
    is_picture = len(shape) == 4
    if blocks and is_picture:
        try:
            return _measure_chain(
                _in_blocks(shape), threads, seconds, folder, call_seconds, blocks=True
            )
        except (ArtifactError, InferenceError) as error:  # no such layout on this CPU
            reraise_signal(error)
    return _measure_chain(shape, threads, seconds, folder, call_seconds, blocks=False)


def _in_blocks(shape: tuple[int, ...]) -> tuple[int, ...]:
    samples, channels, *places = shape
    return samples, -(-channels // _BLOCK) * _BLOCK, *places


def _measure_chain(
    shape: tuple[int, ...],
    threads: int,
    seconds: float,
    folder: Path,
    call_seconds: float,
    *,
    blocks: bool,
) -> ConversionTimes:
    feed = {"x": np.linspace(-1, 1, int(np.prod(shape))).astype(np.float32).reshape(shape)}
    # Nothing is rewritten: the engine would take a change of layout and its way back out.
    graph = ProfiledGraph(
        chain(conversion_steps(shape, blocks=blocks), shape),
        feed,
        threads,
        folder,
        "conversions",
        "none",
    )
    for _ in range(_ROUNDS):
        graph.run_round(seconds, _ROUNDS)
    times = {one.node.name: one.seconds for one in graph.read(call_seconds)[0]}
    return ConversionTimes(
        **{each.name: times.get(each.name, 0.0) for each in fields(ConversionTimes)}
    )


def conversion_steps(shape: Sequence[int], *, blocks: bool) -> list[Step]:
    """Return the conversions of a float tensor of this shape, each with its way back.

    1. With blocks: channels into blocks and back.
    2. QuantizeLinear; of four axes, channels to the last axis and back; DequantizeLinear.
    """
    steps = []
    if blocks:
        steps += [
            Step("to_blocks", "ReorderInput", domain=BLOCKED_DOMAIN),
            Step(
                "from_blocks",
                "ReorderOutput",
                attributes={"channels": shape[1]},
                domain=BLOCKED_DOMAIN,
            ),
        ]
    steps += [Step("quantize", "QuantizeLinear", ("scale", "zero"))]
    if len(shape) == 4:
        steps += [
            Step("channels_last", "Transpose", attributes={"perm": (0, 2, 3, 1)}),
            Step("channels_first", "Transpose", attributes={"perm": (0, 3, 1, 2)}),
        ]
    return [*steps, Step("dequantize", "DequantizeLinear", ("scale", "zero"))]
