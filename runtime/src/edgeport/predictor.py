"""Predictor: an artifact, loaded and checked, ready to answer.

It calls the parts in order: ``loading`` makes a checked model of a file, ``inputs/feeds`` decides
what may be fed, ``inputs/batching`` how samples are grouped, ``engine/session`` runs them.
"""

from __future__ import annotations

import os
import time
from _thread import RLock
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeport.artifact.card import TensorSpec, format_specs
from edgeport.artifact.golden import Array
from edgeport.checks import truth, whole_number
from edgeport.engine.fast_path import WORTH_BINDING_S
from edgeport.engine.watchdog import TimeLimit
from edgeport.errors import ArtifactError, InferenceError, InputError, OptionError
from edgeport.inputs.batching import CHUNK_BYTES
from edgeport.inputs.feeds import Feed, prepare
from edgeport.inputs.ranges import refuse_non_finite_inputs, refuse_non_finite_outputs
from edgeport.labels import Label, best_labels, class_names
from edgeport.loading import Source, load_model
from edgeport.model import Model, Origin
from edgeport.options import Options, Provider, PublicKey
from edgeport.signals import passing_signals, reraise_signal
from edgeport.streaming import stream

# Held while a predictor changes its model or loads that of a pickle, and for a fork, so that no
# child inherits it held. One of C alone: no signal's handler runs between taking it and the block
# that frees it, and gevent and eventlet do not replace it.
_SWAP = RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_SWAP.acquire, after_in_parent=_SWAP.release, after_in_child=_SWAP.release
    )


class Predictor:
    """A loaded artifact. Make one with :meth:`load`, use it as a context manager or close it.

    ``predict`` and ``classify`` may be called from several threads at once, also while another
    thread calls ``reload``: each call is answered by one model from beginning to end. A predictor
    pickles and copies, and it works on both sides of a fork: where the engine does not survive the
    way, the artifact is loaded and checked again on the other side. One from a pickle does so when
    it is first used, so that its errors are raised there, and a process does so once: it keeps the
    engine of the last pickle until another takes its place or one of its predictors is closed.

    Attributes:
        card: what the artifact says of itself; of a file without a card, what its graph says.
        path: the artifact's path as it was given, None where it came as bytes.
        threads: how many threads one run may use.
        version: the version that the artifact was signed as, None where no key was asked for.
        tuning: what `edgeport tune` chose for this device and is in use, None where nothing is.
    """

    _model: Model | None
    _origin: Origin  # of one that came through a pickle

    def __init__(self, model: Model) -> None:
        self._reloads = self._adopted = 0  # how many began; which one the present model is of
        self._adopt(model)

    @classmethod
    def load(
        cls,
        source: Source,
        *,
        threads: int | None = None,
        finite: bool = False,
        providers: Sequence[Provider] | None = None,
        public_key: PublicKey | None = None,
        minimum_version: int | None = None,
        chunk_bytes: int = CHUNK_BYTES,
        cache_dir: str | os.PathLike[str] | None = None,
        tuning: str | os.PathLike[str] | bool = True,
    ) -> Predictor:
        """Load an artifact after every check: bytes, seal, card, engine, golden samples.

        The golden samples run without a time limit, since a limit takes a thread. A file whose
        loop never ends is waited for: load a stranger's file in a process that can be ended.
        From 2^20 multiply-accumulates on, or 1 MiB where their number is unknown, the first sample
        alone is run: ``edgeport verify`` runs all of them.

        Args:
            source: the path of an ``.onnx`` file, or its bytes. A file without a card loads as
                well; then ``card.is_vouched_for`` is False and a warning is logged.
            threads: how many threads one run may use; by default ``EDGEPORT_THREADS``, else what
                the model's size and this device's CPUs suggest. One thread starts no pool.
            finite: whether a NaN or an infinity in an input or output is an error.
            providers: the engine's execution providers, best first; by default the CPU alone.
            public_key: an Ed25519 public key that must have signed the artifact: a PEM file's
                path, the text of one, or 32 bytes. Needs the extra ``edgeport[sign]``.
            minimum_version: the lowest signed version to accept, against a roll-back.
            chunk_bytes: most bytes of inputs and outputs in one run; larger batches are run in
                parts, so that they do not need more memory. A model whose card says
                ``samples_interact`` runs every batch whole.
            cache_dir: a folder of this user's own that keeps the optimized graph for the next load
                on this device. If it cannot be used, the log says why and the load goes on.
            tuning: the file that ``edgeport tune`` wrote; by default ``FILE.tune.json`` if it
                exists, False for none. A file that does not fit is ignored, and the log says why.

        Raises:
            ArtifactError: missing, unreadable, not an ONNX file, or not loadable.
            IntegrityError: the bytes were changed after the converter sealed them, or the
                signature is missing, by another key, or of too low a version.
            UnsupportedFormatError: the file needs a newer edgeport or onnxruntime.
            SelfTestError: a golden sample came out differently on this device.
            InferenceError: the memory does not suffice to load it.
            OptionError: an option cannot be met.
        """
        options = Options(
            threads, finite, providers, public_key, minimum_version, chunk_bytes, cache_dir, tuning
        )
        return cls(load_model(source, options))

    @property
    def out_of_range(self) -> Mapping[str, int]:
        """How many values lay outside the range that an int8 model was calibrated for, so far.

        By input name; such values saturate, which no answer shows. Empty for a float model. Where
        the card has columns, of all models and by column name: the values far outside of what the
        training saw (``inputs/column_ranges`` says how far) or, in an int8 model, saturated. Each
        loaded model counts for itself: ``reload`` starts at zero.
        """
        return self._counter.totals()

    def predict(
        self, *inputs: Any, timeout: float | None = None, finite: bool | None = None
    ) -> Any:
        """Return the model's outputs for one sample or a batch.

        Args:
            inputs: one array for each input in declared order, or one dict by input name. A
                sample may come without its batch axis; then the answer comes without it too.
                Where the card has columns, also rows by column name: a dict of values is one
                sample; a dict of lists or arrays, a list of dicts, or a table of pandas, polars
                or pyarrow is a batch. A dict is by input name if its keys are the input names and
                these are not the columns' names. Bare arrays are in the card's order.
            timeout: after so many seconds the run is stopped at the next operator, by a thread
                that watches the time. Without it, the run is an ordinary call in this thread: a
                signal, such as Ctrl-C, is heard when it has ended.
            finite: as for :meth:`load`, for this call alone.

        Returns:
            The array of the only output, or a dict of arrays in the outputs' declared order.

        Raises:
            InputError: an input disagrees with the card.
            OptionError: ``finite`` is neither None, True nor False.
            InferenceError: the engine failed, the time is up, or the predictor is closed; after
                the first two the predictor stays usable.
            ArtifactError: as for :meth:`load`, in a forked process that has to load it again.
        """
        model = self._model
        if (
            model is not None
            and model.fast_path is not None
            and len(inputs) == 1
            and timeout is None
            and (finite is None or finite is False)
        ):
            answer = model.fast_path.predict(inputs[0])
            if answer is not None:
                return answer
        return self._predict(self._usable(), inputs, timeout, finite)

    def classify(
        self,
        *inputs: Any,
        top_k: int = 1,
        timeout: float | None = None,
        finite: bool | None = None,
    ) -> list[Label] | list[list[Label]]:
        """Return the classes with the highest scores, best first.

        Args:
            inputs: as for :meth:`predict`.
            top_k: how many classes, from 1 to all of them.
            timeout: as for :meth:`predict`.
            finite: as for :meth:`predict`.

        Returns:
            A list of labels for one sample, a list of such lists for a batch. A score is the
            model's own output, not rescaled. Without labels in the card, a class is named by its
            index. One sigmoid output with two labels counts as scores ``1 - p`` and ``p``, one
            logit with two labels as ``-z`` and ``z``.

        Raises:
            InputError: as for :meth:`predict`.
            OptionError: the model is no classifier, ``top_k`` is out of range, or ``finite`` is
                neither None, True nor False.
            InferenceError: as for :meth:`predict`, or a score is NaN.
            ArtifactError: as for :meth:`predict`.
        """
        model = self._usable()
        classes = class_names(model.card)
        remedy = f"the model has {len(classes)} classes"
        whole_number(top_k, "top_k", highest=len(classes), remedy=remedy)
        is_logit = model.card.outputs[0].value_range != (0.0, 1.0)
        scores = self._predict(model, inputs, timeout, finite)
        return best_labels(scores, classes, top_k, is_logit=is_logit)

    def stream(self, samples: Iterable[Any], *, batch_size: int = 32) -> Iterator[Any]:
        """Yield the answer to each sample in order; all is done in the caller's thread.

        Args:
            samples: an iterable of samples without batch axis, each in a form that ``predict``
                takes: an array, a dict by input name or by column, or a tuple in declared
                order. It is read at most one batch ahead.
            batch_size: how many samples are run at once.

        Raises:
            InputError: a sample disagrees with the card; the answers before it were yielded. Or
                ``samples`` is no iterable.
            InferenceError, ArtifactError: as for :meth:`predict`.
            OptionError: ``batch_size`` is no positive whole number, or the samples of this model
                depend on each other, so that a stream has no answer to one.
        """
        whole_number(batch_size, "batch_size")
        model = self._usable()  # a closed predictor says so here, not at the first sample
        if model.card.samples_interact:
            raise OptionError(
                "stream was called on a model whose answers depend on the whole batch, expected "
                "one that answers each sample by itself: pass the batch to predict"
            )
        items = _iterator(samples, "the stream is", "samples")
        return stream(self._usable, self._answer_batch, items, batch_size)

    def windows(self, chunks: Iterable[Any], *, batch_size: int = 32) -> Iterator[Any]:
        """Yield one answer for each window of a recording, as soon as the window is complete.

        The card's ``signal`` says how windows are cut: answer i is to the samples from ``i * hop``
        up to ``i * hop + window``, wherever the chunks begin and end. At most one window, the
        chunk and its answers are kept. What remains at the end is no window and is dropped.

        Args:
            chunks: an iterable of the recording's pieces in their order, each of any length, from
                a microphone, a sensor or a file: arrays (T,) or (T, C) of the input's kind of
                numbers, int16 or floats, or bytes of int16, little-endian, unless the card mixes
                channels. One is read at a time.
            batch_size: how many windows of one chunk are run at once.

        Raises:
            InputError: a chunk has another dtype or number of channels; the answers before it were
                yielded. Or ``chunks`` is no iterable.
            InferenceError, ArtifactError: as for :meth:`predict`.
            OptionError: ``batch_size`` is no positive whole number, the card has no signal, the
                model has further inputs, or its samples depend on each other.
        """
        from edgeport.inputs.windows import Cutter, signal_of  # few models take signals

        whole_number(batch_size, "batch_size")
        cutter = Cutter(*signal_of(self._usable().card))
        if hasattr(chunks, "dtype") or isinstance(chunks, (bytes, bytearray, memoryview)):
            raise InputError.of(
                "the signal is",
                f"one {type(chunks).__name__}",
                "an iterable of chunks",
                "pass a list with it, [recording]",
            )
        items = _iterator(chunks, "the signal is", "chunks")

        def answers() -> Iterator[Any]:
            for chunk in items:
                windows = cutter.cut(chunk)
                yield from stream(self._usable, self._answer_batch, windows, batch_size)

        return answers()

    def reload(self, source: Source | None = None) -> None:
        """Replace the model with that of another file, or of the same path read again.

        Calls in flight end on the model that they began with; later ones use the new one. Of
        several reloads at once, the one that began last stays.

        Args:
            source: the new artifact; by default the path of the present one.

        Raises:
            ArtifactError: the new file failed a check of :meth:`load`, or its inputs and outputs
                are other ones; the present model goes on serving.
            InferenceError: the predictor is closed.
        """
        from edgeport.artifact.card_changes import first_difference  # a first answer needs none

        with _SWAP:
            old = self._open()
            self._reloads = ticket = self._reloads + 1
        new = load_model(old.source if source is None else source, old.options)
        with _SWAP:
            difference = first_difference(self._open().card, new.card)
            if difference:
                place = "the new artifact" if new.path is None else f"'{new.path}'"
                raise ArtifactError(
                    f"{place} has {difference}: load it as a predictor of its own", path=new.path
                )
            if ticket > self._adopted:
                self._adopted = ticket
                self._adopt(new)
                _forget(old)

    def close(self) -> None:
        """Release the engine's memory and threads; calling it twice does no harm."""
        with _SWAP:
            if "_model" not in self.__dict__:  # never used; others of its pickle may have been
                _forget(self._origin)
            elif self._model is not None:
                _forget(self._model)
            self._model = None

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __copy__(self) -> Predictor:
        """Return a predictor of its own on the same engine."""
        return Predictor(self._usable().twin())

    def __deepcopy__(self, memo: dict[int, Any]) -> Predictor:
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        if "_model" not in self.__dict__:
            return _unpickled, self._origin
        return _unpickled, self._open().origin

    if not TYPE_CHECKING:  # which would take every name for one of a predictor's

        def __getattr__(self, name: str) -> Any:
            """Load what came through a pickle, when anything of its model is asked for."""
            if name not in _OF_THE_MODEL or "_origin" not in self.__dict__:
                raise AttributeError(f"'Predictor' object has no attribute '{name}'")
            with _SWAP:
                if "_model" not in self.__dict__:
                    self._adopt(_load_same(*self._origin))
            if name not in self.__dict__:  # it was closed before it was used
                self._open()
            return getattr(self, name)

    def __repr__(self) -> str:
        if "card" not in self.__dict__:
            source = self._origin[0]
            place = "bytes" if isinstance(source, bytes) else f"'{source}'"
            state = "closed" if "_model" in self.__dict__ else "loaded when it is first used"
            return f"<Predictor of {place}, {state}>"
        state = "closed" if self._model is None else f"{self.threads} thread(s)"
        ins, outs = format_specs(self.card.inputs), format_specs(self.card.outputs)
        return f"<Predictor {self.card.name}: {ins} -> {outs}, {state}>"

    def _open(self) -> Model:
        """Return the present model; after a fork, its engine may not be usable."""
        model = self._model  # close() in another thread must not pull it away under the call
        if model is None:
            raise InferenceError("this predictor is closed: load the artifact again")
        return model

    def _usable(self) -> Model:
        """Return the present model, loaded again where a fork made its engine unusable."""
        while (model := self._open()).session.is_lost:
            again = load_model(*model.origin)
            with _SWAP:
                if self._model is model:
                    self._adopt(again)
        return model

    def _adopt(self, model: Model) -> None:
        self.card = model.card
        self.path = model.path
        self.threads = model.threads
        self.version = model.version
        self.tuning = model.tuning
        self._counter = model.counter  # can be read when the predictor is closed
        self._model = model

    @passing_signals
    def _predict(
        self, model: Model, inputs: tuple[Any, ...], timeout: float | None, finite: bool | None
    ) -> Any:
        if finite is not None:
            truth(finite, "finite")
        if model.columns is not None:
            inputs = model.columns.arrange(inputs)
        feed = prepare(model.card.inputs, inputs, model.card.frames)
        if model.columns is not None:
            model.columns.check(feed.arrays)
        if timeout is None:
            return self._answer(model, feed, None, finite)
        with TimeLimit.of(timeout) as limit:
            return self._answer(model, feed, limit, finite)

    @passing_signals
    def _answer_batch(self, model: Model, feed: Feed) -> Any:
        return self._answer(model, feed, None, None)

    def _answer(
        self, model: Model, feed: Feed, limit: TimeLimit | None, finite: bool | None
    ) -> Any:
        if finite is None:
            finite = model.options.finite
        given = _as_given(model.card.inputs, feed.arrays, feed.is_single)
        if finite:
            refuse_non_finite_inputs(given)
        elif limit is None and model.fast_path is not None and model.fast_path.threads > 1:
            shared = model.fast_path.share(*feed.arrays.values())
            if shared is not None:
                return shared
        is_counted = False

        def look(arrays: Mapping[str, Array]) -> None:
            nonlocal is_counted
            # A part does not know its place in the whole batch, so the whole is counted, once.
            if not is_counted and not model.counter.all_hold(arrays):
                is_counted = True
                model.counter.watch(given)

        started = time.perf_counter()
        answers = model.run(feed, limit, look if model.counter.is_watching else None)
        if (
            model.has_answered  # binding takes a run more, which one answer does not pay back
            and model.fast_path is not None
            and feed.samples == 1
            and time.perf_counter() - started < WORTH_BINDING_S
        ):
            model.fast_path.learn(*feed.arrays.values(), *answers, is_single=feed.is_single)
        model.has_answered = True
        named = dict(zip(model.output_names, answers, strict=True))
        outputs = _as_given(model.card.outputs, named, feed.is_single)
        if finite:
            refuse_non_finite_outputs(outputs)
        return outputs if len(outputs) > 1 else outputs[model.output_names[0]]


def _as_given(
    specs: Sequence[TensorSpec], arrays: Mapping[str, Array], is_single: bool
) -> dict[str, Array]:
    """Return the arrays without the batch axis where the caller gave one sample without it."""
    return {
        # A file without a card may call an axis of another size its batch.
        spec.name: array[0, ...] if is_single and spec.has_batch_axis and len(array) == 1 else array
        for spec, array in zip(specs, (arrays[spec.name] for spec in specs), strict=True)
    }


def _iterator(values: Iterable[Any], subject: str, kind: str) -> Iterator[Any]:
    try:
        return iter(values)
    except TypeError as cause:
        reraise_signal(cause)
        raise InputError.of(
            subject, f"{values!r:.60}", f"an iterable of {kind}", "pass a list of them"
        ) from cause


# What ``_adopt`` sets.
_OF_THE_MODEL = ("card", "path", "threads", "version", "tuning", "_counter", "_model")

# The model of the last pickle. Engines of many processes unpickle a predictor with each of their
# tasks, which would load it each time.
_kept: Model | None = None


def _unpickled(*origin: Any) -> Predictor:
    """Return a predictor that loads its model when it is first used.

    An exception inside of ``pickle.loads`` would end a worker of ``multiprocessing.Pool``, whose
    caller then waits for ever; other pools say no more than that a process died.
    """
    predictor = Predictor.__new__(Predictor)
    predictor._reloads = predictor._adopted = 0
    predictor._origin = origin
    return predictor


def _load_same(source: str | bytes, options: Options, digest: str) -> Model:
    """Return the model of a pickle, which this process loads once; called with ``_SWAP`` held."""
    global _kept
    kept = _kept
    if kept is None or kept.session.is_lost or kept.origin != (source, options, digest):
        _kept = None  # its memory is free before the other one takes some
        try:
            kept = load_model(
                source, options, digest, remedy="load the new file there, and pickle that predictor"
            )
        except ArtifactError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise ArtifactError(
                f"there is no file '{os.fsdecode(source)}' here, expected the one that the pickled "
                "predictor was loaded from: copy it to every machine, or load it from its bytes, "
                "which are then part of the pickle",
                path=error.path,
            ) from error
        _kept = kept
    return kept.twin()


def _forget(one: Model | Origin) -> None:
    """Keep the engine of a model, or of what was pickled, no longer for further pickles."""
    global _kept
    if _kept is not None and (
        _kept.session is one.session if isinstance(one, Model) else _kept.origin == one
    ):
        _kept = None
