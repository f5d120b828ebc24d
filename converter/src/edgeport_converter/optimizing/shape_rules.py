"""Axes of length one, known sizes, and means as poolings."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from edgeport_converter.optimizing import constants


class UnsqueezeBeforeTranspose(RewriteRuleClassBase):
    """``Transpose(Unsqueeze(x, 1))`` becomes ``Unsqueeze(Transpose(x), 2)``.

    TensorFlow gives a sequence a height of one before a convolution. Moved after the transposition,
    the height meets the convolution, and ``OneDimensionalConv`` removes it.
    """

    def pattern(self, op: Any, x: Any, axes: Any) -> Any:
        return op.Transpose(op.Unsqueeze(x, axes), perm=[0, 3, 1, 2])

    def check(self, context: Any, x: Any, axes: Any) -> MatchResult:
        result = MatchResult()
        if x.shape is None or len(x.shape) != 3 or constants.list_of(axes) not in ([1], [-3]):
            return result.fail("not a height of one")
        return result

    def rewrite(self, op: Any, x: Any, axes: Any) -> Any:
        turned = op.Transpose(x, perm=[0, 2, 1])
        return op.Unsqueeze(turned, constants.initializer(op, axes, np.array([2], np.int64)))


class OneDimensionalConv(RewriteRuleClassBase):
    """``Conv(Unsqueeze(x, 2), w)`` becomes ``Unsqueeze(Conv(x, w), 2)``, a convolution in 1-D.

    Where the kernel has a height of one. The Unsqueeze then meets the Squeeze that TensorFlow puts
    after the convolution, and ``SqueezeOfUnsqueeze`` removes both. Several layers may read it.
    """

    operator = "Conv"

    def pattern(self, op: Any, raised: Any, w: Any) -> Any:
        convolve = getattr(op, self.operator)
        return convolve(raised, w, _allow_other_inputs=True, _outputs=["conv"])

    def check(self, context: Any, raised: Any, w: Any, conv: Any) -> MatchResult:
        weights = constants.array_of(w)
        if weights is None or weights.ndim != 4 or weights.shape[2] != 1:
            return MatchResult().fail("the kernel has a height")
        return _check_height(raised, conv.producer())

    def rewrite(self, op: Any, raised: Any, w: Any, conv: Any) -> Any:
        node, unsqueeze = conv.producer(), raised.producer()
        kernel = constants.initializer(op, w, constants.known(w)[:, :, 0, :])
        inputs = unsqueeze.inputs[0], kernel, *node.inputs[2:]
        result = getattr(op, self.operator)(*inputs, **_without_height(node))
        result.producer().name = node.name
        return op.Unsqueeze(result, unsqueeze.inputs[1])


class OneDimensionalConvTranspose(OneDimensionalConv):
    """The same of a ConvTranspose."""

    operator = "ConvTranspose"


class OneDimensionalMaxPool(RewriteRuleClassBase):
    """``MaxPool(Unsqueeze(x, 2))`` becomes ``Unsqueeze(MaxPool(x), 2)``, as ``OneDimensionalConv``.

    Otherwise the convolution after the pool would stay 2-D, and nothing would be folded into it.
    """

    operator = "MaxPool"

    def pattern(self, op: Any, raised: Any) -> Any:
        return getattr(op, self.operator)(raised, _outputs=["pooled"])

    def check(self, context: Any, raised: Any, pooled: Any) -> MatchResult:
        node = pooled.producer()
        if node.attributes.get_ints("kernel_shape")[0] != 1 or len(node.outputs) > 1:
            return MatchResult().fail("the pool has a height")
        return _check_height(raised, node)

    def rewrite(self, op: Any, raised: Any, pooled: Any) -> Any:
        node, unsqueeze = pooled.producer(), raised.producer()
        result = getattr(op, self.operator)(unsqueeze.inputs[0], **_without_height(node))
        result.producer().name = node.name
        return op.Unsqueeze(result, unsqueeze.inputs[1])


class OneDimensionalAveragePool(OneDimensionalMaxPool):
    """The same of an AveragePool."""

    operator = "AveragePool"


def _check_height(raised: Any, node: ir.Node) -> MatchResult:
    """Check that a node reads a sequence (N, C, T) with a height of one, which it does not pad."""
    result = MatchResult()
    unsqueeze = raised.producer()
    if unsqueeze is None or unsqueeze.op_type != "Unsqueeze":
        return result.fail("no height was added")
    x, axes = unsqueeze.inputs
    if x.shape is None or len(x.shape) != 3 or constants.list_of(axes) not in ([2], [-2]):
        return result.fail("the input is no sequence with a height of one")
    pads = node.attributes.get_ints("pads", [0, 0, 0, 0])
    if pads[0] or pads[2] or node.attributes.get_ints("output_padding", [0])[0]:
        return result.fail("the height is padded")
    return result.fail("a size is given") if "output_shape" in node.attributes else result


def _without_height(node: ir.Node) -> dict[str, ir.Attr]:
    """Return a node's attributes without their sizes along the height."""
    attributes = dict(node.attributes)
    for name in ("kernel_shape", "strides", "dilations", "output_padding"):
        if name in attributes:
            attributes[name] = ir.AttrInt64s(name, [node.attributes.get_ints(name)[1]])
    if "pads" in attributes:
        pads = node.attributes.get_ints("pads")
        attributes["pads"] = ir.AttrInt64s("pads", [pads[1], pads[3]])
    return attributes


class PadBeforeTranspose(RewriteRuleClassBase):
    """``Transpose(Pad(x))`` becomes ``Pad(Transpose(x))``.

    Keras pads a causal convolution before the transposition to (N, C, T). In the other order the
    padding comes right before the convolution, which takes it in, and the transposition right after
    the one of the layer before, so that both go.
    """

    def pattern(self, op: Any, x: Any, pads: Any) -> Any:
        padded = op.Pad(x, pads, _allow_other_inputs=True, _outputs=["padded"])
        return op.Transpose(padded, _allow_other_attributes=True, _outputs=["transposed"])

    def check(self, context: Any, x: Any, pads: Any, padded: Any, transposed: Any) -> MatchResult:
        result, pad = MatchResult(), padded.producer()
        order = transposed.producer().attributes.get_ints("perm", [])
        if not order:
            return result.fail("the order of the axes is not known")
        sizes, names_axes = constants.list_of(pads) or [], len(pad.inputs) > 3
        if names_axes or len(sizes) != 2 * len(order):
            return result.fail("the padding of each axis is not known")
        return result

    def rewrite(self, op: Any, x: Any, pads: Any, padded: Any, transposed: Any) -> Any:
        pad = padded.producer()
        order = transposed.producer().attributes.get_ints("perm")
        sizes = constants.known(pads).reshape(2, -1)[:, order].reshape(-1)
        moved = constants.initializer(op, pads, sizes)
        result = op.Pad(op.Transpose(x, perm=order), moved, *pad.inputs[2:], **pad.attributes)
        result.producer().name = pad.name
        return result


class TransposeOfTranspose(RewriteRuleClassBase):
    """``Transpose(Transpose(x))`` becomes one ``Transpose(x)``, or ``x`` where they cancel.

    Also where other nodes read the inner one, as where a residual branch begins.
    """

    def pattern(self, op: Any, inner: Any) -> Any:
        return op.Transpose(inner, _allow_other_attributes=True, _outputs=["outer"])

    def check(self, context: Any, inner: Any, outer: Any) -> MatchResult:
        result, node = MatchResult(), inner.producer()
        if node is None or node.op_type != "Transpose":
            return result.fail("no transposition before it")
        known = all("perm" in each.attributes for each in (node, outer.producer()))
        return result if known else result.fail("the order of the axes is not known")

    def rewrite(self, op: Any, inner: Any, outer: Any) -> Any:
        first, second = (each.producer().attributes.get_ints("perm") for each in (inner, outer))
        order = [first[axis] for axis in second]
        x = inner.producer().inputs[0]
        return op.Identity(x) if order == sorted(order) else op.Transpose(x, perm=order)


class SqueezeOfUnsqueeze(RewriteRuleClassBase):
    """``Squeeze(Unsqueeze(x, axes), axes)`` becomes ``x``: two nodes less."""

    def pattern(self, op: Any, x: Any, come: Any, go: Any) -> Any:
        return op.Squeeze(op.Unsqueeze(x, come), go)

    def check(self, context: Any, x: Any, come: Any, go: Any) -> MatchResult:
        result = MatchResult()
        axes = constants.list_of(come), constants.list_of(go)
        if x.shape is None or None in axes:
            return result.fail("the axes are not known")
        rank = len(x.shape) + len(axes[0] or ())
        first, second = (sorted(axis % rank for axis in each or ()) for each in axes)
        return result if first == second else result.fail("not the same axes")

    def rewrite(self, op: Any, x: Any, **_: Any) -> Any:
        return op.Identity(x)


class GlobalMean(RewriteRuleClassBase):
    """``ReduceMean(x, axes=all but N and C)`` becomes ``GlobalAveragePool(x)``.

    With a Squeeze where the mean drops its axes. onnxruntime computes the pooling in its blocked
    layout, so that no change of layout is needed before it.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        return op.ReduceMean(x, _allow_other_attributes=True, _outputs=["mean"])

    def check(self, context: Any, x: Any, mean: Any) -> MatchResult:
        result = MatchResult()
        attributes = mean.producer().attributes
        if x.shape is None or len(x.shape) < 4 or x.dtype != ir.DataType.FLOAT:
            return result.fail("no image of floats")
        axes = attributes.get_ints("axes", [])
        if sorted(axis % len(x.shape) for axis in axes) != list(range(2, len(x.shape))):
            return result.fail("not over all places")
        return result

    def rewrite(self, op: Any, x: Any, mean: Any) -> Any:
        pooled = op.GlobalAveragePool(x)
        if mean.producer().attributes.get_int("keepdims", 1):
            return pooled
        axes = np.arange(2, len(x.shape), dtype=np.int64)
        return op.Squeeze(pooled, op.initializer(ir.tensor(axes), name=constants.name_like("axes")))


class ReshapeToKnownSizes(RewriteRuleClassBase):
    """``Reshape(x, Concat(Shape(x)[0], ...))`` becomes ``Reshape(x, [-1, ...])``.

    Keras reads the batch size from the tensor wherever it flattens; in a small network the six
    nodes of that take as long as a layer.
    """

    def pattern(self, op: Any, x: Any, sizes: Any) -> Any:
        return op.Reshape(x, sizes, _outputs=["reshaped"])

    def check(self, context: Any, x: Any, sizes: Any, reshaped: Any) -> MatchResult:
        result = MatchResult()
        if sizes.const_value is not None or sizes.is_graph_input():
            return result.fail("the sizes are given already")
        if reshaped.shape is None:
            return result.fail("the rank is not known")
        free = [size for size in reshaped.shape if not isinstance(size, int)]
        if len(free) > 1 or 0 in reshaped.shape:
            return result.fail("more than one size is free")
        return result

    def rewrite(self, op: Any, x: Any, reshaped: Any, **_: Any) -> Any:
        sizes = [size if isinstance(size, int) else -1 for size in reshaped.shape]
        constant = op.initializer(
            ir.tensor(np.array(sizes, np.int64)), name=constants.name_like("sizes")
        )
        result = op.Reshape(x, constant)
        result.producer().name = reshaped.producer().name
        return result


class ReshapeToSameSizes(RewriteRuleClassBase):
    """``Reshape(x, sizes)`` becomes ``x`` where x has these sizes already.

    Squeeze-and-excite blocks have one before and one after each of their layers, and onnxruntime
    changes the layout around each: MobileNetV3Small takes 1.06 times as long without the rule.
    """

    def pattern(self, op: Any, x: Any, sizes: Any) -> Any:
        return op.Reshape(x, sizes, _allow_other_attributes=True, _outputs=["reshaped"])

    def check(self, context: Any, x: Any, sizes: Any, reshaped: Any) -> MatchResult:
        result = MatchResult()
        wanted = constants.list_of(sizes)
        if wanted is None or x.shape is None or len(x.shape) != len(wanted):
            return result.fail("another rank, or not known")
        if reshaped.producer().attributes.get_int("allowzero", 0) or 0 in x.shape:
            return result.fail("an axis of length zero")
        # Where all axes but one keep their length, the last one does as well.
        others = [
            (want, have)
            for want, have in zip(wanted, x.shape, strict=True)
            if want not in (0, have)
        ]
        if len(others) > 1 or any(want != -1 for want, _ in others):
            return result.fail("other sizes")
        return result

    def rewrite(self, op: Any, x: Any, **_: Any) -> Any:
        return op.Identity(x)


class ReshapeOfSqueeze(RewriteRuleClassBase):
    """``Reshape(Squeeze(x), sizes)`` becomes ``Reshape(x, sizes)``.

    The values are the same in order. Saves a node, and ``ReshapeToSameSizes`` may remove the other.
    """

    def pattern(self, op: Any, x: Any, sizes: Any) -> Any:
        return op.Reshape(op.Squeeze(x, _allow_other_inputs=True), sizes, _outputs=["reshaped"])

    def check(self, context: Any, x: Any, sizes: Any, reshaped: Any) -> MatchResult:
        result = MatchResult()
        wanted = constants.list_of(sizes)
        if wanted is None or 0 in wanted:  # 0 copies a size of the squeezed tensor
            return result.fail("a size that is not given")
        return result

    def rewrite(self, op: Any, x: Any, sizes: Any, reshaped: Any) -> Any:
        result = op.Reshape(x, sizes)
        result.producer().name = reshaped.producer().name
        return result
