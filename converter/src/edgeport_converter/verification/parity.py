"""The parity check: the float graph's answers compared with the Keras model's.

The graph is run by the runtime's own ``Predictor``, as on a device. What quantization loses is
measured elsewhere, by ``quantization.evaluation``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeport import ArtifactError, ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.errors import AgreementError, UnsupportedModelError
from edgeport_converter.verification.runners import Run, Runner
from edgeport_converter.verification.trial_inputs import (
    BATCH_SIZES,
    make_up_for,
    with_cut_axes,
)

if TYPE_CHECKING:
    import onnx


# Both sides compute in float32 (relative step 1.2e-7) but add in another order. In networks of some
# hundred layers that explains less than a thousand steps; a real mistake makes far more. The bound
# is relative to the output's largest value, since a small output may be the difference of large
# sums.
_RELATIVE_TOLERANCE = 1e-4
_ABSOLUTE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Parity:
    """The worst difference between Keras and the float graph.

    Attributes:
        samples: how many were compared.
        largest_difference: absolute, over all outputs.
        output: where it was.
        index: the element of that output.
        keras: Keras' value there.
        onnx: the graph's.
    """

    samples: int
    largest_difference: float
    output: str
    index: tuple[int, ...]
    keras: float
    onnx: float


def compare_answers(run: Run, reference: Run, batches: Sequence[Mapping[str, Array]]) -> Parity:
    """Compare the graph with Keras on every batch.

    Args:
        run: the float graph.
        reference: the Keras model.
        batches: arrays by input name, each with the batch axis N.

    Raises:
        AgreementError: a shape or dtype differs, an integer output is not equal, or a float is
            off by more than 1e-5 + 1e-4 of the output's largest absolute value.
    """
    worst: Parity | None = None
    samples = 0
    for batch in batches:
        expected, actual = reference(batch), run(batch)
        samples += len(next(iter(batch.values())))
        for name, wanted in expected.items():
            if wanted.dtype.kind == "f" and wanted.size and np.isnan(wanted).all():
                raise AgreementError(
                    f"output '{name}' of the Keras model has only NaN, expected numbers to "
                    "compare with: pass data like the device's"
                )
            found = _compare_output(name, wanted, actual[name], samples)
            if worst is None or not found.largest_difference <= worst.largest_difference:
                worst = found
    if worst is None:
        raise AgreementError("no sample to compare with Keras: pass data")
    return Parity(
        samples, worst.largest_difference, worst.output, worst.index, worst.keras, worst.onnx
    )


def _compare_output(name: str, wanted: Array, got: Array, samples: int) -> Parity:
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        raise AgreementError(
            f"output '{name}' is {got.dtype} of shape {got.shape} in ONNX, Keras gives "
            f"{wanted.dtype} of shape {wanted.shape}: report this model"
        )
    if wanted.size == 0:
        return Parity(samples, 0.0, name, (), 0.0, 0.0)
    if wanted.dtype.kind not in "f":
        difference = (wanted != got).astype(np.float64)
        allowed = 0.0
    else:
        wide, other = wanted.astype(np.float64), got.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.abs(wide - other)
        same = (wide == other) | (np.isnan(wide) & np.isnan(other))  # infinities, too
        difference = np.where(same, 0.0, np.where(np.isnan(difference), np.inf, difference))
        finite = np.abs(wide[np.isfinite(wide)])
        allowed = _ABSOLUTE_TOLERANCE + _RELATIVE_TOLERANCE * float(finite.max(initial=0.0))
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(difference)), difference.shape))
    largest = float(difference[index])
    if largest > allowed:
        raise AgreementError(
            f"output '{name}' is {got[index]!r} at {list(index)} in ONNX, Keras gives "
            f"{wanted[index]!r} and {allowed:.3g} is allowed: report this model, "
            "its conversion would be wrong",
            measured=largest / allowed if allowed else float("inf"),
            allowed=1.0,
        )
    values = (wanted[index], got[index]) if wanted.dtype.kind in "fiub" else (0.0, 0.0)
    return Parity(samples, largest, name, index, *map(float, values))


_PARITY_SAMPLES = 512
# One even and one odd small size, since batches of one often take another way through a kernel.
_PARITY_BATCHES = (*BATCH_SIZES, *[64] * (_PARITY_SAMPLES // 64))
_MISSING_KERNEL = re.compile(
    r"Could not find an implementation for (\w+)\(\d+\) node with name '(.*?)'"
)


def check_parity(
    graph: onnx.ModelProto, card: ModelCard, reference: Run, data: Dataset | None
) -> tuple[Parity, dict[str, Array]]:
    """Return the parity, and the last inputs that it was measured on.

    Args:
        graph: the float graph, finished.
        card: its inputs and outputs.
        reference: the Keras model.
        data: the user's samples; the first 512 are compared. None for trial inputs.

    Raises:
        AgreementError: the graph does not answer as Keras does.
        UnsupportedModelError: the engine has no kernel for an operator in the format it is used in,
            or the Keras model took none of the trial inputs.
    """
    if data is None:
        reference = _remembered(reference)
        batches = make_up_for(graph, card, reference)
    else:
        batches = with_cut_axes(card.inputs, _cut(data.first(_PARITY_SAMPLES)), reference)
    try:
        with Runner(card).open(graph) as run:
            return compare_answers(run, reference, batches), batches[-1]
    except ArtifactError as cause:
        missing = _MISSING_KERNEL.search(str(cause))
        if missing is None:
            raise
        operator, node = missing.groups()
        raise UnsupportedModelError(
            f"the model computes {operator} ('{node}') in a number format that onnxruntime has no "
            "kernel for, expected float32 or what its documentation lists for this operator: cast "
            "its inputs to float32 in the model"
        ) from cause


def _remembered(reference: Run) -> Run:
    """Return the Keras model as a function that does not compute the same batch twice."""
    answers: list[tuple[Mapping[str, Array], dict[str, Array]]] = []

    def answer(batch: Mapping[str, Array]) -> dict[str, Array]:
        for known, found in answers:
            if known is batch:
                return found
        answers.append((batch, reference(batch)))
        return answers[-1][1]

    return answer


def _cut(samples: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Yield the samples in batches of several sizes."""
    start = 0
    for size in _PARITY_BATCHES:
        batch = {name: array[start : start + size] for name, array in samples.items()}
        if all(len(array) for array in batch.values()):
            yield batch
        start += size
