"""Streams: one answer a sample, in order, in bounded memory. All is done in the caller's thread.

The samples of a model whose answers depend on the whole batch are joined by ``join_all`` instead,
for `edgeport predict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec
from edgeport.errors import InputError
from edgeport.inputs.feeds import Feed, prepare
from edgeport.model import Model
from edgeport.signals import passing_signals, reraise_signal

if TYPE_CHECKING:
    from edgeport.inputs.columns import Columns

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
        outputs = answer(usable() if model.session.is_lost else model, feed)
        yield from [outputs] if feed.is_single or feed.samples is None else rows(outputs)
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
            feed = _prepare(model.card, model.columns, sample, number)
            may_join = model.batching.may_split
            if feeds and not (may_join and _fit(model.card.inputs, feeds[0], feed)):
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
def _prepare(card: ModelCard, columns: Columns | None, sample: Any, number: int) -> Feed:
    """Return one sample in arrays of its own: a camera may refill its buffer for the next."""
    try:
        values = sample if isinstance(sample, tuple) else (sample,)
        if columns is not None:
            values = columns.arrange(values)
        feed = prepare(card.inputs, values, card.frames)
        if columns is not None:
            columns.check(feed.arrays)
        if feed.samples is not None and not feed.is_single:
            raise InputError(
                f"it is a batch of {feed.samples}, expected one sample without the batch axis: "
                "pass the samples one by one"
            )
    except InputError as error:
        message = f"sample {number} of the stream cannot be used: {error}"
        raise InputError(message, expected=error.expected, actual=error.actual) from error
    return feed._replace(arrays={name: array.copy() for name, array in feed.arrays.items()})


def _fit(specs: Sequence[TensorSpec], first: Feed, other: Feed) -> bool:
    """Whether two samples can stand in one batch."""
    return all(
        spec.has_batch_axis and first.arrays[spec.name].shape == other.arrays[spec.name].shape
        for spec in specs
    )


def join_all(
    card: ModelCard, samples: Iterable[Any], columns: Columns | None = None
) -> Feed | None:
    """Return all samples as one batch, None where there is none.

    Raises:
        InputError: a sample disagrees with the card, or with the first one in a free axis.
    """
    feeds = [_prepare(card, columns, sample, number) for number, sample in enumerate(samples)]
    for number, feed in enumerate(feeds):
        if not _fit(card.inputs, feeds[0], feed):
            raise InputError(
                f"sample {number} has another shape than sample 0, expected the same, since the "
                "answers depend on all samples together: pass samples of one shape"
            )
    return _join(feeds) if feeds else None


def _join(feeds: list[Feed]) -> Feed:
    if len(feeds) == 1:
        return feeds[0]
    names = feeds[0].arrays
    arrays = {name: np.concatenate([feed.arrays[name] for feed in feeds]) for name in names}
    return Feed(arrays, len(feeds), is_single=False)


def rows(outputs: Any) -> Iterator[Any]:
    """Yield the answer to each sample of a batch, all of whose outputs have a batch axis."""
    if isinstance(outputs, dict):
        for index in range(len(next(iter(outputs.values())))):
            yield {name: output[index, ...] for name, output in outputs.items()}
    else:
        yield from (outputs[index, ...] for index in range(len(outputs)))
