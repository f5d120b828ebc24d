"""The fast path: one sample of one input to one output, through buffers that are used again.

Most calls on a device are of this kind, and with a small network the engine's own call takes most
of their time. So the buffers of a shape are bound once, and a call copies the sample in and the
answer out. A camera's frame is too large for that, but it needs nothing of the general path either:
it goes to the engine as it is. ``predictor`` takes the general path for every other call.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeport.artifact.card import TensorSpec
from edgeport.artifact.golden import Array
from edgeport.engine.session import Session
from edgeport.errors import InferenceError
from edgeport.inputs.ranges import RangeCounter
from edgeport.signals import reraise_signal

if TYPE_CHECKING:
    from edgeport.artifact.frame_format import FrameFormat

# From about here on, copying a sample costs more than binding saves.
_LARGEST_BYTES = 2**18


class Bound(NamedTuple):
    """Buffers of one shape, used by one call at a time.

    Attributes:
        given: where the sample goes, in the caller's shape.
        answer: where the engine writes, in the caller's shape.
        run: runs the engine.
        holds: whether the sample is within the calibrated range; None where there is none.
    """

    given: Array
    answer: Array
    run: Callable[[], None]
    holds: Callable[[], bool] | None


class FastPath:
    """One model's bound buffers, by the caller's shape. Several threads may use it.

    Buffers are bound only where the sizes of input and output are fixed, the batch aside.
    ``frames`` is what the card says of the input's frames, if it takes any.
    """

    def __init__(
        self,
        session: Session,
        given: TensorSpec,
        answer: TensorSpec,
        counter: RangeCounter,
        frames: FrameFormat | None = None,
    ) -> None:
        self._session, self._given, self._answer = session, given, answer
        self._dtype, self._counter = given.dtype, counter
        self._is_frame: Callable[[tuple[int, ...]], bool] | None = None
        if frames is not None and answer.has_batch_axis and not counter.ranges:
            from edgeport.inputs.frames import is_frame  # most models have none

            self._is_frame = functools.partial(is_frame, frames)
        # Unused buffers by shape; a shape without an entry has no fast path. deque.pop and append
        # are single steps of Python, so that no lock is needed.
        self._idle: dict[Any, deque[Bound]] = {}
        shape = given.sample_shape
        if (
            given.has_batch_axis
            and answer.has_batch_axis
            and "O" not in given.dtype.kind + answer.dtype.kind  # text is looked at item by item
            and all(isinstance(size, int) for size in shape + answer.sample_shape)
            and 0 < math.prod(map(int, shape)) * given.dtype.itemsize <= _LARGEST_BYTES
        ):
            self._idle = {shape: deque(), (1, *shape): deque()}

    def predict(self, x: Any) -> Array | None:
        """Return the answer to one sample, None where the general path has to be taken.

        Raises:
            InputError: as ``RangeCounter.watch`` does.
        """
        if type(x) is not np.ndarray or x.dtype is not self._dtype:  # one object a native dtype
            return None
        idle = self._idle.get(x.shape)
        if not idle or self._session.is_lost:
            return None if idle is not None or self._is_frame is None else self._predict_frame(x)
        try:
            bound = idle.pop()
        except IndexError as error:  # another thread was faster
            reraise_signal(error)
            return None
        bound.given[...] = x
        if bound.holds is not None and not bound.holds():
            self._counter.watch({self._given.name: bound.given})
        try:
            bound.run()
        except InferenceError as error:
            reraise_signal(error)
            self._idle = {}  # the general path answers, or raises the reason
            return None
        answer = bound.answer.copy()
        idle.append(bound)
        return answer

    def _predict_frame(self, x: Array) -> Array | None:
        if self._is_frame is None or not self._is_frame(x.shape) or self._session.is_lost:
            return None
        try:
            feed = {self._given.name: x[np.newaxis]}
            (answer,) = self._session.run(feed, [self._answer.name])
        except InferenceError as error:
            reraise_signal(error)
            return None  # the general path raises the reason
        result: Array | None = answer[0, ...] if answer.shape[:1] == (1,) else None
        return result

    def learn(self, given: Array, answer: Array, *, is_single: bool) -> None:
        """Bind buffers for further calls like the general path's last one, unless some are unused.

        ``is_single`` says whether callers of this kind leave the batch axis out.
        """
        idle = self._idle.get(given.shape[1:] if is_single else given.shape)
        expected = (1, *self._answer.sample_shape), self._answer.dtype
        if idle is None or idle:
            return
        if (answer.shape, answer.dtype) != expected:
            return
        # Inverted bytes: an engine that reads or writes another place gives another answer.
        source, target = _inverted(given), _inverted(answer)
        try:
            run = self._session.bind(self._given.name, source, self._answer.name, target)
            source[...] = given
            run()
        except InferenceError as error:
            reraise_signal(error)
            self._idle = {}
            return
        if target.tobytes() != answer.tobytes():  # a model that draws random numbers
            self._idle = {}
            return
        # With an ellipsis, a sample without axes is still an array.
        views = (source[0, ...], target[0, ...]) if is_single else (source, target)
        holds = self._counter.check_of(self._given.name, views[0])
        idle.append(Bound(views[0], views[1], run, holds))


def _inverted(array: Array) -> Array:
    """Return a new array of this kind, each byte another one."""
    result = np.array(array, order="C")
    data = result.reshape(-1).view(np.uint8)
    np.invert(data, out=data)
    return result
