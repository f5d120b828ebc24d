"""Numbers for people."""

import math

import pytest

from edgeport_converter.reporting import words


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (words.share(0.97474), "97.47 %"),
        (words.share(1.0), "100.00 %"),
        (words.share(0.99996), "99.996 %"),
        (words.points(-0.0012), "−0.12 points"),
        (words.points(-1e-9), "0.00 points"),
        (words.number(1234.5), "1,234"),
        (words.number(-5.24e-10), "−5.24 × 10⁻¹⁰"),
        (words.number(math.inf), "∞"),
        (words.number(math.nan), "not a number"),
        (words.number(0.0), "0"),
        (words.file_size(999), "999 bytes"),
        (words.file_size(60950), "61 kB"),
        (words.file_size(4014120), "4.01 MB"),
        (words.duration(4.254), "4.25 µs"),
        (words.duration(998.7), "999 µs"),
        (words.duration(1500), "1.50 ms"),
        (words.duration(2.5e6), "2.50 s"),
        (words.decibel(None), "equal"),
        (words.decibel(31.44), "31.4 dB"),
        (words.shortened("abcdefghij", 6), "abc…ij"),
        (words.count(1, "class", "classes"), "1 class"),
        (words.count(1200, "sample"), "1,200 samples"),
        (words.key_figure("best class equal for 99.70% (of others), 47.4 dB"), "99.70 %"),
        (words.key_figure("47.4 dB with float"), "47.4 dB"),
        (words.printable("a\x00b\ud800\n"), "a\ufffdb\ufffd\n"),
        # What would write the score after it from right to left, 1573.0 for 0.3751.
        (words.printable("tab\u202e 0.3751"), "tab\ufffd 0.3751"),
        (words.printable("שלום\u200f 猫"), "שלום\u200f 猫"),
    ],
)
def test_few_digits_and_a_unit(found, expected):
    assert found == expected
