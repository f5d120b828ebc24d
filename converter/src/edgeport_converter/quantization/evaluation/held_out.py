"""Holding samples out of the calibration data, so that no sample judges what it has calibrated.

Activation ranges, GPTQ and bias correction fit the samples that they see: on those a quantized
graph agrees better with the float one than on others. Where the user gives no evaluation data, some
of the calibration samples are therefore kept for the verdict alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeport.artifact.golden import Array
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.data.user_data import UserData

SPLIT_FROM = 100
"""The fewest samples that are split: of less than fifty for the verdict one is over two per cent,
and ranges of less than fifty would be worse, too."""

# Half of the samples judge until these are enough to see half a per cent; ranges and rounding gain
# little from more than a few hundred, so of many samples the larger part still calibrates.
_MOST_SHARE, _ENOUGH, _LEAST_SHARE = 0.5, 300, 0.3

_READ = 64


class Part:
    """Some samples of a dataset, streamed from it.

    Args:
        whole: the dataset.
        kept: whether each of its samples belongs to the part, (N,) bool.

    Attributes:
        sha256: of the whole dataset, which is what the user has a file of.
    """

    def __init__(self, whole: Dataset, kept: Array) -> None:
        self._whole, self._kept = whole, kept
        self.sha256 = whole.sha256

    def __len__(self) -> int:
        return int(self._kept.sum())

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Yield the samples in order, ``size`` at a time; the last batch may be shorter."""
        waiting: dict[str, Array] = {}
        place = 0
        for batch in self._whole.batches(size):
            rows = len(next(iter(batch.values())))
            chosen = self._kept[place : place + rows]
            place += rows
            found = {name: array[chosen] for name, array in batch.items()}
            if waiting and _sample_shapes(waiting) != _sample_shapes(found):
                yield waiting  # free axes of other sizes cannot be joined
                waiting = {}
            if waiting:
                found = {name: np.concatenate([waiting[name], found[name]]) for name in found}
            if _count(found) >= size:
                yield {name: array[:size] for name, array in found.items()}
                found = {name: array[size:] for name, array in found.items()}
            waiting = found if _count(found) else {}
        if waiting:
            yield waiting

    @cached_property
    def value_ranges(self) -> dict[str, tuple[float, float]]:
        """Return (lowest, highest) value of these samples by input name; text has none.

        The first call reads the data once.
        """
        found: dict[str, tuple[float, float]] = {}
        for batch in self.batches(_READ):
            for name, array in batch.items():
                if array.dtype.kind in "biuf":
                    low, high = float(array.min()), float(array.max())
                    known = found.get(name, (low, high))
                    found[name] = min(low, known[0]), max(high, known[1])
        return found


@dataclass(frozen=True, eq=False)
class SampleRoles:
    """Which samples calibrate and which judge.

    Attributes:
        calibration: what ranges are taken from and weights are rounded by; None without data.
        judged: what a candidate's loss is measured on; None without data.
        source: what the judging samples are, in words; "" without data.
    """

    calibration: Dataset | Part | None
    judged: Dataset | Part | None
    source: str

    @property
    def flatters(self) -> bool:
        """Whether the samples that calibrate judge as well."""
        return self.source == _THE_SAME


_THE_SAME = "that calibrated it"


def assign_samples(user: UserData, *, quantizes: bool) -> SampleRoles:
    """Return what calibrates and what judges.

    1. With evaluation data, these judge.
    2. Without, some of the calibration samples do: half of them, but no more than 300 or three
       tenths, whichever is more. The data is cut into as many equal pieces, and a fixed generator
       draws one sample of each: data that is sorted by class is spread over both parts, and no
       period of the data can meet one of the split. Near-copies, such as frames of one film, stand
       in both parts: only evaluation data of the user's own are new then.
    3. Fewer than ``SPLIT_FROM`` samples do both, which a note says.

    The samples that judge also choose among the candidates, which flatters where there are many: of
    eleven candidates of one network the chosen one kept two points less on others than it was told
    to. A third part for the report alone would make both verdicts coarser, so what a share is at
    least counts the candidates instead; `make verdicts` measures whether that holds.

    Args:
        user: the data as it was read.
        quantizes: whether anything is calibrated.
    """
    whole, judged = user.calibration, user.measured
    if judged is None:
        return SampleRoles(whole, judged, "")
    if whole is None or not quantizes:
        return SampleRoles(whole, judged, "of the data")
    if judged is not whole:
        same = judged.sha256 == whole.sha256
        return SampleRoles(whole, judged, _THE_SAME if same else "of the evaluation data")
    if len(whole) < SPLIT_FROM:
        return SampleRoles(whole, judged, _THE_SAME)
    held = draw_held_out(len(whole))
    return SampleRoles(Part(whole, ~held), Part(whole, held), "held out of the calibration data")


def draw_held_out(samples: int) -> Array:
    """Return which samples are held out, (N,) bool."""
    count = int(min(_MOST_SHARE * samples, max(_ENOUGH, _LEAST_SHARE * samples)))
    edges = np.arange(count + 1) * samples // count
    held = np.zeros(samples, dtype=bool)
    held[np.random.default_rng(0).integers(edges[:-1], edges[1:])] = True
    return held


def _count(arrays: dict[str, Array]) -> int:
    return len(next(iter(arrays.values())))


def _sample_shapes(arrays: dict[str, Array]) -> list[tuple[int, ...]]:
    return [array.shape[1:] for array in arrays.values()]
