"""Constants of a graph: reading them, and adding new ones."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array

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


def constant(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Add a constant to the graph, in the array's own number format, and return it.

    A number is added to the name where it is taken.
    """
    unique, number = name, 0
    while unique in graph.initializers:
        number += 1
        unique = f"{name}~{number}"
    tensor = ir.tensor(np.asarray(array, order="C"), name=unique)
    kind = ir.TensorType(tensor.dtype)
    value = ir.Value(name=unique, const_value=tensor, type=kind, shape=ir.Shape(array.shape))
    graph.register_initializer(value)
    return value


def name_like(base: str) -> str:
    """Return a unique name for a tensor that is made from one of that name."""
    return f"{base.partition('~')[0]}~{next(_counter)}"
