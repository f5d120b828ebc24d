"""Numbers and units as people read them: few digits that count, and a unit at each number."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_THOUSAND = 1000.0
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def share(value: float) -> str:
    """Return ``97.47 %``; a share near 0 or 1 keeps the digits that tell it from these."""
    digits = 2
    while digits < 4 and 0 < min(abs(value), abs(1 - value)) < 0.5 * 10 ** -(digits + 2):
        digits += 1
    return f"{value * 100:.{digits}f} %"


def rounded_share(value: float) -> str:
    """Return a share for a quick look: ``27 %``, below ten per cent with a digit more."""
    return f"{value * 100:.{0 if value >= 0.0995 else 1}f} %"


def key_figure(sentence: str) -> str:
    """Return the first share, or else the first ratio in dB, of a sentence on agreement."""
    found = re.search(r"([\d.]+)%", sentence)
    if found:
        return f"{found[1]} %"
    found = re.search(r"(-?[\d.]+|inf) dB", sentence)
    return f"{found[1].replace('inf', '∞')} dB" if found else sentence


def points(value: float) -> str:
    """Return a difference of two shares, ``−0.12 points``, with its sign."""
    text = f"{value * 100:+.2f}"
    return f"{'0.00' if float(text) == 0 else text.replace('-', '−')} points"


def number(value: float) -> str:
    """Return four digits that count."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "not a number" if math.isnan(value) else "−∞"
    if value != 0 and (abs(value) >= 1e6 or abs(value) < 1e-4):
        mantissa, _, power = f"{value:.2e}".partition("e")
        return f"{mantissa.replace('-', '−')} × 10{str(int(power)).translate(_RAISED)}"
    return f"{value:,.4g}".replace("-", "−")


def file_size(count: int) -> str:
    """Return ``61.3 kB``, in powers of 1,000 as file managers have them."""
    value, units = float(count), ["bytes", "kB", "MB", "GB"]
    for unit in units:
        if value < _THOUSAND or unit == units[-1]:
            return f"{count} bytes" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= _THOUSAND
    raise AssertionError  # the last unit returns


def duration(microseconds: float) -> str:
    """Return ``4.25 µs``, ``1.50 ms`` or ``2.00 s``."""
    for limit, scale, unit in ((1e3, 1.0, "µs"), (1e6, 1e3, "ms"), (math.inf, 1e6, "s")):
        if microseconds < limit:
            value = microseconds / scale
            return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"
    raise AssertionError  # the last limit is infinite


def decibel(value: float | None) -> str:
    """Return ``31.4 dB``; None is equal to float."""
    return "equal" if value is None or math.isinf(value) else f"{value:.1f} dB"


def metric(value: float, *, is_share: bool) -> str:
    """Return a metric's value: a share in per cent, any other as a number."""
    return share(value) if is_share else number(value)


def shortened(text: str, length: int) -> str:
    """Return a text of at most so many characters, the middle left out where it is longer."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def count(value: int, one: str, many: str = "") -> str:
    """Return ``1 sample`` or ``1,200 samples``."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def listed(items: Sequence[str], most: int = 6) -> str:
    """Return the first items, and how many more there are."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most:,} more"


def printable(text: str) -> str:
    """Return the text without what no HTML file may hold, or what would turn the text after it.

    These are control characters, lone surrogates, and the marks that write everything up to their
    end from right to left, digits too. Letters that are written so by nature are not touched.
    """
    return "".join(
        letter if letter in "\n\t" or not _is_unfit(ord(letter)) else "\ufffd" for letter in text
    )


def _is_unfit(code: int) -> bool:
    return (
        code < 0x20
        or 0x7F <= code < 0xA0
        or 0xD800 <= code < 0xE000
        or 0x202A <= code < 0x202F  # embeddings and overrides of the direction
        or 0x2066 <= code < 0x206A  # isolates
        or 0xFDD0 <= code < 0xFDF0
        or code & 0xFFFE == 0xFFFE
    )
