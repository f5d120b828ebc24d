"""How closely a quantized model follows the float one.

The ratio is taken channel by channel and without the mean: an output near 1,000 that varies by 1
must not hide that the variation is lost, nor that a smaller output beside it is. Answers that are
counted, such as the index of the best class, are equal or not: the next index is another class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeport.artifact.golden import Array
from edgeport_converter.data.labels import best_classes
from edgeport_converter.verification.runners import Run

# Noise below this share of a channel's largest value is no loss, even where the channel hardly
# varies on the data at hand.
_NEGLIGIBLE = 1e-4

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

    def noise_to_signal(self) -> Array:
        """Return the ratio of each channel."""
        count = max(self.count, 1)
        variance = np.maximum(self.squares / count - (self.total / count) ** 2, 0.0)
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
    samples = same = 0
    sums: dict[str, _ChannelSums] = {}
    counted: set[str] = set()
    classes: set[int] = set()
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
            best = best_classes(expected[first], border)
            classes.update(best.tolist())
            same += int(np.sum(best == best_classes(actual[first], border)))
    ratios = {name: sums[name].noise_to_signal() for name in sums if name not in counted}
    changed = {name: sums[name].unequal / sums[name].values for name in sums if name in counted}
    others = [float(ratio.mean()) for name, ratio in ratios.items() if name != first]
    return Agreement(
        samples,
        same / samples if classifier else None,
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
        len(classes) if classifier else None,
    )


def noise_to_signal(found: Array, wanted: Array) -> float:
    """Return the mean over the channels of noise / signal, for one output."""
    sums = _ChannelSums()
    sums.add(wanted, found)
    return float(sums.noise_to_signal().mean())


def _decibel(noise_to_signal: float) -> float:
    if noise_to_signal == 0:
        return float("inf")
    return float(-10.0 * np.log10(noise_to_signal)) if np.isfinite(noise_to_signal) else -1e9
