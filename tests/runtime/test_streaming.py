"""Streams: answers in order, in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import Child, identity, int8, mlp_artifact, needs_fork, two_inputs
from hypothesis import given
from hypothesis import strategies as st

from edgeport import InferenceError, InputError, OptionError, Predictor


@given(st.integers(0, 50), st.integers(1, 20))
def test_a_stream_gives_what_predict_gives_in_order(samples: int, batch_size: int) -> None:
    x = np.random.default_rng(samples).random((samples, 6)).astype("f4")
    with Predictor.load(int8().artifact()) as predictor:
        answers = list(predictor.stream(iter(x), batch_size=batch_size))
        assert len(answers) == samples
        for row, answer in zip(x, answers, strict=True):
            assert answer.tobytes() == predictor.predict(row).tobytes()


def test_samples_of_several_inputs_and_lengths() -> None:
    lengths = [3, 3, 5, 5, 5, 1, 3]
    with Predictor.load(two_inputs().artifact()) as predictor:
        samples: list[Any] = []
        for number, length in enumerate(lengths):
            left, right = np.full(length, number, "f4"), np.ones(length, "f4")
            samples.append((left, right) if number % 2 else {"left": left, "right": right})
        answers = list(predictor.stream(samples, batch_size=4))
    for number, (length, answer) in enumerate(zip(lengths, answers, strict=True)):
        assert answer["total"].tolist() == [number + 1] * length
        assert answer["difference"].tolist() == [number - 1] * length


def test_reading_is_never_far_ahead_and_stays_in_the_callers_thread() -> None:
    read: list[int] = []
    readers = set()

    def source() -> Iterator[Any]:
        for number in range(1000):
            read.append(number)
            readers.add(threading.get_ident())
            yield np.full(3, number, "f4")

    with Predictor.load(identity().artifact()) as predictor:
        for number, answer in enumerate(predictor.stream(source(), batch_size=8)):
            assert answer.tolist() == [number] * 3
            assert len(read) - number <= 8
    assert readers == {threading.get_ident()}


def test_a_bad_sample_is_named_after_the_answers_before_it() -> None:
    samples = [np.zeros(6), np.ones(6), np.ones(5), np.ones(6)]
    with Predictor.load(mlp_artifact()) as predictor:
        answers = predictor.stream(samples, batch_size=4)
        assert next(answers).shape == (3,)
        assert next(answers).shape == (3,)
        with pytest.raises(InputError, match=r"sample 2 of the stream .*'x' has shape \(5,\)"):
            next(answers)
        with pytest.raises(InputError, match=r"sample 0 .*it is a batch of 2, expected one sample"):
            list(predictor.stream([np.zeros((2, 6))]))


def test_an_error_of_the_source_comes_after_the_answers_before_it() -> None:
    def source() -> Iterator[Any]:
        yield from np.zeros((10, 6))
        raise OSError("the camera is gone")

    answers: list[Any] = []
    with Predictor.load(mlp_artifact()) as predictor:
        with pytest.raises(OSError, match="camera"):
            answers.extend(predictor.stream(source(), batch_size=4))
        assert len(answers) == 10


def test_a_batch_that_fails_is_not_passed_over() -> None:
    """The answers of the next batch, which is finished by then, would seem to be its own."""
    x = np.zeros((6, 6), "f4")
    x[2] = np.nan  # refused by an int8 model, once the whole batch is there
    answers: list[Any] = []
    with Predictor.load(int8().artifact()) as predictor:
        with pytest.raises(InputError, match="'x' is nan"):
            answers.extend(predictor.stream(x, batch_size=2))
        assert len(answers) == 2


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_a_source_may_refill_one_buffer(batch_size: int) -> None:
    """Like a camera that fills the same memory for every frame."""

    def source() -> Iterator[Any]:
        buffer = np.empty(3, "f4")
        for number in range(20):
            buffer[:] = number
            yield buffer

    with Predictor.load(identity().artifact()) as predictor:
        answers = [a.tolist() for a in predictor.stream(source(), batch_size=batch_size)]
    assert answers == [[number] * 3 for number in range(20)]


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_half_read_stream_goes_on_in_a_forked_child(child: Child, mlp_file: Path) -> None:
    code = """
import os, signal, sys, warnings
import numpy as np, edgeport
warnings.simplefilter("ignore", DeprecationWarning)
x = np.random.default_rng(0).random((100, 6)).astype("f4")
with edgeport.Predictor.load(sys.argv[1]) as predictor:
    answers = predictor.stream(iter(x), batch_size=8)
    got = [next(answers)]
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
    got += answers
    wanted = np.array([predictor.predict(row) for row in x])
    right = len(got) == 100 and np.allclose(got, wanted, rtol=1e-5)
    if pid == 0:
        sys.exit(7 if right else 1)
    print(right, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    result = child(code, mlp_file)
    assert (result.stdout, result.stderr) == ("True 7\n", "")


def test_a_stream_starts_no_thread() -> None:
    before = threading.active_count()
    with Predictor.load(mlp_artifact()) as predictor:
        for number, _ in enumerate(predictor.stream(np.zeros((9, 6)), batch_size=2)):
            assert threading.active_count() == before, number


def test_a_reload_shows_between_batches_only() -> None:
    with Predictor.load(identity().artifact()) as predictor:

        def source() -> Iterator[Any]:
            for number in range(20):
                if number == 10:
                    predictor.reload(identity().artifact())
                yield np.zeros(3)

        assert len(list(predictor.stream(source(), batch_size=4))) == 20


@pytest.mark.parametrize("batch_size", [0, -1, True, 2.0, None])
def test_an_impossible_batch_size_is_refused_at_once(batch_size: Any) -> None:
    with (
        Predictor.load(mlp_artifact()) as predictor,
        pytest.raises(OptionError, match="batch_size is"),
    ):
        predictor.stream([], batch_size=batch_size)


def test_a_closed_predictor_says_so_at_once() -> None:
    predictor = Predictor.load(mlp_artifact())
    predictor.close()
    with pytest.raises(InferenceError, match="is closed"):
        predictor.stream([])


@pytest.mark.parametrize("samples", [5, None, 1.5, np.float32(1)])
def test_what_cannot_be_iterated_is_refused_at_once(samples: Any) -> None:
    words = r"the stream is .*, expected an iterable of samples"
    with Predictor.load(mlp_artifact()) as predictor, pytest.raises(InputError, match=words):
        predictor.stream(samples)
