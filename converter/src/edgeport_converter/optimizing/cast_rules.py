"""Casts that change no value."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase


class CastByWay(RewriteRuleClassBase):
    """``Cast(Cast(x, between), last)`` becomes ``Cast(x, last)``.

    Only where the format between holds every value of x's: any other changes values, such as 0.5
    to bool, which is false by way of an integer and true without. Saves a copy of the tensor.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        return op.Cast(
            op.Cast(x, _allow_other_attributes=True, _outputs=["between"]),
            _allow_other_attributes=True,
            _outputs=["last"],
        )

    def check(self, context: Any, x: Any, between: Any, last: Any) -> MatchResult:
        result = MatchResult()
        first, second = _numpy_dtype(x.dtype), _numpy_dtype(between.dtype)
        if first is None or second is None or not np.can_cast(first, second, casting="safe"):
            return result.fail("the format between may lose something")
        return result

    def rewrite(self, op: Any, x: Any, last: Any, **_: Any) -> Any:
        return op.Cast(x, to=last.producer().attributes["to"].value)


def _numpy_dtype(dtype: ir.DataType | None) -> Any:
    """Return the numpy dtype of a format, None for text and for formats that numpy lacks."""
    if dtype is None or dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED):
        return None
    kind = dtype.numpy()
    return kind if kind.kind in "biuf" and kind.isbuiltin == 1 else None
