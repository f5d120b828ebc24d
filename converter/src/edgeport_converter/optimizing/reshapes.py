"""Reshape to a size that is known but for one axis, without computing that size at each run."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRuleClassBase

_counter = itertools.count()


class ReshapeToKnownSizes(RewriteRuleClassBase):
    """``Reshape(x, Concat(Shape(x)[0], ...))`` as ``Reshape(x, [-1, ...])``.

    Keras asks a tensor for its batch wherever it flattens; in a small network the six nodes that
    answer take as long as a layer.
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
        constant = op.initializer(ir.tensor(np.array(sizes, np.int64)),
                                  name=f"sizes~{next(_counter)}")  # fmt: skip
        result = op.Reshape(x, constant)
        result.producer().name = reshaped.producer().name
        return result
