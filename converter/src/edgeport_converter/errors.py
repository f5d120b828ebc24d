"""The converter's errors, subclasses of the runtime's.

ConversionError              a stage failed; .stage
├─ UnsupportedModelError     ONNX cannot say what the model does
├─ QuantizationError         no recipe held the budget; .measured .allowed
└─ AgreementError            ran, but too far from Keras; .measured .allowed
EdgeportError
└─ TrainingError             a training failed
"""

from __future__ import annotations

from edgeport import ConversionError, EdgeportError


class UnsupportedModelError(ConversionError):
    """The model has a part that cannot be exported; the message names it and what to do."""

    exit_code = 11


class _LimitError(ConversionError):
    """Something was measured, and is beyond what is allowed."""

    def __init__(
        self,
        message: str,
        *,
        stage: str | None = None,
        measured: float | None = None,
        allowed: float | None = None,
    ) -> None:
        super().__init__(message, stage=stage)
        self.measured = measured
        self.allowed = allowed


class QuantizationError(_LimitError):
    """Every recipe tried lost more than the budget allows.

    Attributes:
        measured: what the best one lost.
        allowed: the budget.
    """

    exit_code = 12


class AgreementError(_LimitError):
    """The graph runs, but its answers are too far from the Keras model's.

    Attributes:
        measured: the largest excess over the tolerance, as a multiple of it.
        allowed: 1.0.
    """

    exit_code = 13


class TrainingError(EdgeportError):
    """A training cannot go on; its checkpoint and the output file are as they were before."""

    exit_code = 14
