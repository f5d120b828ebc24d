"""What quantization may lose, and the refusal of what lost more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeport import Accuracy
from edgeport_converter.errors import QuantizationError

if TYPE_CHECKING:
    from edgeport_converter.verifying import Agreement

DEFAULT_MAX_DROP = 0.005

# Bounds where there are no labels to measure the accuracy on.
_MIN_TOP_1_AGREEMENT = 0.99
_MIN_SIGNAL_TO_NOISE_DB = 20.0


def check_budget(agreement: Agreement, accuracy: Accuracy | None, max_drop: float) -> None:
    """Hold the quantized model to the budget, by its accuracy where that was measured.

    Raises:
        QuantizationError: it lost more than the budget allows.
    """
    way_out = "pass more calibration samples, a larger max_drop, or quantize='none'"
    if accuracy is not None:
        drop = accuracy.float32 - accuracy.artifact
        if drop > max_drop:
            raise QuantizationError(
                f"int8 loses {drop:.4f} accuracy ({accuracy.float32:.4f} to "
                f"{accuracy.artifact:.4f}), expected at most {max_drop}: {way_out}",
                measured=drop,
                allowed=max_drop,
            )
    elif agreement.top_1 is not None:
        if agreement.top_1 < _MIN_TOP_1_AGREEMENT:
            raise QuantizationError(
                f"int8 changes the best class of {1 - agreement.top_1:.2%} of the samples, "
                f"expected at most {1 - _MIN_TOP_1_AGREEMENT:.0%}: {way_out}",
                measured=1 - agreement.top_1,
                allowed=1 - _MIN_TOP_1_AGREEMENT,
            )
    elif agreement.signal_to_noise_db < _MIN_SIGNAL_TO_NOISE_DB:
        raise QuantizationError(
            f"int8 has a signal-to-noise ratio of {agreement.signal_to_noise_db:.1f} dB, "
            f"expected at least {_MIN_SIGNAL_TO_NOISE_DB:g} dB: {way_out}",
            measured=agreement.signal_to_noise_db,
            allowed=_MIN_SIGNAL_TO_NOISE_DB,
        )
