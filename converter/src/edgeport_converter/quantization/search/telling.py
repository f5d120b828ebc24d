"""What is told while candidates are tried: each one, and the best so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edgeport_converter.progress import Progress
from edgeport_converter.quantization.search.selection import Step


@contextmanager
def telling_steps(progress: Progress) -> Iterator[Callable[[Step], None]]:
    """Yield what tells each step of a search, and which of them is the best."""
    task = progress.task("candidates", None)
    best: list[Step] = []

    def tell(step: Step) -> None:
        progress.say(f"quantize: {step.describe()}")
        best[:] = [better_of(best[0], step) if best else step]
        task.note(best_in_words(best[0]))
        task.advance()

    try:
        yield tell
    finally:
        task.end()


def better_of(first: Step, second: Step) -> Step:
    """Return the step that keeps the budget, of two that do the smaller file, else the less lost.

    Times decide, too, but are measured at the end.
    """

    def rank(step: Step) -> tuple[bool, float]:
        return (not step.holds, step.file_bytes if step.holds else step.loss - step.allowed)

    return min(first, second, key=rank)


def best_in_words(step: Step) -> str:
    """Return the best so far in a few words, for beside a bar."""
    kept = "keeps the budget" if step.holds else "misses the budget"
    return f"best so far: {step.recipe}, {step.file_bytes:,} bytes, {kept}"
