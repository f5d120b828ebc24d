"""Progress for people, by rich: bars on a terminal, plain lines elsewhere.

Everything goes to one stream, which the commands make stderr, so that stdout holds the result
alone. Only the commands import this module, since rich takes a tenth of a second to start.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.table import Table

from edgeport_converter.progress import Progress, Task

_SHOWN_AFTER = 0.5  # seconds; shorter work needs no bar
_REDRAWN_EVERY = 0.1
_FIRST_PLAIN_LINE = 5.0
_PLAIN_LINE_EVERY = 30.0


class Screen(Progress):
    """Writes to a stream; as a context it leaves a terminal without a bar, errors included.

    Bars are drawn when work goes on, by no thread, which would disturb the measurement of times.

    Args:
        stream: to write to.
        shown_after: how many seconds a piece of work has to last until it gets a bar.
    """

    def __init__(self, stream: TextIO, *, shown_after: float = _SHOWN_AFTER) -> None:
        self._started = self._drawn = time.monotonic()
        self._shown_after = shown_after
        self._console = Console(
            file=stream, markup=False, emoji=False, highlight=False, soft_wrap=True
        )
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[share]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            transient=True,
            auto_refresh=False,
            disable=not self._console.is_terminal,
        )
        self._epochs: TaskID | None = None
        self._epoch: _ShownTask | None = None  # without a terminal
        self._stages: list[tuple[str, float]] = []
        self._last_words: dict[str, str] = {}

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *error: object) -> None:
        self._end_bars()

    def stage(self, name: str) -> None:
        """Write a line with the seconds since the beginning."""
        self._end_bars()
        self._stages.append((name, time.monotonic()))
        self.say(name)

    def say(self, line: str) -> None:
        """Write a line with the seconds since the beginning, above the bars."""
        if self._stages:
            self._last_words[self._stages[-1][0]] = line
        self._line(line)

    def task(self, what: str, total: int | None) -> Task:
        """Return a piece of work that gets a bar if it lasts."""
        return _ShownTask(self, what, total)

    def batch(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Move the bar; elsewhere than on a terminal, write a line now and then."""
        done, text = (epoch - 1) * steps + step, f"epoch {epoch}/{epochs}"
        if not self._console.is_terminal:
            if step == 1:
                self._epoch = _ShownTask(self, text, steps)
            if self._epoch is not None:
                self._epoch.note(f"loss {loss:.4f}")
                self._epoch.advance()
            return
        if self._epochs is None:
            self._epochs = self._add(text, epochs * steps, done - 1)
        self._draw(self._epochs, done, f"loss {loss:.4f}", description=text)

    def epoch(self, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        """Write the epoch's figures; they stay on the screen."""
        shown = "  ".join(
            f"{name} {value:.4g}" if name == "learning_rate" else f"{name} {value:.4f}"
            for name, value in figures.items()
        )
        task = next((task for task in self._bars.tasks if task.id == self._epochs), None)
        self._console.print(f"epoch {epoch}/{epochs}  {shown}{_time_left(task)}")
        if epoch == epochs:
            self._remove(self._epochs)
            self._epochs = None

    def finish(self) -> None:
        """Write that all is done; on a terminal, how long each stage took, too, as a table."""
        self._end_bars()
        self._line("done")
        if not self._console.is_terminal or not self._stages:
            return
        table = Table("stage", "seconds", "last")
        table.columns[1].justify = "right"
        ends = [begun for _, begun in self._stages[1:]] + [time.monotonic()]
        for (name, begun), end in zip(self._stages, ends, strict=True):
            words = self._last_words.get(name, "")
            table.add_row(name, f"{end - begun:.1f}", "" if words == name else words)
        self._console.print(table)

    def _line(self, text: str) -> None:
        self._console.print(f"[{time.monotonic() - self._started:5.1f} s] {text}")

    def _add(self, what: str, total: int | None, done: int, note: str = "") -> TaskID:
        task = self._bars.add_task(what, total=total, completed=done, note=note, share="")
        if not self._bars.live.is_started:
            self._bars.start()
        return task

    def _draw(self, task: TaskID, done: int, note: str, **fields: str) -> None:
        bar = next(bar for bar in self._bars.tasks if bar.id == task)
        share = f"{done}" if bar.total is None else f"{done / max(bar.total, 1):4.0%}"
        self._bars.update(task, completed=done, note=note, share=share, **fields)  # type: ignore[arg-type]
        now = time.monotonic()
        if now - self._drawn >= _REDRAWN_EVERY or done == bar.total:
            self._drawn = now
            self._bars.refresh()

    def _remove(self, task: TaskID | None) -> None:
        if task is None or task not in self._bars.task_ids:
            return
        self._bars.remove_task(task)
        if not self._bars.task_ids:
            self._bars.stop()

    def _end_bars(self) -> None:
        self._epochs = None
        for task in self._bars.task_ids:
            self._remove(task)


class _ShownTask(Task):
    """A piece of work with a bar on a terminal; elsewhere a line soon, then every half minute."""

    def __init__(self, screen: Screen, what: str, total: int | None) -> None:
        self._screen, self._what, self._total = screen, what, total
        self._begun = time.monotonic()
        self._next_line = self._begun + _FIRST_PLAIN_LINE
        self._done, self._note = 0, ""
        self._bar: TaskID | None = None

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        self._show()

    def note(self, text: str) -> None:
        self._note = text  # shown with the next step

    def end(self) -> None:
        self._screen._remove(self._bar)
        self._bar = None

    def _show(self) -> None:
        screen, now = self._screen, time.monotonic()
        if not screen._console.is_terminal:
            if now >= self._next_line:
                self._next_line = now + _PLAIN_LINE_EVERY
                screen.say(self._in_words(now))
            return
        if self._bar is None:
            if now - self._begun < screen._shown_after:
                return
            self._bar = screen._add(self._what, self._total, self._done, self._note)
        screen._draw(self._bar, self._done, self._note)

    def _in_words(self, now: float) -> str:
        note = f", {self._note}" if self._note else ""
        if not self._total:
            return f"{self._what}: {self._done:,} done{note}"
        left = (now - self._begun) * (self._total - self._done) / max(self._done, 1)
        return f"{self._what}: {self._done:,} of {self._total:,}{_in_minutes(left)}{note}"


def _time_left(task: Bar | None) -> str:
    left = task.time_remaining if task else None
    return _in_minutes(left) if left else ""


def _in_minutes(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"  {minutes // 60}:{minutes % 60:02} h left"
    return f"  {minutes}:{seconds:02} min left" if minutes else f"  {seconds} s left"
