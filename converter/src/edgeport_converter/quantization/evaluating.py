"""What a quantized graph lost: beside the float graph, and by the user's metric.

The data is streamed, the float graph's answers with it, so memory holds one batch, and the outputs
where a metric needs all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeport import OptionError
from edgeport.golden import Array
from edgeport_converter.quantization import budget
from edgeport_converter.quantization.agreement import Agreement, Run, measure_agreement

_BATCH = 64


@dataclass(frozen=True)
class Measured:
    """One graph's figures; ``metric`` is None where there are no labels."""

    agreement: Agreement
    metric: float | None


class Evaluator:
    """Measures graphs on the same data.

    Args:
        float_run: the float graph as a function.
        batches: starts a pass over the data, in batches of the given size.
        labels: one a sample, or None.
        metric: of outputs and labels, larger is better.
        classifier: whether the model has one row of class scores.
    """

    def __init__(
        self,
        float_run: Run,
        batches: Callable[[int], Iterable[Mapping[str, Array]]],
        labels: Array | None,
        metric: budget.Metric,
        *,
        classifier: bool,
    ) -> None:
        self._float_run, self._batches = float_run, batches
        self._labels, self._metric, self._classifier = labels, metric, classifier
        self.float_metric = self.metric_of(float_run)

    def measure(self, run: Run) -> Measured:
        """Return the figures of one graph."""
        outputs: list[Array] = []

        def run_and_keep(batch: Mapping[str, Array]) -> dict[str, Array]:
            answers = run(batch)
            if self._labels is not None:
                outputs.append(next(iter(answers.values())))
            return answers

        agreement = measure_agreement(
            run_and_keep, self._float_run, self._batches(_BATCH), classifier=self._classifier
        )
        return Measured(agreement, self._metric_of(outputs))

    def metric_of(self, run: Run) -> float | None:
        """Return the metric of a graph, or of Keras, None without labels.

        Raises:
            OptionError: the metric raised an error, or gave no finite number.
        """
        if self._labels is None:
            return None
        return self._metric_of([next(iter(run(each).values())) for each in self._batches(_BATCH)])

    def _metric_of(self, outputs: list[Array]) -> float | None:
        if self._labels is None:
            return None
        try:
            value = float(self._metric(np.concatenate(outputs), self._labels))
        except Exception as cause:  # the user's own code
            raise OptionError(
                f"the metric raised {type(cause).__name__} ({cause}) on outputs of shape "
                f"{(len(self._labels), *outputs[0].shape[1:])}, expected a number, larger is "
                "better: mend it"
            ) from cause
        if not np.isfinite(value):
            raise OptionError(
                f"the metric gave {value}, expected a finite number, larger is better: check it"
            )
        return value
