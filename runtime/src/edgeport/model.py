"""A model that passed every check, with all that ``predict`` needs. ``loading`` makes it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from edgeport.artifact.card import ModelCard
from edgeport.artifact.golden import Array
from edgeport.engine.fast_path import FastPath
from edgeport.engine.session import Session
from edgeport.engine.watchdog import TimeLimit
from edgeport.errors import InferenceError
from edgeport.inputs.batching import WORTH_THREADS, Batching
from edgeport.inputs.feeds import Feed
from edgeport.inputs.ranges import RangeCounter
from edgeport.options import Options

# Parts of a batch that use the engine's threads at once: each fills the other's waits. On two CPUs
# with AVX-512 and VNNI, batches of 2 to 32 samples of four networks (107 to 386 million
# multiply-accumulates) take 0.59 to 0.87 of one thread's time, and run by run 0.63 to 1.18.
_CALLERS_OF_A_POOL = 2

if TYPE_CHECKING:
    from edgeport.device.tuning_file import Tuning
    from edgeport.inputs.columns import Columns

Origin = tuple[str | bytes, Options, str]
"""Source, options and digest: all that it takes to load the same model again."""


class Model:
    """A model that passed every check, with all that ``predict`` needs.

    ``source`` is where to load it again, an absolute path or the bytes; ``path`` is the path as it
    was given; ``version`` is the signed one, None where no key was asked for.

    Attributes:
        counter: counts values outside of calibrated ranges, where activations are quantized, and
            of columns.
        columns: takes rows and tables by column name; None where the card has none.
        has_answered: whether a call was answered; the first is not worth the fast path's buffers.
        threads: how many may work on one call, the engine's own or helpers.
        fast_path: for plain arrays of one input to one output; None where there is none.
    """

    def __init__(
        self,
        source: str | bytes,
        digest: str,
        card: ModelCard,
        session: Session,
        batching: Batching,
        options: Options,
        path: str | None,
        version: int | None,
        tuning: Tuning | None = None,
        threads: int = 1,
    ) -> None:
        self.card = card
        self.session = session
        self.threads = threads
        self.options = options
        self.path = path
        self.version = version
        self.tuning = tuning
        self.batching = batching
        self.source = source
        self.digest = digest
        self.output_names = [spec.name for spec in card.outputs]
        is_quantized = card.quantization and card.quantization.activations != "float32"
        self._ranged_inputs = card.inputs if is_quantized else ()
        self._start_counting()

    def _start_counting(self) -> None:
        card, options = self.card, self.options
        self.has_answered = False
        self.counter = RangeCounter(self._ranged_inputs)
        self.columns: Columns | None = None
        if card.columns:
            from edgeport.inputs import columns
            from edgeport.inputs.column_ranges import ColumnCounter  # few cards have columns

            self.columns = columns.Columns(card)
            saturates = bool(self._ranged_inputs)
            self.counter = ColumnCounter(card, self.columns, saturates=saturates)
        self.fast_path: FastPath | None = None
        if self.batching.fixed in (None, 1) and _has_fast_path(card, options):
            frames = card.frames.get(card.inputs[0].name)
            most = 0 if frames else self.batching.most_in_one_run()
            (given,), (answer,) = card.inputs, card.outputs
            worth = self.batching.worth_helpers()
            self.fast_path = FastPath(
                self.session, given, answer, self.counter, most, worth, frames
            )
            if self.session.threads == 1:
                self.fast_path.share_between(self.threads)
            elif worth and not (self.tuning and self.tuning.spinning):
                self.fast_path.share_between(min(_CALLERS_OF_A_POOL, self.threads))

    def twin(self) -> Model:
        """Return a model on the same engine that counts for itself."""
        other = copy.copy(self)
        other._start_counting()
        return other

    @property
    def origin(self) -> Origin:
        """Source, options and digest: all that it takes to load the same model again."""
        return self.source, self.options, self.digest

    def run(
        self,
        feed: Feed,
        limit: TimeLimit | None = None,
        look: Callable[[Mapping[str, Array]], None] | None = None,
    ) -> list[Any]:
        """Return the outputs for a feed; raises as ``Batching.run`` and ``Session.run`` do.

        Args:
            feed: what ``prepare`` returned.
            limit: when the run is stopped.
            look: called with the arrays of each run just after it, while they are still in the
                CPU's cache.
        """

        def run(arrays: Mapping[str, Array]) -> list[Array]:
            answers = self.session.run(arrays, self.output_names, limit)
            if look is not None:
                look(arrays)
            return answers

        try:
            return self.batching.run(run, feed)
        except MemoryError as cause:  # of the arrays around the engine
            raise InferenceError(
                f"there is not enough memory for {feed.samples} samples ({cause}): pass fewer at a "
                "time"
            ) from cause


def shares_batches(card: ModelCard, options: Options) -> bool:
    """Whether threads share batches alone, so that the engine itself takes one thread."""
    work = card.multiply_accumulates or 0
    if card.frames or not 0 < work < WORTH_THREADS or not _has_fast_path(card, options):
        return False
    return Batching.of(card, options.chunk_bytes).most_in_one_run() > 0


def _has_fast_path(card: ModelCard, options: Options) -> bool:
    is_plain = options.providers is None and not options.finite
    return is_plain and len(card.inputs) == len(card.outputs) == 1
