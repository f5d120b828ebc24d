"""The card's part on frames: what an input takes from a camera, and what the graph does to it.

A module of its own, since few cards have one, and each record costs every cold start 0.1 ms.
"""

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeport.artifact.records import Record, record

_CHANNELS = {"rgb": 3, "bgr": 3, "gray": 1}
_AXES = ("N", "H", "W", "C")
_MOST = 2**31 - 1


@record
class FrameFormat(Record):
    """What frames an input takes, which are uint8 (N, H, W, C), and what the graph does to them.

    Attributes:
        order: of the channels in the device's frames: ``rgb``, ``bgr`` or ``gray``.
        picture: (H, W, C) of what the network sees.
        size: (H, W) of every frame; None where any size is taken.
        most_pixels: height times width of the largest frame.
        training: what the training code did to a picture, in the words of ``edgeport convert
            --frames``.
    """

    order: str
    picture: tuple[int, int, int]
    size: tuple[int, int] | None
    most_pixels: int
    training: str

    @property
    def channels(self) -> int:
        """How many channels a frame has."""
        return _CHANNELS[self.order]

    @property
    def in_words(self) -> str:
        """Which frames the input takes and what the graph does to them, in one line."""
        resize, *words = self.training.split()
        options = dict(word.partition("=")[::2] for word in words)
        for name in ("order", "size", "most_pixels"):  # the card has them
            options.pop(name, None)
        fit = options.pop("fit", "stretch")
        mean, scale = options.pop("mean", ""), options.pop("scale", "")
        levels = "levels as they are"
        if mean or scale:
            levels = (f"(pixel - {mean})" if mean else "pixel") + (_times(scale) if scale else "")
        further = "".join(f", {name} {value}".rstrip() for name, value in options.items())
        height, width, channels = self.picture
        gray = " gray" if channels == 1 else ""
        return (
            f"uint8 {self._sizes}, {self.order}; {fit}, {resize} to {height} x {width}{gray}, "
            f"{levels}{further}"
        )

    @property
    def _sizes(self) -> str:
        if self.size is not None:
            return "frames of {} x {}".format(*self.size)
        most = self.most_pixels
        millions = f"{most / 1e6:,.0f}" if most >= 10**7 else f"{most / 1e6:.2g}"
        limit = f"{most:,} pixels" if most < 10**5 else f"{millions} Mpx"
        return f"frames of any size up to {limit}"


def _times(scale: str) -> str:
    """Return ``* 0.5``, or ``/ 255`` where the scale is the reciprocal of a short number."""
    with contextlib.suppress(ValueError, ZeroDivisionError):
        divisor = f"{1 / float(scale):.6g}"
        if len(divisor) < len(scale) and 1 / float(divisor) == float(scale):
            return f" / {divisor}"
    return f" * {scale}"


def read_frames(
    data: Mapping[str, Mapping[str, Any]], inputs: Mapping[str, tuple[Any, ...]]
) -> dict[str, FrameFormat]:
    """Return what a card's JSON says.

    Args:
        data: a record for each input that takes frames; unknown keys are ignored.
        inputs: dtype, shape and axes of each input by its name.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: these are no frames, or not of such inputs.
    """
    return {name: _read(name, record, *inputs[name]) for name, record in data.items()}


def _read(name: str, data: Mapping[str, Any], dtype: Any, shape: Any, axes: Any) -> FrameFormat:
    picture, size = tuple(data["picture"]), data.get("size")
    sides = None if size is None else tuple(size)
    frames = FrameFormat(data["order"], picture, sides, data["most_pixels"], data["training"])
    numbers = (*picture, *(sides or ()), frames.most_pixels)
    if (
        not all(type(number) is int and 1 <= number <= _MOST for number in numbers)
        or len(picture) != 3
        or (sides is not None and len(sides) != 2)
        or frames.order not in _CHANNELS
        or not isinstance(frames.training, str)
        or not frames.training.strip()
    ):
        raise ValueError(f"the frames {dict(data)!r:.200}")
    if dtype != np.uint8 or axes != _AXES or shape[3] != frames.channels:
        raise ValueError(f"frames for the input '{name}', which takes none")
    taken = frames.size or ("any", "any")
    for have, size in zip(shape[1:3], taken, strict=True):
        if isinstance(have, int) and have != size:
            raise ValueError(f"frames of the size {taken} for the input '{name}' of shape {shape}")
    return frames
