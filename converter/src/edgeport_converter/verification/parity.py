"""The parity check: the float graph's answers compared with the Keras model's.

The graph is run by the runtime's own ``Predictor``, as on a device. What quantization loses is
measured elsewhere, by ``quantization.evaluation``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgeport import ArtifactError, ModelCard
from edgeport.artifact.golden import Array
from edgeport_converter.errors import AgreementError, UnsupportedModelError
from edgeport_converter.progress import track
from edgeport_converter.verification.differences import (
    ABSOLUTE_TOLERANCE,
    NO_FLOORS,
    SMALL_ANSWERS,
    difference_of,
    largest_excess,
    largest_of,
    tolerance_of,
)
from edgeport_converter.verification.proof import Proof
from edgeport_converter.verification.runners import Run, Runner
from edgeport_converter.verification.spoiling import STRONG, SpoiledTrial
from edgeport_converter.verification.trial_inputs import TrialBatches

if TYPE_CHECKING:
    import onnx


_REPORT = "report this model, its conversion would be wrong"
# Inputs that no device sees may be so large that sine, say, makes much of a rounding.
_MADE_UP = (
    "pass data like the device's, since these inputs are made up, and report this model if it is "
    "refused with data, too"
)


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
        logits: what was compared before the last function of an output, too, such as
            "scores before softmax".
        trials: what the check noticed of spoiled weights.
        made_up: whether the samples were made up.
        floors: by output that is far below 1, what it may be off by whatever its size, where that
            is less than ``ABSOLUTE_TOLERANCE``.
        largest_answer: the largest absolute value of float answers that the weights were tried on.
    """

    samples: int
    largest_difference: float
    output: str
    index: tuple[int, ...]
    keras: float
    onnx: float
    logits: tuple[str, ...] = ()
    trials: tuple[SpoiledTrial, ...] = ()
    made_up: bool = False
    floors: Mapping[str, float] = field(default_factory=dict)
    largest_answer: float = 0.0

    def doubts(self) -> tuple[str, ...]:
        """Return what the check could not tell, a sentence, for the card and the report."""
        missed = [trial for trial in self.trials if trial.noticed < trial.tried]
        if not self.made_up:  # channels that no data of the user reaches do not matter
            missed = [trial for trial in missed if trial.what != "channel"]
        if not missed:
            return ()
        where = "made-up inputs" if self.made_up else "the data"
        remedy = "pass data like the device's" if self.made_up else "pass data of more kinds"
        if any(trial.what == "graph" and trial.noise == STRONG for trial in missed):
            if 0 < self.largest_answer < SMALL_ANSWERS:
                return (
                    f"answers on {where} are at most {self.largest_answer:.2g}, little beside the "
                    f"{ABSOLUTE_TOLERANCE:g} that rounding may make of sums: the parity check "
                    f"would pass with all weights {STRONG:.0%} off, so that it proves little: "
                    "scale the outputs to about 1, or pass data whose answers are larger",
                )
            return (
                f"answers are saturated on {where}: the parity check would pass with all weights "
                f"{STRONG:.0%} off, so that it proves little: {remedy}",
            )
        return (
            f"answers on {where} do not depend on all weights: the parity check would miss "
            f"{' and '.join(trial.describe() for trial in missed)}: {remedy}",
        )


def compare_answers(
    run: Run,
    reference: Run,
    batches: Sequence[Mapping[str, Array]],
    floors: Mapping[str, float] = NO_FLOORS,
    next_step: str = _REPORT,
) -> Parity:
    """Compare the graph with Keras on every batch.

    Args:
        run: the float graph.
        reference: the Keras model.
        batches: arrays by input name, each with the batch axis N.
        floors: by output, the absolute part of what is allowed, 1e-5 where there is none.
        next_step: what to do where values differ.

    Raises:
        AgreementError: a shape or dtype differs, an integer output is not equal, or a float is
            off by more than 1e-5 + 1e-4 of the output's largest absolute value.
    """
    worst: Parity | None = None
    samples = 0
    for batch in track(batches, "compare with Keras"):
        expected, actual = reference(batch), run(batch)
        samples += len(next(iter(batch.values())))
        for name, wanted in expected.items():
            if wanted.dtype.kind == "f" and wanted.size and np.isnan(wanted).all():
                raise AgreementError(
                    f"output '{name}' of the Keras model has only NaN, expected numbers to "
                    "compare with: pass data like the device's"
                )
            found = _compare_output(name, wanted, actual[name], samples, floors, next_step)
            if worst is None or not found.largest_difference <= worst.largest_difference:
                worst = found
    if worst is None:
        raise AgreementError("no sample to compare with Keras: pass data")
    return replace(worst, samples=samples)


def _compare_output(
    name: str,
    wanted: Array,
    got: Array,
    samples: int,
    floors: Mapping[str, float],
    next_step: str,
) -> Parity:
    if wanted.shape != got.shape or wanted.dtype != got.dtype:
        raise AgreementError(
            f"output '{name}' is {got.dtype} of shape {got.shape} in ONNX, Keras gives "
            f"{wanted.dtype} of shape {wanted.shape}: report this model"
        )
    if wanted.size == 0:
        return Parity(samples, 0.0, name, (), 0.0, 0.0)
    difference = difference_of(wanted, got)
    allowance = np.broadcast_to(tolerance_of(name, wanted, floors), wanted.shape)
    worst = int(np.argmax(difference - allowance))
    index = tuple(int(i) for i in np.unravel_index(worst, difference.shape))
    largest, allowed = float(difference[index]), float(allowance[index])
    if largest > allowed:
        raise AgreementError(
            f"output '{name}' is {got[index]!r} at {list(index)} in ONNX, Keras gives "
            f"{wanted[index]!r} and {allowed:.3g} is allowed: {next_step}",
            measured=largest / allowed if allowed else float("inf"),
            allowed=1.0,
        )
    values = (wanted[index], got[index]) if wanted.dtype.kind in "fiub" else (0.0, 0.0)
    keras, onnx_value = map(float, values)
    return Parity(samples, largest, name, index, keras, onnx_value)


_LOGITS_SAMPLES = 16
_MISSING_KERNEL = re.compile(
    r"Could not find an implementation for (\w+)\(\d+\) node with name '(.*?)'"
)


def check_parity(
    graph: onnx.ModelProto, card: ModelCard, compared: TrialBatches, logits: Run
) -> tuple[Parity, dict[str, Array]]:
    """Return the parity, and samples that it was measured on.

    1. The answers are compared with Keras'.
    2. So are the logits, what goes into the last function of each output, on some of the samples.
    3. Without data, samples of further kinds are made up and compared.
    4. Answers far below 1 that hang little on rounding are compared again, more strictly.
    5. The graph's weights are spoiled, to find what the check would notice.

    Args:
        graph: the float graph, finished.
        card: its inputs and outputs.
        compared: the Keras model, and what to compare on.
        logits: the Keras model with its logits.

    Raises:
        AgreementError: the graph does not answer as Keras does.
        UnsupportedModelError: the engine has no kernel for an operator in the format it is used in.
    """
    reference, batches = compared.reference, compared.batches
    next_step = _MADE_UP if compared.made_up else _REPORT
    compare = partial(compare_answers, next_step=next_step)
    try:
        with Runner(card).open(graph) as run:
            parity = compare(run, reference, batches)
            proof = Proof(graph, card)
            asked = logits if proof.logits else None
            telling = proof.make_telling(batches[-1]) if compared.made_up else None
            answers = {} if telling is None else _ask(run, reference, asked, telling)
            samples = telling if telling and answers else _few(max(batches, key=_count))
            if telling and answers:
                wanted = {spec.name: answers[spec.name] for spec in card.outputs}
                more = compare(run, lambda _: wanted, [samples])
                worst = max(parity, more, key=lambda each: each.largest_difference)
                parity = replace(worst, samples=parity.samples + more.samples)
            elif asked:
                answers = _ask(run, reference, asked, samples)
            shared = proof.shared_logits(answers, samples)
            answered = run(samples)
            known = {name: answers[name] for name in shared} | answered
            floors = proof.find_floors(run, samples, known)
            if floors.keys() & answered.keys():
                compare(run, reference, [samples], floors)
    except AgreementError as cause:
        if all(node.op_type != "NonMaxSuppression" for node in graph.graph.node):
            raise
        raise AgreementError(
            f"{str(cause).rpartition(': ')[0]}, in a graph that chooses boxes by their scores "
            "(NonMaxSuppression), where ONNX takes equal scores in another order than TensorFlow: "
            "give it scores that differ, such as those before a sigmoid that saturates, else "
            "report this model",
            measured=cause.measured,
            allowed=cause.allowed,
        ) from cause
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
    if shared:
        before = {name: answers[name] for name in shared}
        compare(proof.run, lambda _: before, [samples], floors)
    parity = replace(
        parity,
        logits=shared,
        trials=proof.try_spoiling(samples, shared, floors),
        made_up=compared.made_up,
        floors={name: floors[name] for name in floors if name in answered},
        largest_answer=max(
            (largest_of(array) for array in answered.values() if array.dtype.kind == "f"),
            default=0.0,
        ),
    )
    return parity, samples if compared.made_up else dict(batches[-1])


def _ask(
    run: Run, reference: Run, logits: Run | None, samples: Mapping[str, Array]
) -> dict[str, Array]:
    """Return Keras' answers with its logits, or without; none where Keras refuses the samples.

    Keras' own graph is wrong for some layers. Where it does not answer as the exported graph does,
    the model itself is asked, without logits.
    """
    if logits is not None:
        try:
            found = logits(samples)
        except Exception:  # what TensorFlow cannot trace or open, though it can run it
            found = {}
        answers = run(samples)
        if found and largest_excess(answers, found) <= 1:
            return found
    try:
        return reference(samples)
    except Exception:  # whatever a layer raises about values
        return {}


def _few(batch: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array[:_LOGITS_SAMPLES] for name, array in batch.items()}


def _count(batch: Mapping[str, Array]) -> int:
    return len(next(iter(batch.values())))
