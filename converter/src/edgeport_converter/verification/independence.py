"""Whether a sample's answer depends on the other samples of the batch.

A device splits batches, joins the samples of a stream and fills batches up, which is right only
where each sample is answered by itself. The check runs the Keras model and the float graph on the
same samples in different company, at other places and alone:

1. A batch of three samples is answered, or of as many as the model insists on. Each output has to
   have as many rows, also for one sample.
2. Some of its samples are replaced: those whose place has a certain binary digit, for each digit
   and both of its values, so that of each pair of samples one was kept while the other was
   replaced. With the first digit the new values are a thousand times as large, of both signs, which
   moves every maximum, threshold and mean; with the others they are like those of the data, since
   large ones may be clipped or refused. Where a model refuses them, elements that are row numbers
   of a table get those of another sample. The rows that were kept must stay, to the last bits: no
   kernel computes a row in another way because another row holds other values.
3. The last sample is answered alone, and all of them in other places of a larger batch, within the
   tolerance of the parity check: other sizes take other ways through a kernel.
4. A thousandth of each sample is answered, then some of them beside large values, as in step 2:
   what any sample decides for the batch, such as ``x / 255 if max(x) > 1``, shows only where the
   kept samples do not decide so themselves.

A network that ends in a softmax may be saturated on made-up inputs, so that the graph's rows are
compared before it, too. ``conversion`` calls ``find_interaction`` before the parity check.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import onnx

from edgeport import ModelCard, TensorSpec
from edgeport.artifact.golden import Array
from edgeport_converter.data.made_up import is_amount
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.verification.index_limits import IndexLimits
from edgeport_converter.verification.runners import Run, fixed_batch, run_as_defined
from edgeport_converter.verification.trial_inputs import TrialBatches

Batch = Mapping[str, Array]
Owners = Callable[[onnx.ModelProto], Sequence[str]]
"""From a graph to the Keras layer of each of its nodes, "" where none is known."""

_SAMPLES = 3
_LARGER = (1, 2, 0, 2, 1)  # places in the batch of three, for one of five
_LOUD = 1000.0
_QUIET = 32.0  # levels of int16, 60 dB below full scale

# A share of the row's largest value. Rows that were kept are computed by the same steps.
_KEPT_TOLERANCE = 1e-5
# As in the parity check: a share of the output's largest value, and an absolute difference.
_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 1e-4, 1e-5
# Of the elements of an integer output, which change where a float is at a border.
_CHANGED_INTEGERS = 0.01

_SQUASHING = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "HardSigmoid", "ArgMax", "Softsign")
_MOVING = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Cast", "Transpose", "Flatten")


@dataclass(frozen=True)
class Interaction:
    """Where the samples of a batch first depend on each other.

    Attributes:
        output: an output that shows it.
        layer: the Keras layer in which it begins, "" where none is known.
    """

    output: str
    layer: str

    @property
    def place(self) -> str:
        """In words, to go on a sentence that names the samples."""
        return f"layer '{self.layer}'" if self.layer else f"a layer before output '{self.output}'"


@dataclass(frozen=True)
class _Trial:
    """Some of the samples in another batch.

    Attributes:
        batches: that batch, then others to take where the model refuses it.
        rows: places of the samples in the batch that all trials begin with.
        other_rows: their places in the other batch.
        exact: whether they are computed by the very same steps.
        loud: whether the samples that are replaced become large.
    """

    batches: Sequence[Batch]
    rows: Sequence[int]
    other_rows: Sequence[int]
    exact: bool
    loud: bool = False

    def differs(self, answer: Array, other: Array) -> bool:
        """Whether the answers to the same samples differ."""
        if answer.shape[1:] != other.shape[1:]:
            return True
        a, b = answer[list(self.rows)], other[list(self.other_rows)]
        if a.dtype.kind != "f":
            share = 0.0 if self.exact else _CHANGED_INTEGERS
            return bool(np.mean(a != b) > share) if a.size else False
        a, b = a.astype(np.float64), b.astype(np.float64)
        with np.errstate(invalid="ignore"):
            gap = np.abs(a - b)
        gap[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
        sizes = np.where(np.isfinite(a), np.abs(a), 0.0)
        if self.exact:
            axes = tuple(range(1, a.ndim))
            allowed = _KEPT_TOLERANCE * sizes.max(axis=axes, keepdims=True, initial=0.0)
        else:
            allowed = _ABSOLUTE_TOLERANCE + _RELATIVE_TOLERANCE * sizes.max(initial=0.0)
        return not bool((gap <= allowed).all())


def find_interaction(
    graph: onnx.ModelProto,
    card: ModelCard,
    compared: TrialBatches,
    owners: Owners,
) -> Interaction | None:
    """Return where samples depend on each other, None where each is answered by itself.

    Args:
        graph: the float graph, finished.
        card: its inputs and outputs.
        compared: the Keras model, and samples that it takes.
        owners: names the layer.

    Raises:
        UnsupportedModelError: an output has not one row a sample, or the model insists on a number
            of samples that depend on each other.
    """
    fixed = fixed_batch(card.inputs)
    samples = fixed or _SAMPLES
    reference = compared.reference
    base = _quiet(_take(compared.samples, card.inputs, range(samples)), card.inputs)
    batches = [base] if fixed else [base, _take(base, card.inputs, [-1])]
    wanted = _answer_of_keras(reference, batches)
    names = [spec.name for spec in card.outputs]
    inner = _before_squashing(graph, names)
    try:
        run = run_as_defined(graph, [*names, *inner])
        answers = [run(batch) for batch in batches]
    except Exception:  # the parity check runs the same, and says what the engine does not take
        return None
    sizes = [samples, 1][: len(batches)]
    for answer, size in zip(answers, sizes, strict=True):
        _require_rows(answer, names, size)
    if fixed == 1:
        return None
    rows = IndexLimits(graph, card.inputs).places(base)
    trials = _trials(base, card.inputs, fixed, rows)
    loud = [trial for trial in trials if trial.loud]
    with_rows = [name for name in inner if _has_rows(name, answers, sizes)]
    found = _first_difference(run, answers[0], trials, [*names, *with_rows]) or _first_difference(
        reference, wanted, [*loud, *trials[-1:]], names
    )
    if found is None:
        weak = _weakened(base, card.inputs)
        trials = [
            replace(
                trial, batches=[_in_company(weak, card.inputs, trial.rows, loud=True, rows=rows)]
            )
            for trial in loud
        ]
        for answer_of, looked_at in ((run, [*names, *with_rows]), (reference, names)):
            right = _answer(answer_of, [weak]) if found is None else None
            if right is not None:
                found = _first_difference(answer_of, right, trials, looked_at)
        batches = [weak, *batches[1:]]
    if found is None:
        return None
    name, trial = found
    layer = _first_layer(graph, batches, trial, owners)
    interaction = Interaction(name if name in names else names[0], layer)
    if fixed:
        raise UnsupportedModelError(
            f"the model takes exactly {fixed} samples, and their answers depend on each other from "
            f"{interaction.place} on, expected a free number of samples, or samples that are "
            "answered each by itself: leave batch_size out of keras.Input"
        )
    return interaction


def _quiet(batch: Batch, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return the samples, those of amounts quiet: nothing is louder than full scale."""
    quiet = dict(batch)
    for spec in inputs:
        if is_amount(spec):
            array = batch[spec.name]
            loudness = np.abs(array.astype(np.float64)).max(initial=1.0)
            quiet[spec.name] = (array * min(1.0, _QUIET / loudness)).astype(array.dtype)
    return quiet


def _take(batch: Batch, inputs: Sequence[TensorSpec], places: Sequence[int]) -> dict[str, Array]:
    """Return the samples of these places."""
    return {
        spec.name: batch[spec.name].take(places, axis=0, mode="wrap")
        if spec.has_batch_axis
        else batch[spec.name]
        for spec in inputs
    }


def _weakened(batch: Batch, inputs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Return a thousandth of each sample, of bytes 0 or 1; other integers may be row numbers."""
    weak = dict(batch)
    for spec in inputs:
        array = batch[spec.name]
        if spec.has_batch_axis and array.dtype.kind == "f":
            weak[spec.name] = (array / _LOUD).astype(array.dtype)
        elif spec.has_batch_axis and array.dtype == np.uint8:
            weak[spec.name] = array % 2
    return weak


def _answer_of_keras(reference: Run, batches: Sequence[Batch]) -> dict[str, Array]:
    """Return the answer to the first batch; refuse a model that takes no more than one sample."""
    try:
        return reference(batches[0])
    except Exception as cause:
        if _answer(reference, batches[1:]) is None:
            raise
        raise UnsupportedModelError(
            f"the Keras model answers 1 sample and refuses {_SAMPLES}, expected any number, as its "
            "input declares: declare one sample, with batch_size=1 in keras.Input, or let the "
            "layers take any number"
        ) from cause


def _require_rows(answers: Batch, outputs: Sequence[str], samples: int) -> None:
    """Refuse an output whose first axis does not count the samples."""
    for name in outputs:
        shape = answers[name].shape
        if shape[:1] != (samples,):
            raise UnsupportedModelError(
                f"output '{name}' has the shape {shape} for a batch of {samples}, expected a first "
                "axis that counts the samples, since a device answers them one by one and in "
                "batches of any size: give each sample a row of its own in the model, or leave "
                "this output out"
            )


def _has_rows(name: str, answers: Sequence[Batch], sizes: Sequence[int]) -> bool:
    """Whether a tensor's first axis counts the samples, as far as its size tells."""
    return all(
        isinstance(answer[name], np.ndarray) and answer[name].shape[:1] == (size,)
        for answer, size in zip(answers, sizes, strict=True)
    )


def _trials(
    base: Batch, inputs: Sequence[TensorSpec], fixed: int | None, rows: Mapping[str, Array]
) -> list[_Trial]:
    """Return what to compare: steps 2 and 3 of the module's docstring.

    Args:
        base: the batch that the samples are taken from.
        inputs: the model's.
        fixed: the number of samples that the model insists on.
        rows: by input which elements of a sample are row numbers of a table, (1, ...).
    """
    samples = fixed or _SAMPLES
    trials = []
    highest = (samples - 1).bit_length() - 1
    for digit in range(highest, -1, -1):
        for value in (0, 1):
            kept = [place for place in range(samples) if (place >> digit) & 1 == value]
            loud = digit == highest
            batches = [
                _in_company(base, inputs, kept, loud=each, rows=same)
                for each in ((True, False) if loud else (False,))
                for same in ({}, rows)[: 2 if rows else 1]
            ]
            trials.append(_Trial(batches, kept, kept, exact=True, loud=loud))
    if fixed:
        turned = [(place + 1) % fixed for place in range(fixed)]
        moved = [_Trial([_take(base, inputs, turned)], turned, range(fixed), exact=False)]
    else:
        larger = _Trial([_take(base, inputs, _LARGER)], _LARGER, range(len(_LARGER)), exact=False)
        alone = _Trial([_take(base, inputs, [-1])], [-1], [0], exact=False)
        moved = [larger, alone]
    return trials + moved


def _in_company(
    base: Batch,
    inputs: Sequence[TensorSpec],
    kept: Sequence[int],
    *,
    loud: bool,
    rows: Mapping[str, Array],
) -> dict[str, Array]:
    """Return the batch with all samples replaced but those that are kept.

    A replaced sample gets the values of its neighbour in reverse order. If ``loud``, floats become
    a thousand times as large, positive and negative by turns, PCM goes from end to end of its
    range, and other integers become the largest and the smallest of the batch, since they may be
    indices. The elements that are ``rows`` of a table, by input name, get the neighbour's in any
    case.
    """
    result = dict(base)
    for spec in inputs:
        array = base[spec.name]
        if not spec.has_batch_axis or not array.size:
            continue
        new = array.copy()
        replaced = [place for place in range(len(array)) if place not in kept]
        for turn, place in enumerate(replaced):
            neighbour = array[(place + 1) % len(array)]
            values = neighbour.reshape(-1)[::-1].reshape(neighbour.shape)
            if loud and array.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    values = (np.abs(values) + 1) * (_LOUD if turn % 2 == 0 else -_LOUD)
            elif loud and is_amount(spec):
                low, high = spec.value_range or (0, 0)
                values = np.where(values > 0, high, low)
            elif loud and array.dtype.kind in "iub":
                values = array.max() if turn % 2 == 0 else array.min()
            new[place] = (
                np.where(rows[spec.name][0], neighbour, values) if spec.name in rows else values
            )
        result[spec.name] = new
    return result


def _first_difference(
    run: Run, answers: Batch, trials: Sequence[_Trial], names: Sequence[str]
) -> tuple[str, _Trial] | None:
    """Return the first tensor and trial that differ from the answers to the same samples."""
    for trial in trials:
        others = _answer(run, trial.batches)
        for name in names:
            if others is not None and trial.differs(answers[name], others[name]):
                return name, trial
    return None


def _answer(run: Run, batches: Sequence[Batch]) -> dict[str, Array] | None:
    """Return the answer to the first batch that the model takes, None where it takes none."""
    for batch in batches:
        with suppress(Exception):  # whatever a layer raises about values that it does not know
            return run(batch)
    return None


def _before_squashing(graph: onnx.ModelProto, outputs: Sequence[str]) -> list[str]:
    """Return the inputs of the functions that squash the outputs, such as a softmax."""
    producers = {name: node for node in graph.graph.node for name in node.output}
    found = []
    for name in outputs:
        node = producers.get(name)
        while node is not None and node.op_type in _MOVING:
            node = producers.get(node.input[0])
        if node is not None and node.op_type in _SQUASHING and node.input[0] in producers:
            found.append(node.input[0])
    return [name for name in dict.fromkeys(found) if name not in outputs]


def _first_layer(
    graph: onnx.ModelProto, batches: Sequence[Batch], trial: _Trial, owners: Owners
) -> str:
    """Return the layer of the first node that answers the same samples differently, "" for none.

    Only tensors whose first axis has the size of each batch are compared.
    """
    sizes = [len(next(iter(batch.values()))) for batch in batches]
    names = {name: None for node in graph.graph.node for name in node.output if name}
    try:
        run = run_as_defined(graph, list(names))
        answers = [run(batch) for batch in batches]
        others = _answer(run, trial.batches)
    except Exception:  # the name is a help, no more
        return ""
    if others is None:
        return ""
    for node, owner in zip(graph.graph.node, owners(graph), strict=True):
        for name in node.output:
            if (
                name in names
                and _has_rows(name, answers, sizes)
                and trial.differs(answers[0][name], others[name])
            ):
                return owner
    return ""
