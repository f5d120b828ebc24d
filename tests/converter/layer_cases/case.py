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


def randomize(model: Any, seed: int = 0) -> None:
    """Give every float weight random values of an ordinary size."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if not np.issubdtype(np.dtype(keras.backend.standardize_dtype(weight.dtype)), np.floating):
            continue
        shape, name = tuple(weight.shape), weight.path.rsplit("/", 1)[-1]
        if "variance" in name:
            value = generator.uniform(0.5, 2.0, shape)
        elif name in ("gamma", "scale"):
            value = generator.uniform(0.5, 1.5, shape)
        elif len(shape) < 2:
            value = generator.normal(0.0, 0.3, shape)
        else:
            # He's rule keeps activations at an ordinary size through deep networks.
            fan_in = max(1, int(np.prod(shape[:-1])))
            value = generator.normal(0.0, np.sqrt(1.5 / fan_in), shape)
        weight.assign(value.astype(np.float32))


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
