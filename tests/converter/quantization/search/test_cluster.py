"""What goes to the machines of a cluster, and what is refused there; tests/scale runs a cluster."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from edgeport import ConversionError
from edgeport_converter.quantization.evaluation.evaluator import Evaluator
from edgeport_converter.quantization.search.cluster import _find_ours, _Job, _Machine

X = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
LABELS = np.arange(100) % 4


def in_batches(size):
    return ({"x": X[start : start + size]} for start in range(0, len(X), size))


def doubled(batch):
    return {"y": batch["x"] * 2.0}


def test_an_evaluator_goes_to_another_machine_without_the_user_s_function_and_data():
    evaluator = Evaluator(
        lambda batch: {"y": batch["x"]},
        in_batches,
        LABELS,
        lambda outputs, labels: float((outputs.argmax(-1) == labels).mean()),
        classifier=True,
    )
    sent = pickle.dumps(evaluator.without_metric())
    assert len(sent) < 2_000
    there = pickle.loads(sent).on(lambda batch: {"y": batch["x"]}, in_batches)  # noqa: S301
    answered = pickle.loads(pickle.dumps(there.answer(doubled)))  # noqa: S301
    assert evaluator.judge(answered) == evaluator.measure(doubled)
    assert evaluator.judge(answered).metric == float((X.argmax(-1) == LABELS).mean())
    with pytest.raises(RuntimeError, match="on the machine that converts"):
        pickle.loads(sent).answer(doubled)  # noqa: S301


def test_a_metric_may_write_into_answers_of_another_machine():
    def writing(outputs, labels):
        right = float((outputs.argmax(-1) == labels).mean())
        outputs[:] = 0
        return right

    evaluator = Evaluator(doubled, in_batches, LABELS, writing, classifier=True)
    answered = evaluator.answer(doubled)
    answered.seen.flags.writeable = False  # as Ray hands it out
    right = float((X.argmax(-1) == LABELS).mean())
    assert evaluator.judge(answered).metric == evaluator.judge(answered).metric == right


def test_a_machine_with_another_version_is_refused():
    here = _Machine.here(1)
    job = _Job(b"", None, None, None, None, None, here)
    assert job.require_versions() == here
    versions = ("edgeport-converter 9.9", *here.versions[1:])
    with pytest.raises(
        ConversionError, match=r"has edgeport-converter 0.*, expected edgeport-converter 9\.9"
    ):
        replace(job, machine=replace(here, versions=versions)).require_versions()


def test_an_error_of_ours_is_found_inside_of_another_library_s():
    ours = ConversionError("ours")
    theirs = RuntimeError("theirs")
    theirs.cause = ours
    outer = ValueError("outer")
    outer.__cause__ = theirs
    assert _find_ours(outer) is ours
    assert _find_ours(ValueError("alone")) is None
