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

# The first two that the model takes: one even and one odd where it takes any, else the multiples
# of a power of two that networks with skip connections want, up to a second of sound.
_FREE_AXIS_SIZES = (8, 13, 16, 32, 48, 64, 96, 128, 192, 224, 256, 512, 1024, 2048, 4096, 16000)

# Integers may be indices into a table of unknown length; the first that the model takes.
_LARGEST_INTEGERS = (99, 9, 1)
_SPREAD = 3.0
_WORDS = ("", "a", "b", "the", "yes", "no")

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


def random_inputs(
    inputs: Sequence[TensorSpec],
    samples: int,
    free_size: int,
    seed: int,
    *,
    largest: int = 1,
    spread: float | None = None,
) -> dict[str, Array]:
    """Return random arrays that the inputs accept.

    Args:
        inputs: floats come from their value range, else from [0, 1); bytes from all of theirs;
            text from a few short words.
        samples: N.
        free_size: of every other free axis.
        seed: of the generator.
        largest: the largest of the other integers, which may be indices.
        spread: floats without a range come from a normal distribution of that width instead.
    """
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array] = {}
    for spec in inputs:
        sizes = [
            samples if axis == "N" and isinstance(size, str)
            else size if isinstance(size, int) else free_size
            for axis, size in zip(spec.axes, spec.shape, strict=True)
        ]  # fmt: skip
        if spec.dtype.kind == "O":
            arrays[spec.name] = generator.choice(np.array(_WORDS, dtype=object), sizes)
        elif spec.dtype.kind == "f":
            low, high = spec.value_range or (0.0, 1.0)
            values = low + (high - low) * generator.random(sizes)
            if spread is not None and spec.value_range is None:
                values = generator.normal(0.0, spread, sizes)
            arrays[spec.name] = values.astype(spec.dtype)
        else:
            top = 255 if spec.dtype == np.uint8 else 1 if spec.dtype.kind == "b" else largest
            top = min(top, 1 if spec.dtype.kind == "b" else int(np.iinfo(spec.dtype).max))
            arrays[spec.name] = generator.integers(0, top, sizes, endpoint=True).astype(spec.dtype)
    return arrays


def parity_inputs(
    inputs: Sequence[TensorSpec], data: Sequence[Mapping[str, Array]], reference: Run
) -> list[dict[str, Array]]:
    """Return the batches for ``check_parity``: the user's data, or random ones.

    Sizes of free axes and ranges of integers are tried until the Keras model takes them. The
    user's data is also cut short along its free axes, so that a second size is seen.

    Raises:
        Exception: what the Keras model raised, where it took none of the inputs.
    """
    free = any(isinstance(size, str) for spec in inputs for size in spec.shape[1:])
    if data:
        batches = [dict(batch) for batch in data]
        cut = [_cut_short(inputs, batch) for batch in batches] if free else []
        return batches + [batch for batch in cut if _answer(reference, batch) is None]
    integers = any(spec.dtype.kind in "iu" for spec in inputs)
    problem: Exception | None = None
    for largest in _LARGEST_INTEGERS if integers else _LARGEST_INTEGERS[-1:]:
        sizes: list[int] = []
        for size in _FREE_AXIS_SIZES if free else _FREE_AXIS_SIZES[:1]:
            batch = random_inputs(inputs, 1, size, seed=0, largest=largest)
            problem = _answer(reference, batch)
            if problem is None:
                sizes.append(size)
            if len(sizes) == (2 if free else 1):
                break
        if sizes:
            return [
                random_inputs(inputs, samples, size, samples, largest=largest, spread=spread)
                for samples, spread in zip(BATCH_SIZES, (None, None, _SPREAD), strict=True)
                for size in sizes
            ]
    assert problem is not None  # noqa: S101 - there was at least one try
    raise problem


def _answer(reference: Run, batch: Mapping[str, Array]) -> Exception | None:
    """Return what the Keras model says against a batch, None if it takes it."""
    try:
        reference(batch)
    except Exception as problem:  # whatever a layer raises about sizes and indices
        return problem
    return None


def _cut_short(inputs: Sequence[TensorSpec], batch: Mapping[str, Array]) -> dict[str, Array]:
    """Return the batch with two thirds of each free axis but the batch's."""
    result = {}
    for spec in inputs:
        places = [slice(None)]
        for size, have in zip(spec.shape[1:], batch[spec.name].shape[1:], strict=True):
            places.append(slice(max(1, have * 2 // 3)) if isinstance(size, str) else slice(None))
        result[spec.name] = batch[spec.name][tuple(places)]
    return result


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


def check_labels(labels: Array, outputs: Sequence[TensorSpec]) -> Array:
    """Return class indices (N,) from labels as indices (N,), (N, 1) or one-hot rows (N, C).

    Raises:
        OptionError: the model is no classifier, or the labels are no classes of it.
    """
    if not is_classifier(outputs):
        raise OptionError(
            "labels were given, but the model has no single output of class scores, expected a "
            "classifier: leave the labels out, then agreement with the float model is measured"
        )
    classes = max(int(outputs[0].shape[1]), 2)
    if labels.ndim == 2 and labels.shape[1] == classes and _is_one_hot(labels):
        labels = labels.argmax(axis=1)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    whole = labels.ndim == 1 and labels.dtype.kind in "biuf" and bool(np.all(labels == labels // 1))
    if not whole or labels.size == 0 or labels.min() < 0 or labels.max() >= classes:
        found = f"{labels.dtype} of shape {labels.shape}"
        if whole and labels.size:
            found += f" from {labels.min()} to {labels.max()}"
        raise OptionError(
            f"the labels are {found}, expected class numbers from 0 to {classes - 1} of shape (N,) "
            f"or one-hot rows of shape (N, {classes}): number the classes as the model does"
        )
    return labels.astype(np.int64)
