"""Rows a second and time left, on stderr: on a terminal one line, else one every half minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

from edgeport.scoring.job import Part


class Progress:
    """How far a run is.

    Args:
        parts: that are left to do.
        done: how many there are beside them.
    """

    def __init__(self, parts: Sequence[Part], done: int) -> None:
        self._bytes = max(1, sum(part.bytes for part in parts))
        self._sizes = {part.number: part.bytes for part in parts}
        self._parts, self._done = done + len(parts), done
        self._began = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._shown = self._began
        self._seen_bytes = 0
        self.rows = self.rejected = 0

    def add(self, record: dict[str, Any]) -> None:
        """Count a part that was done, and show it if the last line is old enough."""
        self.rows += record["rows"] + record["rejected"]
        self.rejected += record["rejected"]
        self._seen_bytes += self._sizes[record["part"]]
        self._done += 1
        now = time.monotonic()
        if now - self._shown >= (0.2 if self._is_terminal else 30):
            self._shown = now
            end = "" if self._is_terminal else "\n"
            start = "\r\033[K" if self._is_terminal else ""
            print(start + self.line(), end=end, file=sys.stderr, flush=True)

    def line(self) -> str:
        """Return where the run is, in words."""
        passed = max(1e-3, time.monotonic() - self._began)
        share = self._seen_bytes / self._bytes
        left = _in_words(passed * (1 - share) / share) if 0 < share < 1 else "0 s"
        return (
            f"part {self._done:,} of {self._parts:,}, {self.rows:,} rows, "
            f"{self.rows / passed:,.0f} rows/s, {left} left"
        )

    def close(self) -> None:
        """Take the line away again."""
        if self._is_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _in_words(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
