"""Lookup tables as ONNX-ML LabelEncoder nodes.

Keras' lookup layers keep their vocabulary in a TensorFlow table, a resource that no ONNX graph can
hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.exporting.placeholders import Emit, Placeholders
from edgeport_converter.exporting.tf_ops.builder import LABEL_ENCODER_DOMAIN, replace

# LabelEncoder's attributes by the kind of a numpy array, and the type that it can hold.
_KINDS = {
    "O": ("strings", "string", tf.string),
    "i": ("int64s", "int64", tf.int64),
    "f": ("floats", "float", tf.float32),
}


def lookup(original: Callable[..., Any], placeholders: Placeholders) -> Callable[..., Any]:
    """Put a placeholder op where a traced graph looks keys up; it keeps the table's contents."""

    def look_up(self: Any, keys: Any, name: str | None = None) -> Any:
        if tf.executing_eagerly() or not tf.is_tensor(keys):
            return original(self, keys, name)
        return _place(placeholders, self, keys)

    return look_up


def _place(placeholders: Placeholders, table: Any, keys: Any) -> Any:
    with tf.init_scope():
        contents = table.export()
        default = tf.convert_to_tensor(table._default_value)
    key_type, value_type, emit = label_encoder(table.name, contents, default)
    (found,) = placeholders.place(
        [tf.cast(keys, key_type) if key_type != tf.string else keys],
        [(value_type, keys.shape)],
        emit,
        "LabelEncoder",
    )
    return found if found.dtype == table.value_dtype else tf.cast(found, table.value_dtype)


def label_encoder(
    table: str, contents: tuple[Any, Any], default: Any
) -> tuple[tf.DType, tf.DType, Emit]:
    """Return the types of a LabelEncoder's input and output, and what writes the node.

    Args:
        table: its name, for an error.
        contents: its keys and its values, arrays or eager tensors of one length.
        default: the value of a key that is not there.

    Raises:
        UnsupportedModelError: keys or values are neither text nor numbers.
    """
    known, found, other = (_as_array(array) for array in (*contents, default))
    for array in (known, found):
        if array.dtype.kind not in _KINDS:
            raise UnsupportedModelError(
                f"the lookup table '{table}' holds {array.dtype}, expected text or numbers: "
                "look the values up before the model"
            )
    key_kind, _, key_type = _KINDS[known.dtype.kind]
    value_kind, value_name, value_type = _KINDS[found.dtype.kind]
    attributes = {
        f"keys_{key_kind}": known.tolist(),
        f"values_{value_kind}": found.tolist(),
        f"default_{value_name}": other.item(),
    }

    def emit(graph: Any, node: Any) -> None:
        replace(graph, node, "LabelEncoder", node.input, attributes, domain=LABEL_ENCODER_DOMAIN)

    return key_type, value_type, emit


def _as_array(tensor: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(tensor)
    if array.dtype.kind in "OS":
        return np.vectorize(_as_text, otypes=[object])(array) if array.size else array.astype("O")
    return array


def _as_text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
