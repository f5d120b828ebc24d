"""Training, validation and test sets, and folds: scikit-learn's splitters, seeded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.recipe.recipe import TrainingRecipe


@dataclass(frozen=True, eq=False)
class Split:
    """The three parts; no sample is in two of them.

    Weights are fitted to the first, epochs and rates are chosen by the second, and the result is
    measured on the third, once.
    """

    train: TrainingSamples
    validation: TrainingSamples
    test: TrainingSamples

    def without_test(self) -> TrainingSamples:
        """Return the samples of training and validation."""
        first, second = self.train, self.validation
        return TrainingSamples(
            {name: np.concatenate([x, second.inputs[name]]) for name, x in first.inputs.items()},
            np.concatenate([first.targets, second.targets]),
        )

    def sizes(self) -> dict[str, int]:
        """Return the number of samples in each part."""
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
        }


def split(recipe: TrainingRecipe, read: TrainingData) -> Split:
    """Return the parts, the same for the same recipe; raises OptionError if there is too little."""
    data = recipe.data
    rest, test = read.samples, read.test
    if test is None:
        rest, test = _cut(recipe, read, rest, data.test, "data.test")
    if data.samples is not None and data.samples < len(rest):
        rest, _ = _cut(recipe, read, rest, len(rest) - data.samples, "data.samples")
    elif data.samples is not None and data.samples > len(rest):
        raise recipe.refuse("data.samples", data.samples, f"at most the {len(rest)} that there are")
    train, validation = split_validation(recipe, read, rest)
    return Split(train, validation, test)


def split_validation(
    recipe: TrainingRecipe, read: TrainingData, samples: TrainingSamples
) -> tuple[TrainingSamples, TrainingSamples]:
    """Return what to train on and what to validate with."""
    return _cut(recipe, read, samples, recipe.data.validation, "data.validation")


def folds(
    recipe: TrainingRecipe, read: TrainingData, samples: TrainingSamples, count: int
) -> Iterator[tuple[Array, Array]]:
    """Yield the indices to train on and those held out, fold after fold."""
    kind = StratifiedKFold if _is_stratified(recipe, read) else KFold
    splitter = kind(n_splits=count, shuffle=True, random_state=recipe.seed)
    yield from splitter.split(np.zeros(len(samples)), samples.targets)


def require_folds(recipe: TrainingRecipe, read: TrainingData, parts: Split, count: int) -> None:
    """Refuse more folds than there are samples, or samples of a class, by an OptionError."""
    samples = parts.without_test()
    smallest, size = ("the data", len(samples))
    if _is_stratified(recipe, read):
        counts = np.bincount(samples.targets, minlength=len(read.classes))
        counts = np.where(counts, counts, np.iinfo(np.int64).max)  # declared, without any sample
        index = int(counts.argmin())
        smallest, size = f"class '{read.classes[index]}'", int(counts[index])
    if size < count:
        raise recipe.refuse(
            "cross_validation.folds",
            count,
            f"at most {size}, since {smallest} has no more samples to train and validate with",
            "take fewer folds, or add samples",
        )


def _is_stratified(recipe: TrainingRecipe, read: TrainingData) -> bool:
    return recipe.data.stratify and not read.is_regression


def _cut(
    recipe: TrainingRecipe,
    read: TrainingData,
    samples: TrainingSamples,
    away: float | int,
    option: str,
) -> tuple[TrainingSamples, TrainingSamples]:
    """Return what stays and what is cut away, a share or a number of samples."""
    labels = None
    if _is_stratified(recipe, read):
        labels = samples.targets
        counts = np.bincount(labels)
        single = np.flatnonzero(counts == 1)
        if len(single):
            raise OptionError(
                f"the training data has one sample of class '{read.classes[single[0]]}' left for "
                f"{option}, expected two or more, one for each part: add samples, drop the class, "
                "or set data.stratify = false"
            )
    try:
        keep, cut = train_test_split(
            np.arange(len(samples)), test_size=away, random_state=recipe.seed, stratify=labels
        )
    except ValueError as cause:
        raise OptionError(
            f"{recipe.origin}: {option}: {len(samples)} samples cannot be split so "
            f"({str(cause).splitlines()[0].rstrip('.')}): add samples, or choose another share"
        ) from cause
    return samples.take(keep), samples.take(cut)
