"""The tables of a recipe: a pydantic model each, every key with its type, bounds and default.

A field's ``description`` says what is expected where type and bounds do not; it is part of the
message that refuses another value. What only makes sense together is checked in ``recipe``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Name = Annotated[str, Field(pattern=r"\S")]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
_COLUMN = "'numeric', 'category' or 'ignore', or a table with kind, unit and missing"
_SIZES = "a list of whole numbers from 1, such as [64, 64]"


class RecipeTable(BaseModel):
    """What all tables have in common: frozen, no unknown keys, no value made another type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ColumnTable(RecipeTable):
    """[data.columns.NAME]: one column of a ``.csv``; a text alone is its kind.

    Attributes:
        kind: "numeric"; "category" for text; "ignore".
        unit: such as "cm", for the artifact's card.
        missing: what an empty cell counts as: "mean" or "median" of the training samples, or a
            number; of a category a text. None: an empty cell is refused.
    """

    kind: Literal["numeric", "category", "ignore"] = "numeric"
    unit: str = ""
    missing: int | float | Name | None = Field(
        default=None, description="'mean', 'median' or a number; a text for a category"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_kind(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value


class DataTable(RecipeTable):
    """[data]: where the samples come from and how they are split.

    Attributes:
        source: a ``.npz`` or ``.csv`` file, or a folder with a folder of images for each class;
            relative to the recipe's own folder.
        task: what is learned: one class of several, or a number.
        kind: what a ``.npz`` holds; "auto": four axes, or three of uint8, are images.
        x, y, x_test, y_test: the arrays of a ``.npz``; None for the customary names.
        target: the column of a ``.csv`` that is learned.
        columns: its other columns by type, or with unit and missing; None: all are numeric.
        image_size: height and width that a folder's images are resized to.
        resize: how, by the name of a call as in ``edgeport convert --frames``; "keras" is that of
            ``image_dataset_from_directory``, "ImageOps.fit-lanczos" another one.
        fit: whether they are stretched, cropped or padded to the aspect of ``image_size``.
        channels: of a folder's images: 1 grey, 3 RGB, 4 RGBA.
        classes: how many there are, where the labels do not show all of them.
        samples: how many of the training samples to use; None for all.
        test: the share kept for the test, where the source has no test set of its own.
        validation: the share of the rest that chooses epochs and rates.
        stratify: whether each part gets its share of every class.
    """

    source: Name = Field(description="the path of a .npz or .csv file or of a folder of images")
    task: Literal["classification", "regression"] = "classification"
    kind: Literal["auto", "images", "table"] = "auto"
    x: Name | None = Field(default=None, description="the name of an array")
    y: Name | None = Field(default=None, description="the name of an array")
    x_test: Name | None = Field(default=None, description="the name of an array")
    y_test: Name | None = Field(default=None, description="the name of an array")
    target: Name | None = Field(default=None, description="the name of a column")
    columns: dict[str, ColumnTable] | None = Field(
        default=None, description=f"a table of column names, each {_COLUMN}"
    )
    image_size: (
        tuple[Annotated[int, Field(ge=1, le=4096)], Annotated[int, Field(ge=1, le=4096)]] | None
    ) = Field(default=None, description="a list of height and width, such as [96, 96]")
    resize: Name = Field(default="keras", description="the name of a resize, such as 'keras'")
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    channels: int = Field(default=3, ge=1, le=4, description="1 (grey), 3 (RGB) or 4 (RGBA)")
    classes: int | None = Field(default=None, ge=2, le=100_000)
    samples: int | None = Field(default=None, ge=2)
    test: float = Field(default=0.2, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    stratify: bool = True


class ModelTable(RecipeTable):
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
        normalization: what happens to the inputs inside the model: "standard" subtracts the mean
            of the training data and divides by its deviation, "rescale" maps bytes to 0 to 1,
            "none" does nothing; "auto" rescales bytes and standardizes the rest.
    """

    kind: Literal["dense", "cnn"] = "dense"
    function: Name | None = Field(
        default=None, description="'package.module:function' or 'file.py:function'"
    )
    layers: tuple[Size, ...] = Field(default=(64, 64), description=_SIZES)
    filters: tuple[Size, ...] = Field(default=(16, 32), description=_SIZES)
    kernel: int = Field(default=3, ge=1, le=31)
    activation: Name | tuple[Name, ...] = Field(
        default="relu", description="the name of an activation, or a list with one for each layer"
    )
    batch_normalization: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    l1: float = Field(default=0.0, ge=0)
    l2: float = Field(default=0.0, ge=0)
    normalization: Literal["auto", "standard", "rescale", "none"] = "auto"


class ScheduleTable(RecipeTable):
    """[training.schedule]: how the learning rate moves.

    Attributes:
        kind: "constant"; "step": times ``factor`` every ``every`` epochs; "exponential": times
            ``factor`` each epoch, smoothly; "cosine": down to ``final`` of the rate at the end;
            "plateau": times ``factor`` after ``patience`` epochs without a better validation loss.
        factor, every, final, patience: see above.
        warmup: epochs, or a part of one, in which the rate grows from 0; goes with every kind.
    """

    kind: Literal["constant", "step", "exponential", "cosine", "plateau"] = "constant"
    factor: float = Field(default=0.5, gt=0, le=1)
    every: int = Field(default=5, ge=1)
    final: float = Field(default=0.0, ge=0, le=1)
    patience: int = Field(default=3, ge=1)
    warmup: float = Field(default=0.0, ge=0)


class EarlyStoppingTable(RecipeTable):
    """[training.early_stopping]: stop when the validation stops improving; keep the best weights.

    Attributes:
        monitor: "val_loss", or "val_" and a metric's name.
        patience: epochs without a better value before it stops.
        min_delta: what counts as better.
    """

    monitor: str = Field(
        default="val_loss",
        pattern="^val_.",
        description="'val_loss', or 'val_' and a metric's name",
    )
    patience: int = Field(default=5, ge=1)
    min_delta: float = Field(default=0.0, ge=0)


class TrainingTable(RecipeTable):
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

    epochs: int = Field(default=10, ge=1, le=100_000)
    batch_size: Size = 32
    optimizer: Name | dict[str, Any] = Field(
        default="adam", description="an optimizer's name, or a table with its name and its options"
    )
    learning_rate: float | None = Field(default=None, gt=0)
    loss: Name | None = Field(default=None, description="the name of a Keras loss")
    metrics: tuple[Name, ...] = Field(default=(), description="a list of names of Keras metrics")
    schedule: ScheduleTable | None = None
    early_stopping: EarlyStoppingTable | None = None


class AugmentationTable(RecipeTable):
    """[augmentation]: other samples each epoch; lives beside the model, never in it.

    Attributes:
        shift: up to this share of height and width, images only.
        rotate: up to this many degrees either way, images only.
        zoom: up to this share larger or smaller, images only.
        noise: its deviation: of images as a share of their value range, of tables in each
            feature's own deviations.
        mixup: mixes pairs of samples and their targets by a share from Beta(mixup, mixup).
    """

    shift: float = Field(default=0.0, ge=0, le=1)
    rotate: float = Field(default=0.0, ge=0, le=180)
    zoom: float = Field(default=0.0, ge=0, lt=1)
    noise: float = Field(default=0.0, ge=0)
    mixup: float = Field(default=0.0, ge=0)


class CrossValidationTable(RecipeTable):
    """[cross_validation]: what to expect of the recipe, before the final fit.

    Attributes:
        folds: into how many parts the training data is cut; each is held out once.
    """

    folds: int = Field(default=5, ge=2, le=1000)


class RangeTestTable(RecipeTable):
    """[range_test]: the loss under a rate that grows from ``low`` to ``high``.

    Attributes:
        low, high: the ends, in even steps of their logarithm.
        steps: batches, one for each rate.
        use: whether the final fit takes the suggested rate.
    """

    low: float = Field(default=1e-6, gt=0)
    high: float = Field(default=1.0, gt=0)
    steps: int = Field(default=100, ge=10, le=100_000)
    use: bool = False


class SearchRangeTable(RecipeTable):
    """A range of values of one key in [search.parameters].

    Attributes:
        low, high: the ends, both whole for whole numbers.
        log: whether values are drawn evenly in the logarithm.
        steps: how many values a grid takes of the range.
    """

    low: int | float
    high: int | float
    log: bool = False
    steps: int | None = Field(default=None, ge=1)


class SearchTable(RecipeTable):
    """[search]: the best values of other keys, by Optuna.

    Attributes:
        parameters: what to search, by key: a list of values, or a table of ``low``, ``high``,
            ``log`` and, for a grid, ``steps``.
        sampler: "grid" takes every combination, "random" draws, "tpe" learns from past trials.
        trials: how many in all, of all processes; of a grid: at most.
        epochs: of a trial; None for those of the training.
        pruning: whether trials below the median of the others are given up early.
        storage: an SQLite file, or a database URL such as postgresql://host/name, shared by all
            processes; None: a file in the run's folder.
        study: its name there, for this recipe, its data and its search alone; None: a name with
            a digest of them.
    """

    parameters: dict[str, Any] = Field(
        description="a table of keys, such as training.learning_rate = [0.001, 0.01]"
    )
    sampler: Literal["grid", "random", "tpe"] = "tpe"
    trials: int = Field(default=20, ge=1, le=1_000_000)
    epochs: int | None = Field(default=None, ge=1, le=100_000)
    pruning: bool = True
    storage: Name | None = Field(default=None, description="a file name or a database URL")
    study: Name | None = Field(default=None, description="a name")
