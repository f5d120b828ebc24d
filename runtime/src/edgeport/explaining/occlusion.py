"""Occlusion sensitivity of one picture or signal, by Predictor alone.

Source: Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014, section 4.2.
They slide a gray square over the picture and watch the score of the class.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgeport.artifact.golden import Array
from edgeport.errors import OptionError

MOST_PATCHES = 2**16
_BATCH_BYTES = 2**24
_MOST_IN_BATCH = 64
_PATCHES_ALONG = 8  # by default a patch covers this part of the shorter side
_STRONG = 0.5  # of the largest drop: what belongs to the region that carried the answer


@dataclass(frozen=True, slots=True)
class Region:
    """The place that carried the answer.

    Attributes:
        start, stop: along each occluded axis, H and W or T; ``stop`` is not inside.
        share: of the sample's area or time, 0 to 1.
        drop: the largest drop of the score in it.
        where: the same in words.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    share: float
    drop: float
    where: str


@dataclass(frozen=True, slots=True, eq=False)
class OcclusionMap:
    """How much the answer hangs on each part of one sample.

    Attributes:
        answer: what was explained, in words: the score of a class, or a value.
        score: of the sample as it is.
        heat: (H, W) or (T,), float64: the mean drop of the score over all patches that cover the
            place, in the unit of the score. Positive carried the answer, negative spoke against it.
        drops: (rows, columns) or (windows,), float64: the drop for each patch.
        starts: where the patches begin along each occluded axis.
        patch, stride: sizes along each occluded axis, in pixels or samples.
        baseline: what stood in place of the occluded part.
        rate: samples a second of a signal whose card says it, in Hz; else None.
        region: what carried the answer, None where nothing did.
        notes: what makes the map uncertain or meaningless, a sentence each.
    """

    answer: str
    score: float
    heat: Array
    drops: Array
    starts: tuple[tuple[int, ...], ...]
    patch: tuple[int, ...]
    stride: tuple[int, ...]
    baseline: str
    rate: float | None
    region: Region | None
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return the result in one line."""
        if self.region is None:
            return f"{self.answer} is {self.score:.4g}; no part of the sample carried it"
        region = self.region
        return (
            f"{self.answer} is {self.score:.4g}; {region.where} ({region.share:.0%} of it) carried "
            f"the answer: without a part of it the score falls by up to {region.drop:.4g}"
        )


def default_patch(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the patch for a picture (H, W) or a signal (T,): an eighth of the shorter side.

    That is 28 pixels of 224, 4 of 28 and 2 of 8; smaller ones change too little to be seen.
    """
    side = max(2, round(min(sizes) / _PATCHES_ALONG))
    return tuple(min(side, size) for size in sizes)


def check_sizes(
    sizes: tuple[int, ...], patch: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Return where the patches begin along each axis; the last one ends with the sample.

    Raises:
        OptionError: a patch does not fit, a stride leaves gaps, or there are too many patches.
    """
    for size, extent, step in zip(sizes, patch, stride, strict=True):
        if extent > size:
            raise OptionError(
                f"the patch is {extent}, expected at most {size}, the size of the sample there: "
                "pass a smaller one"
            )
        if step > extent:
            raise OptionError(
                f"the stride is {step}, expected at most the patch's {extent}, since larger ones "
                "leave gaps that are never occluded: pass a smaller one"
            )
    starts = tuple(
        tuple(dict.fromkeys((*range(0, size - extent + 1, step), size - extent)))
        for size, extent, step in zip(sizes, patch, stride, strict=True)
    )
    count = math.prod(map(len, starts))
    if count > MOST_PATCHES:
        raise OptionError(
            f"a stride of {' x '.join(map(str, stride))} gives {count:,} patches, expected at most "
            f"{MOST_PATCHES:,}: pass a larger stride"
        )
    return starts


def measure_drops(
    score: Callable[[Array], Array],
    sample: Array,
    filled: Array,
    axes: tuple[int, ...],
    patch: tuple[int, ...],
    starts: tuple[tuple[int, ...], ...],
) -> tuple[float, Array]:
    """Return the sample's score, and how far it falls without each patch.

    Args:
        score: a batch (N, ...) of samples to (N,) float64.
        sample: without batch axis.
        filled: an array like it, what the patches show.
        axes: of the sample, those that are occluded.
        patch: the sizes of a patch along these axes.
        starts: where patches begin along each of them.
    """
    shape = tuple(map(len, starts))
    whole = float(score(sample[np.newaxis])[0])
    places = itertools.product(*starts)
    size = max(1, min(_MOST_IN_BATCH, _BATCH_BYTES // max(1, sample.nbytes)))
    drops = [
        whole - score(np.stack([_occluded(sample, filled, axes, patch, place) for place in part]))
        for part in _parts(places, size)
    ]
    return whole, np.concatenate(drops).reshape(shape)


def _parts(places: Iterator[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    while part := list(itertools.islice(places, size)):
        yield part


def _occluded(
    sample: Array,
    filled: Array,
    axes: tuple[int, ...],
    patch: tuple[int, ...],
    place: tuple[int, ...],
) -> Array:
    inside: list[slice] = [slice(None)] * sample.ndim
    for axis, start, extent in zip(axes, place, patch, strict=True):
        inside[axis] = slice(start, start + extent)
    copy = sample.copy()
    copy[tuple(inside)] = filled[tuple(inside)]
    return copy


def heat_of(
    drops: Array,
    sizes: tuple[int, ...],
    patch: tuple[int, ...],
    starts: tuple[tuple[int, ...], ...],
) -> Array:
    """Return the mean drop of the patches that cover each place, in the shape ``sizes``."""
    total, count = np.zeros(sizes), np.zeros(sizes)
    for index, place in enumerate(itertools.product(*starts)):
        inside = tuple(
            slice(start, start + extent) for start, extent in zip(place, patch, strict=True)
        )
        total[inside] += drops.flat[index]
        count[inside] += 1
    heat: Array = total / count  # every place is covered, since no stride exceeds its patch
    return heat


def region_of(
    drops: Array,
    sizes: tuple[int, ...],
    patch: tuple[int, ...],
    stride: tuple[int, ...],
    starts: tuple[tuple[int, ...], ...],
    rate: float | None,
) -> Region | None:
    """Return the box around the strongest patch and its strong neighbours; None where all are weak.

    1. Strong is a patch whose drop is at least half of the largest one.
    2. From the strongest, strong neighbours are joined, edge by edge.
    3. The box has the middle of each of them, as wide as the stride, so that patches which overhang
       what they found do not widen it.
    """
    if not drops.max() > 0:
        return None
    strong = drops >= _STRONG * drops.max()
    peak = tuple(int(i) for i in np.unravel_index(int(drops.argmax()), drops.shape))
    found, waiting = {peak}, [peak]
    while waiting:
        cell = waiting.pop()
        for axis, step in itertools.product(range(drops.ndim), (-1, 1)):
            other = (*cell[:axis], cell[axis] + step, *cell[axis + 1 :])
            is_inside = 0 <= other[axis] < drops.shape[axis]
            if is_inside and other not in found and strong[other]:
                found.add(other)
                waiting.append(other)
    start, stop = [], []
    for axis, (size, extent, step) in enumerate(zip(sizes, patch, stride, strict=True)):
        cells = [cell[axis] for cell in found]
        first, last = starts[axis][min(cells)], starts[axis][max(cells)]
        margin = (extent - step) // 2
        # At the border nothing else covers the outer part of a patch.
        start.append(0 if first == 0 else first + margin)
        stop.append(size if last + extent == size else last + extent - margin)
    share = math.prod(
        (high - low) / size for low, high, size in zip(start, stop, sizes, strict=True)
    )
    where = _in_words(start, stop, sizes, rate)
    return Region(tuple(start), tuple(stop), share, float(drops.max()), where)


def _in_words(start: list[int], stop: list[int], sizes: tuple[int, ...], rate: float | None) -> str:
    if len(sizes) == 1:
        if rate is None:
            return f"samples {start[0]} to {stop[0] - 1}"
        return f"{start[0] / rate:.3f} s to {stop[0] / rate:.3f} s"
    thirds = [
        min(2, int(3 * (low + high) / 2 / size))
        for low, high, size in zip(start, stop, sizes, strict=True)
    ]
    row, column = ("top", "middle", "bottom")[thirds[0]], ("left", "centre", "right")[thirds[1]]
    place = "the centre" if thirds == [1, 1] else f"the {row} {column}"
    return f"{place}, rows {start[0]} to {stop[0] - 1}, columns {start[1]} to {stop[1] - 1}"
