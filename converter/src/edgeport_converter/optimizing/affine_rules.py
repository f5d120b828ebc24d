"""Rules that fold a constant factor or term into the weights and bias of the next operator.

A BatchNormalization is exported as a Mul and an Add after a layer, a Rescaling as a Mul before a
convolution. For Gemm and MatMul each rule saves a pass over the tensor at every run. For Conv
onnxruntime would fold the constant when it loads the file; done here, that saves bytes and the work
at each load. ``rewrite_rules`` lists the rules.

Times in the docstrings are for one sample on one thread, of the networks that ``make passes``
measures: ad01 is the autoencoder of the MLPerf Tiny benchmark.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

from edgeport.artifact.golden import Array
from edgeport_converter.optimizing import constants


class _ConstantAfter(RewriteRuleClassBase):
    """``outer(op_type(x, w, b), c)`` becomes ``op_type(x, w', b')``.

    The constant c has one value for each channel of the output, or one for all. The classes below
    say which operators they match, and how w' and b' are computed.
    """

    op_type: ClassVar[str]
    outer: ClassVar[str]

    def pattern(self, op: Any, x: Any, w: Any, factor: Any) -> Any:
        inner = getattr(op, self.op_type)(x, w, _allow_other_inputs=True, _outputs=["inner"])
        return getattr(op, self.outer)(inner, factor)

    def check(self, context: Any, x: Any, w: Any, factor: Any, inner: Any) -> MatchResult:
        result = MatchResult()
        node = inner.producer()
        if constants.array_of(w) is None or constants.array_of(factor) is None:
            return result.fail("needs constant weights and a constant")
        if (
            len(node.inputs) > 2
            and node.inputs[2] is not None
            and constants.array_of(node.inputs[2]) is None
        ):
            return result.fail("needs a constant bias")
        if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return result.fail("the operator scales its own result")
        if self._vector(node, factor) is None:
            return result.fail("the constant is not one value a channel")
        return result

    def rewrite(self, op: Any, x: Any, w: Any, factor: Any, inner: Any) -> Any:
        node = inner.producer()
        bias = constants.array_of(node.inputs[2]) if len(node.inputs) > 2 else None
        weights, bias = self._fold(node, constants.known(w), bias, self._vector(node, factor))
        inputs = [x, constants.initializer(op, w, weights)]
        if bias is not None:
            inputs.append(constants.initializer(op, w, bias))
        result = getattr(op, self.op_type)(*inputs, **node.attributes)
        result.producer().name = node.name  # the Keras layer that owns the weights
        return result

    def _fold(self, node: Any, weights: Array, bias: Any, vector: Any) -> tuple[Array, Any]:
        """Return new weights and bias; ``vector`` has one value for each output channel."""
        raise NotImplementedError

    def _vector(self, node: Any, factor: Any) -> Array | None:
        """Return the constant as a vector, one value for each output channel; None if it is not."""
        weights, values = constants.known(node.inputs[1]), constants.known(factor)
        if self.op_type in ("Gemm", "MatMul"):
            rank, axis = 2, 1
            channels = weights.shape[0 if node.attributes.get_int("transB", 0) else 1]
            if weights.ndim != 2:
                return None
        else:
            rank, axis = weights.ndim, 1
            channels = weights.shape[0]
            if self.op_type == "ConvTranspose":
                channels = weights.shape[1] * node.attributes.get_int("group", 1)
        if values.size == 1 and values.ndim <= rank:
            return np.full(channels, values.reshape(()), values.dtype)
        shape = (1,) * (rank - values.ndim) + values.shape
        wanted = tuple(channels if place == axis else 1 for place in range(rank))
        return values.reshape(-1) if shape == wanted else None


class _ScaleAfter(_ConstantAfter):
    outer = "Mul"

    def _fold(self, node: Any, weights: Array, bias: Any, vector: Any) -> tuple[Array, Any]:
        return self._scale(node, weights, vector), None if bias is None else bias * vector

    def _scale(self, node: Any, weights: Array, vector: Array) -> Array:
        return weights * vector.reshape(-1, *[1] * (weights.ndim - 1))


class ScaleAfterConv(_ScaleAfter):
    """``Conv(x, w, b) * c`` becomes ``Conv(x, w * c, b * c)``: BatchNormalization's factor."""

    op_type = "Conv"


class ScaleAfterConvTranspose(_ScaleAfter):
    """``ConvTranspose(x, w, b) * c``; its weights have the output's channels on axis 1."""

    op_type = "ConvTranspose"

    def _scale(self, node: Any, weights: Array, vector: Array) -> Array:
        groups = node.attributes.get_int("group", 1)
        shape = (groups, weights.shape[0] // groups, *weights.shape[1:])
        factor = vector.reshape(groups, 1, weights.shape[1], *[1] * (weights.ndim - 2))
        return (weights.reshape(shape) * factor).reshape(weights.shape)


class ScaleAfterGemm(_ScaleAfter):
    """``Gemm(x, w, b) * c``: BatchNormalization after Dense.

    Without, ad01 takes 1.22 times as long.
    """

    op_type = "Gemm"

    def _scale(self, node: Any, weights: Array, vector: Array) -> Array:
        return weights * (vector[:, None] if node.attributes.get_int("transB", 0) else vector)


class ScaleAfterMatMul(_ScaleAfter):
    """``MatMul(x, w) * c``: BatchNormalization after Dense on sequences."""

    op_type = "MatMul"

    def _scale(self, node: Any, weights: Array, vector: Array) -> Array:
        return weights * vector


class _ShiftAfter(_ConstantAfter):
    outer = "Add"

    def _fold(self, node: Any, weights: Array, bias: Any, vector: Any) -> tuple[Array, Any]:
        if bias is None:
            return weights, vector
        summed = bias.reshape(-1) + vector if bias.size > 1 else bias.reshape(()) + vector
        return weights, summed


class ShiftAfterConv(_ShiftAfter):
    """``Conv(x, w, b) + c`` becomes ``Conv(x, w, b + c)``: BatchNormalization's term."""

    op_type = "Conv"


class ShiftAfterConvTranspose(_ShiftAfter):
    """``ConvTranspose(x, w, b) + c`` becomes ``ConvTranspose(x, w, b + c)``."""

    op_type = "ConvTranspose"


class ShiftAfterGemm(_ShiftAfter):
    """``Gemm(x, w, b) + c`` becomes ``Gemm(x, w, b + c)``.

    Without, ad01 takes 1.14 times as long.
    """

    op_type = "Gemm"


class GemmOfMatMul(RewriteRuleClassBase):
    """``MatMul(x, w) + b`` becomes ``Gemm(x, w, b)``, where x is (N, F): a Dense layer.

    One node instead of two, to which the rules for Gemm apply in turn: without, ad01 takes 1.20
    times as long. onnxscript's own rule does not check the shape of b, which Gemm broadcasts in
    fewer ways than Add does.
    """

    def pattern(self, op: Any, x: Any, w: Any, bias: Any) -> Any:
        return op.Add(op.MatMul(x, w), bias)

    def check(self, context: Any, x: Any, w: Any, bias: Any) -> MatchResult:
        result = MatchResult()
        weights, values = constants.array_of(w), constants.array_of(bias)
        if weights is None or weights.ndim != 2 or x.shape is None or len(x.shape) != 2:
            return result.fail("no rows times a constant matrix")
        if values is None or values.shape not in ((weights.shape[1],), (1, weights.shape[1])):
            return result.fail("the bias is not one value a column")
        return result

    def rewrite(self, op: Any, x: Any, w: Any, bias: Any) -> Any:
        values = constants.known(bias)
        flat = bias if values.ndim == 1 else constants.initializer(op, bias, values.reshape(-1))
        return op.Gemm(x, w, flat)


class ScaleBeforeConv(RewriteRuleClassBase):
    """``Conv(x * c, w)`` becomes ``Conv(x, w * c)`` for one number c: a Rescaling of an image.

    It saves a pass over the image. A term before a convolution cannot be folded: it would have to
    be added to the zeros of the padding, too.
    """

    def pattern(self, op: Any, x: Any, w: Any, factor: Any) -> Any:
        return op.Conv(op.Mul(x, factor), w, _allow_other_inputs=True, _outputs=["conv"])

    def check(self, context: Any, x: Any, w: Any, factor: Any, conv: Any) -> MatchResult:
        return _check_scale(w, factor)

    def rewrite(self, op: Any, x: Any, w: Any, factor: Any, conv: Any) -> Any:
        return _conv_with_scaled_weights(op, x, w, factor, conv)


class ScaleOfGateBeforeConv(RewriteRuleClassBase):
    """``Conv(x * (g * c), w)`` becomes ``Conv(x * g, w * c)`` for one number c.

    g * c is the gate of a squeeze-and-excite block, c the 1/6 of its hard-sigmoid. Without,
    MobileNetV3Small takes 1.04 times as long.
    """

    def pattern(self, op: Any, x: Any, gate: Any, w: Any, factor: Any) -> Any:
        gated = op.Mul(x, op.Mul(gate, factor))
        return op.Conv(gated, w, _allow_other_inputs=True, _outputs=["conv"])

    def check(self, context: Any, x: Any, gate: Any, w: Any, factor: Any, conv: Any) -> MatchResult:
        return _check_scale(w, factor)

    def rewrite(self, op: Any, x: Any, gate: Any, w: Any, factor: Any, conv: Any) -> Any:
        return _conv_with_scaled_weights(op, op.Mul(x, gate), w, factor, conv)


def _check_scale(w: Any, factor: Any) -> MatchResult:
    result = MatchResult()
    if constants.array_of(w) is None or constants.scalar_of(factor) is None:
        return result.fail("needs constant weights and one constant number")
    return result


def _conv_with_scaled_weights(op: Any, x: Any, w: Any, factor: Any, conv: Any) -> Any:
    node, weights = conv.producer(), constants.known(w)
    scaled = (weights * constants.scalar_of(factor)).astype(weights.dtype)
    return op.Conv(x, constants.initializer(op, w, scaled), *node.inputs[2:], **node.attributes)
