"""The loss of a quantized graph: its agreement with the float graph, and the user's metric.

The data is streamed, the float graph's answers with it, so memory holds one batch, and the outputs
where a metric needs all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport.signals import reraise_signal
from edgeport_converter.data.labels import best_classes
from edgeport_converter.options import DEFAULT_MAX_DROP
from edgeport_converter.quantization.evaluation import budget
from edgeport_converter.quantization.evaluation.agreement import Agreement, measure_agreement
from edgeport_converter.quantization.evaluation.paired import (
    PairedTest,
    compare_metric,
    compare_samples,
)
from edgeport_converter.quantization.evaluation.user_metrics import Metric
from edgeport_converter.verification.runners import Batches, Run

_BATCH = 64

_SHUFFLES = 3
_EQUAL = 1e-6  # of a metric; float32 sums in another order

# Shuffled answers are clearly worse where the model's own lie outside of theirs by so many times
# the width of theirs: among four numbers of one distribution that happens once in a hundred times.
_CLEARLY = 3.0


@dataclass(frozen=True)
class Evaluation:
    """One graph's figures; ``metric`` is None where there are no labels."""

    agreement: Agreement
    metric: float | None


@dataclass(frozen=True)
class Answered:
    """One graph's answers beside the float graph's; ``seen`` is what the metric takes, if any."""

    agreement: Agreement
    seen: Array | None


class Evaluator:
    """Measures graphs on the same data.

    Args:
        float_run: the float graph as a function.
        batches: starts a pass over the data, in batches of the given size.
        labels: one a sample, or None.
        metric: of outputs and labels.
        classifier: whether the model has one row of class scores.
        max_drop: the budget.
        smaller_is_better: whether the metric is an error, as far as its name tells; None where it
            does not. Data that clearly say otherwise are believed, but where this is False.
        border: of a score that stands alone, above which it means class 1.

    Attributes:
        batches: starts a pass over the data.
        smaller_is_better: whether the metric is an error, by its name and by the data.
        reached: the metric of the float graph, None without labels.
        float_metric: the same to hold candidates to, None also where it is no evidence: answers
            that were shuffled among the samples would keep the budget, too.

    Raises:
        OptionError: the metric raised an error, gave no finite number, or compares each output
            with every label.
    """

    def __init__(
        self,
        float_run: Run,
        batches: Batches,
        labels: Array | None,
        metric: Metric,
        *,
        classifier: bool,
        max_drop: float = DEFAULT_MAX_DROP,
        smaller_is_better: bool | None = False,
        border: float = 0.5,
    ) -> None:
        self._float_run, self.batches = float_run, batches
        self._metric, self._classifier, self._border = metric, classifier, border
        self._labels, self._has_metric = labels, labels is not None
        self._is_accuracy = metric is budget.accuracy
        if labels is not None:
            self._labels = labels.view()
            self._labels.flags.writeable = False  # the user's function sees them again and again
        self.reached: float | None = None
        self.float_metric: float | None = None
        self.smaller_is_better = bool(smaller_is_better)
        if self._labels is not None:
            outputs = self._first_outputs(float_run, batches)
            self.reached = self._of(outputs.copy(), self._labels)  # it may write into them
            _require_pairs(self._of, outputs, self._labels, self.reached)
            chance = self._by_chance(outputs)
            if smaller_is_better is not False:
                self.smaller_is_better = _is_error(self.reached, chance, bool(smaller_is_better))
            if all(self._lost(self.reached, value) > max_drop for value in chance):
                self.float_metric = self.reached

    def _lost(self, before: float, after: float) -> float:
        return after - before if self.smaller_is_better else before - after

    def _by_chance(self, outputs: Array) -> list[float]:
        """Return what answers of other samples reach; an order without a number is left out."""
        generator = np.random.default_rng(0)
        found = []
        for _ in range(_SHUFFLES):
            order = generator.permutation(len(outputs))
            with suppress(OptionError):  # no number for answers that are all wrong
                found.append(self._of(outputs[order], self._labels))
        return found

    def measure(self, run: Run) -> Evaluation:
        """Return the figures of one graph."""
        return self.judge(self.answer(run))

    def answer(self, run: Run) -> Answered:
        """Return what one graph answers on the data."""
        outputs: list[Array] = []

        def run_and_keep(batch: Mapping[str, Array]) -> dict[str, Array]:
            answers = run(batch)
            if self._has_metric:
                outputs.append(self._seen_of(answers))
            return answers

        agreement = measure_agreement(
            run_and_keep,
            self._float_run,
            self.batches(_BATCH),
            classifier=self._classifier,
            border=self._border,
        )
        return Answered(agreement, np.concatenate(outputs) if outputs else None)

    def judge(self, answered: Answered) -> Evaluation:
        """Return the figures of a graph's answers."""
        seen = answered.seen
        if seen is not None and not seen.flags.writeable:  # from another process; it may write
            seen = seen.copy()
        return Evaluation(
            answered.agreement, None if seen is None else self._of(seen, self._labels)
        )

    def without_metric(self) -> Evaluator:
        """Return what answers on another machine: without data, labels and the user's function."""
        copied = copy.copy(self)
        copied._float_run = copied.batches = _not_here
        copied._labels = None
        if not self._is_accuracy:
            copied._metric = _not_here
        return copied

    def on(self, float_run: Run, batches: Batches) -> Evaluator:
        """Return the same with another way to the float graph and to the same samples."""
        copied = copy.copy(self)
        copied._float_run, copied.batches = float_run, batches
        return copied

    def compare(self, before: Run, after: Run) -> PairedTest | None:
        """Test whether one graph answers better than another, on the samples that judge both.

        By the labels, where there are any: right or wrong for accuracy, else the user's metric.
        Without: whether the float graph's best class is kept, or how far from its answers.
        """
        batches = self.batches
        if self._labels is None:
            expected = self._first_outputs(self._float_run, batches, as_they_are=True)
            found = [self._first_outputs(run, batches, as_they_are=True) for run in (before, after)]
            if self._classifier:
                best = best_classes(expected, self._border)
                rows = [_row_means(best_classes(each, self._border) == best) for each in found]
                return compare_samples("the share of equal best classes", *rows)
            wide = expected.astype(np.float64)
            rows = [_row_means((wide - each) ** 2) for each in found]
            return compare_samples("the mean squared error to float", *rows, smaller_is_better=True)
        first, second = (self._first_outputs(run, batches) for run in (before, after))
        if self._metric is budget.accuracy:
            labels = self._labels
            return compare_samples("accuracy", *(_row_means(x == labels) for x in (first, second)))
        return compare_metric(
            "the metric",
            self._of,
            first,
            second,
            self._labels,
            smaller_is_better=self.smaller_is_better,
        )

    def metric_of(self, run: Run, batches: Batches | None = None) -> float | None:
        """Return the metric of a graph, or of Keras, None without labels.

        Args:
            run: the graph.
            batches: the same samples in the form that it takes, where it is another one.

        Raises:
            OptionError: the metric raised an error, or gave no finite number.
        """
        if self._labels is None:
            return None
        return self._of(self._first_outputs(run, batches or self.batches), self._labels)

    def _first_outputs(self, run: Run, batches: Batches, *, as_they_are: bool = False) -> Array:
        answers = (run(batch) for batch in batches(_BATCH))
        if as_they_are:
            return np.concatenate([next(iter(each.values())) for each in answers])
        return np.concatenate([self._seen_of(each) for each in answers])

    def _seen_of(self, answers: Mapping[str, Array]) -> Array:
        """Return what the metric sees: of accuracy the best classes, less than their scores."""
        first = next(iter(answers.values()))
        return best_classes(first, self._border) if self._is_accuracy else first

    def _of(self, outputs: Array, labels: Array | None) -> float:
        assert labels is not None  # noqa: S101 - for the type checker
        try:
            value = float(self._metric(outputs, labels))
        except (Exception, SystemExit) as cause:  # the user's own code
            reraise_signal(cause)
            raise OptionError(
                f"the metric raised {type(cause).__name__} ({cause}) on outputs of shape "
                f"{outputs.shape} and labels of shape {labels.shape}, expected a number: "
                "mend it"
            ) from cause
        if not np.isfinite(value):
            raise OptionError(f"the metric gave {value}, expected a finite number: check it")
        return value


def _row_means(values: Array) -> Array:
    """Return the mean of each sample's values, (N,)."""
    means: Array = values.reshape(len(values), -1).mean(axis=1, dtype=np.float64)
    return means


def _not_here(*_: object) -> Any:
    raise RuntimeError("the data and the metric are on the machine that converts")


def _is_error(reached: float, chance: Sequence[float], otherwise: bool) -> bool:
    """Whether a metric is better when it is smaller: the model's own answers beat shuffled ones.

    Args:
        reached: the metric of the float graph's answers.
        chance: the same of answers that were shuffled among the samples.
        otherwise: what is returned where these do not differ clearly.
    """
    if not chance:
        return otherwise
    width = max(max(chance) - min(chance), _EQUAL * abs(reached))
    if reached < min(chance) - _CLEARLY * width:
        return True
    return otherwise and not reached > max(chance) + _CLEARLY * width


def _require_pairs(
    metric: Callable[[Array, Array], float], outputs: Array, labels: Array, reached: float
) -> None:
    """Refuse a metric that numpy lets compare each output with every label, (N, 1) with (N,).

    Such a number looks like a metric and hardly moves, so that any loss would keep the budget.
    """
    shapes = outputs.shape, labels.shape
    try:
        spread = np.broadcast_shapes(*shapes)
    except ValueError:
        return
    if spread in shapes or len(labels) < 2:
        return
    shifted = [
        metric(outputs.copy(), np.roll(labels, by, axis=0)) for by in range(1, _SHUFFLES + 1)
    ]
    if all(abs(value - reached) <= _EQUAL * max(abs(reached), _EQUAL) for value in shifted):
        raise OptionError(
            f"the metric is {reached:.4g} whichever label belongs to which sample, since outputs "
            f"of shape {shapes[0]} and labels of shape {shapes[1]} spread to {spread}, expected "
            "each output beside its own label: take outputs[:, 0] in the metric, or pass labels "
            "of the outputs' shape"
        )
