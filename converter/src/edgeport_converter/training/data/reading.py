"""The recipe's data: files to samples, and to targets that fit the task, every value checked.

All of it is held in memory, unlike the converter's calibration data, since training visits the
samples in another order each epoch. What is read how is decided by ``[data]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeport import OptionError, TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.data.array_files import read_npz
from edgeport_converter.data.chunks import LABEL_KEY, SINGLE_KEY, Keys
from edgeport_converter.data.image_folders import note_left_out, read_image_folder
from edgeport_converter.sensors.frame_inputs import FrameInput
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.training.data.csv_tables import FEATURES, describe_columns, read_table
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.recipe.recipe import TrainingRecipe

PURPOSE = "training"
IMAGE = "image"
_CUSTOMARY = (("x_train", "y_train"), ("x", "y"), ("images", "labels"), ("data", "target"))
_MOST_SAMPLES_NAMED = 3

# TensorFlow's filters whose results leave 0 to 255 beside an edge, which bytes cannot hold.
_OVERSHOOTING = ("bicubic", "lanczos3", "lanczos5", "mitchellcubic")


def find_source(recipe: TrainingRecipe) -> Path:
    """Return the path of the data.

    Raises:
        OptionError: nothing is there.
    """
    path = recipe.folder / recipe.data.source
    if not path.exists():
        raise recipe.refuse(
            "data.source", recipe.data.source, "a file or folder that exists", f"look for '{path}'"
        )
    return path


def read_data(recipe: TrainingRecipe) -> TrainingData:
    """Return the recipe's data, checked.

    Raises:
        OptionError: no such source, one of another form, or values nothing can be learned from.
    """
    path = find_source(recipe)
    if path.is_dir():
        read = _read_folder(recipe, path)
    elif path.suffix.lower() == ".csv":
        read = _read_csv(recipe, path)
    elif path.suffix.lower() == ".npz":
        read = _read_arrays(recipe, path)
    else:
        raise recipe.refuse(
            "data.source",
            recipe.data.source,
            "a .npz or .csv file or a folder of images",
            "save arrays with numpy.savez",
        )
    for samples in (read.samples, read.test):
        if samples is not None:
            _check_finite(path, samples, read)
    return _with_classes(recipe, path, read)


def _read_folder(recipe: TrainingRecipe, path: Path) -> TrainingData:
    data = recipe.data
    if data.task == "regression":
        raise recipe.refuse("data.task", data.task, "'classification' for a folder of images")
    if data.image_size is None:
        raise OptionError(
            f"{recipe.origin} has no key 'data.image_size', expected height and width for the "
            "images of a folder, such as [96, 96]: add it"
        )
    shape = ("N", *data.image_size, data.channels)
    spec = TensorSpec(IMAGE, np.dtype(np.float32), shape, ("N", "H", "W", "C"))
    frames = _frames_of(recipe)
    inputs = [FrameInput(IMAGE, frames, (*data.image_size, data.channels))] if frames else []
    images, labels = [], []
    for chunk in read_image_folder(path, [spec], PURPOSE, (0.0, 255.0), frames=inputs)():
        if LABEL_KEY not in chunk:
            raise OptionError(
                f"the training folder '{path}' holds images and no folders, expected a folder "
                "of images for each class: sort them"
            )
        found = chunk[SINGLE_KEY]
        pixels = inputs[0].read(found, f"the training folder '{path}'") if inputs else found
        if frames is None or frames.library != "keras" or frames.kind not in _OVERSHOOTING:
            pixels = np.rint(pixels).astype(np.uint8)  # whole numbers, a quarter of the memory
        images.append(pixels)
        labels.append(chunk[LABEL_KEY])
    entries = sorted(path.iterdir())
    folders = [one.name for one in entries if one.is_dir() and not one.name.startswith(".")]
    targets = np.concatenate(labels)
    empty = next((name for at, name in enumerate(folders) if at not in targets), None)
    if empty is not None:
        raise OptionError(
            f"the training folder '{path}' has no image in its folder '{empty}', expected images "
            "in each: fill or remove it"
        )
    return TrainingData(
        TrainingSamples({IMAGE: np.concatenate(images)}, targets),
        None,
        True,
        tuple(folders),
        frames=frames,
        notes=note_left_out(path),
    )


def _frames_of(recipe: TrainingRecipe) -> Frames | None:
    """Return how images are brought to the model's size; None for an alpha channel."""
    data = recipe.data
    try:
        found = Frames(resize=data.resize, fit=data.fit)
    except OptionError as cause:
        raise OptionError(f"{recipe.origin}: data.resize or data.fit: {cause}") from cause
    if data.channels in (1, 3):
        return found
    if found != Frames():
        raise recipe.refuse(
            "data.channels", data.channels, "1 or 3 with data.resize or data.fit", "leave these out"
        )
    return None


def _read_csv(recipe: TrainingRecipe, path: Path) -> TrainingData:
    table = read_table(recipe, path)
    inputs: dict[str, Array] = {}
    if table.numeric:
        inputs[FEATURES] = np.stack(list(table.numeric.values()), axis=1)
    inputs |= {name: column[:, None] for name, column in table.categories.items()}
    classes: tuple[str, ...] = ()
    targets = table.target
    if recipe.data.task == "classification":
        names, targets = np.unique(targets, return_inverse=True)
        classes = tuple(_in_natural_order(names.tolist()))
        order = {name: number for number, name in enumerate(classes)}
        targets = np.array([order[str(name)] for name in names], np.int64)[targets]
    return TrainingData(
        TrainingSamples(inputs, targets),
        None,
        False,
        classes,
        tuple(table.numeric),
        describe_columns(table, FEATURES),
        {
            name: column.missing
            for name, column in table.declared.items()
            if name in table.numeric and column.missing is not None
        },
    )


def _in_natural_order(names: Sequence[Any]) -> list[str]:
    """Return class names sorted, as numbers where all of them are numbers."""
    texts = [str(name) for name in names]
    try:
        return sorted(texts, key=float)
    except ValueError:
        return sorted(texts)


def _read_arrays(recipe: TrainingRecipe, path: Path) -> TrainingData:
    data = recipe.data
    names = _names_in(path)
    x, y = data.x, data.y
    if x is None:
        pair = next((pair for pair in _CUSTOMARY if pair[0] in names), None)
        if pair is None:
            raise OptionError(
                f"the training file '{path}' has the arrays {', '.join(names) or 'none'}, expected "
                "x and y, or x_train and y_train: name them with data.x and data.y"
            )
        x, y = pair[0], y or pair[1]
    x_test = data.x_test or ("x_test" if x == "x_train" and "x_test" in names else None)
    y_test = data.y_test or ("y_test" if x_test else None)
    samples = _read_pair(path, names, ("x", x), ("y", y or "y"))
    test = None
    if x_test or y_test:
        test = _read_pair(
            path, names, ("x_test", x_test or "x_test"), ("y_test", y_test or "y_test")
        )
        if test[0].shape[1:] != samples[0].shape[1:]:
            raise OptionError(
                f"the training file '{path}' has samples of {samples[0].shape[1:]} in '{x}' and of "
                f"{test[0].shape[1:]} in '{x_test}', expected the same: check how it was made"
            )
    is_images = data.kind == "images" or (
        data.kind == "auto"
        and (samples[0].ndim == 4 or (samples[0].ndim == 3 and samples[0].dtype == np.uint8))
    )
    if is_images and samples[0].ndim not in (3, 4):
        raise recipe.refuse(
            "data.kind",
            "images",
            f"'table' for samples of {samples[0].ndim - 1} axes",
            "images have height, width and perhaps channels",
        )
    return TrainingData(
        _as_samples(path, *samples, is_images),
        None if test is None else _as_samples(path, *test, is_images),
        is_images,
        (),
    )


def _names_in(path: Path) -> list[str]:
    found: list[str] = []

    def pick(keys: Sequence[str]) -> Keys:
        found.extend(keys)
        return Keys({}, None)

    list(read_npz(path, PURPOSE, pick)())
    return found


def _read_pair(
    path: Path, names: Sequence[str], x: tuple[str, str], y: tuple[str, str]
) -> tuple[Array, Array]:
    for option, name in (x, y):
        if name not in names:
            raise OptionError(
                f"the training file '{path}' has no array '{name}', it has {', '.join(names)}: "
                f"name the right one with data.{option}"
            )
    parts = list(read_npz(path, PURPOSE, lambda _: Keys({"x": x[1]}, y[1]))())
    if not parts:
        raise OptionError(
            f"the training file '{path}' has no sample in '{x[1]}', expected some hundred: check "
            "how it was made"
        )
    return tuple(np.concatenate([part[name] for part in parts]) for _, name in (x, y))  # type: ignore[return-value]


def _as_samples(path: Path, x: Array, y: Array, is_images: bool) -> TrainingSamples:
    for what, array in (("x", x), ("y", y)):
        if array.dtype.kind not in "biuf":
            raise OptionError(
                f"the training file '{path}' has {array.dtype} for {what}, expected numbers: "
                "turn text into numbers first, or use a .csv file, whose columns may be categories"
            )
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise OptionError(
            f"the training file '{path}' has targets of shape {y.shape}, expected one number for "
            "each sample: turn one-hot rows into class numbers with y.argmax(axis=1)"
        )
    if x.ndim < 2:
        raise OptionError(
            f"the training file '{path}' has x of shape {x.shape}, expected (N, features) or "
            "(N, H, W): add an axis with x[:, None] for a single feature"
        )
    if 0 in x.shape[1:]:
        raise OptionError(
            f"the training file '{path}' has x of shape {x.shape}, expected no axis of length 0: "
            "check how it was made"
        )
    if is_images:
        x = x[..., None] if x.ndim == 3 else x
    if not is_images or x.dtype != np.uint8:
        with np.errstate(over="ignore"):  # becomes an infinity, which is refused with its place
            x = x.astype(np.float32)
    return TrainingSamples({IMAGE if is_images else FEATURES: x}, y)


def _check_finite(path: Path, samples: TrainingSamples, read: TrainingData) -> None:
    filled = [name in read.missing for name in read.columns]
    for name, array in [*samples.inputs.items(), ("the targets", samples.targets)]:
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        is_wrong = ~np.isfinite(array)
        if name == FEATURES and any(filled):
            is_wrong &= ~(np.isnan(array) & filled)
        wrong = np.argwhere(is_wrong)
        if not len(wrong):
            continue
        rows = list(dict.fromkeys(int(index[0]) for index in wrong[:1000]))
        listed = ", ".join(map(str, rows[:_MOST_SAMPLES_NAMED]))
        more = " and others" if len(rows) > _MOST_SAMPLES_NAMED else ""
        raise OptionError(
            f"the training data '{path}' has NaN or infinity in {name}, sample {listed}{more}, "
            "expected numbers in float32's range: clean or drop these samples"
        )


def _with_classes(recipe: TrainingRecipe, path: Path, read: TrainingData) -> TrainingData:
    """Return the data with class names, and with targets that fit the recipe's task.

    For a classification targets become int64 class numbers. The classes are named by the data, else
    by their numbers. For a regression targets become float64, and there are no classes.
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


def describe(read: TrainingData) -> Mapping[str, Any]:
    """Return the facts about the data for reports."""
    return {
        "inputs": {
            name: {
                "shape": list(array.shape[1:]),
                "dtype": "string" if array.dtype.kind in "OU" else array.dtype.name,
            }
            for name, array in read.samples.inputs.items()
        },
        "classes": list(read.classes),
        "columns": list(read.columns),
        "frames": read.frames.to_text() if read.frames else None,
        "notes": list(read.notes),
        "sha256": read.sha256,
    }
