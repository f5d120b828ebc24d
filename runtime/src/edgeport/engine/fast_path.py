"""The fast path: one input to one output, plain numbers of sizes that are known beforehand.

With a small network the engine's own call takes most of the time. So small arrays, one sample or
some, go through buffers that are bound once for their shape: a call copies the samples in and the
answer out. A larger array, and a camera's frame, is handed to the engine as it is, which costs less
than the copies; a batch of several runs is written part by part into one answer. ``predictor``
takes the general path for all else.
"""

from __future__ import annotations

import functools
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeport.artifact.card import TensorSpec
from edgeport.artifact.golden import Array
from edgeport.engine.session import Session
from edgeport.errors import InferenceError
from edgeport.inputs.casting import WHOLE_IN_FLOAT32, float32_of
from edgeport.inputs.ranges import RangeCounter, are_between
from edgeport.signals import reraise_signal

if TYPE_CHECKING:
    from edgeport.artifact.frame_format import FrameFormat

# From about here on, copying samples and answers costs more than binding saves, and an answer that
# is bound for its run alone costs less than a copy of the engine's.
_LARGEST_BYTES = 2**16
WORTH_BINDING_S = 0.005  # it takes one more run, and saves some microseconds of each later one
_NUMBERS_OF = (np.ndarray, list)  # other types have more to them than numbers
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
        worth: from how many samples on parts of a batch run side by side; 0 for never.
        frames: what the card says of the input's frames, if it takes any.

    Attributes:
        threads: how many run parts of a batch side by side; 1 by default.
    """

    def __init__(
        self,
        session: Session,
        given: TensorSpec,
        answer: TensorSpec,
        counter: RangeCounter,
        most: int,
        worth: int,
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
        # Looks at what ``float32_of`` made; None where only the general path converts.
        self._are_small: Callable[[Array], bool] | None = None
        self._is_small_within = False  # whether it tells that values are within their range, too
        # Names and shapes by themselves: after a large run, each step of Python comes from memory.
        self._name, self._answer_shape = given.name, answer.sample_shape
        self._look = counter.look_at(given.name) if counter.is_watching else None
        if given.dtype == np.float32 and not frames:
            self._are_small = functools.partial(are_between, -WHOLE_IN_FLOAT32, WHOLE_IN_FLOAT32)
            if self._look is None:
                self._is_small_within = True
            elif max(map(abs, counter.limits(given.name))) <= WHOLE_IN_FLOAT32:
                self._are_small, self._is_small_within = self._look, True
        self._is_frame: Callable[[tuple[int, ...]], bool] | None = None
        if frames is not None and answer.has_batch_axis and not counter.ranges:
            from edgeport.inputs.frames import is_frame  # most models have none

            self._is_frame = functools.partial(is_frame, frames)
        # Unused buffers by shape; a shape without an entry has no fast path. deque.pop and append
        # are single steps of Python, so that no lock is needed.
        self._idle: dict[Any, deque[Bound]] = {}
        self.threads, self._worth = 1, worth
        self._share: Callable[[Callable[[int], None], Iterable[int], int], None] | None = None
        self._most = self._most_bound = 0
        self._binds_parts: bool | None = None  # None before the first part
        self._shape, self._names = given.sample_shape, [answer.name]
        if (
            given.has_batch_axis
            and answer.has_batch_axis
            and "O" not in given.dtype.kind + answer.dtype.kind  # text is looked at item by item
            and all(isinstance(size, int) for size in self._shape + answer.sample_shape)
        ):
            self._most = most
            sizes = [math.prod(map(int, one.sample_shape)) for one in (given, answer)]
            size = sizes[0] * given.dtype.itemsize + sizes[1] * answer.dtype.itemsize
            self._most_bound = _LARGEST_BYTES // max(1, size)
            if sizes[0] and self._most_bound:
                self._idle = {self._shape: deque(), (1, *self._shape): deque()}

    def share_between(self, threads: int) -> None:
        """Have so many threads run parts of a batch.

        What they need is imported here: a signal's handler that raises in the middle of an import
        may leave the import's lock held, on which every later batch would wait for ever.
        """
        if threads > 1:
            from edgeport.engine import helpers  # most models have one thread

            self._share = helpers.share
        self.threads = threads

    def predict(self, x: Any) -> Array | None:
        """Return the answer to a sample or batch, None where the general path has to be taken.

        Raises:
            InputError: as ``RangeCounter.watch`` does.
            InferenceError: a part of a large batch failed.
        """
        is_known = False  # whether all values are within their range
        if type(x) is not np.ndarray or (
            x.dtype is not self._dtype  # one object a native dtype
            and x.dtype not in self._exact
        ):
            if self._are_small is None or type(x) not in _NUMBERS_OF:
                return None
            x = float32_of(x, self._are_small)
            if x is None:
                return None
            is_known = self._is_small_within
        idle = self._idle.get(x.shape)
        if self._session.is_lost:
            return None
        if not idle:
            if idle is None and self._is_frame is not None:
                return self._predict_frame(x)
            return self._unbound(x, 1 if idle is None else 2, is_known)
        try:
            bound = idle.pop()
        except IndexError as error:  # another thread was faster
            reraise_signal(error)
            return None
        given, target, run, holds = bound
        given[...] = x
        if holds is not None and not is_known and not holds():
            self._counter.watch({self._name: given})
        try:
            run()
        except InferenceError as error:
            reraise_signal(error)
            self._unlearn()  # the general path answers, or raises the reason
            return None
        answer = target.copy()
        idle.append(bound)
        return answer

    def _unbound(self, x: Array, least: int, is_known: bool) -> Array | None:
        """Return the answer to a batch, or to a sample that is too large for buffers.

        None as for ``predict``, and for fewer samples than ``least``. After a large run Python's
        own steps come from memory, too, so there are few of them here.
        """
        shape = x.shape
        is_single = shape == self._shape
        if is_single:
            x = x[np.newaxis]
            shape = x.shape
        elif shape[1:] != self._shape or not shape:
            return None
        samples, most = shape[0], self._most
        if not least <= samples or not most:
            return None
        if samples > most or self._are_worth_helpers(samples):
            return self._in_parts(x, is_known)
        x = self._ready(x)
        look = self._look
        holds = is_known or look is None or look(x)
        started = time.perf_counter() if samples <= self._most_bound else 0.0
        try:
            (answer,) = self._session.run({self._name: x}, self._names)
        except InferenceError as error:
            reraise_signal(error)
            return None  # the general path answers, or raises the reason
        if answer.shape != (samples, *self._answer_shape):
            return None
        if not holds:
            self._counter.watch({self._name: x[0, ...] if is_single else x})
        elif started and samples > 1 and time.perf_counter() - started < WORTH_BINDING_S:
            if len(self._idle) < 2 + _MOST_SHAPES:
                self._idle.setdefault(shape, deque())
            self.learn(x, answer, is_single=False)
        return answer[0, ...] if is_single else answer

    def share(self, x: Array) -> Array | None:
        """Return the answer to a prepared batch that helpers share, None for any other.

        Raises:
            as ``predict`` does.
        """
        is_shared = self._most > 0 and self._are_worth_helpers(len(x))
        return self._in_parts(x, is_known=False) if is_shared else None

    def _are_worth_helpers(self, samples: int) -> bool:
        return self.threads > 1 and samples >= self._worth > 0

    def _ready(self, x: Array) -> Array:
        """Return the array as the engine reads it, itself where it can."""
        flags = x.flags
        if x.dtype is self._dtype and flags.c_contiguous and flags.aligned:
            return x
        return np.array(x, self._dtype, order="C")

    def _in_parts(self, x: Array, is_known: bool) -> Array | None:
        """Return the answer to more samples than one run takes, None as ``predict``.

        Each part is looked at just before its run, which then finds it in the CPU's cache.
        """
        samples = len(x)
        parts = -(-samples // self._most)
        if self._are_worth_helpers(samples):
            parts = min(samples, -(-parts // self.threads) * self.threads)  # as many for each
        ends = [samples * number // parts for number in range(parts + 1)]  # of nearly one size
        missed: list[int] = []  # where something is out of range
        failed: list[int] = []  # where the answer has another shape

        def work(number: int) -> None:
            start, end = ends[number : number + 2]
            part = self._ready(x[start:end])
            if not (is_known or missed or self._look is None or self._look(part)):
                missed.append(start)
            if not failed and not self._write(part, result[start:end]):
                failed.append(start)

        try:
            result = np.empty((samples, *map(int, self._answer_shape)), self._answer.dtype)
            numbers = deque(range(parts))
            if self._binds_parts is None and result.nbytes // parts >= _LARGEST_BYTES:
                work(numbers.popleft())  # one part tells how all of them are written
            if self._share is not None and parts > 1:
                self._share(work, numbers, self.threads)
            else:
                for number in numbers:
                    work(number)
            if failed:
                return None
            if missed:
                self._counter.watch({self._name: self._ready(x)})
        except MemoryError as error:
            reraise_signal(error)
            return None  # the general path raises it as an error of ours
        return result

    def _write(self, part: Array, target: Array) -> bool:
        """Have the engine write the answer into an array, return whether it has its shape."""
        ends = self._name, part, self._answer.name, target
        is_large = target.nbytes >= _LARGEST_BYTES
        if is_large and self._binds_parts:
            self._session.bind(*ends)()
            return True
        (answer,) = self._session.run({self._name: part}, self._names)
        if (answer.shape, answer.dtype) != (target.shape, target.dtype):
            return False
        if is_large and self._binds_parts is None:  # as in ``learn``, one run tells
            target[...] = _inverted(answer)
            try:
                self._session.bind(*ends)()
            except InferenceError as error:
                reraise_signal(error)
            self._binds_parts = target.tobytes() == answer.tobytes()
        target[...] = answer
        return True

    def _predict_frame(self, x: Array) -> Array | None:
        if self._is_frame is None or not self._is_frame(x.shape) or x.dtype is not self._dtype:
            return None
        try:
            feed = {self._name: x[np.newaxis]}
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
        expected = (len(given), *self._answer_shape), self._answer.dtype
        if idle is None or idle:
            return
        if (answer.shape, answer.dtype) != expected:
            return
        # Inverted bytes: an engine that reads or writes another place gives another answer.
        source, target = _inverted(given), _inverted(answer)
        try:
            run = self._session.bind(self._name, source, self._answer.name, target)
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
        holds = self._counter.check_of(self._name, views[0])
        idle.append(Bound(views[0], views[1], run, holds))

    def _unlearn(self) -> None:
        """Bind no buffers from now on."""
        self._idle, self._most_bound = {}, 0


def _inverted(array: Array) -> Array:
    """Return a new array of this kind, each byte another one."""
    result = np.array(array, order="C")
    data = result.reshape(-1).view(np.uint8)
    np.invert(data, out=data)
    return result
