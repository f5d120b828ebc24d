"""The rewriter's rules that onnxscript does not bring along.

Each one is an identity of real numbers, and none of them adds numbers of different sizes that were
apart before: a scale may move into weights, a shift only into a bias that is added at the same
place. So no rule can lose digits that the graph had.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase, RewriteRuleSet

Array = np.ndarray[Any, Any]

_counter = itertools.count()


def rules() -> list[RewriteRule]:
    """Return the rules in the order in which they are tried."""
    commuting = [
        _rule_of(rule)
        for rule in (
            HardSigmoid, ScaleAfterConv, ScaleAfterConvTranspose, ScaleAfterGemm, ScaleAfterMatMul,
            ShiftAfterConv, ShiftAfterConvTranspose, ShiftAfterGemm, GemmOfMatMul, ScaleBeforeConv,
        )
    ]  # fmt: skip
    return [
        *RewriteRuleSet(commuting, commute=True).rules,
        *(_rule_of(rule) for rule in (
            UnsqueezeBeforeTranspose, OneDimensionalConv, SqueezeOfUnsqueeze, GlobalMean,
        )),
    ]  # fmt: skip


def _rule_of(kind: Any) -> RewriteRule:
    rule: RewriteRule = kind.rule()  # onnxscript leaves the method without types
    return rule


class HardSigmoid(RewriteRuleClassBase):
    """``clip(x + b, 0, h) / h`` as ``HardSigmoid(alpha=1/h, beta=b/h)``."""

    def pattern(self, op: Any, x: Any, shift: Any, low: Any, high: Any, scale: Any) -> Any:
        return op.Mul(op.Clip(op.Add(x, shift), low, high), scale)

    def check(
        self, context: Any, x: Any, shift: Any, low: Any, high: Any, scale: Any
    ) -> MatchResult:
        result = MatchResult()
        values = [_scalar(value) for value in (shift, low, high, scale)]
        if None in values or values[1] != 0:
            return result.fail("needs constants, and zero as the lower bound")
        if not math.isclose(values[2] * values[3], 1.0, rel_tol=1e-6):
            return result.fail("the upper bound does not come to one")
        return result

    def rewrite(self, op: Any, x: Any, shift: Any, scale: Any, **_: Any) -> Any:
        alpha = _scalar(scale)
        return op.HardSigmoid(x, alpha=alpha, beta=_scalar(shift) * alpha)


class _AffineBehind(RewriteRuleClassBase):
    """A constant behind a weighted operator, one value a channel or one for all."""

    op_type: ClassVar[str]
    outer: ClassVar[str]

    def pattern(self, op: Any, x: Any, w: Any, factor: Any) -> Any:
        inner = getattr(op, self.op_type)(x, w, _allow_other_inputs=True, _outputs=["inner"])
        return getattr(op, self.outer)(inner, factor)

    def check(self, context: Any, x: Any, w: Any, factor: Any, inner: Any) -> MatchResult:
        result = MatchResult()
        node = inner.producer()
        if _array(w) is None or _array(factor) is None:
            return result.fail("needs constant weights and a constant")
        if len(node.inputs) > 2 and node.inputs[2] is not None and _array(node.inputs[2]) is None:
            return result.fail("needs a constant bias")
        if any(node.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return result.fail("the operator scales its own result")
        if self._vector(node, factor) is None:
            return result.fail("the constant is not one value a channel")
        return result

    def rewrite(self, op: Any, x: Any, w: Any, factor: Any, inner: Any) -> Any:
        node = inner.producer()
        vector = self._vector(node, factor)
        assert vector is not None  # noqa: S101 - check() has seen it
        weights = _array(w)
        bias = _array(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        weights, bias = self._fold(node, weights, bias, vector)
        inputs = [x, _constant(op, w, weights)]
        if bias is not None:
            inputs.append(_constant(op, w, bias))
        result = getattr(op, self.op_type)(*inputs, **node.attributes)
        result.producer().name = node.name  # the Keras layer that owns the weights
        return result

    def _fold(
        self, node: Any, weights: Any, bias: Any, vector: Array
    ) -> tuple[Array | Any, Array | None]:
        """Return new weights and bias; ``vector`` has one value a channel of the output."""
        raise NotImplementedError

    def _vector(self, node: Any, factor: Any) -> Array | None:
        weights = _array(node.inputs[1])
        assert weights is not None  # noqa: S101 - check() has seen it
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
        values = _array(factor)
        assert values is not None  # noqa: S101 - check() has seen it
        if values.size == 1 and values.ndim <= rank:
            return np.full(channels, values.reshape(()), values.dtype)
        shape = (1,) * (rank - values.ndim) + values.shape
        wanted = tuple(channels if place == axis else 1 for place in range(rank))
        return values.reshape(-1) if shape == wanted else None


class _ScaleBehind(_AffineBehind):
    outer = "Mul"

    def _fold(self, node: Any, weights: Any, bias: Any, vector: Array) -> tuple[Any, Any]:
        return self._scale(node, weights, vector), None if bias is None else bias * vector

    def _scale(self, node: Any, weights: Array, vector: Array) -> Array:
        return weights * vector.reshape(-1, *[1] * (weights.ndim - 1))


class ScaleAfterConv(_ScaleBehind):
    """``Conv(x, w, b) * c`` as ``Conv(x, w * c, b * c)``: BatchNormalization's first half."""

    op_type = "Conv"


class ScaleAfterConvTranspose(_ScaleBehind):
    """The same for ConvTranspose, whose weights have the output's channels second."""

    op_type = "ConvTranspose"

    def _scale(self, node: Any, weights: Array, vector: Array) -> Array:
        groups = node.attributes.get_int("group", 1)
        shape = (groups, weights.shape[0] // groups, *weights.shape[1:])
        factor = vector.reshape(groups, 1, weights.shape[1], *[1] * (weights.ndim - 2))
        return (weights.reshape(shape) * factor).reshape(weights.shape)


class ScaleAfterGemm(_ScaleBehind):
    """The same for Gemm: BatchNormalization behind Dense."""

    op_type = "Gemm"

    def _scale(self, node: Any, weights: Array, vector: Array) -> Array:
        return weights * (vector[:, None] if node.attributes.get_int("transB", 0) else vector)


class ScaleAfterMatMul(_ScaleBehind):
    """The same for MatMul: Dense on sequences."""

    op_type = "MatMul"

    def _scale(self, node: Any, weights: Array, vector: Array) -> Array:
        return weights * vector


class _ShiftBehind(_AffineBehind):
    outer = "Add"

    def _fold(self, node: Any, weights: Any, bias: Any, vector: Array) -> tuple[Any, Any]:
        if bias is None:
            return weights, vector
        summed = bias.reshape(-1) + vector if bias.size > 1 else bias.reshape(()) + vector
        return weights, summed


class ShiftAfterConv(_ShiftBehind):
    """``Conv(x, w, b) + c`` as ``Conv(x, w, b + c)``."""

    op_type = "Conv"


class ShiftAfterConvTranspose(_ShiftBehind):
    """The same for ConvTranspose."""

    op_type = "ConvTranspose"


class ShiftAfterGemm(_ShiftBehind):
    """The same for Gemm."""

    op_type = "Gemm"


class GemmOfMatMul(RewriteRuleClassBase):
    """``MatMul(x, w) + b`` as ``Gemm(x, w, b)``, where x is a batch of rows.

    onnxscript's rule does not look at b, which Gemm cannot broadcast as Add does.
    """

    def pattern(self, op: Any, x: Any, w: Any, bias: Any) -> Any:
        return op.Add(op.MatMul(x, w), bias)

    def check(self, context: Any, x: Any, w: Any, bias: Any) -> MatchResult:
        result = MatchResult()
        weights, values = _array(w), _array(bias)
        if weights is None or weights.ndim != 2 or x.shape is None or len(x.shape) != 2:
            return result.fail("no rows times a constant matrix")
        if values is None or values.shape not in ((weights.shape[1],), (1, weights.shape[1])):
            return result.fail("the bias is not one value a column")
        return result

    def rewrite(self, op: Any, x: Any, w: Any, bias: Any) -> Any:
        values = _array(bias)
        assert values is not None  # noqa: S101 - check() has seen it
        flat = bias if values.ndim == 1 else _constant(op, bias, values.reshape(-1))
        return op.Gemm(x, w, flat)


class ScaleBeforeConv(RewriteRuleClassBase):
    """``Conv(x * c, w)`` as ``Conv(x, w * c)`` for one number c: Rescaling of an image.

    A shift cannot go the same way, since the padding is added behind it.
    """

    def pattern(self, op: Any, x: Any, w: Any, factor: Any) -> Any:
        return op.Conv(op.Mul(x, factor), w, _allow_other_inputs=True, _outputs=["conv"])

    def check(self, context: Any, x: Any, w: Any, factor: Any, conv: Any) -> MatchResult:
        result = MatchResult()
        if _array(w) is None or _scalar(factor) is None:
            return result.fail("needs constant weights and one constant number")
        return result

    def rewrite(self, op: Any, x: Any, w: Any, factor: Any, conv: Any) -> Any:
        node = conv.producer()
        weights = _array(w)
        assert weights is not None  # noqa: S101 - check() has seen it
        scaled = (weights * _scalar(factor)).astype(weights.dtype)
        return op.Conv(x, _constant(op, w, scaled), *node.inputs[2:], **node.attributes)


class UnsqueezeBeforeTranspose(RewriteRuleClassBase):
    """Move the height of one that TensorFlow gives a sequence behind the transposition."""

    def pattern(self, op: Any, x: Any, axes: Any) -> Any:
        return op.Transpose(op.Unsqueeze(x, axes), perm=[0, 3, 1, 2])

    def check(self, context: Any, x: Any, axes: Any) -> MatchResult:
        result = MatchResult()
        if x.shape is None or len(x.shape) != 3 or _list(axes) not in ([1], [-3]):
            return result.fail("not a height of one")
        return result

    def rewrite(self, op: Any, x: Any, axes: Any) -> Any:
        turned = op.Transpose(x, perm=[0, 2, 1])
        return op.Unsqueeze(turned, _constant(op, axes, np.array([2], np.int64)))


class OneDimensionalConv(RewriteRuleClassBase):
    """A convolution over a height of one as a convolution of sequences."""

    def pattern(self, op: Any, x: Any, w: Any, axes: Any) -> Any:
        return op.Conv(op.Unsqueeze(x, axes), w, _allow_other_inputs=True, _outputs=["conv"])

    def check(self, context: Any, x: Any, w: Any, axes: Any, conv: Any) -> MatchResult:
        result = MatchResult()
        weights, attributes = _array(w), conv.producer().attributes
        if weights is None or weights.ndim != 4 or weights.shape[2] != 1:
            return result.fail("the kernel has a height")
        if x.shape is None or len(x.shape) != 3 or _list(axes) not in ([2], [-2]):
            return result.fail("the input is no sequence with a height of one")
        pads = attributes.get_ints("pads", [0, 0, 0, 0])
        if pads[0] or pads[2]:
            return result.fail("the height is padded")
        return result

    def rewrite(self, op: Any, x: Any, w: Any, axes: Any, conv: Any) -> Any:
        node = conv.producer()
        attributes = dict(node.attributes)
        for name in ("kernel_shape", "strides", "dilations"):
            if name in attributes:
                values = node.attributes.get_ints(name)
                attributes[name] = ir.AttrInt64s(name, [values[1]])
        if "pads" in attributes:
            pads = node.attributes.get_ints("pads")
            attributes["pads"] = ir.AttrInt64s("pads", [pads[1], pads[3]])
        weights = _array(w)
        assert weights is not None  # noqa: S101 - check() has seen it
        kernel = _constant(op, w, weights[:, :, 0, :])
        result = op.Conv(x, kernel, *node.inputs[2:], **attributes)
        result.producer().name = node.name
        return op.Unsqueeze(result, axes)


class SqueezeOfUnsqueeze(RewriteRuleClassBase):
    """An axis of one that comes and goes."""

    def pattern(self, op: Any, x: Any, come: Any, go: Any) -> Any:
        return op.Squeeze(op.Unsqueeze(x, come), go)

    def check(self, context: Any, x: Any, come: Any, go: Any) -> MatchResult:
        result = MatchResult()
        axes = _list(come), _list(go)
        if x.shape is None or None in axes:
            return result.fail("the axes are not known")
        rank = len(x.shape) + len(axes[0] or ())
        first, second = (sorted(axis % rank for axis in each or ()) for each in axes)
        return result if first == second else result.fail("not the same axes")

    def rewrite(self, op: Any, x: Any, **_: Any) -> Any:
        return op.Identity(x)


class GlobalMean(RewriteRuleClassBase):
    """The mean over all places of channels-first data as GlobalAveragePool."""

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
        return op.Squeeze(pooled, op.initializer(ir.tensor(axes), name=_name("axes")))


def _array(value: Any) -> Array | None:
    """Return a constant's value, None for anything that is computed or fed."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    array: Array = value.const_value.numpy()
    return array


def _scalar(value: Any) -> Any:
    array = _array(value)
    return None if array is None or array.size != 1 else array.reshape(()).item()


def _list(value: Any) -> list[int] | None:
    array = _array(value)
    return None if array is None else [int(item) for item in array.reshape(-1)]


def _constant(op: Any, like: Any, array: Array) -> Any:
    """Return a new initializer; it keeps its number format whatever was multiplied."""
    kind = like.const_value.numpy().dtype
    return op.initializer(ir.tensor(np.ascontiguousarray(array.astype(kind))),
                          name=_name(like.name))  # fmt: skip


def _name(base: str) -> str:
    return f"{base.partition('~')[0]}~{next(_counter)}"
