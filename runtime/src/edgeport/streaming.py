"""Streams: one answer a sample, in order, in bounded memory. All is done in the caller's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from edgeport.errors import InputError
from edgeport.inputs.feeds import Feed, prepare
from edgeport.model import Model
from edgeport.signals import passing_signals, reraise_signal

Answer = Callable[[Model, Feed], Any]


def stream(
    usable: Callable[[], Model], answer: Answer, samples: Iterable[Any], batch_size: int
) -> Iterator[Any]:
    """Yield the answers; see ``Predictor.stream``.

    Args:
        usable: returns the model to use now.
        answer: runs a feed on a model and returns what ``predict`` would.
        samples: read one batch ahead.
        batch_size: most samples of one run.
    """
    failures: list[Exception] = []
    for model, feed in _batches(usable, samples, batch_size, failures):
        # A fork may have happened since the batch was begun.
        yield from _split(answer(usable() if model.session.is_lost else model, feed), feed)
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
        reraise_signal(error)
        failures.append(error)
    if feeds:
        yield model, _join(feeds)


@passing_signals
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
