"""The card's part on signals: how a recording becomes windows, each of them one sample.

A module of its own, since few cards have one, and each record costs every cold start 0.1 ms.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeport.artifact.records import Record, record

_MOST = 2**31 - 1


@record
class SignalFormat(Record):
    """How a recording becomes windows, each of them one sample of an input.

    Attributes:
        input: the input's name; its dtype is that of the recording, int16 or floats.
        rate: samples a second, in Hz.
        window: how many samples in time one window has, T of the input.
        hop: from the begin of a window to that of the next; larger than a window leaves gaps.
        channels: numbers at each time: 1, or the input's last axis.
        mix_down: whether several channels become one, by their mean, to whole numbers of int16.
        pad: whether a whole recording that is shorter than a window gets zeros at its end.
    """

    input: str
    rate: float
    window: int
    hop: int
    channels: int = 1
    mix_down: bool = False
    pad: bool = False

    @property
    def in_words(self) -> str:
        """What a recording has to be, and how it is cut, in one line."""
        seconds, step = self.window / self.rate, self.hop / self.rate
        return (
            f"{self.input}: {self.rate:g} Hz, {self.channels} "
            f"channel{'s' if self.channels > 1 else ''}, windows of {self.window} "
            f"({seconds:.4g} s), one every {self.hop} ({step:.4g} s)"
            + (", more channels are mixed to one" if self.mix_down else "")
            + (", short recordings end in zeros" if self.pad else "")
        )


def read_signal(
    data: Mapping[str, Any], dtype: np.dtype[Any], shape: tuple[int | str, ...]
) -> SignalFormat:
    """Return what a card's JSON says.

    Args:
        data: the record; unknown keys are ignored.
        dtype: of the input that it names.
        shape: of one sample of that input.

    Raises:
        ValueError, KeyError, TypeError: it is no signal, or not of that input.
    """
    flags = [data.get(name, False) for name in ("mix_down", "pad")]
    numbers = [data["window"], data["hop"], data.get("channels", 1)]
    rate = data["rate"]
    sizes = shape if len(shape) == 2 else (*shape, 1)
    if (
        not all(type(number) is int and 1 <= number <= _MOST for number in numbers)
        or not all(type(flag) is bool for flag in flags)
        or type(rate) not in (int, float)
        or not 0 < rate <= sys.float_info.max
        or len(sizes) != 2
        or sizes[0] not in (numbers[0], str(sizes[0]))
        or sizes[1] not in (numbers[2], str(sizes[1]))
        or (flags[0] and numbers[2] != 1)
        or not (dtype == np.int16 or dtype.kind == "f")
    ):
        raise ValueError(f"the signal {dict(data)!r:.200} of an input {dtype} of shape {shape}")
    return SignalFormat(str(data["input"]), rate, *numbers, *flags)
