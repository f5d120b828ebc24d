"""What a conversion found: one record, as data for programs and as text for a screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeport import Accuracy, ModelCard
from edgeport.cli.printing import escaped

_MOST_LAYERS = 30

if TYPE_CHECKING:
    from edgeport_converter.quantization.evaluation.agreement import Agreement
    from edgeport_converter.quantization.evaluation.layer_report import LayerReport
    from edgeport_converter.quantization.search.selection import Step
    from edgeport_converter.verification.parity import Parity


@dataclass(frozen=True)
class ConversionReport:
    """Everything that a conversion measured.

    Attributes:
        output: the artifact's path.
        file_bytes: its size.
        float_bytes: the size of the float graph it was made from.
        recipe: how it was quantized, in words.
        reason: why that recipe, where it is neither the fastest nor the smallest that keeps the
            budget; else "".
        card: the card inside the file.
        parity: the float graph beside Keras.
        agreement: the artifact beside the float graph, None for a float artifact without data.
        judged_on: which samples the agreement was measured on, in words: "held out of the
            calibration data", "of the evaluation data" or "that calibrated it"; "" without data.
        accuracy: with Keras, in float and of the artifact; None without labels.
        latency_us: median time of one sample on one thread here, None where it was not measured.
        float_latency_us: the same of the float graph, interleaved with it.
        steps: the recipes tried, in order.
        variants: further artifacts by recipe.
        layers: what each Keras layer became, in running order.
        stages: the names of the stages that ran, in order.
        notes: what the user should know, a sentence each.
        interrupted: whether Ctrl-C ended the search with the best candidate that it had.
    """

    output: Path
    file_bytes: int
    float_bytes: int
    recipe: str
    reason: str
    card: ModelCard
    parity: Parity
    agreement: Agreement | None
    judged_on: str
    accuracy: Accuracy | None
    latency_us: float | None
    float_latency_us: float | None
    steps: tuple[Step, ...]
    variants: dict[str, Path]
    layers: tuple[LayerReport, ...]
    stages: tuple[str, ...]
    notes: tuple[str, ...] = ()
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the report as data for JSON.

        A ratio without any noise is infinite, which JSON has no number for: it is None there.
        """
        found: dict[str, Any] = {
            each.name: _plain(getattr(self, each.name)) for each in fields(self)
        }
        return found | {"card": _plain(self.card.to_dict()) | {"sha256": self.card.sha256}}

    def to_text(self) -> str:
        """Return the report in lines for a screen, with control characters in names escaped."""
        parity = self.parity
        lines = [
            f"artifact   {self.output}: {self.file_bytes:,} bytes, {self.recipe}",
            f"float      {self.float_bytes:,} bytes, without card and golden samples",
            f"parity     {parity.samples} samples, largest difference from Keras "
            f"{parity.largest_difference:.2g} in '{parity.output}'",
        ]
        lines += [
            f"frames     {words}" for words in self.card.preprocessing[: len(self.card.frames)]
        ]
        if parity.logits:
            lines.append(f"logits     compared, too: {', '.join(parity.logits)}")
        if parity.trials:
            found = ", ".join(
                f"{trial.what} by {trial.noise:.0%} {trial.noticed} of {trial.tried}"
                for trial in parity.trials
            )
            lines.append(f"spoiled    weights noticed by parity: {found}")
        lines += [f"chosen     {self.reason}"] if self.reason else []
        lines += [f"note       {note}" for note in self.notes]
        if self.agreement:
            lines.append(f"agreement  {self.agreement.describe()} {self.judged_on}")
        if self.accuracy:
            seen = self.accuracy
            lines.append(
                f"{seen.metric:<10} {seen.artifact:.4f} (Keras {seen.keras:.4f}, float ONNX "
                f"{seen.float32:.4f}) on {seen.samples:,} samples"
            )
        if self.latency_us is not None and self.float_latency_us is not None:
            ratio = self.latency_us / self.float_latency_us
            remark = "" if ratio < 1 else "; on this CPU int8 is no faster than float"
            lines.append(
                f"latency    {self.latency_us:.1f} µs a sample, {ratio:.2f} of float{remark}"
            )
        lines += [f"tried      {step.describe()}" for step in self.steps]
        lines += [f"variant    {name}: {path}" for name, path in self.variants.items()]
        lines += _layer_table(self.layers)
        return "\n".join(map(escaped, lines))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, (type, ModelCard)):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _layer_table(layers: Sequence[LayerReport]) -> list[str]:
    """Return the layers that take most of the time, in running order, a line each."""
    if not layers:
        return []
    by_time = sorted(layers, key=lambda layer: -layer.time_share)
    shown = [layer for layer in layers if layer in by_time[:_MOST_LAYERS]]
    width = max(len("layer"), *(len(layer.name) for layer in shown))
    form = max(len("format"), *(len(layer.number_format) for layer in shown))
    head = f"{'layer':<{width}}  {'format':<{form}}  {'to float':>9}  {'time':>6}  {'bytes':>10}"
    lines = ["", head]
    for layer in shown:
        ratio = layer.signal_to_noise_db
        error = "" if ratio is None else f"{ratio:.1f} dB"
        lines.append(
            f"{layer.name:<{width}}  {layer.number_format:<{form}}  {error:>9}  "
            f"{layer.time_share:>6.1%}  {layer.weight_bytes:>10,}"
        )
    if len(shown) < len(layers):
        lines.append(f"and {len(layers) - len(shown)} layers that take less time; --json has all")
    return lines
