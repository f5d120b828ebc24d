"""What a user sees while a model trains: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from typing import Protocol, TextIO

_EVERY_S = 0.1


class Watcher(Protocol):
    """Is told what happens; every method returns at once."""

    def stage(self, text: str) -> None:
        """A stage begins, or has something to say."""

    def batch(
        self, epoch: int, epochs: int, step: int, steps: int, loss: float, seconds_left: float
    ) -> None:
        """A batch is done."""

    def epoch(
        self, epoch: int, epochs: int, figures: Mapping[str, float], seconds_left: float
    ) -> None:
        """An epoch is done."""


class Silent:
    """Watches and says nothing."""

    def stage(self, text: str) -> None:
        """Ignore it."""

    def batch(
        self, epoch: int, epochs: int, step: int, steps: int, loss: float, seconds_left: float
    ) -> None:
        """Ignore it."""

    def epoch(
        self, epoch: int, epochs: int, figures: Mapping[str, float], seconds_left: float
    ) -> None:
        """Ignore it."""


class Screen:
    """Writes to a stream: a line that is rewritten on a terminal, a line an epoch elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._started = self._last = time.monotonic()

    def stage(self, text: str) -> None:
        """Write a line of its own."""
        self._write(f"[{time.monotonic() - self._started:5.1f} s] {text}", ends=True)

    def batch(
        self, epoch: int, epochs: int, step: int, steps: int, loss: float, seconds_left: float
    ) -> None:
        """Rewrite the live line, some ten times a second."""
        now = time.monotonic()
        if self._is_terminal and now - self._last >= _EVERY_S:
            self._last = now
            line = f"epoch {epoch}/{epochs}  {step / steps:4.0%}  loss {loss:.4f}"
            self._write(f"{line}  {_duration(seconds_left)} left", ends=False)

    def epoch(
        self, epoch: int, epochs: int, figures: Mapping[str, float], seconds_left: float
    ) -> None:
        """Write the epoch's figures; they stay on the screen."""
        shown = "  ".join(
            f"{name} {value:.4g}" if name == "learning_rate" else f"{name} {value:.4f}"
            for name, value in figures.items()
        )
        left = f"  {_duration(seconds_left)} left" if epoch < epochs else ""
        self._write(f"epoch {epoch}/{epochs}  {shown}{left}", ends=True)

    def _write(self, line: str, *, ends: bool) -> None:
        if self._is_terminal:
            width = shutil.get_terminal_size().columns
            line = f"\r\x1b[K{line if ends else line[: width - 1]}"
        self._stream.write(line + ("\n" if ends else ""))
        self._stream.flush()


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
