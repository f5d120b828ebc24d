"""Streams: one answer a sample, in order, in bounded memory, reading while the engine runs.

Samples are read and prepared in the caller's thread, since cameras and cursors often belong to
the thread that opened them; one other thread runs the batches and ends with the stream.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from edgeport.engine.watchdog import Deadline
from edgeport.errors import InputError
from edgeport.inputs.feeds import Feed, prepare
from edgeport.model import Model

_BATCHES_AHEAD = 2  # one runs while one is being read

Answer = Callable[[Model, Feed, Deadline], Any]


def stream(
    usable: Callable[[], Model], answer: Answer, samples: Iterable[Any], batch_size: int
) -> Iterator[Any]:
    """Yield the answers; see ``Predictor.stream``.

    Args:
        usable: returns the model to use now.
        answer: runs a feed on a model and returns what ``predict`` would.
        samples: read in the caller's thread.
        batch_size: most samples of one run.
    """
    pending: deque[tuple[Feed, Future[Any]]] = deque()
    failures: list[Exception] = []
    home, deadline = os.getpid(), Deadline()

    def oldest() -> Iterator[Any]:
        feed, future = pending.popleft()
        if os.getpid() != home:  # a fork leaves the thread behind
            return _split(answer(usable(), feed, deadline), feed)
        return _split(future.result(), feed)

    executor = ThreadPoolExecutor(1, thread_name_prefix="edgeport-stream")
    try:
        for model, feed in _batches(usable, samples, batch_size, failures):
            pending.append((feed, executor.submit(answer, model, feed, deadline)))
            if len(pending) >= _BATCHES_AHEAD:
                yield from oldest()
        while pending:
            yield from oldest()
    finally:
        # Whoever leaves early, as by Ctrl-C, waits for no answer that nobody will read.
        deadline.at = -math.inf
        executor.shutdown(cancel_futures=True)
    if failures:
        raise failures[0]


def _batches(
    usable: Callable[[], Model], samples: Iterable[Any], batch_size: int, failures: list[Exception]
) -> Iterator[tuple[Model, Feed]]:
    """Yield neighbouring samples of one shape, as many as fit in a batch, with their model.

    What ends the samples early is left in ``failures``, to be raised after the answers before it.
    """
    feeds: list[Feed] = []
    try:
        for number, sample in enumerate(samples):
            if not feeds:
                model = usable()
            feed = _prepare(model, sample, number)
            if feeds and not _fit(model, feeds[0], feed):
                yield model, _join(feeds)
                model, feeds = usable(), []
            feeds.append(feed)
            if len(feeds) == batch_size:
                yield model, _join(feeds)
                feeds = []
    except Exception as error:
        failures.append(error)
    if feeds:
        yield model, _join(feeds)


def _prepare(model: Model, sample: Any, number: int) -> Feed:
    """Return one sample in arrays of its own: a camera may refill its buffer for the next."""
    try:
        feed = prepare(model.card.inputs, sample if isinstance(sample, tuple) else (sample,))
        if feed.samples is not None and not feed.is_single:
            raise InputError(
                f"it is a batch of {feed.samples}, expected one sample without the batch axis: "
                "pass the samples one by one"
            )
    except InputError as error:
        message = f"sample {number} of the stream cannot be used: {error}"
        raise InputError(message, expected=error.expected, actual=error.actual) from error
    return feed._replace(arrays={name: array.copy() for name, array in feed.arrays.items()})


def _fit(model: Model, first: Feed, other: Feed) -> bool:
    """Whether two samples can stand in one batch."""
    return model.batching.may_split and all(
        spec.has_batch_axis and first.arrays[spec.name].shape == other.arrays[spec.name].shape
        for spec in model.card.inputs
    )


def _join(feeds: list[Feed]) -> Feed:
    if len(feeds) == 1:
        return feeds[0]
    names = feeds[0].arrays
    arrays = {name: np.concatenate([feed.arrays[name] for feed in feeds]) for name in names}
    return Feed(arrays, len(feeds), is_single=False)


def _split(outputs: Any, feed: Feed) -> Iterator[Any]:
    """Yield the answer to each sample of a batch, all of whose outputs have a batch axis."""
    if feed.is_single or feed.samples is None:
        yield outputs
    elif isinstance(outputs, dict):
        for index in range(feed.samples):
            yield {name: output[index, ...] for name, output in outputs.items()}
    else:
        yield from (outputs[index, ...] for index in range(feed.samples))
