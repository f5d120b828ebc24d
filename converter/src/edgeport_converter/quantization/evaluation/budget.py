"""What quantization may lose, and whether a candidate kept to it.

The bounds, in the order that ``judge`` takes them in:

1. answers that are counted: as many may change as best classes may;
2. with a metric: it may get worse by ``max_drop``; outputs that it does not see keep 20 dB; a
   classifier's scores keep 14 dB, since a metric of classes does not see them;
3. without one, what reconstructs its input, as an autoencoder does, keeps the order of the samples'
   reconstruction errors;
4. a classifier's best classes change for at most twice ``max_drop`` of the samples, and the scores
   of all others keep 20 dB, that is, they move by a tenth of their spread, where a probability
   that moves by less than 0.005 counts as the same; a ``max_drop`` that lets more classes change
   than such scores do bounds the scores accordingly, down to 10 dB;
5. anything else keeps 20 dB in all channels together and 10 dB in the worst one.

All figures are those of the samples at hand. Holding their uncertainty against a candidate would
refuse each that is measured on less than some 300 samples; the report tells it instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.data.labels import best_classes
from edgeport_converter.loading.user_code import import_function
from edgeport_converter.quantization.evaluation import user_metrics
from edgeport_converter.quantization.evaluation.user_metrics import Metric

if TYPE_CHECKING:
    from edgeport_converter.quantization.evaluation.agreement import Agreement

# Bounds where there are no labels to measure a metric on. A sample whose best class changes was
# wrong before as often as not in the region where that happens, so accuracy moves by about half.
_CHANGED_CLASSES = 2.0  # times the drop that is allowed
MIN_SIGNAL_TO_NOISE_DB = 20.0
# One channel may be this much worse than all of them together.
_CHANNEL_MARGIN_DB = 10.0

# Where more than some 3 % of the best classes may change, scores that keep 20 dB would be the only
# bound, and ``max_drop`` none. Let two scores be normal, and their noise a times as wide. A pair of
# such numbers before and after has the correlation 1 / sqrt(1 + a^2), so the sign of a difference
# changes for arctan(a) / pi of the samples (Sheppard, "On the application of the theory of error
# to cases of normal distribution and normal correlation", 1899). Solved for a. Below 10 dB, where
# noise is a third of the spread, a score says nothing any more.
_LEAST_SIGNAL_TO_NOISE_DB = 10.0

# Where the metric itself is measured, scores may move by a fifth of their spread. Chosen: looser
# than without labels, since these say already that the answers are right.
MIN_SCORES_BESIDE_METRIC_DB = 14.0

# Errors that rank samples as in float up to a correlation of r separate two normal distributions
# r times as far, which costs at most 0.242 (1 - r) of the area under the curve, the largest value
# of x * density(x). With this factor that is max_drop.
_RANK_LOSS = 4.0

_ROUNDING = 1e-9
_SMALLEST_BUDGET = 1e-3


@dataclass(frozen=True)
class Verdict:
    """A candidate against the budget.

    Attributes:
        loss: smaller is better: of the metric, share of changed answers, minus dB, or what a rank
            correlation lacks of 1.
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
    def noise_to_keep(self) -> float:
        """Which share of the noise may stay, by its power: an estimate, 1 where all of it may.

        Decibels tell the power; shares of changed answers grow with its root.
        """
        if self.holds:
            return 1.0
        if self.allowed < 0:
            return float(10 ** ((self.allowed - self.loss) / 10))
        return float((self.allowed / self.loss) ** 2)

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


def least_rank_correlation(max_drop: float) -> float:
    """Return how alike the order of reconstruction errors has to be, as a correlation."""
    return 1 - _RANK_LOSS * max_drop


def least_scores_db(max_drop: float) -> float:
    """Return the least signal-to-noise ratio of the scores that keep their best class."""
    changed = _CHANGED_CLASSES * max_drop
    if changed <= 0:
        return MIN_SIGNAL_TO_NOISE_DB
    if changed >= 0.5:  # as the best classes of noise do
        return _LEAST_SIGNAL_TO_NOISE_DB
    implied = -20 * math.log10(math.tan(math.pi * changed))
    return min(MIN_SIGNAL_TO_NOISE_DB, max(_LEAST_SIGNAL_TO_NOISE_DB, implied))


def judge(
    agreement: Agreement,
    float_metric: float | None,
    metric: float | None,
    max_drop: float,
    *,
    smaller_is_better: bool = False,
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
        smaller_is_better: whether the metric is an error.
    """
    seen = float_metric is not None and metric is not None
    changed = agreement.others_changed if seen else agreement.changed
    if changed is not None and not (counted := _changes(changed, max_drop, "the answers")).holds:
        return counted
    if float_metric is not None and metric is not None:
        return _judge_metric(agreement, float_metric, metric, max_drop, smaller=smaller_is_better)
    ranks, least = agreement.error_ranks, least_rank_correlation(max_drop)
    if ranks is not None and ranks < least:
        return Verdict(
            1 - ranks,
            1 - least,
            f"ranks the samples by their reconstruction errors as float does to {ranks:.4f} only, "
            f"expected at least {least:.4f}, since such errors tell anomalies (if they are not "
            "what you use, pass the metric that is)",
        )
    if agreement.top_1 is not None:
        verdict = _changes(1 - agreement.top_1, max_drop, "the best classes")
        # Where there is one class throughout, a constant would keep it: the scores have to agree.
        if agreement.classes != 1 or not verdict.holds:
            return _lost_scores(agreement, least_scores_db(max_drop), verdict)
    if changed is not None and math.isinf(agreement.signal_to_noise_db):
        return _changes(changed, max_drop, "the answers")
    together, worst = agreement.signal_to_noise_db, agreement.worst_channel_db
    decibel = min(together, worst + _CHANNEL_MARGIN_DB)
    return Verdict(
        -decibel if math.isfinite(decibel) else -1e9 if decibel > 0 else 1e9,
        -MIN_SIGNAL_TO_NOISE_DB,
        f"has a signal-to-noise ratio of {_tenths(together)} dB and {_tenths(worst)} dB in its "
        f"worst channel, expected at least {MIN_SIGNAL_TO_NOISE_DB:g} dB and "
        f"{MIN_SIGNAL_TO_NOISE_DB - _CHANNEL_MARGIN_DB:g} dB",
    )


def _judge_metric(
    agreement: Agreement, float_metric: float, metric: float, max_drop: float, *, smaller: bool
) -> Verdict:
    others = agreement.others_db
    if others is not None and others < MIN_SIGNAL_TO_NOISE_DB:
        return Verdict(
            -others,
            -MIN_SIGNAL_TO_NOISE_DB,
            f"has a signal-to-noise ratio of {_tenths(others)} dB in an output that the metric "
            f"does not see, expected at least {MIN_SIGNAL_TO_NOISE_DB:g} dB",
        )
    drop = metric - float_metric if smaller else float_metric - metric
    verdict = Verdict(
        drop,
        max_drop,
        f"loses {_digits(drop)} ({_digits(float_metric)} to {_digits(metric)}), expected at most "
        f"{max_drop}",
    )
    return _lost_scores(agreement, MIN_SCORES_BESIDE_METRIC_DB, verdict)


def _digits(number: float) -> str:
    """Return four decimals; of a small number, such as an error of a user's own metric, digits."""
    return f"{number:.4f}" if number == 0 or abs(number) >= 1e-3 else f"{number:.3g}"


def _tenths(decibel: float) -> str:
    """Return a ratio to a tenth, rounded down, so that one that misses a bound reads so."""
    return f"{math.floor(10 * decibel) / 10 if math.isfinite(decibel) else decibel:.1f}"


def _lost_scores(agreement: Agreement, least_db: float, verdict: Verdict) -> Verdict:
    """Return the verdict, or that on a classifier's scores where these alone miss the budget."""
    scores = agreement.scores_db
    if not verdict.holds or scores is None or scores >= least_db:
        return verdict
    return Verdict(
        -scores,
        -least_db,
        f"has a signal-to-noise ratio of {_tenths(scores)} dB in the scores of samples that keep "
        f"their best class, expected at least {least_db:.3g} dB",
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
    """Return the metric's name, and the metric as a function of outputs and labels.

    Args:
        metric: None for accuracy; a function, or a metric of Keras, as ``user_metrics.adapt`` takes
            them; or ``module:function``, where the module is an importable name or the path of a
            Python file.

    Raises:
        OptionError: there is no such function.
    """
    if metric is None:
        return "accuracy", accuracy
    if callable(metric) or hasattr(metric, "update_state"):
        return user_metrics.name_of(metric), user_metrics.adapt(metric)
    found = import_function(str(metric), "the metric")
    return str(metric).rpartition(":")[2], user_metrics.adapt(found)
