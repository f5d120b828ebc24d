"""Inputs for the parity check: random trial inputs, or the user's samples cut to a second size.

``parity`` calls ``make_trial_inputs`` where there is no data, ``with_cut_axes`` where there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import onnx

from edgeport import EdgeportError, ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.data.made_up import NO_KEYS, Draw, LookupKeys, random_inputs
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.model import shorten
from edgeport_converter.verification.index_limits import IndexLimits
from edgeport_converter.verification.runners import Run

# Sizes of free axes, tried in this order; the first two that the model takes are used. A model that
# takes any size gets an even and an odd one. Networks with skip connections often take multiples of
# a power of two only; 16,000 is a second of sound.
_FREE_AXIS_SIZES = (
    *(8, 13, 16, 32, 48, 64, 96, 128, 192, 224, 256, 512, 1024, 2048, 4096, 16000),
    *(4, 5, 6, 3, 2, 1),  # a table of positions may be short
)

BATCH_SIZES = (1, 2, 5)
"""Numbers of samples in the batches that a model is tried with."""

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


def make_up_for(graph: onnx.ModelProto, card: ModelCard, reference: Run) -> list[dict[str, Array]]:
    """Return trial inputs that the Keras model takes, within the limits that its graph tells.

    Raises:
        UnsupportedModelError: it took none.
    """
    tables = IndexLimits(graph, card.inputs)
    try:
        return make_trial_inputs(card.inputs, reference, find_lookup_keys(graph), tables)
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
    3. Of the first that the model took with some size, batches of each of ``BATCH_SIZES`` are made,
       at each size found. One that the model refuses is drawn again, and left out in the end.

    Args:
        inputs: the model's inputs.
        reference: the Keras model.
        keys: the keys of the graph's lookup tables.
        tables: the tables of the graph that are read by row numbers.

    Raises:
        Exception: the first exception of the Keras model, if it took none of the inputs.
    """
    free = any(isinstance(size, str) for spec in inputs for size in spec.shape[1:])
    wanted = 2 if free else 1
    problem: Exception | None = None
    for draw, within in _draws_to_try(inputs, keys, tables):
        sizes: list[int] = []
        for size in _FREE_AXIS_SIZES if free else _FREE_AXIS_SIZES[:1]:
            limits = within.find(size) if within is not None else {}
            batch = random_inputs(inputs, 1, size, 0, replace(draw, limits=limits))
            refused = _refusal(reference, batch)
            problem = problem or refused
            if refused is None:
                sizes.append(size)
            if len(sizes) == wanted:
                break
        batches = []
        for samples, spread in zip(BATCH_SIZES, (None, None, _SPREAD), strict=True):
            for size in sizes:
                limits = within.find(size) if within is not None else {}
                for seed in _SEEDS:
                    values = replace(draw, spread=spread, limits=limits)
                    batch = random_inputs(inputs, samples, size, samples + seed, values)
                    refused = _refusal(reference, batch)
                    if refused is None:
                        batches.append(batch)
                        break
                    problem = problem or refused
        if batches:
            return batches
    assert problem is not None  # noqa: S101 - there was at least one try
    raise problem


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
    if not any(isinstance(size, str) for spec in inputs for size in spec.shape[1:]):
        return batches
    cut = [_cut_short(inputs, batch) for batch in batches]
    return batches + [batch for batch in cut if _refusal(reference, batch) is None]


def _refusal(reference: Run, batch: Mapping[str, Array]) -> Exception | None:
    """Return the exception that the Keras model raises for a batch, None if it raises none."""
    try:
        reference(batch)
    except MemoryError:
        raise
    except Exception as problem:  # whatever a layer raises about sizes and indices
        return problem
    return None


def _cut_short(inputs: Sequence[TensorSpec], batch: Mapping[str, Array]) -> dict[str, Array]:
    """Return the first two thirds of the batch along each free axis other than the batch axis."""
    result = {}
    for spec in inputs:
        places = [slice(None)]
        for size, have in zip(spec.shape[1:], batch[spec.name].shape[1:], strict=True):
            places.append(slice(max(1, have * 2 // 3)) if isinstance(size, str) else slice(None))
        result[spec.name] = batch[spec.name][tuple(places)]
    return result
