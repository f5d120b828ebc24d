"""Constant random seeds, and operations that have their layers' names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

# Source: the pattern in TensorFlow's message "is not a valid root scope name".
_NOT_IN_SCOPES = re.compile(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_.\\/>-]")


def constant_seed(original: Callable[..., Any], placeholders: Any) -> Callable[..., Any]:
    """Return a seed without drawing it; a graph whose answer depends on it is refused later."""

    def next_seed(self: Any, ordered: bool = True) -> Any:
        return tf.constant([0, 0], dtype=self.state.dtype)

    return next_seed


def never_in_a_data_pipeline(original: Callable[..., Any], placeholders: Any) -> Callable[..., Any]:
    """Tell Keras' data layers that they are part of a model."""
    return lambda: False


def scope_without_number(original: Callable[..., Any], placeholders: Any) -> Callable[..., Any]:
    """Open the scope of exactly this name: TensorFlow numbers none that ends in a slash.

    Characters that TensorFlow takes in no scope become underscores.
    """
    scope = keras.src.backend.tensorflow.core.name_scope

    def initialize(self: Any, name: str, **options: Any) -> None:
        super(scope, self).__init__(name, **options)
        name = _NOT_IN_SCOPES.sub("_", name)
        outer = tf.get_current_name_scope()
        full = f"{outer}/{name}" if outer else name
        self._tf_name_scope = tf.name_scope(f"{full}/")

    return initialize
