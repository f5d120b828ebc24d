"""Whether the data is scaled as in training: the most common cause of a worthless artifact.

Nothing fails when pixels from 0 to 255 go into a model that was trained on 0 to 1. Activation
ranges are found, the int8 graph follows the float graph, and both give wrong answers. Labels reveal
it: after the usual rescaling the model's accuracy is far better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.data.labels import best_classes
from edgeport_converter.data.user_data import UserData
from edgeport_converter.loading.model import LoadedModel
from edgeport_converter.options import PixelOptions
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.verification.runners import Run

_SAMPLES = 512  # enough for a difference of 0.1
_BATCH = 64  # scores of every pixel of all samples may be gigabytes
_CLEARLY_BETTER = 0.1  # of all samples, and less than half of the errors

_SCALING_LAYERS = ("Rescaling ", "Normalization ")  # in ``LoadedModel.preprocessing``
_Scaling = tuple[str, Callable[[Array], Array]]
_FROM_PIXELS: tuple[_Scaling, ...] = (
    ("divided by 255", lambda x: x / 255),
    ("divided by 127.5, minus 1", lambda x: x / 127.5 - 1),
)
_FROM_UNITS: tuple[_Scaling, ...] = (
    ("times 255", lambda x: x * 255),
    ("times 2, minus 1", lambda x: x * 2 - 1),
)
_FROM_SIGNED_UNITS: tuple[_Scaling, ...] = (
    ("plus 1, divided by 2", lambda x: (x + 1) / 2),
    ("plus 1, times 127.5", lambda x: (x + 1) * 127.5),
)


def check_scale(
    loaded: LoadedModel,
    run: Run,
    data: UserData,
    pixels: PixelOptions,
    *,
    by_class: bool,
    border: float = 0.5,
) -> tuple[str, ...]:
    """Return a note if the data may be scaled in another way than in training.

    Args:
        loaded: the model as it was trained.
        run: computes it.
        data: the user's, of pixels if ``pixels`` says so.
        pixels: how the artifact scales pixels.
        by_class: whether the labels are classes.
        border: of a score that stands alone, above which it means class 1.

    Raises:
        OptionError: by the labels, the model was trained on another scale.
    """
    spec = loaded.inputs[0]
    if data.measured is None or len(loaded.inputs) > 1 or not spec.dtype.startswith("float"):
        return ()
    value_range = data.measured.value_ranges[spec.name]
    if data.labels is not None and by_class:
        samples = data.measured.first(_SAMPLES)[spec.name]
        if pixels.input_uint8:
            mean = 0.0 if pixels.mean is None else np.asarray(pixels.mean)
            factor = 1.0 if pixels.scale is None else np.asarray(pixels.scale)
            samples = ((samples - mean) * factor).astype(np.float32)
            value_range = float(samples.min()), float(samples.max())
        remedy = (
            "write scale and mean into frames"
            if isinstance(pixels.frames, (Frames, dict))
            else "scale the calibration and the evaluation data so, or convert with input_uint8 "
            "and a scale"
        )
        if _require_trained_scale(
            run, spec.name, samples, data.labels, value_range, border, remedy
        ):
            return ()
    scaled = any(step.startswith(_SCALING_LAYERS) for step in loaded.preprocessing)
    if pixels.input_uint8 or scaled or not _looks_like_pixels(*value_range):
        return ()
    return (_note(spec.name, value_range, has_labels=data.labels is not None),)


def _looks_like_pixels(low: float, high: float) -> bool:
    """Whether a range is that of bytes that nobody has scaled."""
    return low >= 0 and 2 < high <= 255


def _note(name: str, value_range: tuple[float, float], *, has_labels: bool) -> str:
    """Return the note on data that looks like pixels, where labels do not decide."""
    low, high = value_range
    reason = (
        ", since its accuracy is as good on another scale"
        if has_labels
        else ", or pass labels, by which it is checked"
    )
    return (
        f"the data of '{name}' goes from {low:g} to {high:g} and the model does not begin with "
        "Rescaling or Normalization: check that it was trained on such values, or scales them in "
        f"another way{reason}"
    )


def _require_trained_scale(
    run: Run,
    name: str,
    samples: Array,
    labels: Array,
    value_range: tuple[float, float],
    border: float,
    remedy: str,
) -> bool:
    """Refuse data that a classifier answers far better on another usual scale.

    Return whether the labels decide for this scale: the accuracy is higher than on any other.

    Args:
        run: the Keras model.
        name: its only input, of floats.
        samples: the first of the evaluation data (N, ...).
        labels: class indices, of all samples.
        value_range: of all the data.
        border: as for ``check_scale``.
        remedy: the next step.

    Raises:
        OptionError: another scale is clearly better; the sentence says which.
    """
    low, high = value_range
    labels = labels[: len(samples)]
    scalings: tuple[_Scaling, ...] = ()
    if _looks_like_pixels(low, high):
        scalings = _FROM_PIXELS
    elif low >= 0 and high <= 1:
        scalings = _FROM_UNITS
    elif low >= -1 and high <= 1:
        scalings = _FROM_SIGNED_UNITS
    if not scalings:
        return True

    def accuracy(values: Array) -> float:
        given = values.astype(samples.dtype)
        best = [
            best_classes(next(iter(run({name: given[at : at + _BATCH]}).values())), border)
            for at in range(0, len(given), _BATCH)
        ]
        return float(np.mean(np.concatenate(best) == labels))

    given = accuracy(samples)
    found, words = max((accuracy(scale(samples)), words) for words, scale in scalings)
    if found >= given + _CLEARLY_BETTER and 1 - found < (1 - given) / 2:
        raise OptionError(
            f"the accuracy is {given:.4f} on the evaluation data as it is, from {low:g} to "
            f"{high:g}, and {found:.4f} with the input '{name}' {words}, expected data scaled as "
            f"in training: {remedy}"
        )
    return given > found
