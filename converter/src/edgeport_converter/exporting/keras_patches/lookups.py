"""Lookup tables as ONNX-ML LabelEncoder nodes.

Keras' lookup layers keep their vocabulary in a TensorFlow table, a resource that no graph can
hold. While a model is traced, a look-up marks its place and takes the table's contents along.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import tensorflow as tf

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.exporting.keras_patches.placeholders import Emit, Markers

DOMAIN = "ai.onnx.ml"
VERSION = 2

# LabelEncoder's attributes by the kind of a numpy array, and the type that it can hold.
_KINDS = {
    "O": ("strings", "string", tf.string),
    "i": ("int64s", "int64", tf.int64),
    "f": ("floats", "float", tf.float32),
}


@contextmanager
def substituted(markers: Markers) -> Iterator[None]:
    """Let TensorFlow's tables place markers while the block traces a model."""

    def replace(original: Any) -> Any:
        def lookup(self: Any, keys: Any, name: str | None = None) -> Any:
            if tf.executing_eagerly() or not tf.is_tensor(keys):
                return original(self, keys, name)
            return _place(markers, self, keys)

        return lookup

    tables = (tf.lookup.StaticHashTable, tf.lookup.experimental.MutableHashTable)
    with ExitStack() as stack:
        for table in tables:
            stack.enter_context(patch.object(table, "lookup", replace(table.lookup)))
        yield


def _place(markers: Markers, table: Any, keys: Any) -> Any:
    with tf.init_scope():
        known, values = (_as_array(tensor) for tensor in table.export())
        default = _as_array(tf.convert_to_tensor(table._default_value))
    for array in (known, values):
        if array.dtype.kind not in _KINDS:
            raise UnsupportedModelError(
                f"the lookup table '{table.name}' holds {array.dtype}, expected text or numbers: "
                "look the values up before the model"
            )
    key_type, value_type = _KINDS[known.dtype.kind][2], _KINDS[values.dtype.kind][2]
    (found,) = markers.place(
        [tf.cast(keys, key_type) if key_type != tf.string else keys],
        [(value_type, keys.shape)],
        _emitter(known, values, default),
        "LabelEncoder",
    )
    return found if found.dtype == table.value_dtype else tf.cast(found, table.value_dtype)


def _as_array(tensor: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(tensor)
    if array.dtype.kind in "OS":
        return np.vectorize(_as_text, otypes=[object])(array) if array.size else array.astype("O")
    return array


def _as_text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _emitter(
    keys: np.ndarray[Any, Any], values: np.ndarray[Any, Any], default: np.ndarray[Any, Any]
) -> Emit:
    key_kind, value_kind = _KINDS[keys.dtype.kind], _KINDS[values.dtype.kind]
    attributes = {
        f"keys_{key_kind[0]}": keys.tolist(),
        f"values_{value_kind[0]}": values.tolist(),
        f"default_{value_kind[1]}": default.item(),
    }

    def emit(graph: Any, node: Any) -> None:
        shapes = [graph.get_shape(name) for name in node.output]
        dtypes = [graph.get_dtype(name) for name in node.output]
        inputs, outputs = list(node.input), list(node.output)
        graph.remove_node(node.name)
        graph.make_node(
            "LabelEncoder",
            inputs,
            attr=attributes,
            name=node.name,
            outputs=outputs,
            shapes=shapes,
            dtypes=dtypes,
            domain=DOMAIN,
        )

    return emit
