"""What a case is: a name, a function that builds a Keras model, and the values to feed it.

Weights and inputs are made here, so that no case keeps Keras' zeros and ones: a bias, a moving
mean or a mask that the conversion drops has to show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

IS_KERAS_3_12 = keras.__version__.startswith("3.12.")
"""The older series that the converter allows; it lacks a few of the newer one's layers."""

NOT_IN_KERAS_3_12 = frozenset({"may not build"} if IS_KERAS_3_12 else ())
"""Tags of a case that only the newer series builds."""

FREE_SIZES = (8, 13)
"""What free axes are filled with; one even, one odd, so that padding cannot hide."""


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: unique; the layer, then the option.
        build: returns the Keras model, with the weights that Keras gives it.
        values: what to feed, by input name or for all inputs; see ``make_values``.
        batches: batch sizes to compare at.
        free_sizes: sizes for free axes.
        refused: a pattern for the sentence that has to come instead of a file.
        tolerance: largest difference as a share of the output's largest value.
    """

    name: str
    build: Callable[[], Any]
    values: Any = "normal"
    batches: tuple[int, ...] = (1, 3)
    free_sizes: tuple[int, ...] = FREE_SIZES
    refused: str | None = None
    tolerance: float = 1e-4
    tags: frozenset[str] = field(default_factory=frozenset)


class Registry(list[Case]):
    """The cases in the order of their definition."""

    def model(self, name: str, build: Callable[[], Any], **options: Any) -> None:
        """Add a case whose model ``build`` returns."""
        self.append(Case(name, build, **options))

    def layer(
        self,
        name: str,
        shape: Sequence[int | None],
        build: Callable[[], Any],
        *,
        dtype: str = "float32",
        batch: int | None = None,
        **options: Any,
    ) -> None:
        """Add a case of one layer on one input of ``shape``, without the batch axis."""

        def model() -> Any:
            x = keras.Input(tuple(shape), batch_size=batch, dtype=dtype, name="x")
            return keras.Model(x, build()(x))

        if batch is not None:
            options["batches"] = (batch,)
        self.append(Case(name, model, **options))

    def layers_on(
        self, shape: Sequence[int | None], builders: Mapping[str, Callable[[], Any]], **options: Any
    ) -> None:
        """Add a case for each builder, all on the same input."""
        for name, build in builders.items():
            self.layer(name, shape, build, **options)


_QUANTIZED = ("_scale", "_scales", "_zero", "_history")


def randomize(model: Any, seed: int = 0) -> None:
    """Give every float weight a value as after a training, so that none is neutral.

    Scales and zero points that Keras' own quantization computed from the weights stay.
    """
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        name = weight.path.rsplit("/", 1)[-1]
        is_float = np.issubdtype(
            np.dtype(keras.backend.standardize_dtype(weight.dtype)), np.floating
        )
        if is_float and not name.endswith(_QUANTIZED):
            weight.assign(_trained(name, tuple(weight.shape), generator).astype(np.float32))
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()  # it computes with a copy of its weights


def _trained(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Return values for a weight of Keras; ``name`` is the last part of its path."""
    if "variance" in name or "stddev" in name:
        return np.exp(generator.uniform(np.log(0.25), np.log(4.0), shape))
    if "mean" in name:
        return generator.normal(0.0, 1.0, shape)
    if name in ("gamma", "scale"):
        # Trained ones differ by sign, and are nearly zero for a channel that does nothing.
        value = generator.uniform(0.4, 1.4, shape) * generator.choice([1.0, 1.0, 1.0, -1.0], shape)
        return np.where(generator.random(shape) < 0.06, 1e-3 * value, value)
    if name == "alpha":  # of a PReLU, which need not rise
        return generator.uniform(-0.5, 1.5, shape)
    if "bias" in name or len(shape) < 2:
        return generator.normal(0.0, 0.3, shape)
    # He's rule keeps activations at an ordinary size through deep networks.
    fan_in = max(1, int(np.prod(shape[:-1])))
    return generator.normal(0.0, np.sqrt(1.5 / fan_in), shape)


def make_values(
    kind: Any, shape: Sequence[int], dtype: Any, generator: np.random.Generator
) -> np.ndarray:
    """Return an input.

    Args:
        kind: "normal", "unit" for [0, 1), "image" for [0, 256), "padded" for sequences whose tail
            steps are zero, ("ids", n) for integers below n, ("padded ids", n) with zeros at the
            end, ("choice", values), "bool", or a function of shape and generator.
        shape: with the batch axis.
        dtype: of the input.
        generator: source of the values.
    """
    if callable(kind):
        return np.asarray(kind(shape, generator), dtype=dtype)
    name, *rest = kind if isinstance(kind, tuple) else (kind,)
    if name == "normal":
        value: Any = generator.normal(0.0, 1.5, shape)
    elif name == "unit":
        value = generator.random(shape)
    elif name == "image":
        value = generator.random(shape) * 255.0
        if np.issubdtype(dtype, np.integer):
            value = generator.integers(0, 256, shape)
    elif name == "padded":
        value = generator.normal(0.0, 1.5, shape)
        for row, length in enumerate(_lengths(shape[0], shape[1], generator)):
            value[row, length:] = 0.0
    elif name == "ids":
        value = generator.integers(0, rest[0], shape)
    elif name == "padded ids":
        value = generator.integers(1, rest[0], shape)
        for row, length in enumerate(_lengths(shape[0], shape[1], generator)):
            value[row, length:] = 0
    elif name == "choice":
        value = generator.choice(np.asarray(rest[0], dtype=object), shape)
    elif name == "bool":
        value = generator.random(shape) < 0.6
    else:
        raise ValueError(f"no kind of values is called {name!r}")
    return np.asarray(value).astype(dtype)


def _lengths(rows: int, steps: int, generator: np.random.Generator) -> np.ndarray:
    lengths = generator.integers(1, steps + 1, rows)
    lengths[-1] = max(1, steps - 2)
    return lengths


def dense_head(x: Any, classes: int = 4) -> Any:
    """Return class scores of ``x``."""
    return layers.Dense(classes, activation="softmax", name="scores")(x)
