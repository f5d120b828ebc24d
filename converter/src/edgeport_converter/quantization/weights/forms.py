"""A layer's weights in one form for all operators, and in the form that each operator stores.

The common form is (G groups, O outputs, K inputs): in each group a layer computes O sums of K
products.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeport.artifact.golden import Array


def groups_of(node: ir.Node) -> int:
    """Return in how many groups a convolution splits its channels, 1 for any other layer."""
    return node.attributes.get_int("group", 1)


def is_transposed(node: ir.Node) -> bool:
    """Whether a Dense layer's weights are stored as (outputs, inputs)."""
    return bool(node.attributes.get_int("transB", 0))


def as_sums(node: ir.Node, weights: Array) -> Array:
    """Return a layer's weights as (G, O, K) from the form in which its operator stores them."""
    groups = groups_of(node)
    if node.op_type == "Conv":
        return weights.reshape(groups, weights.shape[0] // groups, -1)
    if node.op_type == "ConvTranspose":
        split = weights.reshape(groups, weights.shape[0] // groups, weights.shape[1], -1)
        return split.transpose(0, 2, 1, 3).reshape(groups, weights.shape[1], -1)
    return (weights if is_transposed(node) else weights.T)[None]


def as_stored(node: ir.Node, codes: Array, shape: tuple[int, ...]) -> Array:
    """Return the stored form, of that shape, from (G, O, K)."""
    if node.op_type == "Conv":
        return codes.reshape(shape)
    if node.op_type == "ConvTranspose":
        groups = groups_of(node)
        split = codes.reshape(groups, shape[1], shape[0] // groups, -1)
        return split.transpose(0, 2, 1, 3).reshape(shape)
    return np.ascontiguousarray(codes[0] if is_transposed(node) else codes[0].T)
