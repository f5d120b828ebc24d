"""The recipe: everything that a training needs to know, from a TOML file or a dict.

One frozen record for each table. Each value is checked here as far as that needs neither Keras nor
the data; later refusals come through ``Recipe.origin``, and so name file, line and key, too.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import tomllib

from edgeport import OptionError
from edgeport_converter.training.schema import (
    Origin,
    anything,
    choice,
    either,
    flag,
    key,
    list_of,
    number,
    plain_name,
    read_record,
    section,
    table_of,
    text,
    whole,
)

EXAMPLES = ("mnist", "cnn", "table")

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


@dataclass(frozen=True)
class Recipe:
    """The whole recipe.

    Attributes:
        name: the model's name.
        seed: of the split, the first weights, the order of the samples and every other chance.
        raw: the tables as they were given.
        origin: where they were written.
        folder: what relative paths begin at.
    """

    data: Data = section(Data, required=True)
    name: str = key(plain_name(), "model")
    seed: int = key(whole(0, 2**31 - 1), 0)
    model: Model = section(Model)
    training: Training = section(Training)
    augmentation: Augmentation | None = section(Augmentation)
    cross_validation: CrossValidation | None = section(CrossValidation)
    range_test: RangeTest | None = section(RangeTest)
    search: Search | None = section(Search)
    raw: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    folder: Path = field(default_factory=Path)

    @property
    def sha256(self) -> str:
        """The digest of what the recipe says; comments and order do not count."""
        said = json.dumps(self.raw, sort_keys=True, default=str, ensure_ascii=False)
        return hashlib.sha256(said.encode()).hexdigest()

    def with_values(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other values, by key such as "training.learning_rate".

        Raises:
            OptionError: an unknown key, or a value against its rule.
        """
        raw = copy.deepcopy(dict(self.raw))
        for name, value in values.items():
            *tables, last = name.split(".")
            table = raw
            for part in tables:
                table = table.setdefault(part, {})
                if not isinstance(table, dict):
                    raise OptionError(f"{self.origin.place(name)} lies in no table: correct it")
            table[last] = value
        return _make(raw, self.origin, self.folder)

    def value(self, name: str) -> Any:
        """Return the value of a key such as "training.learning_rate", defaults included."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part, None)
        return found


def read_recipe(recipe: Any) -> Recipe:
    """Return the recipe of a TOML file or a dict.

    Raises:
        OptionError: no such file, no TOML, or a key or value that is refused.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if isinstance(recipe, Mapping):
        return _make(copy.deepcopy(dict(recipe)), Origin(), Path())
    if not isinstance(recipe, (str, os.PathLike)):
        raise OptionError(
            f"the recipe is a {type(recipe).__name__}, expected the path of a TOML file or a dict: "
            "pass one of these"
        )
    path = Path(recipe)
    if path.is_dir() or not path.exists():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise OptionError(
            f"the recipe '{path}' {found}, expected a TOML file: `edgeport train --example mnist` "
            "prints one"
        )
    try:
        source = path.read_text(encoding="utf-8-sig")
        raw = tomllib.loads(source)
    except UnicodeDecodeError:
        raise OptionError(
            f"the recipe '{path}' is no UTF-8 text, expected TOML: choose the right file"
        ) from None
    except OSError as cause:
        raise OptionError(
            f"the recipe '{path}' cannot be read ({cause.strerror}): check its permissions"
        ) from cause
    except tomllib.TOMLDecodeError as cause:
        raise OptionError(f"{path}: this is no TOML, {_lower(str(cause))}: correct it") from None
    return _make(raw, Origin(str(path), source), path.parent)


def example(name: str) -> str:
    """Return a ready recipe with comments, one of ``EXAMPLES``."""
    folder = resources.files("edgeport_converter.training") / "examples"
    return (folder / f"{name}.toml").read_text(encoding="utf-8")


def _make(raw: dict[str, Any], origin: Origin, folder: Path) -> Recipe:
    if not raw:
        raise OptionError(
            f"{origin.name} is empty, expected at least [data] with its source: "
            "`edgeport train --example mnist` prints a whole recipe"
        )
    read = read_record(Recipe, {"model": {}, "training": {}} | raw, origin)
    recipe = Recipe(
        **{name: getattr(read, name) for name in _TABLES}, raw=raw, origin=origin, folder=folder
    )
    _check_together(recipe)
    return recipe


_TABLES = (
    "data",
    "name",
    "seed",
    "model",
    "training",
    "augmentation",
    "cross_validation",
    "range_test",
    "search",
)


def _check_together(recipe: Recipe) -> None:
    """Refuse values that are sound alone and not together."""
    origin, model = recipe.origin, recipe.model
    hidden = len(model.layers) + (len(model.filters) if model.kind == "cnn" else 0)
    if isinstance(model.activation, tuple) and len(model.activation) != hidden:
        raise origin.refuse(
            "model.activation", list(model.activation), f"one for each of {hidden} hidden layers"
        )
    if model.kind == "cnn" and not model.filters:
        raise origin.refuse("model.filters", [], "at least one convolution", "use kind = 'dense'")
    if recipe.data.channels == 2:
        raise origin.refuse("data.channels", 2, "1 (grey), 3 (RGB) or 4 (RGBA)")
    if "name" not in _as_table(recipe.training.optimizer):
        raise origin.refuse(
            "training.optimizer", recipe.training.optimizer, "a name in it", "add name = 'adam'"
        )
    if recipe.range_test and recipe.range_test.low >= recipe.range_test.high:
        raise origin.refuse(
            "range_test.high", recipe.range_test.high, f"above low, {recipe.range_test.low:g}"
        )
    stopping = recipe.training.early_stopping
    if stopping and not stopping.monitor.startswith("val_"):
        raise origin.refuse(
            "training.early_stopping.monitor",
            stopping.monitor,
            "'val_loss', or 'val_' and a metric",
        )


def _as_table(optimizer: str | dict[str, Any]) -> dict[str, Any]:
    return {"name": optimizer} if isinstance(optimizer, str) else optimizer


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
