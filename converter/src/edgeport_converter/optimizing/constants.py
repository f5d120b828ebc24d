"""Constants of a graph: reading them, and adding new ones."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir

Array = np.ndarray[Any, Any]

_counter = itertools.count()


def array_of(value: Any) -> Array | None:
    """Return a constant's value, None for a computed tensor or an input."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    array: Array = value.const_value.numpy()
    return array


def known(value: Any) -> Array:
    """Return the value of what ``array_of`` has shown to be a constant."""
    array: Array = value.const_value.numpy()
    return array


def scalar_of(value: Any) -> Any:
    """Return a constant's only element, None for several or none."""
    array = array_of(value)
    return None if array is None or array.size != 1 else array.reshape(()).item()


def list_of(value: Any) -> list[int] | None:
    """Return a constant's elements as integers, such as axes."""
    array = array_of(value)
    return None if array is None else [int(item) for item in array.reshape(-1)]


def initializer(op: Any, like: Any, array: Array) -> Any:
    """Return a new initializer of the rewriter, in the number format of ``like``."""
    kind = like.const_value.numpy().dtype
    tensor = ir.tensor(np.ascontiguousarray(array.astype(kind)))
    return op.initializer(tensor, name=name_like(like.name))


def register(graph: ir.Graph, array: Array, name: str) -> ir.Value:
    """Return a new initializer of the graph: float32, or int64 for whole numbers."""
    kind = np.int64 if array.dtype.kind == "i" else np.float32
    name = next(
        candidate
        for number in range(len(graph.initializers) + 1)
        if (candidate := f"{name}~{number}") not in graph.initializers
    )
    tensor = ir.tensor(np.ascontiguousarray(array, kind), name=name)
    kind_of = ir.TensorType(tensor.dtype)
    value = ir.Value(name=name, const_value=tensor, type=kind_of, shape=ir.Shape(array.shape))
    graph.register_initializer(value)
    return value


def name_like(base: str) -> str:
    """Return a unique name for a tensor that is made from one of that name."""
    return f"{base.partition('~')[0]}~{next(_counter)}"
