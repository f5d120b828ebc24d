"""Keras functions said in other words while a model is traced.

What Keras does with its tensors stays the same to the bit or to rounding; only TensorFlow
operations without an ONNX form, loops over steps that do not depend on each other, and Python code
that fails on a free size are gone round. ``verifying`` compares the result with the unchanged
Keras model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import keras
import numpy as np
import tensorflow as tf
from tf2onnx import utils

from edgeport_converter.exporting.keras_patches.placeholders import Emit, Markers
from edgeport_converter.exporting.tf_ops.builder import replace


@contextmanager
def substituted(markers: Markers) -> Iterator[None]:
    """Use the paraphrases while the block traces a model."""
    numpy = keras.src.backend.tensorflow.numpy
    layers = keras.layers
    with ExitStack() as stack:
        for owner, name, make in (
            (numpy, "signbit", _signbit),
            (numpy, "matmul", _matmul),
            (tf, "einsum", lambda einsum: _einsum(markers, einsum)),
            (layers.LayerNormalization, "call", lambda call: _layer_norm(markers, call)),
            (layers.PReLU, "call", lambda call: _p_relu(markers, call)),
            (layers.TimeDistributed, "call", _time_distributed),
            (layers.UpSampling2D, "call", _up_sampling),
        ):
            stack.enter_context(patch.object(owner, name, make(getattr(owner, name))))
        yield


def _signbit(original: Callable[..., Any]) -> Callable[..., Any]:
    """Tell -0.0 by its reciprocal; Keras looks at the bits. argmax and argmin ask for it."""

    def signbit(x: Any) -> Any:
        x = tf.convert_to_tensor(x)
        if not x.dtype.is_floating:
            return original(x)
        return tf.logical_or(x < 0, tf.math.divide(tf.ones_like(x), x) < 0)

    return signbit


def _time_distributed(original: Callable[..., Any]) -> Callable[..., Any]:
    """Make the steps a part of the batch; Keras runs the layer once for each."""

    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if (
            not tf.is_tensor(inputs)
            or inputs.shape.rank is None
            or getattr(self.layer, "stateful", False)
        ):
            return original(self, inputs, training=training, mask=mask)
        lead = tf.shape(inputs)[:2]
        options: dict[str, Any] = {}
        if self.layer._call_has_mask_arg and mask is not None:
            options["mask"] = _merge(tf.convert_to_tensor(mask))
        if self.layer._call_has_training_arg:
            options["training"] = training
        # Keras calls the layer's call, so that losses and masks are not recorded per step.
        result = self.layer.call(_merge(inputs), **options)

        def split(tensor: Any) -> Any:
            whole = tf.reshape(tensor, tf.concat([lead, tf.shape(tensor)[1:]], axis=0))
            whole.set_shape([*inputs.shape[:2], *tensor.shape[1:]])
            return whole

        return keras.tree.map_structure(split, result)

    return call


def _merge(tensor: Any) -> Any:
    """Return (N * T, ...) of (N, T, ...)."""
    merged = tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], axis=0))
    lead = tensor.shape[:2]
    size = None if None in lead.as_list() else lead.num_elements()
    merged.set_shape([size, *tensor.shape[2:]])
    return merged


def _up_sampling(original: Callable[..., Any]) -> Callable[..., Any]:
    """Multiply free sizes in the graph; Keras' resize asks Python about them and fails."""

    def call(self: Any, inputs: Any) -> Any:
        spatial = inputs.shape[1:3] if self.data_format == "channels_last" else inputs.shape[2:4]
        if self.interpolation == "nearest" or None not in spatial.as_list():
            return original(self, inputs)
        is_last = self.data_format == "channels_last"
        x = inputs if is_last else tf.transpose(inputs, [0, 2, 3, 1])
        sizes = tf.shape(x)[1:3] * tf.constant(self.size)
        result = tf.cast(tf.image.resize(x, sizes, method=self.interpolation), inputs.dtype)
        pairs = zip(x.shape[1:3].as_list(), self.size, strict=True)
        known = [None if size is None else size * factor for size, factor in pairs]
        result.set_shape([x.shape[0], *known, x.shape[3]])
        return result if is_last else tf.transpose(result, [0, 3, 1, 2])

    return call


def _matmul(original: Callable[..., Any]) -> Callable[..., Any]:
    """Multiply a sequence by a matrix as such; Keras takes its shape apart for tensordot."""

    def matmul(x1: Any, x2: Any) -> Any:
        if _are_floats(x1, x2) and x1.shape.rank > 2 and x2.shape.rank == 2:
            return tf.matmul(x1, x2)
        return original(x1, x2)

    return matmul


def _einsum(markers: Markers, original: Callable[..., Any]) -> Callable[..., Any]:
    """Say a product of two tensors as one matrix product, without asking for sizes.

    ``tf.einsum`` becomes a chain of Shape, Gather and Reshape, which onnxruntime works through in
    each run.
    """

    def einsum(equation: str, *operands: Any, **options: Any) -> Any:
        operands = tuple(tf.convert_to_tensor(operand) for operand in operands)
        plan = _plan(equation, *operands) if len(operands) == 2 else None
        if plan is None:
            return original(equation, *operands, **options)
        size = plan.sizes
        kept = plan.batch + plan.rows
        a = _arrange(operands[0], plan.left, kept + plan.contracted)
        b = _arrange(operands[1], plan.right, plan.batch + plan.contracted + plan.columns)
        depth = [math.prod(size[label] for label in plan.contracted)]
        width = [math.prod(size[label] for label in plan.columns)]
        a = _merge_last(markers, a, len(kept), depth)
        b = _merge_last(markers, b, len(plan.batch), depth + width)
        product = tf.matmul(a, b)
        product = _merge_last(markers, product, len(kept), [size[label] for label in plan.columns])
        return _arrange(product, kept + plan.columns, plan.output)

    return einsum


class _Plan(NamedTuple):
    """The labels of a product by their parts in one matrix product, and their known sizes."""

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
    if not arrow or "." in text or not _are_floats(left_tensor, right_tensor):
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


def _merge_last(markers: Markers, tensor: Any, kept: int, sizes: list[int]) -> Any:
    """Return the tensor with new axes behind the first ``kept`` ones, which stay as they are."""
    if tensor.shape.rank == kept + len(sizes):
        return tensor
    shape = [*tensor.shape[:kept], *sizes]
    if tensor.shape.is_fully_defined():
        return tf.reshape(tensor, shape)
    target = np.array([0] * kept + sizes, np.int64)  # 0 keeps an axis, free or not

    def emit(graph: Any, node: Any) -> None:
        name = graph.make_const(utils.make_name(node.name), target).output[0]
        replace(graph, node, "Reshape", [node.input[0], name])

    (result,) = markers.place([tensor], [(tensor.dtype, shape)], emit, "Reshape")
    return result


def _arrange(tensor: Any, labels: str, wanted: str) -> Any:
    if labels == wanted:
        return tensor
    return tf.transpose(tensor, [labels.index(label) for label in wanted])


def _are_floats(*tensors: Any) -> bool:
    return all(
        tf.is_tensor(tensor) and tensor.dtype == tf.float32 and tensor.shape.rank is not None
        for tensor in tensors
    )


def _layer_norm(markers: Markers, original: Callable[..., Any]) -> Callable[..., Any]:
    """Use ONNX's LayerNormalization where the axes are the last ones."""

    def call(self: Any, inputs: Any) -> Any:
        axes = self.axis if isinstance(self.axis, (list, tuple)) else [self.axis]
        rank = inputs.shape.rank if tf.is_tensor(inputs) else None
        if rank is None or not _are_floats(inputs) or self.rms_scaling:
            return original(self, inputs)
        places = sorted(axis % rank for axis in axes)
        sizes = [inputs.shape[place] for place in places]
        if places != list(range(rank - len(places), rank)) or None in sizes:
            return original(self, inputs)
        tensors = [
            inputs,
            tf.ones(sizes)
            if self.gamma is None
            else tf.reshape(tf.convert_to_tensor(self.gamma), sizes),
        ]
        if self.beta is not None:
            tensors.append(tf.reshape(tf.convert_to_tensor(self.beta), sizes))
        (result,) = markers.place(
            tensors,
            [(tf.float32, inputs.shape)],
            _node("LayerNormalization", axis=-len(places), epsilon=float(self.epsilon)),
            "LayerNormalization",
        )
        return result

    return call


def _p_relu(markers: Markers, original: Callable[..., Any]) -> Callable[..., Any]:
    """Use ONNX's PRelu; Keras adds two Relu."""

    def call(self: Any, inputs: Any) -> Any:
        if not _are_floats(inputs):
            return original(self, inputs)
        slope = tf.convert_to_tensor(self.alpha)
        (result,) = markers.place(
            [inputs, slope], [(tf.float32, inputs.shape)], _node("PRelu"), "PRelu"
        )
        return result

    return call


def _node(op: str, **attributes: Any) -> Emit:
    """Return what turns a marker into the one ONNX node of that kind."""

    def emit(graph: Any, node: Any) -> None:
        replace(graph, node, op, list(node.input), attributes)

    return emit
