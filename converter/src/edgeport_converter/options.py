"""The options of a conversion, checked before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeport import OptionError, TensorSpec
from edgeport_converter.budget import DEFAULT_MAX_DROP

RECIPES = ("auto", "static", "dynamic", "weights", "int16", "none")
OBJECTIVES = ("balanced", "latency", "size")
RANGES = ("minmax", "percentile", "entropy", "mse")


@dataclass(frozen=True)
class QuantizationOptions:
    """How to quantize; the meaning of each stands in ``convert``'s docstring."""

    quantize: str = "auto"
    max_drop: float = DEFAULT_MAX_DROP
    ranges: str = "minmax"
    keep_float: Sequence[str] = ()
    objective: str = "balanced"
    also: Sequence[str] = ()

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
        _one_of("ranges", self.ranges, RANGES)
        for name in self.also:
            _one_of("also", name, tuple(name for name in RECIPES if name != "auto"))
        if isinstance(self.max_drop, bool) or not 0 <= self.max_drop < 1:
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


def check_destination(output: Path) -> None:
    """Refuse what would fail only after all the work.

    Raises:
        OptionError: the output is a folder, or lies in none.
    """
    if output.is_dir():
        raise OptionError(f"the output '{output}' is a folder, expected a file: add a file name")
    if not output.parent.is_dir():
        raise OptionError(
            f"there is no folder '{output.parent}' for the output: make it first, or choose another"
        )


def check_class_names(labels: Sequence[str] | None, outputs: Sequence[TensorSpec]) -> None:
    """Refuse class names that do not fit the outputs.

    Raises:
        OptionError: the model is no classifier, or has another number of classes.
    """
    if labels is None:
        return
    from edgeport_converter.verifying import is_classifier

    if isinstance(labels, str):
        raise OptionError(
            f"labels are the text {labels!r}, expected a list of names: put it into a list"
        )
    if not is_classifier(outputs):
        raise OptionError(
            "labels were given, but the model has no single output of class scores: "
            "leave the labels out"
        )
    count = outputs[0].shape[1]
    expected = 2 if count == 1 else count
    if len(labels) != expected:
        raise OptionError(
            f"there are {len(labels)} labels, the model has {expected} classes: "
            "pass one name for each class, in the order of the scores"
        )


def _one_of(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise OptionError(
            f"{name} is {value!r}, expected one of {', '.join(choices)}: choose one of these"
        )
