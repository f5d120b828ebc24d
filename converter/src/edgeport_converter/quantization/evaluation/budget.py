"""What quantization may lose, and whether a candidate kept to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.data.labels import best_classes
from edgeport_converter.loading.user_code import import_function

if TYPE_CHECKING:
    from edgeport_converter.quantization.evaluation.agreement import Agreement

# Bounds where there are no labels to measure a metric on. A sample whose best class changes was
# wrong before as often as not in the region where that happens, so accuracy moves by about half.
_CHANGED_CLASSES = 2.0  # times the drop that is allowed
MIN_SIGNAL_TO_NOISE_DB = 20.0
# One channel may be this much worse than all of them together.
_CHANNEL_MARGIN_DB = 10.0

_ROUNDING = 1e-9
_SMALLEST_BUDGET = 1e-3

Metric = Callable[[Array, Array], float]
"""(outputs (N, ...), labels (N, ...)) to a number, larger is better."""


@dataclass(frozen=True)
class Verdict:
    """A candidate against the budget.

    Attributes:
        loss: smaller is better: of the metric, share of changed answers, or minus dB.
        allowed: the budget, in the same unit.
        sentence: what was found and what was expected, for a refusal.
    """

    loss: float
    allowed: float
    sentence: str

    @property
    def excess(self) -> float:
        """By how many budgets the budget is missed: of verdicts in different units, too."""
        return (self.loss - self.allowed) / max(abs(self.allowed), _SMALLEST_BUDGET)

    @property
    def holds(self) -> bool:
        """Whether the budget is kept."""
        # A share such as 5 of 1,000 has no exact float; it must not miss a budget of 0.005.
        return self.loss <= self.allowed + _ROUNDING


def require_expected_metric(
    name: str, measured: float | None, expected: float | None, samples: int
) -> None:
    """Refuse data on which Keras does not reach the user's own figure.

    Args:
        name: of the metric.
        measured: with Keras on the evaluation data; None without labels.
        expected: the user's figure, None where there is none.
        samples: how many were measured.

    Raises:
        OptionError: they differ by more than 0.01 and three standard errors of a share.
    """
    if expected is None:
        return
    if measured is None:
        raise OptionError(
            "expected_metric was given and the evaluation data has no labels, expected labels to "
            "measure it on: pass them as y, or leave expected_metric out"
        )
    share = min(max(expected, 0.0), 1.0)
    allowed = 0.01 + 3 * math.sqrt(share * (1 - share) / samples)
    if abs(measured - expected) > allowed:
        raise OptionError(
            f"{name} with Keras is {measured:.4f} on the evaluation data, expected {expected:.4f} "
            f"as you measured it, within {allowed:.4f}: check the scale and the order of the "
            "channels of the data, and how the labels are numbered"
        )


def judge(
    agreement: Agreement, float_metric: float | None, metric: float | None, max_drop: float
) -> Verdict:
    """Hold a candidate to the budget: by the user's metric where there is one.

    The metric sees the first output; any others are held to the signal-to-noise ratio, or to the
    share of equal answers where they are counted, such as the index of the best class.

    Args:
        agreement: the candidate beside the float graph.
        float_metric: the metric of the float graph, None without labels.
        metric: the metric of the candidate.
        max_drop: how much of the metric may be lost; without a metric, a classifier's best class
            may change for twice that share of the samples.
    """
    seen = float_metric is not None and metric is not None
    changed = agreement.others_changed if seen else agreement.changed
    if changed is not None and not (counted := _changes(changed, max_drop, "the answers")).holds:
        return counted
    if float_metric is not None and metric is not None:
        others = agreement.others_db
        if others is not None and others < MIN_SIGNAL_TO_NOISE_DB:
            return Verdict(
                -others,
                -MIN_SIGNAL_TO_NOISE_DB,
                f"has a signal-to-noise ratio of {others:.1f} dB in an output that the metric does "
                f"not see, expected at least {MIN_SIGNAL_TO_NOISE_DB:g} dB",
            )
        drop = float_metric - metric
        return Verdict(
            drop,
            max_drop,
            f"loses {drop:.4f} ({float_metric:.4f} to {metric:.4f}), expected at most {max_drop}",
        )
    if agreement.top_1 is not None:
        verdict = _changes(1 - agreement.top_1, max_drop, "the best classes")
        # Where there is one class throughout, a constant would keep it: the scores have to agree.
        if agreement.classes != 1 or not verdict.holds:
            return verdict
    if changed is not None and math.isinf(agreement.signal_to_noise_db):
        return _changes(changed, max_drop, "the answers")
    together, worst = agreement.signal_to_noise_db, agreement.worst_channel_db
    decibel = min(together, worst + _CHANNEL_MARGIN_DB)
    return Verdict(
        -decibel if math.isfinite(decibel) else -1e9 if decibel > 0 else 1e9,
        -MIN_SIGNAL_TO_NOISE_DB,
        f"has a signal-to-noise ratio of {together:.1f} dB and {worst:.1f} dB in its worst "
        f"channel, expected at least {MIN_SIGNAL_TO_NOISE_DB:g} dB and "
        f"{MIN_SIGNAL_TO_NOISE_DB - _CHANNEL_MARGIN_DB:g} dB",
    )


def _changes(share: float, max_drop: float, what: str) -> Verdict:
    allowed = _CHANGED_CLASSES * max_drop
    return Verdict(share, allowed, f"changes {share:.2%} of {what}, expected at most {allowed:.2%}")


def accuracy(outputs: Array, labels: Array) -> float:
    """Return the share of answers whose best class is the label's: the default metric.

    Args:
        outputs: (N, ..., C) scores, (N, ..., 1) probabilities of class 1, or the best classes
            themselves, (N, ...).
        labels: (N, ...) class numbers.
    """
    best = outputs if outputs.ndim == labels.ndim else best_classes(outputs)
    return float((best == labels).mean())


def find_metric(metric: Any) -> tuple[str, Metric]:
    """Return the metric's name and function.

    Args:
        metric: None for accuracy; a function of (outputs, labels); or ``module:function``, where
            the module is an importable name or the path of a Python file.

    Raises:
        OptionError: there is no such function.
    """
    if metric is None:
        return "accuracy", accuracy
    if hasattr(metric, "update_state"):
        raise OptionError(
            f"the metric is a Keras metric ({type(metric).__name__}), which goes on from call to "
            "call and takes the labels first, expected a function of (outputs, labels) to a "
            "number, larger is better: wrap one that makes a new Keras metric at each call"
        )
    if callable(metric):
        return getattr(metric, "__name__", "metric"), metric
    return str(metric).rpartition(":")[2], import_function(str(metric), "the metric")
