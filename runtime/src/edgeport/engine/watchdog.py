"""A time limit on engine runs: a timer in a thread of its own stops them when the time is up.

The runs themselves stay in the caller's thread. ``Predictor.predict(timeout=...)`` asks for a
limit, ``session`` says how a run is stopped. Nothing here knows the engine.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Any

from edgeport.errors import InferenceError, OptionError
from edgeport.signals import reraise_signal

_native_thread: Any = None


class TimeLimit:
    """A context in which runs are stopped once its seconds are over.

    Args:
        seconds: counted from entering the context; it starts a thread, in some 50 us.

    Attributes:
        is_over: whether the time is up.

    Raises:
        InferenceError: on entering, where the system allows no further thread.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.is_over = False
        self._stop: Callable[[], None] | None = None

    @classmethod
    def of(cls, timeout: object) -> TimeLimit:
        """Return the limit for a caller's ``timeout``; raises OptionError unless it is above 0."""
        try:
            seconds = 0.0 if isinstance(timeout, (bool, str, bytes)) else float(timeout)  # type: ignore[arg-type]
        except OverflowError as cause:
            reraise_signal(cause)
            seconds = float("inf")
        except (TypeError, ValueError) as cause:
            reraise_signal(cause)
            seconds = 0.0
        if not seconds > 0:
            raise OptionError(
                f"timeout is {timeout!r}, expected seconds above 0: leave it out to wait for the "
                "answer"
            )
        return cls(seconds)

    def __enter__(self) -> TimeLimit:
        thread = native_thread()
        # A bare lock, since nothing of an event loop may stand between the timer and the clock.
        self._end = end = thread.allocate_lock()
        end.acquire()
        longest = float(thread.TIMEOUT_MAX)

        def wait() -> None:
            if not end.acquire(timeout=min(self.seconds, longest)):
                self.is_over = True
                stop = self._stop  # once: the run may end in between
                if stop is not None:
                    stop()

        try:
            thread.start_new_thread(wait, ())
        except RuntimeError as cause:
            raise InferenceError(
                f"no thread can be started to watch the time ({cause}), expected the system to "
                "allow one more: leave timeout out, end some threads, or raise the limit"
            ) from cause
        return self

    def __exit__(self, *error: object) -> None:
        self._stop = None
        self._end.release()

    def stop_by(self, stop: Callable[[], None]) -> None:
        """Have the run that begins now stopped by this call, at once if the time is up."""
        self._stop = stop
        if self.is_over:  # looked at last: the timer sets it before it looks for the call
            stop()

    def error(self) -> InferenceError:
        """Return what to raise for a run that was stopped."""
        return InferenceError(
            f"the run was stopped after {self.seconds:.3g} s because its time was up, expected an "
            "answer by then: allow more time, or feed fewer samples"
        )


def native_thread() -> Any:
    """Return the module ``_thread`` as the interpreter makes it.

    gevent and eventlet replace its functions in place; a timer of theirs would wait until the
    engine is done.
    """
    global _native_thread
    if _native_thread is None:
        builtin = type(len)
        if isinstance(_thread.start_new_thread, builtin) and isinstance(
            _thread.allocate_lock, builtin
        ):
            return _thread
        from importlib.machinery import BuiltinImporter
        from importlib.util import module_from_spec

        spec = BuiltinImporter.find_spec("_thread")
        assert spec is not None  # noqa: S101 - every CPython has it
        made = module_from_spec(spec)
        BuiltinImporter.exec_module(made)
        _native_thread = made
    return _native_thread
