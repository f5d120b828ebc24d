"""Proof: the graph's answers beside the Keras model's, through ``Predictor`` itself.

``compare_answers`` holds the float graph to the Keras model. What quantization loses is
``agreement``'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeport import ArtifactError, ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.errors import AgreementError, UnsupportedModelError
from edgeport_converter.verification.runners import Run, Runner
from edgeport_converter.verification.trial_inputs import BATCH_SIZES, looked_up, parity_inputs

if TYPE_CHECKING:
    import onnx


# Both sides compute in float32 (relative step 1.2e-7) but add in another order. An error of a
# thousand steps is more than reordering explains in networks of some hundred layers, and far
# less than any real mistake makes; relative to the output's largest value, since the sums that
# lead to a small output were not small themselves.
_RELATIVE_TOLERANCE = 1e-4
_ABSOLUTE_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Parity:
    """The worst difference between Keras and the float graph.

    Attributes:
        samples: how many were compared.
        largest_difference: absolute, over all outputs.
        output, index: where it was.
        keras, onnx: both values there.
    """

    samples: int
    largest_difference: float
    output: str
    index: tuple[int, ...]
    keras: float
    onnx: float


def compare_answers(run: Run, reference: Run, batches: Sequence[Mapping[str, Array]]) -> Parity:
    """Compare the graph with Keras on every batch.

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
                    f"output '{name}' of the Keras model is NaN throughout, expected numbers to "
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
    is_number = wanted.dtype.kind in "fiub"
    return Parity(samples, largest, name, index,
                  float(wanted[index]) if is_number else 0.0,
                  float(got[index]) if is_number else 0.0)  # fmt: skip


_PARITY_SAMPLES = 512
_PARITY_BATCH = 64
_MISSING_KERNEL = re.compile(
    r"Could not find an implementation for (\w+)\(\d+\) node with name '(.*?)'"
)


def check_parity(
    graph: onnx.ModelProto, card: ModelCard, reference: Run, data: Dataset | None
) -> tuple[Parity, dict[str, Array]]:
    """Return the parity, and the last inputs that it was measured on.

    Raises:
        AgreementError: the graph does not answer as Keras does.
        UnsupportedModelError: the engine has no kernel for an operator in the format it is used in.
    """
    batches = []
    if data is not None:
        samples = data.first(_PARITY_SAMPLES)
        start = 0
        for size in (
            *BATCH_SIZES,
            *[_PARITY_BATCH] * (_PARITY_SAMPLES // _PARITY_BATCH),
        ):
            batch = {name: array[start : start + size] for name, array in samples.items()}
            if all(len(array) for array in batch.values()):
                batches.append(batch)
            start += size
    known = looked_up(graph)
    batches = parity_inputs(card.inputs, batches, reference, known)
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
