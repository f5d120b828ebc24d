"""Data on another scale than the model was trained on: the commonest way to a worthless artifact.

Nothing fails when pixels come as 0 to 255 where 0 to 1 was trained. Ranges are calibrated, the
int8 graph follows the float graph, and both answer nonsense. Labels tell: the model answers them
far better after the usual rescaling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array

Run = Callable[[Mapping[str, Array]], dict[str, Array]]

SAMPLES = 512
"""How many samples are enough to tell."""

_CLEARLY_BETTER = 0.1  # of all samples, and less than half of the errors

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


def looks_like_pixels(low: float, high: float) -> bool:
    """Whether a range is that of bytes that nobody has scaled."""
    return low >= 0 and 2 < high <= 255


def note(name: str, value_range: tuple[float, float], *, has_labels: bool) -> str:
    """Return what to say of such data where no labels tell whether it is right."""
    low, high = value_range
    tells = (
        ", since it answers the labels as well on another scale"
        if has_labels
        else ", or pass labels, which tell"
    )
    return (
        f"the data of '{name}' goes from {low:g} to {high:g} and the model has no layer that "
        f"scales: check that it was trained on such values{tells}"
    )


def require_trained_scale(
    run: Run, name: str, samples: Array, labels: Array, value_range: tuple[float, float]
) -> bool:
    """Refuse data that a classifier answers far better on another usual scale.

    Return whether the labels tell that this one is right: it answers them better than on any other.

    Args:
        run: the Keras model.
        name: its only input, of floats.
        samples: the evaluation data (N, ...).
        labels: class indices (N,).
        value_range: of all the data.

    Raises:
        OptionError: another scale is clearly better; the sentence says which.
    """
    low, high = value_range
    samples, labels = samples[:SAMPLES], labels[:SAMPLES]
    scalings: tuple[_Scaling, ...] = ()
    if looks_like_pixels(low, high):
        scalings = _FROM_PIXELS
    elif low >= 0 and high <= 1:
        scalings = _FROM_UNITS
    elif low >= -1 and high <= 1:
        scalings = _FROM_SIGNED_UNITS
    if not scalings:
        return True

    def accuracy(values: Array) -> float:
        (scores,) = run({name: values.astype(samples.dtype)}).values()
        best = scores.argmax(axis=1) if scores.shape[1] > 1 else scores[:, 0] > 0.5
        return float(np.mean(best == labels))

    given = accuracy(samples)
    found, words = max((accuracy(scale(samples)), words) for words, scale in scalings)
    if found >= given + _CLEARLY_BETTER and 1 - found < (1 - given) / 2:
        raise OptionError(
            f"the accuracy is {given:.4f} on the evaluation data as it is, from {low:g} to "
            f"{high:g}, and {found:.4f} with the input '{name}' {words}, expected data scaled as "
            "in training: scale the calibration and the evaluation data so, or convert with "
            "input_uint8 and a scale"
        )
    return given > found
