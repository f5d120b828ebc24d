"""Products of two tensors as one matrix product, without asking the graph for sizes.

Keras and TensorFlow take such products apart as a chain of Shape, Gather and Reshape around the
multiplication, which onnxruntime works through in each run. ``tf_ops.einsum`` does the same for
an Einsum that is in the traced graph already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from edgeport_converter.exporting.patching import function_patch
from edgeport_converter.exporting.placeholders import Placeholders
from edgeport_converter.exporting.tf_ops.builder import Builder


def are_floats(*tensors: Any) -> bool:
    """Whether all are float32 tensors of a known rank."""
    return all(
        tf.is_tensor(tensor) and tensor.dtype == tf.float32 and tensor.shape.rank is not None
        for tensor in tensors
    )


@function_patch
def matmul(original: Any, placeholders: Placeholders, x1: Any, x2: Any) -> Any:
    """Multiply a sequence (N, T, F) by a matrix (F, units) as it is, not as a tensordot."""
    if are_floats(x1, x2) and x1.shape.rank > 2 and x2.shape.rank == 2:
        return tf.matmul(x1, x2)
    return original(x1, x2)


@function_patch
def einsum(
    original: Any, placeholders: Placeholders, equation: str, *operands: Any, **options: Any
) -> Any:
    """Compute the einsum of two tensors as one matrix product where it is one.

    1. Sort the labels: batch (both tensors and the result), rows and columns (one tensor and the
       result), contracted (both tensors alone).
    2. Transpose both tensors to (batch, rows, contracted) and (batch, contracted, columns).
    3. Merge the contracted and the column axes into one each, multiply, split the columns again,
       and transpose to the order of the result.
    """
    operands = tuple(tf.convert_to_tensor(operand) for operand in operands)
    plan = _plan(equation, *operands) if len(operands) == 2 else None
    if plan is None:
        return original(equation, *operands, **options)
    kept = plan.batch + plan.rows
    a = _arrange(operands[0], plan.left, kept + plan.contracted)
    b = _arrange(operands[1], plan.right, plan.batch + plan.contracted + plan.columns)
    depth = [math.prod(plan.sizes[label] for label in plan.contracted)]
    widths = [plan.sizes[label] for label in plan.columns]
    a = _merge_last(placeholders, a, len(kept), depth)
    b = _merge_last(placeholders, b, len(plan.batch), [*depth, math.prod(widths)])
    product = _merge_last(placeholders, tf.matmul(a, b), len(kept), widths)
    return _arrange(product, kept + plan.columns, plan.output)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The labels by their part in the matrix product, and their sizes; -1 for an unknown one."""

    left: str
    right: str
    batch: str
    rows: str
    contracted: str
    columns: str
    output: str
    sizes: dict[str, int]


def _plan(equation: str, left_tensor: Any, right_tensor: Any) -> _Plan | None:
    """Return None where the equation is no single matrix product."""
    text = equation.replace(" ", "")
    inputs, arrow, output = text.partition("->")
    if not arrow or "." in text or not are_floats(left_tensor, right_tensor):
        return None
    left, right = inputs.split(",")
    if any(len(set(labels)) != len(labels) for labels in (left, right, output)):
        return None
    batch = "".join(label for label in left if label in right and label in output)
    contracted = "".join(label for label in left if label in right and label not in output)
    rows = "".join(label for label in left if label not in right)
    columns = "".join(label for label in right if label not in left)
    if any(label not in output for label in rows + columns):
        return None  # it also sums over an axis of one tensor
    # A matrix without a batch is multiplied with any number of rows.
    if not rows or not contracted or not columns or (batch and len(rows) > 1):
        return None
    sizes: dict[str, int] = {}
    for labels, tensor in ((left, left_tensor), (right, right_tensor)):
        for label, size in zip(labels, tensor.shape.as_list(), strict=True):
            if size is not None:
                sizes[label] = size
    needed = (contracted if len(contracted) > 1 else "") + (columns if len(columns) > 1 else "")
    if any(label not in sizes for label in needed):
        return None
    # A single label is taken as it is; -1 stands for a size that need not be known.
    for labels in (contracted, columns):
        if len(labels) == 1:
            sizes.setdefault(labels, -1)
    return _Plan(left, right, batch, rows, contracted, columns, output, sizes)


def _merge_last(placeholders: Placeholders, tensor: Any, kept: int, sizes: list[int]) -> Any:
    """Return the tensor with new axes after the first ``kept`` ones, which stay as they are."""
    if tensor.shape.rank == kept + len(sizes):
        return tensor
    shape = [*tensor.shape[:kept], *sizes]
    if tensor.shape.is_fully_defined():
        return tf.reshape(tensor, shape)
    target = np.array([0] * kept + sizes, np.int64)  # 0 keeps an axis, free or not

    def emit(build: Builder) -> None:
        build.replace("Reshape", build.inputs[0], build.constant(target))

    (result,) = placeholders.place([tensor], [(tensor.dtype, shape)], emit, "Reshape")
    return result


def _arrange(tensor: Any, labels: str, wanted: str) -> Any:
    if labels == wanted:
        return tensor
    return tf.transpose(tensor, [labels.index(label) for label in wanted])
