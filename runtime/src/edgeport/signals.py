"""Exceptions that a signal's handler raises: they pass through edgeport unchanged.

A handler runs between any two instructions of the main thread, so its exception turns up wherever
the thread is, also where another error would be translated or made up for. Whoever translates or
goes on asks here; what the handler raised is neither lost nor renamed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from edgeport.errors import EdgeportError

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


def is_from_signal(error: BaseException) -> bool:
    """Whether a signal's handler raised it.

    Python calls a handler with the signal's number and the frame that it interrupts, which is also
    the one that called it.
    """
    step = error.__traceback__
    while step is not None:
        # A frame that was asked for its locals keeps them, the error too, until the next collection
        # of garbage; so ours, which hold on to engines, are passed over.
        if not str(step.tb_frame.f_globals.get("__name__")).startswith("edgeport."):
            caller = step.tb_frame.f_back
            for value in list(step.tb_frame.f_locals.values()):
                given = value if type(value) is tuple else (value,)  # a tuple of *arguments
                if caller is not None and any(item is caller for item in given):
                    return True
        step = step.tb_next
    return False


def reraise_signal(error: BaseException) -> None:
    """Raise what a signal's handler raised, if this error is it or was made of it.

    For whoever would go on after an error.
    """
    cause: BaseException | None = error
    while cause is not None:
        if is_from_signal(cause):
            raise cause
        cause = cause.__cause__


def passing_signals(call: Callable[_Given, _Answer]) -> Callable[_Given, _Answer]:
    """Have what a signal's handler raises leave the function as it is.

    A soft time limit may well be a ``TimeoutError``, which is an ``OSError``: raised while a file
    is read, it would be told as one of edgeport's errors.
    """

    @functools.wraps(call)
    def passing(*args: _Given.args, **kwargs: _Given.kwargs) -> _Answer:
        try:
            return call(*args, **kwargs)
        except EdgeportError as error:
            reraise_signal(error)
            raise

    return passing
