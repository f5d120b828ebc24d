"""Splits, pads and chunks a batch, with an answer that does not depend on how it was grouped.

A batch is split only where there is a card, every output has a batch axis, and the card does not
say that the samples of a batch depend on each other. ``model`` calls this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from edgeport.artifact.card import ANY_SHAPE, ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.errors import InferenceError, InputError, OptionError
from edgeport.inputs.feeds import Feed

# Inputs and outputs of one run together. Activations of convolutional networks take some 16
# times the space of their input (MobileNetV2: 9.6 MB for 0.6 MB), so that a run stays near 64 MiB
# whatever the batch, and is long past the size from which larger batches bring more speed.
CHUNK_BYTES = 4 * 2**20

# Enough work for one run: larger ones only leave the CPU's cache with their activations. On AVX-512
# with VNNI, 1,000 samples take 0.4 (DS-CNN) and 0.85 (ResNet-8) of the time of one run when they
# run in parts of this work; each run costs 5 to 30 us of its own.
_ENOUGH_MULTIPLY_ACCUMULATES = 2**28
# Dense layers with many weights read all of them in each run, so that small parts would be slower.
_FEWEST_SAMPLES = 32

# Work from which on a second thread pays: of one sample, whose run the engine's threads then share,
# or of a batch, whose parts run side by side. Time on two threads / on one, AVX-512 with VNNI: one
# sample of 57 million (MobileNetV3Small) 1.02, of 58 (MobileNetV2 0.35) 1.12, of 107 (MobileNetV2
# 0.75, 160 pixels) 0.95, of 301 (MobileNetV2) 0.84; batches of half of it 1.25 (DS-CNN) to 3 (the
# article's network).
WORTH_THREADS = 2**26

# The recipe whose operators take the range of a tensor from its values, so that a sample's answer
# depends on its neighbours in the batch. Source: edgeport-converter, quantization/recipe.
_DYNAMIC = "dynamic"

Run = Callable[[Mapping[str, Array]], list[Array]]


class Batching(NamedTuple):
    """How one model's samples are grouped.

    Attributes:
        card: its inputs and outputs say which axes count samples.
        fixed: the only number of samples that the graph takes, None where it takes any.
        may_split: whether the answer to a batch is that to its parts, one after the other.
        one_by_one: whether neighbours would change a sample's answer.
        chunk_bytes: most bytes of inputs and outputs in one run of several samples.
    """

    card: ModelCard
    fixed: int | None
    may_split: bool
    one_by_one: bool
    chunk_bytes: int

    @classmethod
    def of(cls, card: ModelCard, chunk_bytes: int = CHUNK_BYTES) -> Batching:
        """Return what the card asks for; ``chunk_bytes`` as above.

        Raises:
            OptionError: another ``chunk_bytes`` than the default, for a model whose batches cannot
                be run in parts.
        """
        if card.samples_interact and chunk_bytes != CHUNK_BYTES:
            raise OptionError(
                f"chunk_bytes is {chunk_bytes}, expected none for this model, whose answers depend "
                "on the whole batch, so that no batch is run in parts: leave it out"
            )
        sizes = [spec.shape[0] for spec in card.inputs if spec.has_batch_axis]
        fixed = next((size for size in sizes if isinstance(size, int)), None)
        batched = bool(sizes) and all(spec.has_batch_axis for spec in card.outputs)
        # Nobody vouches for it that the first axis of a graph without a card counts samples.
        may_split = batched and card.is_vouched_for and not card.samples_interact
        recipe = card.quantization.recipe if card.quantization else None
        one_by_one = may_split and recipe == _DYNAMIC
        return cls(card, fixed, may_split, one_by_one, chunk_bytes)

    def run(self, run: Run, feed: Feed) -> list[Array]:
        """Return the outputs for all samples of the feed, in the card's order.

        Raises:
            InputError: the graph insists on another number of samples and cannot be split.
            InferenceError: as ``run`` does, or an output has another number of samples.
        """
        samples = feed.samples
        if samples is None:
            return run(feed.arrays)
        if samples == 0:
            return self._run_nothing(run, feed)
        if not self.may_split:
            if self.fixed is not None and self.fixed != samples:
                raise self._wrong_number(samples)
            return self._checked(run(feed.arrays), samples)
        step = 1 if self.one_by_one else self.fixed
        if step is None:
            parts = -(-samples // self._most_at_once(self._sample_bytes(feed, samples)))
            step = -(-samples // parts)  # parts of nearly one size
        if step >= samples and self.fixed in (None, samples):
            return self._checked(run(feed.arrays), samples)
        # The answer is filled as the chunks come, which takes half the memory of joining them.
        results: list[Array] = []
        for start in range(0, samples, step):
            taken = min(step, samples - start)
            size = self.fixed or taken
            outputs = run(self._take(feed, start, taken, size))
            if not results:
                results = [np.empty((samples, *out.shape[1:]), out.dtype) for out in outputs]
            for spec, out, result in zip(self.card.outputs, outputs, results, strict=True):
                _check_shape(spec, out, (size, *result.shape[1:]))
                result[start : start + taken] = out[:taken]
        return results

    def most_in_one_run(self) -> int:
        """Return the largest batch that is neither split nor padded; 0 where sizes are free."""
        specs = self.card.inputs + self.card.outputs
        sizes = [math.prod(map(_fixed_size, spec.sample_shape)) for spec in specs]
        if not self.may_split or self.one_by_one or self.fixed is not None or 0 in sizes:
            return 0
        return self._most_at_once(
            sum(size * spec.dtype.itemsize for size, spec in zip(sizes, specs, strict=True))
        )

    def worth_helpers(self) -> int:
        """Return from how many samples on parts of a batch run side by side; 0 for never."""
        work = self.card.multiply_accumulates
        return max(2, -(-WORTH_THREADS // work)) if work else 0

    def _most_at_once(self, sample_bytes: int) -> int:
        """Return how many samples of this size, inputs and outputs, one run takes."""
        most = self.chunk_bytes // max(1, sample_bytes)
        work = self.card.multiply_accumulates
        if work:
            most = min(most, max(_FEWEST_SAMPLES, _ENOUGH_MULTIPLY_ACCUMULATES // work))
        return max(1, most)

    def _run_nothing(self, run: Run, feed: Feed) -> list[Array]:
        """Return the answer to an empty batch, on which operators of the engine end the process."""
        sizes = self._sizes(feed)
        shapes = [[sizes.get(axis, axis) for axis in spec.shape] for spec in self.card.outputs]
        has_batch_axes = all(spec.has_batch_axis for spec in self.card.outputs)
        if has_batch_axes and all(isinstance(size, int) for shape in shapes for size in shape[1:]):
            return [
                np.zeros((0, *shape[1:]), spec.dtype)
                for spec, shape in zip(self.card.outputs, shapes, strict=True)
            ]
        if self.may_split:  # one made-up sample gives the shapes that the card does not
            return [out[:0] for out in run(self._take(feed, 0, 0, self.fixed or 1))]
        raise InputError.of(
            "the model was given",
            "an empty batch",
            "at least 1 sample, since nothing tells the shape of an answer to none",
            "pass no empty batch to it",
        )

    def _sizes(self, feed: Feed) -> dict[int | str, int]:
        """Return the size of each axis that the inputs name."""
        return {
            axis: size
            for spec in self.card.inputs
            if spec.shape != ANY_SHAPE
            for axis, size in zip(spec.shape, feed.arrays[spec.name].shape, strict=True)
            if isinstance(axis, str)
        }

    def _checked(self, outputs: list[Array], samples: int) -> list[Array]:
        """Return the outputs; what a card says of their first axes must hold."""
        for spec, out in zip(self.card.outputs, outputs, strict=True):
            if self.card.is_vouched_for and spec.has_batch_axis:
                _check_shape(spec, out, (samples, *out.shape[1:]))
        return outputs

    def _sample_bytes(self, feed: Feed, samples: int) -> int:
        given = sum(feed.arrays[s.name].nbytes for s in self.card.inputs if s.has_batch_axis)
        sizes = self._sizes(feed)
        answered = 0
        for spec in self.card.outputs:
            values = 1
            for axis in spec.shape[1:]:
                values *= axis if isinstance(axis, int) else sizes.get(axis, 1)
            answered += values * spec.dtype.itemsize
        return given // samples + answered

    def _take(self, feed: Feed, start: int, taken: int, size: int) -> dict[str, Array]:
        """Return ``taken`` samples from ``start`` on, the last one repeated up to ``size``."""
        arrays = dict(feed.arrays)
        for spec in self.card.inputs:
            if spec.has_batch_axis:
                part = arrays[spec.name][start : start + taken]
                if taken == 0:
                    part = _blank(spec, (size, *part.shape[1:]))
                elif taken < size:
                    part = np.concatenate([part, np.repeat(part[-1:], size - taken, axis=0)])
                arrays[spec.name] = part
        return arrays

    def _wrong_number(self, samples: int) -> InputError:
        whole = next((s.name for s in self.card.outputs if not s.has_batch_axis), None)
        if self.card.samples_interact:
            reason = "its samples depend on each other"
        else:
            reason = (
                f"output '{whole}' has no batch axis" if whole else "nothing vouches for its axes"
            )
        return InputError.of(
            "the model was given",
            f"{samples} samples",
            f"exactly {self.fixed}, and a batch cannot be split because {reason}",
            f"pass {self.fixed} samples",
        )


def _check_shape(spec: TensorSpec, out: Array, expected: tuple[int, ...]) -> None:
    if out.shape != expected:
        raise InferenceError(
            f"output '{spec.name}' has shape {out.shape} for {expected[0]} samples, expected "
            f"{expected}: the samples cannot be answered in one array, pass fewer at a time"
        )


def _fixed_size(size: int | str) -> int:
    """Return the size of an axis, 0 for a free one."""
    return size if isinstance(size, int) else 0


def _blank(spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    if spec.dtype.kind == "O":
        return np.full(shape, "", object)
    return np.zeros(shape, spec.dtype)
