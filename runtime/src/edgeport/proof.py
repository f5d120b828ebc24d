"""The proof of an engine that is ready before its golden samples ran: once, and before any answer.

Who proves, who waits, and what a fork or a signal in the middle of it means, live here; which
models are given unproven is the business of ``caching``, and ``model`` asks.
"""

from __future__ import annotations

import _thread
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from edgeport import forks
from edgeport.card import ModelCard
from edgeport.inputs import Feed


class Runnable(Protocol):
    """What is known here of a loaded model.

    Attributes:
        unproven: None once its golden samples passed; before, takes this model, runs them, and
            returns it, or the artifact's own in its place.
    """

    card: ModelCard
    unproven: Callable[[Any], Any] | None

    def run(self, feed: Feed) -> list[Any]:
        """Return the outputs."""


Made = TypeVar("Made", bound=Runnable)


class Proof(forks.Forked, Generic[Made]):
    """Takes a model before its first answer and returns it, or another one in its place.

    It must not know the model: closing a predictor has to free the engine at once, and not when
    Python next looks for cycles.

    Args:
        test: raises where the model does not pass.
        instead: gives the model to use in place of one that does not.
        tell: is told why it does not, once its place is taken.
        doubts: the errors by which a model does not pass; others go to whoever wants an answer.
    """

    def __init__(
        self,
        test: Callable[[Made], None],
        instead: Callable[[], Made],
        tell: Callable[[str], None],
        doubts: tuple[type[Exception], ...],
    ) -> None:
        self._test, self._instead, self._tell, self._doubts = test, instead, tell, doubts
        self._stand_in: Made | None = None
        self.after_fork()
        forks.watch(self)

    def after_fork(self) -> None:
        """Take a new lock: the old one may be held by a thread that stayed behind."""
        # A signal's handler may ask for an answer in the middle of the proof.
        self._lock = _thread.RLock()

    def __call__(self, made: Made) -> Made:
        """Return the model, proven, or the one in its place; other threads wait for the first."""
        doubt = None
        with self._lock:
            if made.unproven is None:
                return made
            if self._stand_in is None:
                try:
                    self._test(made)
                except self._doubts as cause:
                    doubt = str(cause)  # the error itself would hold on to the engine
                else:
                    made.unproven = None
                    return made
            if self._stand_in is None:
                self._stand_in = self._instead()
            stand_in = self._stand_in
        if doubt is not None:
            self._tell(doubt)
        return stand_in
