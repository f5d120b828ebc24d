"""The rewriter's rules that onnxscript does not bring along.

Each one is an identity of real numbers, and none of them adds numbers of different sizes that were
apart before: a scale may move into weights, a shift only into a bias that is added at the same
place. So no rule can lose digits that the graph had.
"""

from __future__ import annotations

from typing import Any

from onnxscript.rewriter import RewriteRule, RewriteRuleSet

from edgeport_converter.optimizing import affine_rules, shape_rules
from edgeport_converter.optimizing.activation_rules import ExactGelu, HardSigmoid
from edgeport_converter.optimizing.cast_rules import CastByWay

_COMMUTING = (
    HardSigmoid,
    ExactGelu,
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
_OTHERS = (
    CastByWay,
    shape_rules.UnsqueezeBeforeTranspose,
    shape_rules.OneDimensionalConv,
    shape_rules.SqueezeOfUnsqueeze,
    shape_rules.GlobalMean,
    shape_rules.ReshapeToKnownSizes,
    shape_rules.ReshapeOfSqueeze,
    shape_rules.ReshapeToSameSizes,
)


def rules() -> list[RewriteRule]:
    """Return the rules in the order in which they are tried."""
    commuting = [_rule_of(rule) for rule in _COMMUTING]
    return [
        *RewriteRuleSet(commuting, commute=True).rules,
        *(_rule_of(rule) for rule in _OTHERS),
    ]


def _rule_of(kind: Any) -> RewriteRule:
    rule: RewriteRule = kind.rule()  # onnxscript leaves the method without types
    return rule
