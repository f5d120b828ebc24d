"""One part from its rows to its files: what every engine runs, with one thread.

How the rows of a chunk are answered:

1. All of them in one call, the usual case.
2. If they are refused, halves of them are checked until each bad row is known; the others are
   answered in one call.
3. If these are refused together, though each is good by itself, as samples of different lengths
   are, each is answered by itself.

Which rows share a call depends on the input alone, so the answers are the same, bit by bit, on
every engine.
"""

from __future__ import annotations

from typing import Any

from edgeport.artifact.card import ANY_SHAPE, format_shape
from edgeport.errors import InputError, OptionError
from edgeport.inputs.feeds import prepare
from edgeport.loading import Source
from edgeport.predictor import Predictor
from edgeport.scoring import inputs, manifest
from edgeport.scoring.job import Chunk, Job, Part, Refused
from edgeport.scoring.texts import joined
from edgeport.scoring.writer import Answers, Writer
from edgeport.signals import reraise_signal

_MOST_ROWS = 4096


class Scorer:
    """A loaded artifact that answers parts.

    Args:
        source: the artifact's path, or its bytes.
        job: what was begun; its digest must be that of ``source``.

    Raises:
        OptionError: the artifact or the version of onnxruntime is another one.
        ArtifactError: as ``Predictor.load`` does.
    """

    def __init__(self, source: Source, job: Job) -> None:
        manifest.refuse_other_engine(job)
        self.predictor = load(source)
        self.card = self.predictor.card
        digest = digest_of(self.predictor)
        if digest != job.digest:
            raise OptionError(
                f"the model was replaced during the run, its digest is {digest} instead of "
                f"{job.digest}: bring that model back, or choose another folder"
            )
        self._job = job

    def score(self, part: Part) -> dict[str, Any]:
        """Answer a part, write its files, then its record; return the record.

        Raises:
            InputError: a file of the part cannot be read; the part has no record.
            OptionError: the output cannot be written; likewise.
            InferenceError: the engine failed; likewise.
        """
        before = dict(self.predictor.out_of_range)
        digests: list[str] = []
        with Writer(part, self.card, self._job) as writer:
            for chunk in inputs.read(part, self.card, self._job.settings, digests):
                for refused in chunk.refused:
                    writer.refuse(refused)
                if len(chunk.rows):
                    self._answer(chunk, writer)
        outside = {
            name: count - before.get(name, 0)
            for name, count in self.predictor.out_of_range.items()
            if count > before.get(name, 0)
        }
        facts = {**writer.facts, "out_of_range": outside}
        return manifest.write_record(self._job.out, part, facts, digests)

    def _answer(self, chunk: Chunk, writer: Writer) -> None:
        try:
            writer.add(chunk, self._predict(chunk.value, len(chunk.rows)))
            return
        except InputError as error:
            reraise_signal(error)
        reasons: dict[int, str] = {}
        self._find_bad(chunk.value, 0, len(chunk.rows), reasons)
        for at, reason in sorted(reasons.items()):
            writer.refuse(Refused(chunk.file_of(at), chunk.rows[at], reason))
        kept = [at for at in range(len(chunk.rows)) if at not in reasons]
        if not kept:
            return
        good = chunk.some(kept, _take(chunk.value, kept))
        try:
            writer.add(good, self._predict(good.value, len(kept)))
        except InputError as error:
            reraise_signal(error)
            for at in range(len(kept)):
                one = good.some([at], _take(good.value, [at]))
                writer.add(one, self._predict(one.value, 1))

    def _predict(self, value: Any, count: int) -> Answers:
        """Return the answers to ``count`` rows; raises InputError if they were taken for one."""
        answer = self.predictor.predict(self._formed(value))
        answers = answer if isinstance(answer, dict) else {self.card.outputs[0].name: answer}
        for spec in self.card.outputs:
            found = answers[spec.name]
            is_batch = spec.shape == ANY_SHAPE or found.ndim == len(spec.shape)
            if not found.ndim or len(found) != count or not is_batch:
                raise self._flat()
        return answers

    def _flat(self) -> InputError:
        """Return the refusal of rows that lack an axis, and together look like one sample."""
        wanted = ", ".join(format_shape(spec.sample_shape) for spec in self.card.inputs)
        return InputError.of(
            "the row has", "too few axes", f"a sample of shape {wanted}", "add the missing axis"
        )

    def _formed(self, value: Any) -> Any:
        return joined(self.card, value) if isinstance(value, list) else value

    def _find_bad(self, value: Any, start: int, stop: int, reasons: dict[int, str]) -> None:
        """Fill ``reasons`` with what is wrong with each row from ``start`` to ``stop``."""
        try:
            self._check(_take(value, list(range(start, stop))))
        except InputError as error:
            reraise_signal(error)
            if stop - start == 1:
                reasons[start] = str(error).replace(" in row 0", "", 1)
                return
            middle = (start + stop) // 2
            self._find_bad(value, start, middle, reasons)
            self._find_bad(value, middle, stop, reasons)

    def _check(self, value: Any) -> None:
        """Do what ``predict`` does before a run; raises InputError as that does."""
        columns = self.predictor._usable().columns
        values: tuple[Any, ...] = (self._formed(value),)
        if columns is not None:
            values = columns.arrange(values)
        feed = prepare(self.card.inputs, values, self.card.frames)
        if feed.is_single:
            raise self._flat()
        if columns is not None:
            columns.check(feed.arrays)


def load(source: Source) -> Predictor:
    """Return the model as all engines run it: by one thread, whatever was tuned for this device.

    Raises:
        OptionError: its answers depend on the whole batch, or it has no batch axis.
    """
    predictor = Predictor.load(source, threads=1, tuning=False)
    card = predictor.card
    if card.samples_interact or not all(s.has_batch_axis for s in card.inputs + card.outputs):
        found = "answers that depend on the whole batch" if card.samples_interact else "no batch"
        raise OptionError(
            f"the model has {found}, expected one that answers each row by itself: use "
            "'edgeport predict'"
        )
    return predictor


def digest_of(predictor: Predictor) -> str:
    """Return the sealed digest of a model's file, or the SHA-256 of a file without a card."""
    return predictor._usable().digest


def batch_size(predictor: Predictor) -> int:
    """Return how many rows of this model one call takes, 32 where their size is not known."""
    most = predictor._usable().batching.most_in_one_run()
    return min(most, _MOST_ROWS) if most else 32


def _take(value: Any, rows: list[int]) -> Any:
    """Return some rows of a chunk's value, in the same form."""
    if isinstance(value, list):
        return [value[at] for at in rows]
    if isinstance(value, dict):
        return {
            name: [part[at] for at in rows] if isinstance(part, list) else part[rows]
            for name, part in value.items()
        }
    return value.take(rows)
