"""What stands in place of the occluded part of a sample: the baseline.

A baseline decides what "not there" means, and no choice is right for all: gray is itself a colour.
So the record and the summary always name it, and it never leaves the range that an int8 model was
calibrated for, beyond which values saturate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeport.artifact.card import ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport.errors import OptionError

BASELINES = ("mean", "gray", "blur")
_PASSES = 3  # of a box filter, which come near to a Gaussian; source: Wells 1986


def fill(
    card: ModelCard,
    spec: TensorSpec,
    sample: Array,
    axes: tuple[int, ...],
    baseline: str | float,
    patch: tuple[int, ...],
) -> Array:
    """Return an array like the sample, whose values replace the occluded ones.

    - ``mean``: the sample's mean of each channel;
    - ``gray``: the middle of the input's range;
    - ``blur``: the sample without details smaller than the patch;
    - a number: that value, in the unit of the input.

    Args:
        card: says whether activations are quantized.
        spec: the input; its range is in the card's unit.
        sample: (H, W[, C]), (T[, C]) or another order of axes, any dtype of numbers.
        axes: of the sample, those that are occluded: H and W, or T.
        baseline: as above.
        patch: sizes along these axes.

    Raises:
        OptionError: the baseline cannot be used for this input.
    """
    wide = sample.astype(np.float64)
    if baseline == "mean":
        filled = np.broadcast_to(wide.mean(axis=axes, keepdims=True), sample.shape)
    elif baseline == "gray":
        low, high = _range_of(spec)
        filled = np.full(sample.shape, (low + high) / 2)
    elif baseline == "blur":
        filled = wide
        for axis, size in zip(axes, patch, strict=True):
            for _ in range(_PASSES):
                filled = _box(filled, axis, max(1, size // 2))
    else:
        filled = np.full(sample.shape, _number(baseline))
    return _in_dtype(card, spec, filled, sample.dtype, baseline)


def _number(baseline: object) -> float:
    try:
        value = float(baseline)  # type: ignore[arg-type]
    except (TypeError, ValueError) as cause:
        raise OptionError(
            f"the baseline is {baseline!r}, expected {', '.join(BASELINES)} or a number: "
            "pass one of them"
        ) from cause
    if not np.isfinite(value):
        raise OptionError(f"the baseline is {value}, expected a finite number: pass one")
    return value


def _range_of(spec: TensorSpec) -> tuple[float, float]:
    if spec.dtype == np.uint8:
        return 0.0, 255.0
    if spec.value_range is None:
        raise OptionError(
            f"the baseline is 'gray', expected another, since nothing says from where to where "
            f"input '{spec.name}' goes: pass 'mean', 'blur' or a number"
        )
    return spec.value_range


def _in_dtype(
    card: ModelCard, spec: TensorSpec, filled: Array, dtype: np.dtype[Any], baseline: object
) -> Array:
    """Return the values in the sample's dtype; what it or an int8 model cannot hold is refused."""
    low, high = float(filled.min()), float(filled.max())
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        filled = np.rint(filled)
        if low < limits.min or high > limits.max:
            _refuse(spec, baseline, low, high, f"{limits.min} to {limits.max}, which {dtype} holds")
    converted = filled.astype(dtype)
    quantization = card.quantization
    if quantization and quantization.activations != "float32" and spec.value_range is not None:
        lowest, highest = spec.value_range
        slack = 1e-6 * (highest - lowest)
        low, high = float(converted.min()), float(converted.max())
        if low < lowest - slack or high > highest + slack:
            wanted = f"{lowest:.6g} to {highest:.6g}, for which the model was calibrated"
            _refuse(spec, baseline, low, high, f"{wanted}, since others saturate")
    return converted


def _refuse(spec: TensorSpec, baseline: object, low: float, high: float, wanted: str) -> None:
    found = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
    raise OptionError(
        f"the baseline {baseline!r} would fill input '{spec.name}' with {found}, expected values "
        f"from {wanted}: choose another baseline, or check the scale of the sample"
    )


def _box(values: Array, axis: int, radius: int) -> Array:
    """Return the mean of each 2 * radius + 1 neighbours along an axis, the edges repeated."""
    pad = [(0, 0)] * values.ndim
    pad[axis] = (radius + 1, radius)
    sums = np.moveaxis(np.pad(values, pad, mode="edge").cumsum(axis), axis, 0)
    width = 2 * radius + 1
    return np.moveaxis((sums[width:] - sums[:-width]) / width, 0, axis)
