"""Targets checked for the task: class numbers from 0, or numbers for a regression.

``reading`` calls ``with_classes`` after the files are read.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.recipe.recipe import TrainingRecipe


def with_classes(recipe: TrainingRecipe, path: Path, read: TrainingData) -> TrainingData:
    """Return the data with class names, and with targets that fit the recipe's task.

    For a classification targets become int64 class numbers. The classes are named by the data, else
    by their numbers. For a regression targets become float64, and there are no classes.

    Raises:
        OptionError: labels that are not class numbers, text as the target of a regression, too few
            classes, too few samples, or ``data.classes`` where it does not fit.
    """
    data = recipe.data
    if data.task == "regression":
        if data.classes is not None:
            raise recipe.refuse(
                "data.classes", data.classes, "none for a regression", "leave it out"
            )
        return replace(
            read,
            samples=_as_numbers(path, read.samples),
            test=None if read.test is None else _as_numbers(path, read.test),
        )
    classes = read.classes
    labels = [part.targets for part in (read.samples, read.test) if part is not None]
    for part in labels:
        _check_class_numbers(path, part, data.classes)
    if not classes:
        count = data.classes or int(max(part.max() for part in labels)) + 1
        present = np.unique(np.concatenate(labels))
        if data.classes is None and len(present) < count:
            missing = next(i for i, label in enumerate(present) if label != i)
            raise OptionError(
                f"the training data '{path}' has labels up to {count - 1} and none is {missing}, "
                "expected every class number from 0: renumber the labels, or say how many there "
                "are with data.classes"
            )
        classes = tuple(map(str, range(count)))
    elif data.classes is not None and data.classes != len(classes):
        raise recipe.refuse(
            "data.classes", data.classes, f"{len(classes)}, as '{path}' has", "leave it out"
        )
    if len(classes) > len(labels[0]):
        raise OptionError(
            f"the training data '{path}' has {len(labels[0])} samples for {len(classes)} classes, "
            "expected several for each: add samples, or learn a number with "
            'data.task = "regression"'
        )
    seen = len(np.unique(labels[0]))
    if seen < 2:
        raise OptionError(
            f"the training data '{path}' has samples of one class only, expected two or more: "
            "add samples of the others"
        )
    return replace(
        read,
        classes=classes,
        samples=_as_labels(read.samples),
        test=None if read.test is None else _as_labels(read.test),
    )


def _check_class_numbers(path: Path, labels: Array, classes: int | None) -> None:
    top = np.inf if classes is None else classes
    wrong = np.flatnonzero((labels != np.floor(labels)) | (labels < 0) | (labels >= top))
    if len(wrong):
        allowed = "whole numbers from 0" if classes is None else f"0 to {classes - 1}"
        raise OptionError(
            f"the training data '{path}' has the label {labels[wrong[0]]} at sample {wrong[0]}, "
            f'expected {allowed}: correct the labels, or write data.task = "regression"'
        )


def _as_labels(samples: TrainingSamples) -> TrainingSamples:
    return TrainingSamples(samples.inputs, samples.targets.astype(np.int64))


def _as_numbers(path: Path, samples: TrainingSamples) -> TrainingSamples:
    try:
        targets = samples.targets.astype(np.float64)
    except ValueError:
        raise OptionError(
            f"the training data '{path}' has text for targets, expected numbers for a regression: "
            'choose another column, or data.task = "classification"'
        ) from None
    return TrainingSamples(samples.inputs, targets)
