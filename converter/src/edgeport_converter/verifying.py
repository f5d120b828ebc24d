"""Proof: the graph's answers beside the Keras model's, through ``Predictor`` itself.

``check_parity`` holds the float graph to the Keras model. What quantization loses is
``agreement``'s business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

from edgeport import OptionError, Predictor, TensorSpec
from edgeport.golden import Array
from edgeport_converter.errors import AgreementError

Run = Callable[[Mapping[str, Array]], dict[str, Array]]
"""Arrays by input name, each with the batch axis N, to arrays by output name."""

BATCH_SIZES = (1, 2, 5)

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


def as_run(predictor: Predictor) -> Run:
    """Return the predictor as a function that always answers with a dict."""
    names = [spec.name for spec in predictor.card.outputs]

    def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
        answer = predictor.predict(dict(arrays))
        return answer if isinstance(answer, dict) else {names[0]: answer}

    return run


def run_as_defined(graph: onnx.ModelProto) -> Run:
    """Return the graph as a function, computed node by node as ONNX defines it.

    Without fusions a quantized layer is DequantizeLinear, a float operator and QuantizeLinear,
    which is exact on every CPU; an int8 kernel may saturate. So this is what golden outputs are
    taken from.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [node.name for node in session.get_outputs()]

    def run(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(names, session.run(names, dict(arrays)), strict=True))

    return run


def check_parity(run: Run, reference: Run, batches: Sequence[Mapping[str, Array]]) -> Parity:
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


def is_classifier(outputs: Sequence[TensorSpec]) -> bool:
    """Whether the only output is a row of class scores, or one probability."""
    if len(outputs) != 1 or len(outputs[0].shape) != 2 or outputs[0].dtype.kind != "f":
        return False
    count = outputs[0].shape[1]
    return isinstance(count, int) and (count > 1 or outputs[0].value_range == (0.0, 1.0))


def _is_one_hot(rows: Array) -> bool:
    return rows.dtype.kind in "biuf" and bool(
        np.all((rows == 0) | (rows == 1)) and np.all(rows.sum(axis=1) == 1)
    )


def _remedy(labels: Array, classes: int) -> str:
    if labels.dtype.kind in "OSU":
        return "pass the classes' names, labels=[...], in the order of the scores"
    if labels.ndim == 2 and labels.shape[1] == classes:
        return "for several classes a sample, or shares of them, pass a metric of your own"
    return "number the classes as the model does"


def are_classes(labels: Array, outputs: Sequence[TensorSpec]) -> bool:
    """Whether ``check_labels`` takes them."""
    try:
        check_labels(labels, outputs)
    except OptionError:
        return False
    return True


def check_labels(labels: Array, outputs: Sequence[TensorSpec]) -> Array:
    """Return class indices (N,) from labels as indices (N,), (N, 1) or one-hot rows (N, C).

    Raises:
        OptionError: the model is no classifier, or the labels are no classes of it.
    """
    if not is_classifier(outputs):
        raise OptionError(
            "labels were given, but the model has no single output of class scores, expected a "
            "classifier: pass a metric for them, or leave the labels out, then agreement with the "
            "float model is measured"
        )
    classes = max(int(outputs[0].shape[1]), 2)
    if labels.ndim == 2 and labels.shape[1] == classes and _is_one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = labels.ndim == 1 and labels.dtype.kind in "biuf" and bool(np.all(labels == labels // 1))
    if not whole or labels.size == 0 or labels.min() < 0 or labels.max() >= classes:
        found = "text" if labels.dtype.kind in "OSU" else str(labels.dtype)
        found += f" of shape {labels.shape}"
        if whole and labels.size:
            found += f" from {labels.min()} to {labels.max()}"
        raise OptionError(
            f"the labels are {found}, expected class numbers from 0 to {classes - 1} of shape (N,) "
            f"or one-hot rows of shape (N, {classes}): {_remedy(labels, classes)}"
        )
    return labels.astype(np.int64)
