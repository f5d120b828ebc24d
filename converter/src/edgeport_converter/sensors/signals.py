"""``Signal``: how the training code cut recordings into samples, and what it did to their values.

The graph of a signal is a Cast and a Mul; ``loading.signal_input`` puts them in front of a model.
The device cuts, by what the card says.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from edgeport import OptionError
from edgeport.artifact.signal_format import SignalFormat
from edgeport_converter.sensors.words import read_words

DTYPES = ("int16", "float32")
FULL_SCALE = 1 / 32768
"""From int16 to -1 up to 1, as ``tf.audio.decode_wav``, librosa and soundfile read PCM."""

_YES = {"yes": True, "true": True, "no": False, "false": False}
_MOST = 2**31 - 1
_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Signal:
    """How recordings become samples of the model, each a window.

    Attributes:
        rate: samples a second, in Hz.
        window: how many samples in time the model sees at once, T of its input.
        hop: from the begin of a window to that of the next.
        channels: how many numbers a recording has at each time; 1 also for an input (N, T).
        mix_down: whether recordings of more channels are mixed to one, by their mean (as
            ``librosa.load`` does), rounded to whole levels of int16.
        pad: whether a recording that is shorter than a window gets zeros at its end (as
            ``audio_dataset_from_directory(output_sequence_length=)`` does); else it is refused.
        dtype: of the recordings: ``int16`` for PCM, ``float32`` for a sensor that gives floats in
            the unit of the training, such as an accelerometer.
        scale: what int16 is multiplied by inside the graph, by default 1/32768; none for float32.
        input: the name of the model's input that takes windows, needed if it has several.

    Raises:
        OptionError: a word or a number that is none of these.
    """

    rate: float = 16000
    window: int = 16000
    hop: int = 8000
    channels: int = 1
    mix_down: bool = False
    pad: bool = False
    dtype: str = "int16"
    scale: float | None = None
    input: str | None = None

    def __post_init__(self) -> None:
        for name in ("window", "hop", "channels"):
            self._require_count(name)
        if not _is_positive(self.rate):
            raise OptionError(
                f"the signal has the rate {self.rate!r}, expected samples a second: pass the rate "
                "of the recordings in training, such as 16000"
            )
        object.__setattr__(self, "rate", _plain(self.rate))
        for name in ("mix_down", "pad"):
            if getattr(self, name) not in (True, False):
                raise OptionError(
                    f"the signal has {name} {getattr(self, name)!r}, expected True or False: pass "
                    "one of them"
                )
            object.__setattr__(self, name, bool(getattr(self, name)))
        if self.dtype not in DTYPES:
            raise OptionError(
                f"the signal has the dtype {self.dtype!r}, expected 'int16' for PCM or 'float32': "
                "pass that of the recordings"
            )
        if self.dtype == "float32" and self.scale is not None:
            raise OptionError(
                f"the signal has the scale {self.scale!r} and dtype='float32', expected a scale "
                "with int16 only, since floats come scaled: leave one of them out"
            )
        if self.dtype == "int16":
            scale = FULL_SCALE if self.scale is None else self.scale
            if not _is_positive(scale) or not _SMALLEST <= scale <= _LARGEST:
                raise OptionError(
                    f"the signal has the scale {scale!r}, expected a number above zero that "
                    "float32 holds: pass 1/32768 for -1 to 1, for instance"
                )
            object.__setattr__(self, "scale", _plain(scale))
        if self.mix_down and self.channels != 1:
            raise OptionError(
                f"the signal has mix_down and {self.channels} channels, expected 1, since all "
                "are mixed to one: leave one of them out"
            )
        if self.input is not None and (not isinstance(self.input, str) or not self.input):
            raise OptionError(
                f"the signal has the input {self.input!r}, expected the name of an input of the "
                "model: pass one"
            )

    def _require_count(self, name: str) -> None:
        value = getattr(self, name)
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_whole or not 1 <= value <= _MOST:
            raise OptionError(
                f"the signal has the {name} {value!r}, expected a whole number from 1 to {_MOST}: "
                "pass a number of samples"
            )
        object.__setattr__(self, name, int(value))

    def format_of(self, name: str) -> SignalFormat:
        """Return the card's record, for the input of that name."""
        return SignalFormat(
            input=name,
            rate=self.rate,
            window=self.window,
            hop=self.hop,
            channels=self.channels,
            mix_down=self.mix_down,
            pad=self.pad,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Signal:
        """Return the signal that these fields describe.

        Raises:
            OptionError: a key or a value that ``Signal`` does not take.
        """
        names = [field.name for field in fields(cls)]
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(str(name), names, 1, 0.5)
                hint = f": did you mean '{near[0]}'?" if near else ": use one of these"
                raise OptionError(
                    f"the signal has the key {name!r}, expected {', '.join(names)}{hint}"
                )
        return cls(**values)

    @classmethod
    def from_text(cls, text: str) -> Signal:
        """Return the signal of a command line: words ``name=value``.

        For instance ``rate=16000 window=16000 hop=8000`` or
        ``rate=50 window=128 hop=64 channels=3 dtype=float32``.

        Raises:
            OptionError: a word that is none of these.
        """
        example = "words such as rate=16000"
        return cls.from_dict(read_words(text, "the signal is", example, _read))

    def to_text(self) -> str:
        """Return the shortest text that ``from_text`` reads as this signal, with its times."""
        words = [f"{name}={getattr(self, name)!r}" for name in ("rate", "window", "hop")]
        for field in fields(self)[3:]:
            value = getattr(self, field.name)
            is_default = value == field.default or (field.name, value) == ("scale", FULL_SCALE)
            if not is_default:
                shown = "yes" if value is True else value
                words.append(f"{field.name}={shown}")
        return " ".join(words)


def _is_positive(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return 0 < float(value) < math.inf
    except OverflowError:
        return False


def _plain(value: Any) -> float:
    """Return a number of numpy, of ``fractions`` and the like as JSON holds it."""
    number = float(value)
    return int(number) if number.is_integer() else number


def _read(name: str, text: str) -> Any:
    try:
        if name in ("window", "hop", "channels"):
            return int(text)
        if name in ("rate", "scale"):
            top, slash, bottom = text.partition("/")
            return float(top) / (float(bottom) if slash else 1.0)
        if name in ("mix_down", "pad"):
            return _YES[text.lower()]
    except (KeyError, ValueError, ZeroDivisionError):
        raise OptionError(
            f"the signal has {name}={text}, expected a number such as 16000 or 1/32768, and yes or "
            "no for mix_down and pad"
        ) from None
    return text
