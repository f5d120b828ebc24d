"""What the float graph and Keras reach on the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeport import Accuracy
from edgeport_converter.conversion.float_model import FloatModel
from edgeport_converter.conversion.source import LoadedSource
from edgeport_converter.conversion.user_samples import ConversionData
from edgeport_converter.options import ConversionOptions
from edgeport_converter.progress import track_batches
from edgeport_converter.quantization.evaluation.budget import require_expected_metric
from edgeport_converter.quantization.evaluation.user_metrics import Metric, is_smaller_better

if TYPE_CHECKING:
    from edgeport_converter.quantization.evaluation.evaluator import Evaluator
    from edgeport_converter.verification.runners import Run


@dataclass(frozen=True, eq=False)
class Baseline:
    """What the float graph reaches on the data: what candidates are held to. Empty without data."""

    evaluator: Evaluator | None = None
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = ()


def measure_baseline(
    run: Run,
    float_model: FloatModel,
    source: LoadedSource,
    data: ConversionData,
    metric: tuple[str, Metric],
    options: ConversionOptions,
) -> Baseline:
    """Measure the float graph and Keras on the samples that judge."""
    from edgeport_converter.quantization.evaluation import evidence
    from edgeport_converter.quantization.evaluation.evaluator import Evaluator

    name, function = metric
    judged = data.roles.judged
    assert judged is not None  # noqa: S101 - the caller asked
    evaluator = Evaluator(
        run,
        track_batches(judged.batches, "evaluation data", len(judged)),
        data.user.labels,
        function,
        classifier=evidence.answers_with_a_class(
            source.model, float_model.card, data.user.labels, data.border
        ),
        max_drop=options.budget.max_drop,
        smaller_is_better=is_smaller_better(options.budget.metric),
        border=data.border or 0.0,
    )
    notes = evidence.check_metric(name, evaluator) if options.quantization.quantizes else ()
    keras = evaluator.metric_of(float_model.reference)
    # Keras' own accuracy compares a logit with 0.5, unless it is told its threshold.
    told = f"{name} (class 1 above 0)" if data.border == 0 else name
    require_expected_metric(told, keras, options.budget.expected_metric, len(judged))
    accuracy = evidence.compare_metrics(name, keras, evaluator, len(judged))
    return Baseline(evaluator, accuracy, notes)
