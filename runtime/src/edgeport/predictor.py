"""Predictor: an artifact, loaded and checked, ready to answer.

It puts the parts in order and holds no detail of them: ``integrity`` reads and checks the bytes,
``card`` says what they are, ``_session`` runs them, ``inputs`` decides what may be fed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from edgeport import host, integrity
from edgeport._session import Port, Session
from edgeport.card import BATCH_AXIS, ModelCard, TensorSpec, format_shape
from edgeport.errors import InferenceError, OptionError, SelfTestError
from edgeport.golden import Array, GoldenSample
from edgeport.inputs import Feed, prepare

logger = logging.getLogger("edgeport")


class Label(NamedTuple):
    """One class and the model's score for it."""

    name: str
    score: float


class Predictor:
    """A loaded artifact. Make one with :meth:`load`, use it as a context manager or close it.

    ``predict`` and ``classify`` may be called from several threads at once.

    Attributes:
        card: what the artifact says of itself; of a file without a card, what its graph says.
        path: the artifact's path, None where it came as bytes.
        threads: how many threads one run may use.
    """

    def __init__(self, session: Session, card: ModelCard, *, path: str | None, threads: int):
        self._session: Session | None = session
        self.card = card
        self.path = path
        self.threads = threads
        self._only_input = card.inputs[0] if len(card.inputs) == 1 else None
        self._output_names = [spec.name for spec in card.outputs]

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | bytes | bytearray | memoryview,
        *,
        threads: int | None = None,
    ) -> Predictor:
        """Load an artifact after every check: bytes, seal, card, engine, golden samples.

        Args:
            source: the path of an ``.onnx`` file, or its bytes. A file without a card loads as
                well; then ``card.is_vouched_for`` is False and a warning is logged.
            threads: how many threads one run may use; by default ``EDGEPORT_THREADS``, else what
                the model's size and this device's CPUs suggest. One thread starts no pool.

        Raises:
            ArtifactError: missing, unreadable, not an ONNX file, or not loadable.
            IntegrityError: the bytes were changed after the converter sealed them.
            UnsupportedFormatError: the file needs a newer edgeport or onnxruntime.
            SelfTestError: a golden sample came out differently on this device.
            OptionError: ``threads`` is no positive whole number.
        """
        data = integrity.read(source)
        path = None
        if not isinstance(source, (bytes, bytearray, memoryview)):
            path = os.fsdecode(source)
        sealed = integrity.check_seal(data, path)
        card = None
        if sealed is not None:
            card = ModelCard.from_json(sealed.card_json, sha256=sealed.sha256, path=path)
        count = host.choose_threads(threads, card.multiply_accumulates if card else None)
        session = Session(data, threads=count, path=path)
        if card is None:
            logger.warning("%s bears no card: nothing vouches for its answers", path or "the model")
            card = _card_from_graph(session)
        predictor = cls(session, card, path=path, threads=count)
        predictor._self_test()
        return predictor

    def predict(self, *inputs: Any) -> Any:
        """Return the model's outputs for one sample or a batch.

        Args:
            inputs: one array for each input in declared order, or one dict by input name. A
                sample may come without its batch axis; then the answer comes without it too.

        Returns:
            The array of the only output, or a dict of arrays in the outputs' declared order.

        Raises:
            InputError: an input disagrees with the card; nothing was run.
            InferenceError: the engine failed, or the predictor is closed.
        """
        spec = self._only_input
        if spec is not None and len(inputs) == 1:
            x = inputs[0]
            # The common case, one array that is right already, skips the general path.
            if (
                type(x) is np.ndarray
                and x.dtype == spec.dtype
                and x.dtype != object  # text is looked at item by item
                and spec.shape[:1] == (BATCH_AXIS,)
                and x.shape[1:] == spec.shape[1:]
                and x.ndim == len(spec.shape)
                and len(x) > 0
                and x.flags.aligned
            ):
                return self._shape_answer(self._run({spec.name: x}), is_single=False)
        feed = prepare(self.card.inputs, inputs)
        return self._shape_answer(self._run_feed(feed), is_single=feed.is_single)

    def classify(self, *inputs: Any, top_k: int = 1) -> list[Label] | list[list[Label]]:
        """Return the classes with the highest scores, best first.

        Args:
            inputs: as for :meth:`predict`.
            top_k: how many classes, from 1 to all of them.

        Returns:
            A list of labels for one sample, a list of such lists for a batch. A score is the
            model's own output, not rescaled. Without labels in the card, a class is named by its
            index. One sigmoid output with two labels counts as scores ``1 - p`` and ``p``.

        Raises:
            InputError: as for :meth:`predict`.
            OptionError: the model is no classifier, or ``top_k`` is out of range.
            InferenceError: as for :meth:`predict`, or a score is NaN.
        """
        classes = self._class_names()
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= len(classes):
            raise OptionError(
                f"top_k is {top_k!r}, expected a whole number from 1 to {len(classes)}, "
                "the number of classes: pass one of these"
            )
        scores = np.asarray(self.predict(*inputs), dtype=np.float64)
        if scores.shape[-1] == 1:
            scores = np.concatenate([1.0 - scores, scores], axis=-1)
        if np.isnan(scores).any():
            raise InferenceError(
                "the model answered NaN for a class, expected a number for each: "
                "look for NaN, infinite or far out-of-range values in the input"
            )
        # A stable sort keeps the order of the classes where scores tie, as argmax does.
        order = np.argsort(-scores, axis=-1, kind="stable")[..., :top_k]
        rows = [
            [Label(classes[index], float(row[index])) for index in best]
            for row, best in zip(np.atleast_2d(scores), np.atleast_2d(order), strict=True)
        ]
        return rows[0] if scores.ndim == 1 else rows

    def close(self) -> None:
        """Release the engine's memory and threads; calling it twice does no harm."""
        self._session = None

    def __enter__(self) -> Predictor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._session is None else f"{self.threads} thread(s)"
        ins = ", ".join(f"{s.name} {s.dtype} {format_shape(s.shape)}" for s in self.card.inputs)
        outs = ", ".join(f"{s.name} {s.dtype} {format_shape(s.shape)}" for s in self.card.outputs)
        return f"<Predictor {self.card.name}: {ins} -> {outs}, {state}>"

    def _run(self, arrays: Mapping[str, Array]) -> list[Array]:
        session = self._session  # close() in another thread must not pull it away under the call
        if session is None:
            raise InferenceError("this predictor is closed: load the artifact again")
        return session.run(arrays, self._output_names)

    def _run_feed(self, feed: Feed) -> list[Array]:
        """Run what the engine cannot take as it is: no sample at all, or a fixed batch."""
        if feed.samples is None:
            return self._run(feed.arrays)
        fixed = self._fixed_batch()
        if feed.samples == 0:
            # Some operators fail on an empty batch; one made-up sample gives shapes and dtypes.
            return [out[:0] for out in self._run(_take(self.card.inputs, feed, 0, fixed or 1))]
        if fixed is None or fixed == feed.samples:
            return self._run(feed.arrays)
        parts = [
            self._run(_take(self.card.inputs, feed, start, fixed))
            for start in range(0, feed.samples, fixed)
        ]
        return [np.concatenate(part)[: feed.samples] for part in zip(*parts, strict=True)]

    def _fixed_batch(self) -> int | None:
        """Return the number of samples that the graph insists on, None where it takes any."""
        sizes = [spec.shape[0] for spec in self.card.inputs if spec.has_batch_axis]
        return next((size for size in sizes if isinstance(size, int)), None)

    def _shape_answer(self, outputs: list[Array], *, is_single: bool) -> Any:
        if is_single:
            outputs = [
                out[0] if spec.has_batch_axis else out
                for spec, out in zip(self.card.outputs, outputs, strict=True)
            ]
        if len(outputs) == 1:
            return outputs[0]
        return dict(zip(self._output_names, outputs, strict=True))

    def _class_names(self) -> tuple[str, ...]:
        """Return one name a class; refuse a model whose output is no row of class scores."""
        outputs = self.card.outputs
        spec = outputs[0]
        count = spec.shape[-1] if len(spec.shape) == 2 and spec.has_batch_axis else None
        labels = self.card.labels
        is_binary = count == 1 and spec.value_range == (0.0, 1.0)
        if is_binary and (labels is None or len(labels) == 2):
            return labels or ("0", "1")
        if (
            len(outputs) != 1
            or spec.dtype.kind != "f"
            or not isinstance(count, int)
            or count < 2
            or (labels is not None and len(labels) != count)
        ):
            listed = ", ".join(f"'{s.name}' {s.dtype} {format_shape(s.shape)}" for s in outputs)
            raise OptionError(
                f"classify needs one output of class scores with shape (N, classes), "
                f"the model gives {listed}"
                f"{'' if labels is None else f' for {len(labels)} labels'}: use predict"
            )
        return labels or tuple(str(index) for index in range(count))

    def _self_test(self) -> None:
        """Run the card's golden samples; refuse the device on which they come out differently."""
        place = "the artifact" if self.path is None else f"'{self.path}'"
        for number, sample in enumerate(self.card.golden_samples, start=1):
            for spec, actual in zip(self.card.outputs, self._run_golden(sample), strict=True):
                allowed = self.card.tolerance.get(spec.name, 0.0)
                measured = sample.outputs[spec.name].difference(actual)
                if not measured <= allowed:
                    raise SelfTestError(
                        f"{place} gives another answer on this device: golden sample {number}, "
                        f"output '{spec.name}', is off by {measured:.3g}, expected at most "
                        f"{allowed:.3g}: report the device's CPU and onnxruntime version, and "
                        "convert for this target",
                        path=self.path,
                        measured=measured,
                        allowed=allowed,
                    )

    def _run_golden(self, sample: GoldenSample) -> list[Array]:
        return self._run_feed(prepare(self.card.inputs, (sample.inputs,)))


def _take(specs: tuple[TensorSpec, ...], feed: Feed, start: int, size: int) -> dict[str, Array]:
    """Return ``size`` samples from ``start`` on, repeating the last one to fill up."""
    arrays = dict(feed.arrays)
    for spec in specs:
        if spec.has_batch_axis:
            part = arrays[spec.name][start : start + size]
            if len(part) == 0:
                part = np.zeros((size, *part.shape[1:]), part.dtype)
            elif len(part) < size:
                part = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            arrays[spec.name] = part
    return arrays


def _card_from_graph(session: Session) -> ModelCard:
    """Return what a graph without a card says about itself."""
    ports = session.inputs + session.outputs
    first_axes = {port.shape[0] if port.shape else None for port in ports}
    # A graph fixed to one sample has a 1 in front of everything; there it can only be the batch.
    has_batch = first_axes == {1} or all(
        port.shape and not isinstance(port.shape[0], int) for port in session.inputs
    )
    return ModelCard(
        name=session.graph_name or "model",
        inputs=tuple(_spec_from_port(port, has_batch) for port in session.inputs),
        outputs=tuple(_spec_from_port(port, has_batch) for port in session.outputs),
    )


def _spec_from_port(port: Port, has_batch: bool) -> TensorSpec:
    """Name the free axes: the graph's own names, else one of the tensor's own."""
    shape = tuple(
        size if isinstance(size, int) else size or f"{port.name}_{axis}"
        for axis, size in enumerate(port.shape)
    )
    axes = tuple(f"axis {axis}" for axis in range(len(shape)))
    if has_batch and shape and (shape[0] == 1 or isinstance(shape[0], str)):
        axes = (BATCH_AXIS, *axes[1:])
        shape = (shape[0] if shape[0] == 1 else BATCH_AXIS, *shape[1:])
    return TensorSpec(port.name, port.dtype, shape, axes)
