"""Streams: one answer a sample, in order, in bounded memory, reading while the engine runs.

Samples are read and prepared in the caller's thread, since cameras and cursors often belong to
the thread that opened them; one other thread runs the batches and ends with the stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from edgeport.errors import InputError
from edgeport.inputs import Feed, prepare
from edgeport.loading import Model

_BATCHES_AHEAD = 2  # one runs while one is being read

Answer = Callable[[Model, Feed], Any]


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
    pending: deque[tuple[Future[Any], Model, int]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="edgeport-stream") as executor:
        failure: BaseException | None = None
        try:
            for model, feeds in _batches(usable, samples, batch_size):
                future = executor.submit(answer, model, _join(model, feeds))
                pending.append((future, model, len(feeds)))
                if len(pending) >= _BATCHES_AHEAD:
                    yield from _split(*pending.popleft())
        except InputError as error:  # raised only after the answers before it
            failure = error
        while pending:
            yield from _split(*pending.popleft())
        if failure is not None:
            raise failure


def _batches(
    usable: Callable[[], Model], samples: Iterable[Any], batch_size: int
) -> Iterator[tuple[Model, list[Feed]]]:
    """Yield neighbouring samples of one shape, as many as fit in a batch, with their model."""
    feeds: list[Feed] = []
    for number, sample in enumerate(samples):
        if not feeds:
            model = usable()
        values = sample if isinstance(sample, tuple) else (sample,)
        try:
            feed = prepare(model.card.inputs, values)
            if feed.samples is not None and not feed.is_single:
                raise InputError(
                    f"it is a batch of {feed.samples}, expected one sample without the batch axis: "
                    "pass the samples one by one"
                )
        except InputError as error:
            if feeds:
                yield model, feeds
            raise InputError(
                f"sample {number} of the stream cannot be used: {error}",
                expected=error.expected,
                actual=error.actual,
            ) from error
        if feeds and not _fit(model, feeds[0], feed):
            yield model, feeds
            model, feeds = usable(), []
        feeds.append(feed)
        if len(feeds) == batch_size:
            yield model, feeds
            feeds = []
    if feeds:
        yield model, feeds


def _fit(model: Model, first: Feed, other: Feed) -> bool:
    """Whether two samples can stand in one batch."""
    return all(
        spec.has_batch_axis and first.arrays[spec.name].shape == other.arrays[spec.name].shape
        for spec in model.card.inputs
    )


def _join(model: Model, feeds: list[Feed]) -> Feed:
    if len(feeds) == 1:
        return feeds[0]._replace(is_single=False)
    arrays = {
        spec.name: np.concatenate([feed.arrays[spec.name] for feed in feeds])
        for spec in model.card.inputs
    }
    return Feed(arrays, len(feeds), is_single=False)


def _split(future: Future[Any], model: Model, count: int) -> Iterator[Any]:
    """Yield the answer to each sample of a batch."""
    outputs = future.result()
    if not isinstance(outputs, dict):
        outputs = {model.output_names[0]: outputs}
    for index in range(count):
        parts = {
            spec.name: outputs[spec.name][index, ...] if spec.has_batch_axis else outputs[spec.name]
            for spec in model.card.outputs
        }
        yield parts if len(parts) > 1 else next(iter(parts.values()))
