"""The tables of a recipe and their keys: a frozen record each, every field with its rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeport_converter.training.recipe.schema import (
    anything,
    choice,
    either,
    flag,
    key,
    list_of,
    number,
    section,
    table_of,
    text,
    whole,
)

_SIZES = list_of(whole(1, 1_000_000), "a list of whole numbers from 1, such as [64, 64]")
_SHARE = number(0, 1, below=True)


@dataclass(frozen=True)
class Data:
    """[data]: where the samples come from and how they are split.

    Attributes:
        source: a ``.npz`` or ``.csv`` file, or a folder with a folder of images for each class;
            relative to the recipe's own folder.
        task: what is learned: one class of several, or a number.
        kind: what a ``.npz`` holds; "auto": four axes, or three of uint8, are images.
        x, y, x_test, y_test: the arrays of a ``.npz``; None for the customary names.
        target: the column of a ``.csv`` that is learned.
        columns: its other columns by type; None: all are numeric.
        image_size: height and width that a folder's images are resized to.
        channels: of a folder's images: 1 grey, 3 RGB, 4 RGBA.
        classes: how many there are, where the labels do not show all of them.
        samples: how many of the training samples to use; None for all.
        test: the share kept for the test, where the source has no test set of its own.
        validation: the share of the rest that chooses epochs and rates.
        stratify: whether each part gets its share of every class.
    """

    source: str = key(text("the path of a .npz or .csv file or of a folder of images"))
    task: str = key(choice("classification", "regression"), "classification")
    kind: str = key(choice("auto", "images", "table"), "auto")
    x: str | None = key(text("the name of an array"), None)
    y: str | None = key(text("the name of an array"), None)
    x_test: str | None = key(text("the name of an array"), None)
    y_test: str | None = key(text("the name of an array"), None)
    target: str | None = key(text("the name of a column"), None)
    columns: dict[str, str] | None = key(
        table_of(
            choice("numeric", "category", "ignore"),
            "a table of column names, each 'numeric', 'category' or 'ignore'",
        ),
        None,
    )
    image_size: tuple[int, int] | None = key(
        list_of(whole(1, 4096), "a list of height and width, such as [96, 96]", least=2, most=2),
        None,
    )
    channels: int = key(whole(1, 4), 3)
    classes: int | None = key(whole(2, 100_000), None)
    samples: int | None = key(whole(2), None)
    test: float = key(number(0, 1, above=True, below=True), 0.2)
    validation: float = key(number(0, 1, above=True, below=True), 0.1)
    stratify: bool = key(flag(), True)


@dataclass(frozen=True)
class Model:
    """[model]: the network.

    Attributes:
        kind: "dense", or "cnn" with convolutions before the dense layers.
        function: ``module:function`` or ``file.py:function`` that returns a Keras model instead.
        layers: the sizes of the hidden dense layers.
        filters: of the cnn's convolutions, each followed by pooling that halves the image.
        kernel: the edge of the convolutions, in pixels.
        activation: of every hidden layer, or a list with one for each.
        batch_normalization: whether each convolution is followed by one.
        dropout: the share dropped before each dense layer but the first of a dense network.
        l1, l2: the penalties on the weights of hidden layers.
        normalization: what happens to the inputs inside the model: "standard" takes mean and
            deviation of the training data away, "rescale" maps bytes to 0 to 1, "none" nothing;
            "auto" rescales bytes and standardizes the rest.
    """

    kind: str = key(choice("dense", "cnn"), "dense")
    function: str | None = key(text("'package.module:function' or 'file.py:function'"), None)
    layers: tuple[int, ...] = key(_SIZES, (64, 64))
    filters: tuple[int, ...] = key(_SIZES, (16, 32))
    kernel: int = key(whole(1, 31), 3)
    activation: str | tuple[str, ...] = key(
        either(
            text("the name of an activation"), list_of(text(), "a list with one for each layer")
        ),
        "relu",
    )
    batch_normalization: bool = key(flag(), False)
    dropout: float = key(_SHARE, 0.0)
    l1: float = key(number(0), 0.0)
    l2: float = key(number(0), 0.0)
    normalization: str = key(choice("auto", "standard", "rescale", "none"), "auto")


@dataclass(frozen=True)
class Schedule:
    """[training.schedule]: how the learning rate moves.

    Attributes:
        kind: "constant"; "step": times ``factor`` every ``every`` epochs; "exponential": times
            ``factor`` each epoch, smoothly; "cosine": down to ``final`` of the rate at the end;
            "plateau": times ``factor`` after ``patience`` epochs without a better validation loss.
        factor: see above.
        every: see above, in epochs.
        final: see above, as a share of the rate.
        patience: see above, in epochs.
        warmup: epochs, or a part of one, in which the rate grows from 0; goes with every kind.
    """

    kind: str = key(choice("constant", "step", "exponential", "cosine", "plateau"), "constant")
    factor: float = key(number(0, 1, above=True), 0.5)
    every: int = key(whole(1), 5)
    final: float = key(number(0, 1), 0.0)
    patience: int = key(whole(1), 3)
    warmup: float = key(number(0), 0.0)


@dataclass(frozen=True)
class EarlyStopping:
    """[training.early_stopping]: stop when the validation stops improving; keep the best weights.

    Attributes:
        monitor: "val_loss", or "val_" and a metric's name.
        patience: epochs without a better value before it stops.
        min_delta: what counts as better.
    """

    monitor: str = key(text("'val_loss', or 'val_' and a metric's name"), "val_loss")
    patience: int = key(whole(1), 5)
    min_delta: float = key(number(0), 0.0)


@dataclass(frozen=True)
class Training:
    """[training]: optimizer, loss and time.

    Attributes:
        epochs: how often each sample is seen, at most.
        batch_size: samples a step.
        optimizer: a Keras optimizer's name, or a table of ``name`` and its options.
        learning_rate: None for the optimizer's own default.
        loss: a Keras loss; None for the one that fits the task.
        metrics: Keras metrics to follow beside the task's own.
        schedule: how the rate moves; None for constant.
        early_stopping: None for never, and the last weights.
    """

    epochs: int = key(whole(1, 100_000), 10)
    batch_size: int = key(whole(1, 1_000_000), 32)
    optimizer: str | dict[str, Any] = key(
        either(
            text("an optimizer's name"),
            table_of(anything(), "a table with its name and its options"),
        ),
        "adam",
    )
    learning_rate: float | None = key(number(0, above=True), None)
    loss: str | None = key(text("the name of a Keras loss"), None)
    metrics: tuple[str, ...] = key(list_of(text(), "a list of names of Keras metrics"), ())
    schedule: Schedule | None = section(Schedule)
    early_stopping: EarlyStopping | None = section(EarlyStopping)


@dataclass(frozen=True)
class Augmentation:
    """[augmentation]: other samples each epoch; lives beside the model, never in it.

    Attributes:
        shift: up to this share of height and width, images only.
        rotate: up to this many degrees either way, images only.
        zoom: up to this share larger or smaller, images only.
        noise: its deviation: of images as a share of their value range, of tables in each
            feature's own deviations.
        mixup: mixes pairs of samples and their targets by a share from Beta(mixup, mixup).
    """

    shift: float = key(number(0, 1), 0.0)
    rotate: float = key(number(0, 180), 0.0)
    zoom: float = key(_SHARE, 0.0)
    noise: float = key(number(0), 0.0)
    mixup: float = key(number(0), 0.0)


@dataclass(frozen=True)
class CrossValidation:
    """[cross_validation]: what to expect of the recipe, before the final fit.

    Attributes:
        folds: into how many parts the training data is cut; each is held out once.
    """

    folds: int = key(whole(2, 1000), 5)


@dataclass(frozen=True)
class RangeTest:
    """[range_test]: the loss under a rate that grows from ``low`` to ``high``.

    Attributes:
        low, high: the ends, in even steps of their logarithm.
        steps: batches, one for each rate.
        use: whether the final fit takes the suggested rate.
    """

    low: float = key(number(0, above=True), 1e-6)
    high: float = key(number(0, above=True), 1.0)
    steps: int = key(whole(10, 100_000), 100)
    use: bool = key(flag(), False)


@dataclass(frozen=True)
class Search:
    """[search]: the best values of other keys, by Optuna.

    Attributes:
        sampler: "grid" takes every combination, "random" draws, "tpe" learns from past trials.
        trials: how many in all, of all processes; of a grid: at most.
        parameters: what to search, by key: a list of values, or a table of ``low``, ``high``,
            ``log`` and, for a grid, ``steps``.
        epochs: of a trial; None for those of the training.
        pruning: whether trials below the median of the others are given up early.
        storage: a journal file, or a database URL, shared by all processes; None: a journal file
            in the run's folder.
        study: its name there.
    """

    parameters: dict[str, Any] = key(
        table_of(anything(), "a table of keys, such as training.learning_rate = [0.001, 0.01]")
    )
    sampler: str = key(choice("grid", "random", "tpe"), "tpe")
    trials: int = key(whole(1, 1_000_000), 20)
    epochs: int | None = key(whole(1, 100_000), None)
    pruning: bool = key(flag(), True)
    storage: str | None = key(text("a file name or a database URL"), None)
    study: str | None = key(text(), None)
