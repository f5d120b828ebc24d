"""The number that is explained: the score of one class, or the only value of a regression."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np

from edgeport.artifact.card import format_specs
from edgeport.artifact.golden import Array
from edgeport.errors import InferenceError, OptionError
from edgeport.labels import class_names, class_scores
from edgeport.predictor import Predictor

# A probability this near to 1 hardly moves, whatever is occluded.
SATURATED = 0.999
_CLOSE = 0.1  # two best probabilities so near to each other are no decision

# Sums of float32 in another order, as another batch size makes them, differ by less of their size.
_ROUNDING = 1e-5


class Answers:
    """Answers of one predictor as numbers.

    Args:
        predictor: stays as it is; what is run here counts in no ``out_of_range`` of its own.

    Attributes:
        classes: the classes' names, None where the model answers with one value.
        output: the output's name.

    Raises:
        OptionError: there are several outputs, answers of another shape, or samples interact.
    """

    def __init__(self, predictor: Predictor) -> None:
        card = predictor.card
        if card.samples_interact:
            raise OptionError(
                "the answers of this model depend on the whole batch, expected a model that "
                "answers each sample by itself, since changed copies of a sample would change "
                "each other's answers: explain has no method for it"
            )
        spec = card.outputs[0]
        self._predictor = copy.copy(predictor)
        self._is_logit = spec.value_range != (0.0, 1.0)
        self.output = spec.name
        self.classes: tuple[str, ...] | None = None
        is_number = len(card.outputs) == 1 and spec.has_batch_axis and spec.dtype.kind == "f"
        try:
            self.classes = class_names(card)
        except OptionError as cause:
            if not is_number or spec.sample_shape not in ((), (1,)):
                raise OptionError(
                    f"the model answers with {format_specs(card.outputs)}, expected one output of "
                    "class scores (N, classes) or of one value a sample: convert the model with "
                    "outputs= that keeps one"
                ) from cause

    @property
    def is_probability(self) -> bool:
        """Whether the scores are from 0 to 1."""
        return self.classes is not None and not self._is_logit

    def outside(self) -> int:
        """Return how many values of all runs lay outside of what the model was calibrated for."""
        return sum(self._predictor.out_of_range.values())

    def scores(self, arrays: Mapping[str, Array]) -> Array:
        """Return (N, classes) float64, or (N, 1) of a regression, for arrays by input name.

        Raises:
            InferenceError: an answer is NaN or infinite.
        """
        found = np.asarray(self._predictor.predict(dict(arrays)))
        scores = found.reshape(len(found), -1).astype(np.float64)
        if not np.isfinite(scores).all():
            raise InferenceError(
                f"output '{self.output}' is NaN or infinite, expected finite numbers to compare: "
                "look for NaN, infinite or far out-of-range values in the input"
            )
        if self.classes is None:
            return scores
        return class_scores(scores, is_logit=self._is_logit)

    def place_of(self, class_name: str | None) -> int | None:
        """Return the place of a class, None for the best one or where there are no classes.

        Raises:
            OptionError: there is no such class.
        """
        if class_name is None:
            return None
        if self.classes is None:
            raise OptionError(
                f"the class is '{class_name}', expected none, since the model answers with one "
                "value: leave it out"
            )
        if class_name not in self.classes:
            listed = ", ".join(self.classes[:12]) + (", …" if len(self.classes) > 12 else "")
            raise OptionError(
                f"there is no class '{class_name}', the model has {listed}: pass one of them"
            )
        return self.classes.index(class_name)

    def in_words(self, place: int) -> str:
        """Return what is explained."""
        if self.classes is None:
            return f"the value of '{self.output}'"
        return f"the score of class '{self.classes[place]}'"

    def doubt(self, scores: Array) -> tuple[str, ...]:
        """Return a sentence where two classes are about equally likely; ``scores`` (classes)."""
        if self.classes is None or not self.is_probability:
            return ()
        first, second = np.argsort(-scores, kind="stable")[:2]
        if scores[first] - scores[second] >= _CLOSE:
            return ()
        return (
            f"the model is undecided: '{self.classes[first]}' has {scores[first]:.3f} and "
            f"'{self.classes[second]}' {scores[second]:.3f}",
        )


def is_rounding(differences: Array, scores: Array) -> bool:
    """Whether differences are no more than the rounding of these scores."""
    largest = float(np.abs(scores).max(initial=0.0))
    return bool(np.abs(differences).max(initial=0.0) <= _ROUNDING * largest)
