"""The answers of several forms of one model on the same samples, compared in one pass.

Memory holds one batch, a limited number of points, the worst samples, and counts of classes. What
the forms are, and which samples they get, ``conversions`` and ``files`` decide.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeport import ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.data.labels import best_classes
from edgeport_converter.reporting import words
from edgeport_converter.reporting.pictures import describe_values, find_picture
from edgeport_converter.reporting.records import (
    ClassPairs,
    OutputPairs,
    Reliability,
    ReliabilityBin,
    WorstSample,
)
from edgeport_converter.verification.runners import Run

ARTIFACT, FLOAT, KERAS = "artifact", "float32", "Keras"
"""The forms of a model, as the report calls them."""

LABEL = "label"

BATCH = 64
"""How many samples the forms are given at a time."""

MOST_MATRIX_CLASSES = 20
"""More classes are no matrix that a page can show: the most frequent pairs are listed."""

RELIABILITY_BINS = 15
"""Bins of equal width from 0 to 1. Source: Guo et al., "On Calibration of Modern Neural Networks",
ICML 2017, whose expected calibration error is sum of n_b / n * |right_b - score_b|."""

_MOST_POINTS = 1500
_POINTS_A_BATCH = 256
_MOST_WORST = 12
_MOST_PAIRS = 20
_MOST_NUMBERS = 3
_SAME = 1e-5  # of an output's spread: rounding of float32, nothing to look at
_ROUNDING = 8 * float(np.finfo(np.float32).eps)  # of its values, where they hardly spread


@dataclass(frozen=True, slots=True)
class Compared:
    """What one pass over the samples found.

    Attributes:
        samples: how many there were.
        pairs: of each output with numbers, () where there is one form only.
        worst: the samples that differ most, the worst first.
        class_pairs: see ``ReportData``.
        reliability: of each form, () without labels or probabilities.
        accuracy: share of right classes by form, empty without labels.
    """

    samples: int
    pairs: tuple[OutputPairs, ...] = ()
    worst: tuple[WorstSample, ...] = ()
    class_pairs: tuple[ClassPairs, ...] = ()
    reliability: tuple[Reliability, ...] = ()
    accuracy: Mapping[str, float] = field(default_factory=dict)


def compare(
    runs: Mapping[str, Run],
    batches: Iterable[Mapping[str, Array]],
    card: ModelCard,
    *,
    labels: Array | None = None,
    has_classes: bool = False,
    border: float = 0.5,
) -> Compared:
    """Run all forms of a model on all samples and compare their answers.

    Args:
        runs: by form, the artifact and any others. The artifact is compared with the first of
            Keras and float32 that is there.
        batches: arrays by input name.
        card: names of inputs, outputs, classes and columns.
        labels: class numbers (N, ...), None without any.
        has_classes: whether the first output scores classes.
        border: of a score that stands alone, above which it means class 1.
    """
    other = next((form for form in (KERAS, FLOAT) if form in runs), None)
    first = card.outputs[0].name
    pairs = {spec.name: _Pairs(spec.name, other or "") for spec in card.outputs}
    worst = _Worst(card, border if has_classes else None)
    classes = _Classes(card, border) if has_classes else None
    probabilities = card.outputs[0].value_range == (0.0, 1.0)
    reliability = {form: _Bins() for form in order_of_forms(runs)}
    samples = 0
    for batch in batches:
        count = len(next(iter(batch.values())))
        answers = {form: runs[form](batch) for form in order_of_forms(runs)}
        some = None if labels is None else labels[samples : samples + count]
        if other:
            found, wanted = answers[ARTIFACT], answers[other]
            for name, values in wanted.items():
                best = has_classes and name == first
                pairs[name].add(values, found[name], of_best_class=best)
            worst.add(batch, wanted, found, some, samples)
        if classes:
            scores = {form: answer[first] for form, answer in answers.items()}
            best_of = classes.add(scores, some)
            if some is not None and probabilities:
                for form, bins in reliability.items():
                    bins.add(_confidence(scores[form]), best_of[form] == some)
        samples += count
    shown = tuple(one.result() for one in pairs.values() if one.count)
    return Compared(
        samples,
        shown,
        worst.result({name: one.rounding() for name, one in pairs.items() if one.count}),
        classes.results(next((f for f in (FLOAT, KERAS) if f in runs), "")) if classes else (),
        tuple(bins.result(form) for form, bins in reliability.items() if bins.total),
        classes.accuracy() if classes else {},
    )


def _confidence(scores: Array) -> Array:
    """Return the score of the best class; of one probability p the larger of p and 1 - p."""
    if scores.shape[-1] == 1:
        found: Array = np.maximum(scores[..., 0], 1 - scores[..., 0])
    else:
        found = scores.max(axis=-1)
    return found


class _Pairs:
    """Pairs of values of one output: sums over all of them, and some to draw."""

    def __init__(self, output: str, against: str) -> None:
        self._output, self._against = output, against
        self.count = 0
        self._total = self._squares = self._noise = self._largest = 0.0
        self._points: list[Array] = []
        self._of_best_class = False
        self._generator = np.random.default_rng(0)

    def add(self, wanted: Array, found: Array, *, of_best_class: bool) -> None:
        if wanted.dtype.kind not in "fiub" or not wanted.size:
            return
        first, second = wanted.astype(np.float64), found.astype(np.float64)
        self.count += first.size
        self._total += float(first.sum())
        self._squares += float((first**2).sum())
        error = first - second
        self._noise += float((error**2).sum())
        self._largest = max(self._largest, float(np.abs(error).max()))
        if of_best_class and first.shape[-1] > 1:
            self._of_best_class = True
            places = first.argmax(axis=-1)[..., None]
            first, second = (np.take_along_axis(x, places, axis=-1) for x in (first, second))
        both = np.stack([first.reshape(-1), second.reshape(-1)], axis=1)
        if len(both) > _POINTS_A_BATCH:
            both = both[self._generator.choice(len(both), _POINTS_A_BATCH, replace=False)]
        self._points.append(both)

    def _spread(self) -> float:
        mean = self._total / self.count
        return float(np.sqrt(max(self._squares / self.count - mean**2, 0.0)))

    def rounding(self) -> float:
        """Return how far two answers may be apart by the rounding of float32 sums."""
        size = float(np.sqrt(self._squares / self.count))
        return max(_SAME * self._spread(), _ROUNDING * size)

    def result(self) -> OutputPairs:
        points = np.concatenate(self._points)
        if len(points) > _MOST_POINTS:
            points = points[self._generator.choice(len(points), _MOST_POINTS, replace=False)]
        what = "values of the output"
        if self._of_best_class:
            what = f"score of the class that {self._against} takes for the best"
        return OutputPairs(
            self._output,
            self._against,
            what,
            tuple((float(a), float(b)) for a, b in points),
            self._largest,
            float(np.sqrt(self._noise / self.count)),
            self._spread(),
        )


@dataclass(order=True)
class _Ranked:
    """A sample to keep, ordered by how far its answers are apart."""

    is_changed: bool
    difference: float
    number: int
    inputs: Mapping[str, Array] = field(compare=False)
    wanted: Mapping[str, Array] = field(compare=False)
    found: Mapping[str, Array] = field(compare=False)
    label: Array | None = field(compare=False)
    output: str = field(compare=False)


class _Worst:
    """The samples whose answers differ most, those with another best class before all others."""

    def __init__(self, card: ModelCard, border: float | None) -> None:
        self._card, self._border = card, border
        self._kept: list[_Ranked] = []

    def add(
        self,
        batch: Mapping[str, Array],
        wanted: Mapping[str, Array],
        found: Mapping[str, Array],
        labels: Array | None,
        start: int,
    ) -> None:
        count = len(next(iter(batch.values())))
        gaps = {
            name: np.abs(values.astype(np.float64) - found[name].astype(np.float64))
            .reshape(count, -1)
            .max(axis=1, initial=0.0)
            for name, values in wanted.items()
            if values.dtype.kind in "fiub" and len(values) == count
        }
        if not gaps:
            return
        changed = np.zeros(count, dtype=bool)
        first = self._card.outputs[0].name
        if self._border is not None:
            differs = best_classes(wanted[first], self._border) != best_classes(
                found[first], self._border
            )
            changed = differs.reshape(count, -1).any(axis=1)
        names = list(gaps)
        table = np.stack([gaps[name] for name in names])
        largest = table.max(axis=0)
        order = np.lexsort((largest, changed))[::-1][:_MOST_WORST]
        for row in order:
            ranked = _Ranked(
                bool(changed[row]),
                float(largest[row]),
                -(start + int(row)),  # of equal ones the first sample is kept
                {name: array[row].copy() for name, array in batch.items()},
                {name: array[row].copy() for name, array in wanted.items()},
                {name: array[row].copy() for name, array in found.items()},
                None if labels is None else labels[row],
                names[int(table[:, row].argmax())],
            )
            if len(self._kept) < _MOST_WORST:
                heapq.heappush(self._kept, ranked)
            elif self._kept[0] < ranked:
                heapq.heapreplace(self._kept, ranked)

    def result(self, rounding: Mapping[str, float]) -> tuple[WorstSample, ...]:
        """Return those whose difference is more than float32's own rounding of the output."""
        return tuple(
            self._describe(one)
            for one in sorted(self._kept, reverse=True)
            if one.is_changed or one.difference > rounding[one.output]
        )

    def _describe(self, one: _Ranked) -> WorstSample:
        label = ""
        if one.label is not None and np.ndim(one.label) == 0:
            label = name_of_class(self._card, int(one.label))
        return WorstSample(
            -one.number,
            label,
            *self._in_words(one.wanted, one.found, one.output),
            one.difference,
            one.is_changed,
            find_picture(one.inputs, self._card),
            describe_values(one.inputs, self._card),
        )

    def _in_words(
        self, wanted: Mapping[str, Array], found: Mapping[str, Array], output: str
    ) -> tuple[str, str]:
        """Return both answers: the best class with its score, or the numbers farthest apart."""
        pair = wanted[output], found[output]
        first = self._card.outputs[0].name
        if self._border is not None and wanted[first].ndim == 1:
            return self._best_class(wanted[first]), self._best_class(found[first])
        prefix = f"{output} " if len(self._card.outputs) > 1 else ""
        if pair[0].size <= _MOST_NUMBERS:
            rows = (", ".join(words.number(float(v)) for v in one.reshape(-1)) for one in pair)
        else:
            gaps = np.abs(pair[0].astype(np.float64) - pair[1].astype(np.float64))
            place = np.unravel_index(int(gaps.argmax()), gaps.shape)
            prefix += f"[{', '.join(str(int(axis)) for axis in place)}] "
            rows = (words.number(float(one[place])) for one in pair)
        of_wanted, of_found = rows
        return prefix + of_wanted, prefix + of_found

    def _best_class(self, scores: Array) -> str:
        best = int(best_classes(scores[None], self._border or 0.0)[0])
        score = float(scores[best] if len(scores) > 1 else scores[0])
        return f"{name_of_class(self._card, best)}  {words.number(score)}"


def name_of_class(card: ModelCard, number: int) -> str:
    """Return a class' name, or its number where the classes have none."""
    names = card.labels or ()
    return names[number] if 0 <= number < len(names) else f"class {number}"


class _Classes:
    """Counts of pairs of classes: of the labels and of each form, of two forms."""

    def __init__(self, card: ModelCard, border: float) -> None:
        self._card, self._border = card, border
        self._counts: dict[tuple[str, str], Counter[tuple[int, int]]] = {}

    def add(self, scores: Mapping[str, Array], labels: Array | None) -> dict[str, Array]:
        """Count a batch; return the best classes by form."""
        best = {form: best_classes(array, self._border) for form, array in scores.items()}
        sayings = dict(best) if labels is None else {LABEL: labels, **best}
        forms = list(sayings)
        for place, one in enumerate(forms):
            for other in forms[place + 1 :]:
                rows, columns = sayings[one].reshape(-1), sayings[other].reshape(-1)
                both, counts = np.unique(np.stack([rows, columns]), axis=1, return_counts=True)
                counter = self._counts.setdefault((one, other), Counter())
                for row, column, count in zip(*both.tolist(), counts.tolist(), strict=True):
                    counter[row, column] += count
        return best

    def accuracy(self) -> dict[str, float]:
        return {
            form: _equal(counter) / max(counter.total(), 1)
            for (one, form), counter in self._counts.items()
            if one == LABEL
        }

    def results(self, other: str) -> tuple[ClassPairs, ...]:
        wanted = ((LABEL, other), (LABEL, ARTIFACT), (other, ARTIFACT))
        return tuple(
            self._table(one, two, self._counts[one, two])
            for one, two in wanted
            if (one, two) in self._counts
        )

    def _table(self, rows: str, columns: str, counter: Counter[tuple[int, int]]) -> ClassPairs:
        classes = sorted({number for pair in counter for number in pair})
        names = self._card.labels or ()
        size = max(len(names), _class_count(self._card), classes[-1] + 1)
        matrix: tuple[tuple[int, ...], ...] = ()
        if size <= MOST_MATRIX_CLASSES:
            classes = list(range(size))
            matrix = tuple(tuple(counter[row, column] for column in classes) for row in classes)
        different = [(pair, count) for pair, count in counter.items() if pair[0] != pair[1]]
        different.sort(key=lambda each: (-each[1], each[0]))
        return ClassPairs(
            rows,
            columns,
            tuple(name_of_class(self._card, number) for number in classes) if matrix else (),
            matrix,
            tuple(
                (name_of_class(self._card, row), name_of_class(self._card, column), count)
                for (row, column), count in different[:_MOST_PAIRS]
            ),
            _equal(counter),
            counter.total(),
            len(different),
        )


def _equal(counter: Counter[tuple[int, int]]) -> int:
    return sum(count for (row, column), count in counter.items() if row == column)


def _class_count(card: ModelCard) -> int:
    size = card.outputs[0].shape[-1]
    return max(size, 2) if isinstance(size, int) else 0


class _Bins:
    """Samples by the score of their best class."""

    def __init__(self) -> None:
        self._counts = np.zeros(RELIABILITY_BINS, dtype=np.int64)
        self._scores, self._right = (np.zeros(RELIABILITY_BINS) for _ in range(2))

    @property
    def total(self) -> int:
        return int(self._counts.sum())

    def add(self, scores: Array, right: Array) -> None:
        flat = scores.reshape(-1).astype(np.float64)
        # A score on an edge belongs to the bin below it, as in the source: (low, high].
        bins = np.clip(np.ceil(flat * RELIABILITY_BINS).astype(int) - 1, 0, RELIABILITY_BINS - 1)
        self._counts += np.bincount(bins, minlength=RELIABILITY_BINS)
        self._scores += np.bincount(bins, flat, RELIABILITY_BINS)
        self._right += np.bincount(bins, right.reshape(-1).astype(float), RELIABILITY_BINS)

    def result(self, form: str) -> Reliability:
        rows = [
            ReliabilityBin(
                place / RELIABILITY_BINS,
                (place + 1) / RELIABILITY_BINS,
                int(count),
                float(self._scores[place] / count),
                float(self._right[place] / count),
            )
            for place, count in enumerate(self._counts)
            if count
        ]
        error = sum(row.count * abs(row.right - row.score) for row in rows) / max(self.total, 1)
        return Reliability(form, tuple(rows), error)


def order_of_forms(present: Collection[str]) -> list[str]:
    """Return the forms in the order that a reader compares them in."""
    return [form for form in (KERAS, FLOAT, ARTIFACT) if form in present]
