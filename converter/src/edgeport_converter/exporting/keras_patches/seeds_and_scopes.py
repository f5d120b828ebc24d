"""Constant random seeds, and operations that have their layers' names."""

from __future__ import annotations

import re
from typing import Any

import keras
import tensorflow as tf

from edgeport_converter.exporting.patching import function_patch

# Source: the pattern in TensorFlow's message "is not a valid root scope name".
_NOT_IN_SCOPES = re.compile(r"^[^A-Za-z0-9.]|[^A-Za-z0-9_.\\/>-]")


@function_patch
def constant_seed(original: Any, placeholders: Any, self: Any, ordered: bool = True) -> Any:
    """Return a seed without drawing it; a graph whose answer depends on it is refused later."""
    return tf.constant([0, 0], dtype=self.state.dtype)


@function_patch
def never_in_a_data_pipeline(original: Any, placeholders: Any) -> bool:
    """Tell Keras' data layers that they are part of a model."""
    return False


@function_patch
def scope_without_number(
    original: Any, placeholders: Any, self: Any, name: str, **options: Any
) -> None:
    """Open the scope of exactly this name: TensorFlow numbers none that ends in a slash.

    Characters that TensorFlow takes in no scope become underscores.
    """
    super(keras.src.backend.tensorflow.core.name_scope, self).__init__(name, **options)
    name = _NOT_IN_SCOPES.sub("_", name)
    outer = tf.get_current_name_scope()
    full = f"{outer}/{name}" if outer else name
    self._tf_name_scope = tf.name_scope(f"{full}/")
