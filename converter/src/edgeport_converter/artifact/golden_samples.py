"""Which golden samples an artifact carries, what each may be off by, and whether they tell errors.

A golden sample is worth something if it fails on a device whose kernels compute wrong, and passes
on all others. Both are measured here: by weights that are spoiled, and by what the same graph
answers with and without the engine's optimizations, and after a rounding of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeport import TensorSpec
from edgeport.artifact import golden
from edgeport.artifact.golden import Array, GoldenOutput
from edgeport_converter.verification.runners import Run

OUTPUT_VALUES = 128
"""Kept of each golden output; a kernel that saturates is wrong in far more than one place."""

# A golden input is stored as it is up to this many characters; a larger one in blocks.
_STORED_INPUT_CHARACTERS = 2048
_BLOCKS = 1024  # codes of 8 bits, together no longer than the above
_DEFAULT_RANGE = (0.0, 1.0)
_CANDIDATES = 8
_KEPT = 2
# Another CPU adds in another order than this one in either of its two ways: what those differ by,
# a few times.
_TIMES_NOISE = 4.0
_ROUNDING = 2.0**-22  # relative; two units in the last place of float32
# A sample tells enough if spoiled weights move an answer by so many times what is allowed.
_TELLS_ENOUGH = 3.0


Allowed = Callable[[Mapping[str, GoldenOutput]], Mapping[str, float]]
"""Golden outputs by name to what each may be off by at least."""


@dataclass(frozen=True)
class GoldenChoice:
    """The golden samples of one artifact.

    Attributes:
        samples: in their JSON form.
        tolerance: what an output may be off by, by name.
        tells: the largest difference that spoiled weights make, in units of the tolerance.
    """

    samples: list[dict[str, Any]]
    tolerance: Mapping[str, float]
    tells: float


@dataclass(frozen=True)
class Runs:
    """One graph in the ways that golden samples are measured with.

    Attributes:
        defined: as ONNX defines it; golden outputs are taken from this.
        optimized: as the engine runs it here.
        spoiled: with strong noise on all weights, as ONNX defines it.
    """

    defined: Run
    optimized: Run
    spoiled: Run


def choose(
    runs: Runs,
    inputs: Sequence[TensorSpec],
    samples: Mapping[str, Array] | Sequence[Mapping[str, Array]],
    allowed: Allowed,
    *,
    made_up: bool,
    together: int = 1,
) -> GoldenChoice:
    """Return two golden samples, and what their outputs may be off by.

    1. Candidates are the samples with the largest sums of absolute values, where integer kernels
       saturate, then others, evenly. Before made-up samples come ramps, which cost the file
       nothing, for a model that may refuse neither some sizes nor some integers.
    2. Each is measured in the form that the card stores: what it may be off by is what ``allowed``
       says, and at least four times the noise of the graph on it; it tells by what spoiled weights
       change, in units of that.
    3. The first two that tell enough are taken, or else those that tell most.

    Args:
        runs: the graph that is about to be stamped.
        inputs: the model's; ``value_range`` spans generated samples.
        samples: by input name, axis 0 counts samples; or the candidates themselves, the best first,
            which may differ in size.
        allowed: what an output may be off by at least.
        made_up: whether the samples were made up.
        together: how many samples each golden sample holds, those that follow in the data.
    """
    measured: list[_Candidate] = []
    for encoded in _candidates(inputs, samples, made_up, together):
        try:
            found = _measure(runs, encoded, allowed)
        except Exception:  # of onnxruntime, such as for a ramp that leaves the rows of a table
            if not made_up:
                raise
            continue
        if found is not None:
            measured.append(found)
            if sum(each.tells >= _TELLS_ENOUGH for each in measured) == _KEPT:
                break
    enough = [each for each in measured if each.tells >= _TELLS_ENOUGH]
    others = sorted(
        (each for each in measured if each.tells < _TELLS_ENOUGH), key=lambda each: -each.tells
    )
    chosen = (enough + others)[:_KEPT]
    tolerance = {
        name: max(each.tolerance[name] for each in chosen)
        for name in (chosen[0].tolerance if chosen else ())
    }
    return GoldenChoice(
        [each.sample for each in chosen],
        tolerance,
        max((each.tells_by(tolerance) for each in chosen), default=0.0),
    )


@dataclass(frozen=True, eq=False)
class _Candidate:
    sample: dict[str, Any]
    tolerance: dict[str, float]
    changes: dict[str, float]

    @property
    def tells(self) -> float:
        return self.tells_by(self.tolerance)

    def tells_by(self, tolerance: Mapping[str, float]) -> float:
        """Return the largest change by spoiled weights, in units of what is allowed."""
        return max(
            (
                0.0 if not change else change / tolerance[name] if tolerance[name] else math.inf
                for name, change in self.changes.items()
            ),
            default=0.0,
        )


def _measure(
    runs: Runs,
    encoded: dict[str, Any],
    allowed: Allowed,
) -> _Candidate | None:
    """Return what a candidate tells; None where its answers hang on rounding or are none."""
    given = {name: golden.decode_array(array) for name, array in encoded.items()}
    outputs = {
        name: GoldenOutput.of(array, OUTPUT_VALUES) for name, array in runs.defined(given).items()
    }
    moved = {
        name: np.asarray(array * (1 + _ROUNDING), array.dtype) if array.dtype.kind == "f" else array
        for name, array in given.items()
    }
    noise = dict.fromkeys(outputs, 0.0)
    for other in (runs.optimized(given), runs.defined(moved)):
        for name, output in outputs.items():
            noise[name] = max(noise[name], output.difference(other[name]))
    tolerance = {}
    for name, least in allowed(outputs).items():
        is_counted = outputs[name].values.dtype.kind != "f"
        if not np.isfinite(noise[name]) or (is_counted and noise[name] > 0):
            return None
        tolerance[name] = 0.0 if is_counted else max(least, _TIMES_NOISE * noise[name])
    spoiled = runs.spoiled(given)
    return _Candidate(
        {
            "inputs": encoded,
            "outputs": {name: golden.encode_output(each) for name, each in outputs.items()},
        },
        tolerance,
        {name: output.difference(spoiled[name]) for name, output in outputs.items()},
    )


def _candidates(
    inputs: Sequence[TensorSpec],
    samples: Mapping[str, Array] | Sequence[Mapping[str, Array]],
    made_up: bool,
    together: int,
) -> Iterator[dict[str, Any]]:
    """Yield samples in the form that a card stores, those to prefer first."""
    if not isinstance(samples, Mapping):
        for sample in samples:
            yield {spec.name: _encode(spec, sample[spec.name]) for spec in inputs}
        return
    may_refuse = any(
        isinstance(size, str) or (spec.dtype.kind in "iu" and spec.dtype != np.uint8)
        for spec in inputs
        for size in (*spec.shape[1:], 0)
    )
    if made_up and not may_refuse:
        for number in range(_KEPT):
            yield {spec.name: _ramp(spec, number, together) for spec in inputs}
    for row in _rows(samples):
        rows = range(row, row + together)
        yield {
            spec.name: _encode(spec, samples[spec.name].take(rows, axis=0, mode="wrap"))
            for spec in inputs
        }


def _rows(samples: Mapping[str, Array]) -> list[int]:
    """Return the loudest samples, then others, evenly."""
    energy = sum(
        np.abs(array.astype(np.float64)).reshape(len(array), -1).sum(axis=1)
        for array in samples.values()
        if array.dtype.kind in "iufb"
    )
    order = np.argsort(-np.asarray(energy), kind="stable")
    rest = order[_KEPT:]
    places = np.linspace(0, len(rest) - 1, min(len(rest), _CANDIDATES - _KEPT)).round().astype(int)
    return [int(row) for row in (*order[:_KEPT], *rest[places])]


def _encode(spec: TensorSpec, sample: Array) -> dict[str, Any]:
    stored = golden.encode_array(sample)
    if len(stored["zlib"]) <= _STORED_INPUT_CHARACTERS:
        return stored
    low, high = spec.value_range or _range_of(sample)
    return golden.encode_blocks(sample, low, high, _BLOCKS)


def _ramp(spec: TensorSpec, number: int, together: int) -> dict[str, Any]:
    """Return a ramp over the input's range, another one for each number."""
    low, high = spec.value_range or _DEFAULT_RANGE
    # N alone is free.
    shape = tuple(size if isinstance(size, int) else together for size in spec.shape)
    return golden.encode_ramp(shape, spec.dtype, low, high, start=number / 2)


def _range_of(sample: Array) -> tuple[float, float]:
    """Return the smallest and the largest number of a sample."""
    values = sample[np.isfinite(sample)].astype(np.float64)
    return (float(values.min()), float(values.max())) if values.size else _DEFAULT_RANGE
