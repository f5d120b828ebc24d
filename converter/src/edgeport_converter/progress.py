"""What a user sees while a conversion or a training runs, by rich.

A bar on a terminal, plain lines elsewhere; everything goes to one stream, which the commands make
stderr, so that stdout holds the result alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


class Watcher:
    """Gets the events of a training and ignores them; subclasses override what they show."""

    def stage(self, text: str) -> None:
        """A stage begins, or has something to say."""

    def batch(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """A batch is done; epochs and steps count from 1."""

    def epoch(self, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        """An epoch is done."""


class Screen(Watcher):
    """Writes to a stream; as a context it leaves a terminal without a bar, errors included."""

    def __init__(self, stream: TextIO) -> None:
        self._started = time.monotonic()
        self._console = Console(
            file=stream, markup=False, emoji=False, highlight=False, soft_wrap=True
        )
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self._end_bar()

    def stage(self, text: str) -> None:
        """Write a line with the seconds since the beginning."""
        self._end_bar()
        self._console.print(f"[{time.monotonic() - self._started:5.1f} s] {text}")

    def batch(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Move the bar."""
        done, text = (epoch - 1) * steps + step, f"epoch {epoch}/{epochs}"
        if self._task is None:
            self._task = self._bars.add_task(
                text, total=epochs * steps, completed=done - 1, loss=loss
            )
            self._bars.start()
        self._bars.update(self._task, completed=done, description=text, loss=loss)

    def epoch(self, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        """Write the epoch's figures; they stay on the screen."""
        shown = "  ".join(
            f"{name} {value:.4g}" if name == "learning_rate" else f"{name} {value:.4f}"
            for name, value in figures.items()
        )
        task = next((task for task in self._bars.tasks if task.id == self._task), None)
        self._console.print(f"epoch {epoch}/{epochs}  {shown}{_time_left(task)}")
        if epoch == epochs:
            self._end_bar()

    def _end_bar(self) -> None:
        if self._task is not None:
            self._bars.stop()
            self._bars.remove_task(self._task)
            self._task = None


def _time_left(task: Task | None) -> str:
    left = task.time_remaining if task else None
    if not left:
        return ""
    minutes, seconds = divmod(round(left), 60)
    if minutes >= 60:
        return f"  {minutes // 60}:{minutes % 60:02} h left"
    return f"  {minutes}:{seconds:02} min left" if minutes else f"  {seconds} s left"
