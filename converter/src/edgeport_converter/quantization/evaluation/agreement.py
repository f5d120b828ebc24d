"""How closely a quantized model follows the float one.

The ratio is taken channel by channel and without the mean: an output near 1,000 that varies by 1
must not hide that the variation is lost, nor that a smaller output beside it is. Answers that are
counted, such as the index of the best class, are equal or not: the next index is another class.

Two kinds of models are judged by more. Equal best classes say little where there are few of them,
so a classifier's scores are compared, too. An autoencoder is made to rank samples by how badly it
reconstructs them, so the order of its errors is compared with that of the float model's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from edgeport.artifact.golden import Array
from edgeport_converter.data.labels import best_classes
from edgeport_converter.verification.runners import Run

# Noise below this share of a channel's largest value is no loss, even where the channel hardly
# varies on the data at hand.
_NEGLIGIBLE = 1e-4

# An output reconstructs the input where it explains at least a tenth of the input's variance: on
# data unlike its training's, an autoencoder explains little more.
_RECONSTRUCTS = 0.9
_LEAST_VALUES = 4  # of a sample: a function of one number to one may be near it by chance

# A probability that moves by less is the same to whoever reads it: as much is lost by telling it in
# whole per cent. Scores that hardly vary, as a fresh network's, would else be held to much less.
_UNSEEN_OF_A_PROBABILITY = 0.005

_UNSURE = 0.05  # how often a share may be smaller than it is told to be at least

# Narrower integers are amounts, such as the pixels of an image, which may be off by one.
_COUNTED = (np.dtype(bool), np.dtype(np.int32), np.dtype(np.int64))


@dataclass(frozen=True)
class Agreement:
    """The quantized model beside the float one.

    Attributes:
        samples: how many were compared.
        top_1: share of samples with the same best class, None for anything but a classifier.
        signal_to_noise_db: -10 log10 of the mean over the channels of noise / signal, where noise
            is mean((y - q)^2) and signal the variance of y; of the worst output.
        worst_channel_db: the same of the worst channel.
        largest_difference: absolute, over all outputs.
        typical_difference: root of the mean square, by output.
        others_db: the ratio of the worst output but the first, which a metric does not see; None
            where there is one output.
        changed: share of the answers that differ in the worst output of bool, int32 or int64,
            which has no ratio; None where there is none.
        others_changed: the same of the outputs but the first.
        classes: how many best classes the float model gave; None for anything but a classifier.
        top_1_at_least: what ``top_1`` is at least on other samples of the same kind, 95 times of
            100; see ``least_share``, where the one that was chosen counts all that were judged.
        scores_db: of a classifier's scores on the samples whose best class is the same: 10 log10 of
            signal / noise, the sum over the classes of their variance over the mean squared
            distance. Probabilities that move by less than 0.005 count as the same. None where the
            model is no classifier.
        error_ranks: rank correlation, -1 to 1, of the samples' reconstruction errors in the
            quantized and in the float model; None where no output reconstructs the only input.
    """

    samples: int
    top_1: float | None
    signal_to_noise_db: float
    worst_channel_db: float
    largest_difference: float
    typical_difference: dict[str, float] = field(default_factory=dict)
    others_db: float | None = None
    changed: float | None = None
    others_changed: float | None = None
    classes: int | None = None
    top_1_at_least: float | None = None
    scores_db: float | None = None
    error_ranks: float | None = None

    def describe(self) -> str:
        """Return what was measured in words."""
        parts = []
        if self.top_1 is not None:
            parts.append(f"best class equal for {self.top_1:.2%}")
            if self.top_1_at_least is not None:
                parts[-1] += f" (of others at least {self.top_1_at_least:.2%}, 95% sure)"
        if self.changed is not None:
            parts.append(f"counted answers equal for {1 - self.changed:.2%}")
        if self.error_ranks is not None:
            parts.append(f"reconstruction errors ranked alike to {self.error_ranks:.4f}")
        parts.append(f"{self.signal_to_noise_db:.1f} dB with float on {self.samples:,} samples")
        return ", ".join(parts)


class _ChannelSums:
    """Sums over samples for one output, one number a channel (its last axis)."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Array | float = 0.0
        self.squares: Array | float = 0.0
        self.noise: Array | float = 0.0
        self.largest: Array | float = 0.0
        self.largest_difference = 0.0
        self.values = self.unequal = 0
        self._shift: Array | None = None

    def add(self, wanted: Array, found: Array) -> None:
        self.values += wanted.size
        self.unequal += int(np.sum(wanted != found))
        columns = wanted.shape[-1] if wanted.ndim > 1 else 1
        wide = wanted.astype(np.float64).reshape(-1, columns)
        error = wide - found.astype(np.float64).reshape(-1, columns)
        if self._shift is None:
            self._shift = wide[0].copy()  # variance about a value nearby keeps its digits
        centred = wide - self._shift
        self.count += len(wide)
        self.total = self.total + centred.sum(axis=0)
        self.squares = self.squares + (centred**2).sum(axis=0)
        self.noise = self.noise + (error**2).sum(axis=0)
        self.largest = np.maximum(self.largest, np.abs(wide).max(axis=0, initial=0.0))
        self.largest_difference = max(
            self.largest_difference, float(np.abs(error).max(initial=0.0))
        )

    @property
    def variance(self) -> Array:
        """The variance of each channel of the float model's answers."""
        count = max(self.count, 1)
        found: Array = np.maximum(self.squares / count - (self.total / count) ** 2, 0.0)
        return found

    def noise_to_signal(self) -> Array:
        """Return the ratio of each channel."""
        count, variance = max(self.count, 1), self.variance
        signal = variance + (_NEGLIGIBLE * self.largest) ** 2
        noise = np.asarray(self.noise / count)
        ratio: Array = np.where(noise == 0, 0.0, noise / np.maximum(signal, 1e-300))
        return ratio


def measure_agreement(
    run: Run,
    reference: Run,
    batches: Iterable[Mapping[str, Array]],
    *,
    classifier: bool,
    border: float = 0.5,
) -> Agreement:
    """Compare two models on all batches.

    Args:
        run: the quantized model.
        reference: the float model.
        batches: arrays by input name.
        classifier: whether the only output is a row of class scores.
        border: of a score that stands alone, above which it means class 1.
    """
    samples = 0
    sums: dict[str, _ChannelSums] = {}
    counted: set[str] = set()
    classes = _Classes(border)
    errors = _ReconstructionErrors()
    first = ""
    for batch in batches:
        expected, actual = reference(batch), run(batch)
        samples += len(next(iter(batch.values())))
        first = next(iter(expected))
        for name, wanted in expected.items():
            if wanted.dtype in _COUNTED:
                counted.add(name)
            if wanted.dtype.kind in "fiub" and wanted.size:
                sums.setdefault(name, _ChannelSums()).add(wanted, actual[name])
        if classifier:
            classes.add(expected[first], actual[first])
        errors.add(batch, expected, actual)
    ratios = {name: sums[name].noise_to_signal() for name in sums if name not in counted}
    changed = {name: sums[name].unequal / sums[name].values for name in sums if name in counted}
    others = [float(ratio.mean()) for name, ratio in ratios.items() if name != first]
    return Agreement(
        samples,
        classes.same / samples if classifier else None,
        _decibel(max((float(ratio.mean()) for ratio in ratios.values()), default=0.0)),
        _decibel(max((float(ratio.max()) for ratio in ratios.values()), default=0.0)),
        max((output.largest_difference for output in sums.values()), default=0.0),
        {
            name: float(np.sqrt(np.mean(output.noise) / max(output.count, 1)))
            for name, output in sums.items()
        },
        _decibel(max(others)) if others else None,
        max(changed.values(), default=None),
        max((share for name, share in changed.items() if name != first), default=None),
        len(classes.seen) if classifier else None,
        least_share(classes.same / samples, samples) if classifier else None,
        _decibel(classes.noise_to_signal(sums[first])) if classifier else None,
        errors.rank_correlation(),
    )


class _Classes:
    """Best classes of both models, and how far the scores of equal ones lie apart."""

    def __init__(self, border: float) -> None:
        self.seen: set[int] = set()
        self._border = border
        self.same = 0
        self._noise = self._seen_noise = 0.0
        self._are_probabilities = True

    def add(self, wanted: Array, found: Array) -> None:
        best = best_classes(wanted, self._border)
        equal = best == best_classes(found, self._border)
        self.seen.update(best.tolist())
        self.same += int(np.sum(equal))
        # Samples that change class are bounded by their share. In a network that is sure of itself,
        # the few that may would else outweigh the scores of all the others.
        error = wanted[equal].astype(np.float64) - found[equal]
        squares = error**2
        self._noise += float(np.sum(squares))
        self._seen_noise += float(np.sum(squares[np.abs(error) >= _UNSEEN_OF_A_PROBABILITY]))
        if wanted.size and (wanted.min() < 0 or wanted.max() > 1):
            self._are_probabilities = False

    def noise_to_signal(self, scores: _ChannelSums) -> float:
        """Return the ratio for the samples whose best class is the same."""
        signal = float(np.sum(scores.variance)) + float(np.max(scores.largest) * _NEGLIGIBLE) ** 2
        noise = self._seen_noise if self._are_probabilities else self._noise
        return noise / max(self.same, 1) / max(signal, 1e-300)


class _ReconstructionErrors:
    """Each sample's squared distance between an output and the input that it reconstructs."""

    def __init__(self) -> None:
        self._wanted: list[Array] = []
        self._found: list[Array] = []
        self._inputs = _ChannelSums()

    def add(
        self, batch: Mapping[str, Array], wanted: Mapping[str, Array], found: Mapping[str, Array]
    ) -> None:
        given = next(iter(batch.values()))
        if len(batch) != 1 or given.dtype.kind not in "fiu" or given[:1].size < _LEAST_VALUES:
            return
        alike = (k for k, y in wanted.items() if y.shape == given.shape and y.dtype.kind == "f")
        name = next(alike, None)
        if name is None:
            return
        self._inputs.add(given, given)
        wide = given.astype(np.float64)
        axes = tuple(range(1, given.ndim))
        self._wanted.append(np.mean((wide - wanted[name]) ** 2, axis=axes))
        self._found.append(np.mean((wide - found[name]) ** 2, axis=axes))

    def rank_correlation(self) -> float | None:
        if not self._wanted:
            return None
        wanted, found = np.concatenate(self._wanted), np.concatenate(self._found)
        spread = float(np.mean(self._inputs.variance))
        if not np.isfinite(wanted).all() or np.mean(wanted) > _RECONSTRUCTS * spread:
            return None
        if len(wanted) < 3 or np.ptp(wanted) <= _NEGLIGIBLE**2 * spread:
            return None  # the float model's own errors have no order, as those of an identity
        return rank_correlation(wanted, found)


def rank_correlation(first: Array, second: Array) -> float:
    """Return Spearman's rank correlation of two rows (N,), from -1 to 1."""
    rows = [np.argsort(np.argsort(row, kind="stable"), kind="stable") for row in (first, second)]
    one, other = (row - (len(row) - 1) / 2 for row in rows)
    return float(np.sum(one * other) / np.sum(one**2))


def least_share(share: float, samples: int, candidates: int = 1) -> float:
    """Return what a share is at least in the population that the samples were drawn from.

    The lower end of Wilson's interval, one-sided, 95 of 100 times. Source: Wilson, "Probable
    inference, the law of succession, and statistical inference" (1927). Where the same samples
    chose among several candidates, luck had as many chances, and each is allowed that part of the
    five in a hundred (Bonferroni).
    """
    sure = NormalDist().inv_cdf(1 - _UNSURE / candidates)
    weight = sure**2 / samples
    centre = share + weight / 2
    spread = sure * math.sqrt(share * (1 - share) / samples + weight / (4 * samples))
    return max(0.0, (centre - spread) / (1 + weight))


def noise_to_signal(found: Array, wanted: Array) -> float:
    """Return the mean over the channels of noise / signal, for one output."""
    sums = _ChannelSums()
    sums.add(wanted, found)
    return float(sums.noise_to_signal().mean())


def _decibel(noise_to_signal: float) -> float:
    if noise_to_signal == 0:
        return float("inf")
    return float(-10.0 * np.log10(noise_to_signal)) if np.isfinite(noise_to_signal) else -1e9
