"""Ctrl-C that ends a training between two batches instead of anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Interrupt:
    """Whether the user has asked to stop."""

    asked: bool = False


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Turn the first SIGINT into a wish; a second one raises KeyboardInterrupt as ever.

    Only the main thread may set handlers; in another one nothing changes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    former = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: FrameType | None) -> None:
        interrupt.asked = True
        signal.signal(signal.SIGINT, former)

    if former is signal.SIG_IGN or former is None:  # as under nohup
        yield interrupt
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, former)
