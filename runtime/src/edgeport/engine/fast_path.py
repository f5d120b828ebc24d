"""The fast path: arrays of one input to one output that need no conversion and run in one piece.

With a small network the engine's own call takes most of the time. So small arrays, one sample or
some, go through buffers that are bound once for their shape: a call copies the samples in and the
answer out. A larger batch, and a camera's frame, is handed to the engine as it is, which costs less
than the copies, and the engine makes each answer a new array. ``predictor`` takes the general path
for all else.
"""

from __future__ import annotations

import functools
import math
import time
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

# From about here on, copying a sample costs more than binding saves; a batch may do without.
_LARGEST_BYTES = 2**18
_LARGEST_BATCH_BYTES = 2**17  # with the answers
WORTH_BINDING_S = 0.005  # it takes one more run, and saves some microseconds of each later one
_MOST_SHAPES = 8  # of batches that buffers are kept for, the first that come


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
    """One model's short calls. Several threads may use it.

    Buffers are bound, and batches run, only where all sizes but the batch are fixed.

    Args:
        session: runs the model.
        given: its only input.
        answer: its only output.
        counter: counts values out of range.
        most: the largest batch that the engine may be given in one piece; 0 for none.
        frames: what the card says of the input's frames, if it takes any.
    """

    def __init__(
        self,
        session: Session,
        given: TensorSpec,
        answer: TensorSpec,
        counter: RangeCounter,
        most: int,
        frames: FrameFormat | None = None,
    ) -> None:
        self._session, self._given, self._answer = session, given, answer
        self._dtype, self._counter = given.dtype, counter
        # What copying into a buffer converts as ``casting`` would, no value changed.
        self._exact = {
            dtype
            for dtype in map(np.dtype, ("?", "i1", "u1", "i2", "u2", "f2", "f4"))
            if given.dtype.kind in "iuf" and not frames and np.can_cast(dtype, given.dtype)
        }
        self._is_frame: Callable[[tuple[int, ...]], bool] | None = None
        if frames is not None and answer.has_batch_axis and not counter.ranges:
            from edgeport.inputs.frames import is_frame  # most models have none

            self._is_frame = functools.partial(is_frame, frames)
        # Unused buffers by shape; a shape without an entry has no fast path. deque.pop and append
        # are single steps of Python, so that no lock is needed.
        self._idle: dict[Any, deque[Bound]] = {}
        self._most, self._largest_batch = 0, _LARGEST_BATCH_BYTES
        self._shape, self._names = given.sample_shape, [answer.name]
        if (
            given.has_batch_axis
            and answer.has_batch_axis
            and "O" not in given.dtype.kind + answer.dtype.kind  # text is looked at item by item
            and all(isinstance(size, int) for size in self._shape + answer.sample_shape)
        ):
            self._most = most
            if 0 < math.prod(map(int, self._shape)) * given.dtype.itemsize <= _LARGEST_BYTES:
                self._idle = {self._shape: deque(), (1, *self._shape): deque()}

    def predict(self, x: Any) -> Array | None:
        """Return the answer to a sample or batch, None where the general path has to be taken.

        Raises:
            InputError: as ``RangeCounter.watch`` does.
        """
        if type(x) is not np.ndarray:
            return None
        if x.dtype is not self._dtype and x.dtype not in self._exact:  # one object a native dtype
            return None
        idle = self._idle.get(x.shape)
        if self._session.is_lost:
            return None
        if not idle:
            if idle is None and self._is_frame is not None:
                return self._predict_frame(x)
            return self._whole_batch(x, least=1 if idle is None else 2)
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
            self._unlearn()  # the general path answers, or raises the reason
            return None
        answer = bound.answer.copy()
        idle.append(bound)
        return answer

    def _whole_batch(self, x: Array, least: int) -> Array | None:
        """Return the engine's answer to a batch, None as ``predict``; see ``learn`` for one."""
        shape = x.shape
        if (
            not shape
            or shape[1:] != self._shape
            or not least <= shape[0] <= self._most
            or not x.flags.aligned
        ):
            return None
        if x.dtype is not self._dtype or not x.flags.c_contiguous:
            x = np.ascontiguousarray(x, self._dtype)
        started = time.perf_counter()
        holds = not self._counter.is_watching or self._counter.all_hold({self._given.name: x})
        try:
            (answer,) = self._session.run({self._given.name: x}, self._names)
        except InferenceError as error:
            reraise_signal(error)
            return None  # the general path answers, or raises the reason
        if answer.shape != (shape[0], *self._answer.sample_shape):
            return None
        if not holds:
            self._counter.watch({self._given.name: x})
        elif (
            shape[0] > 1
            and x.nbytes + answer.nbytes <= self._largest_batch
            and time.perf_counter() - started < WORTH_BINDING_S
        ):
            if len(self._idle) < 2 + _MOST_SHAPES:
                self._idle.setdefault(shape, deque())
            self.learn(x, answer, is_single=False)
        return answer

    def _predict_frame(self, x: Array) -> Array | None:
        if self._is_frame is None or not self._is_frame(x.shape) or x.dtype is not self._dtype:
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
        expected = (len(given), *self._answer.sample_shape), self._answer.dtype
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
            self._unlearn()
            return
        if target.tobytes() != answer.tobytes():  # a model that draws random numbers
            self._unlearn()
            return
        # With an ellipsis, a sample without axes is still an array.
        views = (source[0, ...], target[0, ...]) if is_single else (source, target)
        holds = self._counter.check_of(self._given.name, views[0])
        idle.append(Bound(views[0], views[1], run, holds))

    def _unlearn(self) -> None:
        """Bind no buffers from now on."""
        self._idle, self._largest_batch = {}, 0


def _inverted(array: Array) -> Array:
    """Return a new array of this kind, each byte another one."""
    result = np.array(array, order="C")
    data = result.reshape(-1).view(np.uint8)
    np.invert(data, out=data)
    return result
