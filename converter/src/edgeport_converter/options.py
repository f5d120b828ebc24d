"""The options of a conversion, checked before any work is done."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from edgeport import OptionError

RECIPES = ("auto", "static", "dynamic", "weights", "int16", "none")
OBJECTIVES = ("balanced", "latency", "size")
RANGE_METHODS = ("minmax", "percentile", "mse", "entropy")
"""How activation ranges are chosen, in the order that the search tries them in."""

DEFAULT_MAX_DROP = 0.005


@dataclass(frozen=True)
class QuantizationOptions:
    """How to quantize; the meaning of each stands in ``convert``'s docstring."""

    quantize: str = "auto"
    max_drop: float = DEFAULT_MAX_DROP
    ranges: str = "minmax"
    keep_float: Sequence[str] = ()
    objective: str = "balanced"
    also: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("keep_float", "also"):  # one word is a list of one, not of its letters
            value = getattr(self, name)
            if isinstance(value, str) or value is None:
                object.__setattr__(self, name, (value,) if value else ())

    @property
    def quantizes(self) -> bool:
        """Whether anything but the float graph is wanted."""
        return self.quantize != "none" or bool(self.also)

    def check(self, calibration: Any) -> None:
        """Refuse what cannot be met.

        Raises:
            OptionError: an unknown word, a budget out of range, or no data where it is needed.
        """
        _one_of("quantize", self.quantize, RECIPES)
        _one_of("objective", self.objective, OBJECTIVES)
        _one_of("ranges", self.ranges, RANGE_METHODS)
        for name in self.also:
            _one_of("also", name, tuple(name for name in RECIPES if name != "auto"))
        for layer in self.keep_float:
            if not isinstance(layer, str):
                raise OptionError(
                    f"keep_float holds {layer!r}, expected names of layers or patterns: pass text"
                )
        is_number = isinstance(self.max_drop, Real) and not isinstance(self.max_drop, bool)
        if not is_number or not 0 <= self.max_drop < 1:
            raise OptionError(
                f"max_drop is {self.max_drop!r}, expected a share from 0 to below 1: "
                "0.005 allows half a percentage point"
            )
        wanted = {self.quantize, *self.also}
        if wanted - {"none"} and calibration is None:
            raise OptionError(
                "quantization needs calibration data and none was given, expected a few hundred "
                "samples like the device's, since ranges and losses on made-up data would say "
                "nothing of real answers: pass calibration=, or quantize='none' for a float "
                "artifact"
            )


@dataclass(frozen=True)
class PixelOptions:
    """Whether the model takes uint8 pixels; ``convert``'s docstring says what the numbers mean."""

    input_uint8: bool = False
    scale: float | Sequence[float] | None = None
    mean: float | Sequence[float] | None = None

    def check(self) -> None:
        """Refuse numbers that nothing would use.

        Raises:
            OptionError: ``scale`` or ``mean`` without ``input_uint8``.
        """
        for name, value in (("scale", self.scale), ("mean", self.mean)):
            if value is not None and not self.input_uint8:
                raise OptionError(
                    f"{name} was given without input_uint8, expected it for uint8 pixels only, "
                    "since floats come scaled: pass input_uint8 too, or leave it out"
                )


def check_image_range(image_range: Any) -> tuple[float, float]:
    """Return the values of black and white.

    Raises:
        OptionError: they are not two different finite numbers.
    """
    try:
        low, high = (float(value) for value in image_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not (math.isfinite(low) and math.isfinite(high)) or low == high:
        raise OptionError(
            f"image_range is {image_range!r}, expected two different numbers, black and white: "
            "pass (0, 1), for instance"
        )
    return low, high


def find_destination(output: Any, sources: Sequence[Any]) -> Path:
    """Return the path to write, links followed; refuse what would fail only after all the work.

    Args:
        output: as the user gave it.
        sources: the model and the data, as the user gave them; none of them may be overwritten.

    Raises:
        OptionError: the output is no path, a folder, no regular file, lies in no folder, or is one
            of the sources.
    """
    if not isinstance(output, (str, os.PathLike)):
        raise OptionError(
            f"the output is a {type(output).__name__}, expected a path: pass the name of a file"
        )
    path = Path(output).resolve()
    if path.is_dir():
        raise OptionError(f"the output '{output}' is a folder, expected a file: add a file name")
    if not path.parent.is_dir():
        raise OptionError(
            f"there is no folder '{path.parent}' for the output: make it first, or choose another"
        )
    if path.exists() and not path.is_file():
        raise OptionError(
            f"the output '{output}' is a device or a pipe, expected a regular file: choose another"
        )
    for source in sources:
        if isinstance(source, (str, os.PathLike)) and Path(source).resolve() == path:
            raise OptionError(
                f"the output '{output}' is also what is read, expected another file: "
                "choose a name of its own"
            )
    return path


def list_class_names(labels: Iterable[str] | None) -> list[str] | None:
    """Return the class names as a list.

    Raises:
        OptionError: they are one text, which would be taken letter by letter.
    """
    if isinstance(labels, str):
        raise OptionError(
            f"labels are the text {labels!r}, expected a list of names: put it into a list"
        )
    return None if labels is None else list(labels)


def _one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise OptionError(
            f"{name} is {value!r}, expected one of {', '.join(choices)}: choose one of these"
        )
