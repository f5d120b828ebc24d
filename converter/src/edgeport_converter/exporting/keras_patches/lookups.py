"""Lookup tables as ONNX-ML LabelEncoder nodes.

Keras' lookup layers keep their vocabulary in a TensorFlow table, a resource that no ONNX graph can
hold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.exporting.patching import function_patch
from edgeport_converter.exporting.placeholders import Emit, Placeholders
from edgeport_converter.exporting.tf_ops.builder import LABEL_ENCODER_DOMAIN, Builder

# LabelEncoder's attributes by the kind of a numpy array, and the type that it can hold.
_KINDS = {
    "O": ("strings", "string", tf.string),
    "i": ("int64s", "int64", tf.int64),
    "f": ("floats", "float", tf.float32),
}


@function_patch
def lookup(
    original: Any, placeholders: Placeholders, table: Any, keys: Any, name: str | None = None
) -> Any:
    """Put a placeholder op where a traced graph looks keys up; it keeps the table's contents."""
    if tf.executing_eagerly() or not tf.is_tensor(keys):
        return original(table, keys, name)
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

    ``contents`` are keys and values of one length; ``default`` is the value of all other keys.

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

    def emit(build: Builder) -> None:
        build.replace("LabelEncoder", *build.inputs, domain=LABEL_ENCODER_DOMAIN, **attributes)

    return key_type, value_type, emit


def _as_array(tensor: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(tensor)
    if array.dtype.kind in "OS":
        texts = [x.decode("utf-8") if isinstance(x, bytes) else str(x) for x in array.flat]
        return np.array(texts, dtype=object).reshape(array.shape)
    return array
