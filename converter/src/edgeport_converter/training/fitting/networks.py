"""The model of a recipe: built, compiled, its input normalization inside.

What the data taught about the inputs (mean, deviation, categories) lives in layers of the model,
so the artifact takes the user's own units and nobody has to repeat the scaling on the device.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import keras
import numpy as np

from edgeport import OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.loading.model import shorten
from edgeport_converter.loading.user_code import call_function
from edgeport_converter.training.data.csv_tables import fill_values, filled_in
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.recipe.recipe import TrainingRecipe

# A feature that varied by rounding only would be blown up by its deviation on the device.
_ROUNDING = 1e-6
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# Keras keeps the square of the deviation in float32, and divides by 1e-7 at least.
_DEVIATIONS = (1e-6, 1e18)


def build_network(recipe: TrainingRecipe, read: TrainingData, train: TrainingSamples) -> Any:
    """Return the untrained, compiled model.

    Raises:
        OptionError: a name is unknown to Keras, or the user's model does not fit the data.
    """
    keras.utils.set_random_seed(recipe.seed)
    tensors = [
        keras.Input(x.shape[1:], name=name, dtype="string" if x.dtype == object else "float32")
        for name, x in train.inputs.items()
    ]
    x = _prepared(recipe, tensors, read, train)
    if recipe.model.function is not None:
        output = _apply_own_model(recipe, read, x)
    else:
        if recipe.model.kind == "cnn":
            x = _convolutions(recipe, read, x)
        output = _head(read, train, _dense(recipe, x))
    model = keras.Model(tensors[0] if len(tensors) == 1 else tensors, output, name=recipe.name)
    metrics: list[Any] = [_metric(recipe, name) for name in recipe.training.metrics]
    if not read.is_regression:
        metrics.insert(0, "accuracy")
    elif not metrics:
        metrics = [keras.metrics.MeanAbsoluteError(name="mae")]
    model.compile(optimizer=_optimizer(recipe), loss=_loss(recipe, read), metrics=metrics)
    return model


def takes_one_hot(recipe: TrainingRecipe, read: TrainingData) -> bool:
    """Whether the targets are rows of class shares instead of class numbers."""
    return len(read.classes) > 2 and not isinstance(
        _loss(recipe, read), keras.losses.SparseCategoricalCrossentropy
    )


def _prepared(
    recipe: TrainingRecipe, tensors: list[Any], read: TrainingData, train: TrainingSamples
) -> Any:
    """Return one tensor of numbers: missing ones filled, normalized; categories looked up."""
    parts = []
    for tensor in tensors:
        data = train.inputs[tensor.name]
        if data.dtype == object:
            lookup = keras.layers.StringLookup(
                vocabulary=sorted(set(data.flat)), output_mode="one_hot", name=f"{tensor.name}_code"
            )
            parts.append(lookup(tensor))
        else:
            fills = fill_values(read, train, tensor.name)
            whole = tensor
            if fills is not None:
                whole = keras.ops.where(keras.ops.isnan(tensor), fills, tensor)
            is_pixels = data.dtype == np.uint8 or read.frames is not None
            parts.append(
                _normalized(recipe, tensor.name, whole, filled_in(data, fills), is_pixels=is_pixels)
            )
    if len(parts) == 1:
        return parts[0]
    if recipe.model.kind == "cnn":
        raise recipe.refuse(
            "model.kind", "cnn", "'dense' for a table with categories", "convolutions need images"
        )
    return keras.layers.Concatenate(name="joined")(parts)


def _normalized(
    recipe: TrainingRecipe, name: str, tensor: Any, data: Array, *, is_pixels: bool
) -> Any:
    kind = recipe.model.normalization
    if kind == "auto":
        if recipe.model.function is not None:
            return tensor  # the user's own model has its own, or wants none
        kind = "rescale" if is_pixels else "standard"
    if kind == "none":
        return tensor
    if kind == "rescale":
        return keras.layers.Rescaling(1 / 255, name="rescaling")(tensor)
    axes = tuple(range(data.ndim - 1))
    mean = data.mean(axis=axes, dtype=np.float64)
    deviation = data.std(axis=axes, dtype=np.float64)
    deviation[deviation <= _ROUNDING * np.abs(mean)] = 1
    low, high = _DEVIATIONS
    wrong = np.flatnonzero((deviation < low) | (deviation > high))
    if len(wrong):
        raise OptionError(
            f"feature {wrong[0]} of '{name}' in the training data has a standard deviation "
            f"of {deviation.flat[wrong[0]]:.3g}, expected {low:g} to {high:g}: give it in another "
            'unit, or scale it yourself and set model.normalization = "none"'
        )
    return keras.layers.Normalization(
        axis=-1, mean=mean, variance=deviation**2, name="normalization"
    )(tensor)


def _convolutions(recipe: TrainingRecipe, read: TrainingData, x: Any) -> Any:
    model = recipe.model
    if not read.is_images:
        raise recipe.refuse(
            "model.kind", "cnn", "'dense' for data that is no images", "or data.kind = 'images'"
        )
    height, width = x.shape[1:3]
    if min(height, width) < 2 ** len(model.filters):
        raise recipe.refuse(
            "model.filters",
            list(model.filters),
            f"at most {int(np.log2(min(height, width)))} for images of {height} × {width}",
            "each convolution halves the image: take fewer",
        )
    for number, filters in enumerate(model.filters, start=1):
        x = keras.layers.Conv2D(
            filters,
            model.kernel,
            padding="same",
            use_bias=not model.batch_normalization,
            kernel_regularizer=_regularizer(recipe),
            name=f"convolution_{number}",
        )(x)
        if model.batch_normalization:
            x = keras.layers.BatchNormalization(name=f"batch_normalization_{number}")(x)
        x = keras.layers.Activation(_activation(recipe, number - 1), name=f"activation_{number}")(x)
        x = keras.layers.MaxPooling2D(name=f"pooling_{number}")(x)
    return x


def _dense(recipe: TrainingRecipe, x: Any) -> Any:
    model = recipe.model
    before = len(model.filters) if model.kind == "cnn" else 0
    if len(x.shape) > 2:
        x = keras.layers.Flatten(name="flat")(x)
    for number, size in enumerate(model.layers, start=1):
        # Dropping inputs hides data rather than thins the network.
        if model.dropout and (number > 1 or before):
            x = _dropout(recipe, number - 1)(x)
        x = keras.layers.Dense(
            size,
            activation=_activation(recipe, before + number - 1),
            kernel_regularizer=_regularizer(recipe),
            name=f"hidden_{number}",
        )(x)
    if model.dropout and (model.layers or before):
        x = _dropout(recipe, len(model.layers))(x)
    return x


def _dropout(recipe: TrainingRecipe, number: int) -> Any:
    return keras.layers.Dropout(
        recipe.model.dropout, seed=recipe.seed + number, name=f"dropout_{number}"
    )


def _head(read: TrainingData, train: TrainingSamples, x: Any) -> Any:
    if read.is_regression:
        # The network answers in deviations, the last layer in the target's own unit: so that the
        # first steps are not spent on finding the mean of, say, house prices.
        mean, deviation = float(train.targets.mean()), float(train.targets.std())
        x = keras.layers.Dense(1, name="standardized")(x)
        return keras.layers.Rescaling(deviation or 1.0, mean, name="value")(x)
    if len(read.classes) == 2:
        return keras.layers.Dense(1, activation="sigmoid", name="score")(x)
    return keras.layers.Dense(len(read.classes), activation="softmax", name="scores")(x)


def _apply_own_model(recipe: TrainingRecipe, read: TrainingData, x: Any) -> Any:
    name = str(recipe.model.function)
    module, _, function = name.rpartition(":")
    if module.endswith(".py"):
        name = f"{recipe.folder / module}:{function}"
    try:
        own = call_function(name)
    except OptionError as cause:
        raise OptionError(f"{recipe.origin}: model.function: {cause}") from cause
    if not isinstance(own, keras.Model):
        raise recipe.refuse(
            "model.function",
            recipe.model.function,
            f"a Keras model from it, not {type(own).__name__}",
        )
    try:
        output = own(x)
    except Exception as cause:
        raise OptionError(
            f"{recipe.origin}: model.function: the model does not take samples of shape "
            f"{tuple(x.shape[1:])} ({shorten(cause)}): give it that input"
        ) from cause
    width = 1 if read.is_regression or len(read.classes) == 2 else len(read.classes)
    if getattr(output, "shape", None) != (None, width):
        raise OptionError(
            f"{recipe.origin}: model.function: the model answers with "
            f"{getattr(output, 'shape', type(output).__name__)}, expected (None, {width}) for "
            f"{'a regression' if read.is_regression else f'{len(read.classes)} classes'}: "
            "correct its last layer"
        )
    return output


def _activation(recipe: TrainingRecipe, index: int) -> str:
    chosen = recipe.model.activation
    name = chosen if isinstance(chosen, str) else chosen[index]
    functions = (
        item for item, value in vars(keras.activations).items() if inspect.isfunction(value)
    )
    known = set(functions) - {"get", "serialize", "deserialize"}
    if name not in known:
        raise recipe.refuse_name("model.activation", name, sorted(known), "a Keras activation")
    return name


def _regularizer(recipe: TrainingRecipe) -> Any:
    l1, l2 = recipe.model.l1, recipe.model.l2
    return keras.regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None


def _optimizer(recipe: TrainingRecipe) -> Any:
    wanted = recipe.training.optimizer
    options = {} if isinstance(wanted, str) else {k: v for k, v in wanted.items() if k != "name"}
    name = wanted if isinstance(wanted, str) else str(wanted["name"])
    optimizers = _subclasses(keras.optimizers, keras.optimizers.Optimizer)
    known = {item.lower(): value for item, value in optimizers.items()}
    known.pop("lossscaleoptimizer", None)  # it wraps another one
    if name.lower() not in known:
        raise recipe.refuse_name("training.optimizer", name, sorted(known), "a Keras optimizer")
    if "learning_rate" in options:
        raise recipe.refuse(
            "training.optimizer.learning_rate",
            options["learning_rate"],
            "the rate in training.learning_rate",
            "move it there",
        )
    if recipe.training.learning_rate is not None:
        options["learning_rate"] = recipe.training.learning_rate
    try:
        # Keras' own name counts the optimizers of the process, and stands in the model's file.
        return known[name.lower()](**{"name": name.lower(), **options})
    except (TypeError, ValueError) as cause:
        raise OptionError(
            f"{recipe.origin}: training.optimizer: Keras refuses these options of '{name}' "
            f"({shorten(cause)}): correct them"
        ) from cause


def _loss(recipe: TrainingRecipe, read: TrainingData) -> Any:
    name = recipe.training.loss
    mixes = recipe.augmentation is not None and recipe.augmentation.mixup > 0
    if name is None:
        if read.is_regression:
            name = "mean_squared_error"
        elif len(read.classes) == 2:
            name = "binary_crossentropy"
        else:
            name = ("" if mixes else "sparse_") + "categorical_crossentropy"
    losses = _subclasses(keras.losses, keras.losses.Loss)
    known = {_snake(item): value for item, value in losses.items()}
    short = {"mse": "mean_squared_error", "mae": "mean_absolute_error"}
    full = short.get(name.lower(), name)
    if full not in known:
        raise recipe.refuse_name("training.loss", name, sorted(known), "a Keras loss")
    if mixes and full.startswith("sparse_"):
        raise recipe.refuse(
            "training.loss",
            name,
            "one that takes mixed classes, as mix-up makes them",
            "leave it out, or write 'categorical_crossentropy'",
        )
    fits = {2: "binary", 1: ""}.get(len(read.classes) or 1, "categorical")
    if "crossentropy" in full and (not fits or fits not in full):
        what = "a regression" if read.is_regression else f"{len(read.classes)} classes"
        raise recipe.refuse("training.loss", name, f"one for {what}", "leave it out")
    return known[full]()


def _metric(recipe: TrainingRecipe, name: str) -> Any:
    try:
        return keras.metrics.get(name)
    except (ValueError, TypeError):
        known = sorted(_snake(item) for item in vars(keras.metrics) if item[:1].isupper())
        raise recipe.refuse_name("training.metrics", name, known, "Keras metrics") from None


def _subclasses(module: Any, base: type) -> dict[str, Any]:
    """Return the classes of one of Keras' modules by name, without their base."""
    classes = {name: item for name, item in vars(module).items() if inspect.isclass(item)}
    return {name: item for name, item in classes.items() if issubclass(item, base) and item != base}


def _snake(name: str) -> str:
    """Return KLDivergence as kl_divergence."""
    return _WORD.sub("_", name).lower()
