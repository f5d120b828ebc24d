"""What happens while a conversion or a training runs, told to whoever shows it.

Stages call ``say``, ``track``, ``track_batches`` or ``begin`` and know of no screen. ``convert``
and ``train`` take a ``Progress``, whose methods do nothing here, so that a program sees nothing
unless it asks; ``screen`` shows all of it by rich.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Batches = Callable[[int], Iterable[Mapping[str, Any]]]


class Task:
    """A piece of work in steps, of which nothing is shown; subclasses show it."""

    def advance(self, steps: int = 1) -> None:
        """Note that so many more steps are done."""

    def note(self, text: str) -> None:
        """Note what stands beside the bar from the next step on, such as the best so far."""

    def end(self) -> None:
        """Note that no step follows, whether all were done or not."""


class Progress:
    """Gets the events of a conversion or a training and ignores them; subclasses show some."""

    def stage(self, name: str) -> None:
        """Note that a stage begins."""

    def say(self, line: str) -> None:
        """Note what happens in a stage, in words."""

    def task(self, what: str, total: int | None) -> Task:
        """Return what is told of a piece of work; ``total`` steps, None where nobody knows."""
        return Task()

    def batch(self, epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        """Note that a batch is done; epochs and steps count from 1."""

    def epoch(self, epoch: int, epochs: int, figures: Mapping[str, float]) -> None:
        """Note that an epoch is done."""


_PRESENT: ContextVar[Progress] = ContextVar("progress", default=Progress())  # noqa: B039 - it has no state


@contextmanager
def telling(progress: Progress) -> Iterator[None]:
    """Have ``say``, ``begin`` and both ``track`` functions tell this progress within the block."""
    token = _PRESENT.set(progress)
    try:
        yield
    finally:
        _PRESENT.reset(token)


def say(line: str) -> None:
    """Tell what happens, in words."""
    _PRESENT.get().say(line)


@contextmanager
def begin(what: str, total: int | None) -> Iterator[Task]:
    """Tell of a piece of work; the block calls ``advance``."""
    task = _PRESENT.get().task(what, total)
    try:
        yield task
    finally:
        task.end()


def track(items: Iterable[_Item], what: str) -> Iterator[_Item]:
    """Yield the items, and tell of each when the next one is asked for.

    Args:
        items: to work on.
        what: the work, in a few words.
    """
    with begin(what, len(items) if isinstance(items, Sized) else None) as task:
        for item in items:
            yield item
            task.advance()


def track_batches(batches: _Batches, what: str, samples: int) -> _Batches:
    """Return the same passes over ``samples`` samples, each of which is told as it goes on."""

    def tracked(size: int) -> Iterator[Mapping[str, Any]]:
        with begin(what, samples) as task:
            for batch in batches(size):
                yield batch
                task.advance(len(next(iter(batch.values()))))

    return tracked
