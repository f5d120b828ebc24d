"""The table of the rewriter's rules, in the order in which they are tried.

In exact arithmetic each rule changes no answer. In float32 none loses digits either: a factor may
move into weights, but a term only into a bias that is added at the same place, so that no rule adds
numbers of different sizes that the graph did not add.

``make passes`` measures what each rule saves; ``tests/benchmarks/README.md`` has the figures.
At each load of a float graph onnxruntime does the same as the rules for Conv, so that they save
bytes there; in int8 graphs, which it does not rewrite so, all of them save time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnxscript.rewriter import RewriteRule, RewriteRuleSet
from onnxscript.rewriter.rules import common

from edgeport_converter.optimizing import activation_rules, affine_rules, cast_rules, shape_rules


def _in_either_order(kinds: Sequence[Any]) -> list[RewriteRule]:
    """Return the rules, each with the operands of Add and Mul in either order."""
    return list(RewriteRuleSet([kind.rule() for kind in kinds], commute=True).rules)


def _as_written(kinds: Sequence[Any]) -> list[RewriteRule]:
    return [kind.rule() for kind in kinds]


# onnxscript's own rules stand by name, ours as classes. A rule of ours that matches an Add or a Mul
# belongs to the first list, any other to the second.
RULES: tuple[RewriteRule, ...] = (
    common.mul_by_1_rule,
    common.no_op_cast_rule,
    common.no_op_transpose_rule,
    common.reshape_reshape_rule,
    common.unsqueeze_unsqueeze_rule,
    common.successive_relu_rule,
    common.fuse_pad_into_conv_rule,
    common.fuse_batchnorm_into_conv_rule,
    common.fuse_batchnorm_into_conv_transpose_rule,
    *_in_either_order(
        (
            activation_rules.HardSigmoid,
            activation_rules.ExactGelu,
            affine_rules.ScaleAfterConv,
            affine_rules.ScaleAfterConvTranspose,
            affine_rules.ScaleAfterGemm,
            affine_rules.ScaleAfterMatMul,
            affine_rules.ShiftAfterConv,
            affine_rules.ShiftAfterConvTranspose,
            affine_rules.ShiftAfterGemm,
            affine_rules.GemmOfMatMul,
            affine_rules.ScaleBeforeConv,
            affine_rules.ScaleOfGateBeforeConv,
        )
    ),
    *_as_written(
        (
            cast_rules.CastByWay,
            shape_rules.UnsqueezeBeforeTranspose,
            shape_rules.TransposeOfTranspose,
            shape_rules.PadBeforeTranspose,
            shape_rules.OneDimensionalConv,
            shape_rules.OneDimensionalConvTranspose,
            shape_rules.OneDimensionalMaxPool,
            shape_rules.OneDimensionalAveragePool,
            shape_rules.SqueezeOfUnsqueeze,
            shape_rules.GlobalMean,
            shape_rules.ReshapeToKnownSizes,
            shape_rules.ReshapeOfSqueeze,
            shape_rules.ReshapeToSameSizes,
        )
    ),
    common.fuse_batchnorm_into_gemm_rule,
)
