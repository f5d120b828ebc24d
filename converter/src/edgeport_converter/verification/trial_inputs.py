"""What the graph is compared with Keras on: random trial inputs, or the user's samples.

``conversion`` calls ``prepare_batches``; ``independence`` and ``parity`` use what it returns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from edgeport import EdgeportError, ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.data.datasets import Dataset
from edgeport_converter.data.made_up import NO_KEYS, Draw, LookupKeys, random_inputs
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.model import shorten
from edgeport_converter.verification.index_limits import IndexLimits
from edgeport_converter.verification.runners import Run, in_fixed_batches, run_as_defined

# Sizes of free axes, tried in this order; the first two that the model takes are used. A model that
# takes any size gets an even and an odd one. Networks with skip connections often take multiples of
# a power of two only; 16,000 is a second of sound.
_FREE_AXIS_SIZES = (
    *(8, 13, 16, 32, 48, 64, 96, 128, 192, 224, 256, 512, 1024, 2048, 4096, 16000),
    *(4, 5, 6, 3, 2, 1),  # a table of positions may be short
)

BATCH_SIZES = (1, 2, 5)
"""Numbers of samples in the batches that a model is tried with.

One even and one odd small size, since batches of one often take another way through a kernel.
"""

# Of the user's data, how many samples are compared, and in which batches after the small ones.
_SAMPLES = 512
_LARGE_BATCH = 64

# Standard deviation of the floats in the last batches: values outside [0, 1), negative ones, too.
_SPREAD = 3.0


def find_lookup_keys(graph: onnx.ModelProto) -> LookupKeys:
    """Return the keys of the graph's LabelEncoder nodes."""
    words: list[str] = []
    numbers: list[int] = []
    for node in graph.graph.node:
        if node.op_type == "LabelEncoder":
            for attribute in node.attribute:
                if attribute.name == "keys_strings":
                    words += [key.decode("utf-8") for key in attribute.strings]
                elif attribute.name == "keys_int64s":
                    numbers += attribute.ints
    return LookupKeys(tuple(words), tuple(numbers))


@dataclass(frozen=True, eq=False)
class TrialBatches:
    """What the graph is compared with the Keras model on.

    Attributes:
        reference: the Keras model. It computes no made-up batch twice.
        batches: arrays by input name, each with the batch axis N.
        samples: the user's, or made-up ones like those of the data.
        made_up: whether they were made up.
    """

    reference: Run
    batches: Sequence[Mapping[str, Array]]
    samples: Mapping[str, Array]
    made_up: bool


def prepare_batches(
    graph: onnx.ModelProto, card: ModelCard, reference: Run, traced: Run, data: Dataset | None
) -> TrialBatches:
    """Return the user's first samples in batches of several sizes, or batches that are made up.

    Args:
        graph: the float graph.
        card: its inputs and outputs.
        reference: the Keras model.
        traced: the same as TensorFlow traces it, which checks sizes.
        data: the user's samples; the first 512 are taken. None for trial inputs.

    Raises:
        UnsupportedModelError: the Keras model took none of the inputs that were made up.
    """
    if data is None:
        reference = _remembered(reference)
        batches = _make_up_for(graph, card, reference, traced)
        return TrialBatches(reference, batches, batches[-1], made_up=True)
    samples = data.first(_SAMPLES)
    return TrialBatches(
        reference,
        with_cut_axes(card.inputs, _in_batches(samples), reference),
        samples,
        made_up=False,
    )


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


def _in_batches(samples: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Yield the samples in batches of several sizes."""
    start = 0
    for size in (*BATCH_SIZES, *[_LARGE_BATCH] * (_SAMPLES // _LARGE_BATCH)):
        batch = {name: array[start : start + size] for name, array in samples.items()}
        if all(len(array) for array in batch.values()):
            yield batch
        start += size


def _make_up_for(
    graph: onnx.ModelProto, card: ModelCard, reference: Run, traced: Run
) -> list[dict[str, Array]]:
    """Return trial inputs that the Keras model takes, within the limits that its graph tells.

    Raises:
        UnsupportedModelError: it took none.
    """
    tables = IndexLimits(graph, card.inputs)
    sized = _with_sizes_checked(graph, card, reference, traced)
    try:
        return make_trial_inputs(card.inputs, sized, find_lookup_keys(graph), tables)
    except MemoryError:
        raise
    except EdgeportError as cause:
        raise type(cause)(f"{cause}{_OR_DATA}") from cause
    except Exception as cause:
        raise UnsupportedModelError(
            f"Keras takes none of the inputs that were made up for the model '{card.name}' "
            f"({shorten(cause)}), expected one to compare the graph on: pass a few real samples, "
            "calibration=, or change the model until it takes such inputs"
        ) from cause


def _with_sizes_checked(
    graph: onnx.ModelProto, card: ModelCard, reference: Run, traced: Run
) -> Run:
    """Return the Keras model as one that refuses free axes that are too short for its kernels.

    Where a kernel is longer than its input, TensorFlow's eager convolutions return memory that was
    never written (2.21). A trace refuses that, and costs seconds, so that it is asked only for
    sizes that the graph does not take either.
    """
    if not has_free_axes(card.inputs):
        return reference
    try:
        run = in_fixed_batches(run_as_defined(graph), card.inputs)
    except Exception:  # the parity check opens the same, and says what the engine does not take
        return reference
    taken: set[tuple[tuple[int, ...], ...]] = set()

    def checked(batch: Mapping[str, Array]) -> dict[str, Array]:
        answers = reference(batch)
        sizes = tuple(array.shape[1:] for array in batch.values())
        if sizes not in taken:
            try:
                run(batch)
            except Exception:  # of the engine, whatever it does not take
                traced(batch)
            taken.add(sizes)
        return answers

    return checked


def has_free_axes(inputs: Sequence[TensorSpec]) -> bool:
    """Whether an axis other than the batch axis may have any size."""
    return any(isinstance(size, str) for spec in inputs for size in spec.shape[1:])


# What is drawn, tried in this order. Integers may be row numbers of a table whose size the graph
# does not tell, codes with an end, or divisors that must not be 0; floats may stand for integers.
_DRAWS = (
    Draw(largest=99),
    Draw(largest=9),
    Draw(largest=1),
    Draw(lowest=1, largest=9),
    Draw(lowest=1, largest=9, whole=True),
    Draw(lowest=0, largest=1, whole=True),
    Draw(lowest=1, largest=1, whole=True),
    Draw(lowest=0, largest=0, whole=True),
)
_OR_DATA = ", or pass a few real samples, calibration=, if it needs special inputs"
_SEEDS = (0, 100, 200)  # added to each other, so that a batch that is refused is drawn again


def make_trial_inputs(
    inputs: Sequence[TensorSpec],
    reference: Run,
    keys: LookupKeys = NO_KEYS,
    tables: IndexLimits | None = None,
) -> list[dict[str, Array]]:
    """Return random batches that the Keras model takes.

    1. What the graph tells is tried first: row numbers within its tables, keys of its lookup
       tables. Then other values are tried, large integers before smaller ones.
    2. For each, sizes of the free axes are tried until the model has taken two.
    3. The first values that the model took make batches of each of ``BATCH_SIZES``, at each size
       found. One that the model refuses is drawn again, and left out in the end.
    4. Batches without a number in the answer, or with NaN in every sample, as of a logarithm of
       negative numbers, are used only where there are no others.

    Args:
        inputs: the model's inputs.
        reference: the Keras model.
        keys: the keys of the graph's lookup tables.
        tables: the tables of the graph that are read by row numbers.

    Raises:
        Exception: the first exception of the Keras model, if it took none of the inputs.
    """
    tries = _Tries(reference)
    batches = _find_taken(inputs, tries, keys, tables)
    if not batches and tries.had_no_numbers:
        tries.wants_numbers = False
        batches = _find_taken(inputs, tries, keys, tables)
    if not batches:
        assert tries.problem is not None  # noqa: S101 - there was at least one try
        raise tries.problem
    return batches


class _Tries:
    """Batches that the Keras model is tried with.

    Where a free axis is too short for a network's strides, Keras averages over nothing and answers
    NaN, or returns an empty array. Such a batch compares nothing, and ONNX's nodes refuse it.

    Attributes:
        wants_numbers: whether a batch without a finite number in some output is refused.
        had_no_numbers: whether there was such a batch.
        problem: the first exception.
    """

    def __init__(self, reference: Run) -> None:
        self._reference = reference
        self.wants_numbers = True
        self.had_no_numbers = False
        self.problem: Exception | None = None

    def takes(self, batch: Mapping[str, Array]) -> bool:
        """Whether the Keras model answers this batch."""
        try:
            answers = self._reference(batch)
        except MemoryError:
            raise
        except Exception as problem:  # whatever a layer raises about sizes and indices
            self.problem = self.problem or problem
            return False
        if self.wants_numbers and not all(map(_has_numbers, answers.values())):
            self.had_no_numbers = True
            return False
        return True


def _has_numbers(answer: Array) -> bool:
    """Whether an answer holds a number, and some sample holds no NaN."""
    if answer.dtype.kind not in "fc" or not answer.size:
        return bool(answer.size)
    has_nan = np.isnan(answer).reshape(len(answer) if answer.ndim else 1, -1).any(axis=1)
    return bool(np.isfinite(answer).any() and not has_nan.all())


def _find_taken(
    inputs: Sequence[TensorSpec], tries: _Tries, keys: LookupKeys, tables: IndexLimits | None
) -> list[dict[str, Array]]:
    """Return the batches of the first draw that the model takes, none where it takes none."""
    free = has_free_axes(inputs)
    wanted = 2 if free else 1
    for draw, within in _draws_to_try(inputs, keys, tables):
        sizes: list[int] = []
        for size in _FREE_AXIS_SIZES if free else _FREE_AXIS_SIZES[:1]:
            limits = within.find(size) if within is not None else {}
            if tries.takes(random_inputs(inputs, 1, size, 0, replace(draw, limits=limits))):
                sizes.append(size)
            if len(sizes) == wanted:
                break
        batches = []
        spread = [replace(draw, spread=_SPREAD, sign=sign) for sign in (0, 1, -1)]
        for samples, kinds in zip(BATCH_SIZES, ([draw], [draw], spread), strict=True):
            for size in sizes:
                limits = within.find(size) if within is not None else {}
                for kind, seed in itertools.product(kinds, _SEEDS):
                    values = replace(kind, limits=limits)
                    batch = random_inputs(inputs, samples, size, samples + seed, values)
                    if tries.takes(batch):
                        batches.append(batch)
                        break
        if batches:
            return batches
    return []


def _draws_to_try(
    inputs: Sequence[TensorSpec], keys: LookupKeys, tables: IndexLimits | None
) -> Iterator[tuple[Draw, IndexLimits | None]]:
    """Yield what to draw, and whether within the limits of the graph's tables."""
    has_integers = any(spec.dtype.kind in "iu" for spec in inputs)
    first = _DRAWS[0] if has_integers else Draw()
    yield replace(first, keys=keys), tables
    words = replace(keys, numbers=())
    if keys.numbers:
        yield replace(first, keys=words), tables
    if any(spec.dtype.kind == "f" for spec in inputs):
        yield replace(first, keys=words, spread=_SPREAD, sign=-1), None
    for draw in _DRAWS[1:]:
        if has_integers or draw.whole:
            yield replace(draw, keys=words), None


def with_cut_axes(
    inputs: Sequence[TensorSpec], data: Iterable[Mapping[str, Array]], reference: Run
) -> list[dict[str, Array]]:
    """Return the user's batches, then shorter copies of those that the model takes in that form.

    The copies have two thirds of each free axis, so that a second size of it is compared, too.
    """
    batches = [dict(batch) for batch in data]
    if not has_free_axes(inputs):
        return batches
    cut = [_cut_short(inputs, batch) for batch in batches]
    tries = _Tries(reference)
    return batches + [batch for batch in cut if tries.takes(batch)]


def _cut_short(inputs: Sequence[TensorSpec], batch: Mapping[str, Array]) -> dict[str, Array]:
    """Return the first two thirds of the batch along each free axis other than the batch axis."""
    result = {}
    for spec in inputs:
        places = [slice(None)]
        for size, have in zip(spec.shape[1:], batch[spec.name].shape[1:], strict=True):
            places.append(slice(max(1, have * 2 // 3)) if isinstance(size, str) else slice(None))
        result[spec.name] = batch[spec.name][tuple(places)]
    return result
