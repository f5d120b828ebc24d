"""From the text of an option on the command line to its value.

The fields of ``options`` name these functions; each takes the option's name, for the sentence of
its OptionError.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from edgeport import OptionError
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.signals import Signal

_FRAME_WORDS = tuple(each.name for each in fields(Frames))


def read_number(option: str, text: str) -> float:
    """Return the number."""
    try:
        return float(text)
    except ValueError:
        raise OptionError(f"{option} is {text!r}, expected a number: write one") from None


def read_numbers(option: str, text: str) -> float | list[float]:
    """Return the number, or the numbers between commas; fractions such as 1/255 are allowed."""
    try:
        parts = [part.partition("/") for part in text.split(",")]
        numbers = [float(top) / (float(bottom) if slash else 1) for top, slash, bottom in parts]
    except (ValueError, ZeroDivisionError):
        raise OptionError(
            f"{option} is {text!r}, expected numbers such as 1/255 or 123.7,116.3,103.5: one, or "
            "one for each channel"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


def read_range(option: str, text: str) -> tuple[float, float]:
    """Return the two numbers, low and high."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(
            f"{option} is {text!r}, expected two numbers such as 0,1: black, then white"
        ) from None
    return low, high


def read_frames(option: str, texts: Sequence[str]) -> str | dict[str, str]:
    """Return one text, or texts by input name where these are ``NAME=keras fit=crop``."""
    named = {}
    for text in texts:
        first, equals, rest = text.partition("=")
        if equals and " " not in first.strip() and first.strip() not in _FRAME_WORDS:
            named[first.strip()] = rest.strip()
        elif len(texts) == 1:
            return text
        else:
            raise OptionError(
                f"{option} was given {len(texts)} times, once as {text!r}, expected an input's "
                "name in each: write NAME=keras"
            )
    if len(named) < len(texts):
        raise OptionError(f"{option} names an input twice, expected it once: leave one out")
    return named


def read_signal(option: str, text: str) -> Signal:
    """Return the signal that the words tell."""
    return Signal.from_text(text)


def read_names(option: str, text: str) -> list[str]:
    """Return the names between commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def read_features(option: str, text: str) -> list[str]:
    """Return the names between commas, or those of a file, one a line."""
    path = Path(text)
    if "," not in text and path.is_file():
        return read_lines(path, f"{option} is the file '{text}', which")
    return read_names(option, text)


def read_lines(path: Path, subject: str) -> list[str]:
    """Return the names in a file, one a line.

    Args:
        path: of the file.
        subject: the file, for the message.

    Raises:
        OptionError: it is no UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise OptionError(
            f"{subject} is no UTF-8 text: save it as UTF-8, one name a line"
        ) from None
    return [line.strip() for line in lines if line.strip()]
