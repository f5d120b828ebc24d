"""Batches, whole and in parts, with one thread and several: the plain engine's answers.

The truth is ``onnxruntime.InferenceSession`` on the same file, one sample at a time.
"""

from __future__ import annotations

import copy
import itertools
import os
import pickle
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import Child, identity, in_threads, int8, mlp, sealed, spec, two_inputs

from edgeport import InferenceError, InputError, Predictor
from edgeport.device.tuning_file import Tuning
from edgeport.engine import fast_path, helpers
from edgeport.inputs.batching import CHUNK_BYTES, Batching
from edgeport.loading import load_model
from edgeport.options import Options

# isort: split
import onnxruntime

RNG = np.random.default_rng(18)
WORK = 2**22  # of a sample; 64 of them are one part


def artifact(example: Any = None, work: int = WORK) -> bytes:
    example = example or mlp()
    return sealed(example.onnx, replace(example.card, multiply_accumulates=work))


def plain(onnx: bytes, x: Any) -> Any:
    """The plain engine's answers, one sample at a time."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (name,) = (node.name for node in session.get_inputs())
    return np.concatenate([session.run(None, {name: row[None]})[0] for row in x])


@pytest.mark.parametrize("work", [WORK, 2**27])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("chunk_bytes", [1, 500, 2**22])
def test_every_size_and_layout_gives_the_engines_answers(
    threads: int, chunk_bytes: int, work: int
) -> None:
    x = RNG.random((300, 6), dtype="f4")
    wanted = plain(mlp().onnx, x)
    content = artifact(work=work)
    with Predictor.load(content, threads=threads, chunk_bytes=chunk_bytes) as predictor:
        assert predictor.threads == threads
        for size in (1, 2, 3, 31, 63, 64, 65, 129, 300):
            for form in (x[:size], x[:size], np.asfortranarray(x[:size]), x[:size].tolist()):
                answer = predictor.predict(form)
                np.testing.assert_allclose(answer, wanted[:size], rtol=1e-5)
        np.testing.assert_allclose(predictor.predict(x[::-1]), wanted[::-1], rtol=1e-5)


@pytest.mark.parametrize("size", [2, 20, 400])
def test_an_answer_is_not_a_view_of_what_a_later_call_overwrites(size: int) -> None:
    batches = [RNG.random((size, 6), dtype="f4") for _ in range(12)]
    with Predictor.load(artifact(), threads=2) as predictor:
        answers = [predictor.predict(x) for x in batches]
        kept = [answer.copy() for answer in answers]
        for x in batches[::-1]:
            predictor.predict(x)[...] = 7  # nor does the caller's writing reach a later one
        for x, answer, before in zip(batches, answers, kept, strict=True):
            np.testing.assert_array_equal(answer, before)
            np.testing.assert_allclose(answer, mlp().formula(x), rtol=1e-5)


def test_no_buffer_is_shared_by_two_threads() -> None:
    wrong: list[Any] = []
    with Predictor.load(artifact(identity("float32", ("N", 4)))) as predictor:

        def work(number: int) -> None:
            for turn in range(600):
                x = np.full((2 + (number + turn) % 30, 4), number * 1000 + turn, "f4")
                if not np.array_equal(predictor.predict(x), x):
                    wrong.append(x)

        in_threads(work, range(6))
        model = predictor._model
        assert model is not None
        assert model.fast_path is not None
        assert len(model.fast_path._idle) >= 3
    assert wrong == []


@pytest.mark.parametrize("size", [5, 300])
def test_values_out_of_range_are_counted_once_whatever_the_parts(size: int) -> None:
    with Predictor.load(artifact(int8()), threads=2) as predictor:
        total = 0
        for _ in range(4):
            x = RNG.uniform(-0.5, 1.5, (size, 6)).astype("f4")
            predictor.predict(x)
            total += int(((x < 0) | (x > 1)).sum())
            assert predictor.out_of_range == {"x": total}
        x = np.full((size, 6), 0.5, "f4")
        predictor.predict(x)
        x[size - 1, 2] = np.nan
        with pytest.raises(InputError, match=rf"is nan at \[{size - 1}, 2\], which an int8"):
            predictor.predict(x)
        assert predictor.out_of_range == {"x": total}


def test_finite_and_timeout_answer_a_large_batch_alike() -> None:
    x = RNG.random((300, 6), dtype="f4")
    with Predictor.load(artifact(), threads=2) as predictor:
        for options in ({"finite": True}, {"timeout": 60}, {"finite": True, "timeout": 60}):
            answer = predictor.predict(x, **options)  # type: ignore[arg-type]
            np.testing.assert_allclose(answer, mlp().formula(x), rtol=1e-5)
        x[200, 3] = np.inf
        with pytest.raises(InputError, match=r"input 'x' is inf at \[200, 3\], expected finite"):
            predictor.predict(x, finite=True)


def test_several_inputs_and_text_in_parts() -> None:
    a, b = RNG.random((2, 300, 2), dtype="f4")
    with Predictor.load(artifact(two_inputs()), threads=2) as predictor:
        alone = [predictor.predict(a[i], b[i]) for i in range(300)]
        together = predictor.predict(a, b)
        for name, answer in together.items():
            np.testing.assert_allclose(answer, [one[name] for one in alone], rtol=1e-6)
    words = np.array([f"é{number}" for number in range(600)], object).reshape(300, 2)
    with Predictor.load(artifact(identity("str", ("N", 2))), threads=2) as predictor:
        for _ in range(3):
            assert predictor.predict(words).tolist() == words.tolist()


def test_a_fixed_batch_and_a_free_axis_in_parts() -> None:
    x = RNG.random((301, 3), dtype="f4")
    fixed = identity("float32", (4, 3))
    card = replace(fixed.card, multiply_accumulates=WORK)
    axes = ("N", "F")
    card = replace(
        card,
        inputs=(replace(card.inputs[0], axes=axes),),
        outputs=(replace(card.outputs[0], axes=axes),),
    )
    with Predictor.load(sealed(fixed.onnx, card), threads=2) as predictor:
        np.testing.assert_array_equal(predictor.predict(x), x)
        np.testing.assert_array_equal(predictor.predict(x[:3]), x[:3])
    with Predictor.load(artifact(identity("float32", ("N", "T"))), threads=2) as predictor:
        for length in (3, 2, 1):
            np.testing.assert_array_equal(predictor.predict(x[:, :length]), x[:, :length])


def test_dynamic_int8_runs_sample_by_sample() -> None:
    from edgeport import Quantization

    quantization = Quantization("dynamic", "int8", "uint8", "any")
    example = identity("float32", ("N", 3))
    card = replace(example.card, quantization=quantization, multiply_accumulates=WORK)
    x = RNG.random((100, 3), dtype="f4")
    with Predictor.load(sealed(example.onnx, card), threads=2) as predictor:
        seen: list[int] = []
        model = predictor._model
        assert model is not None
        run = model.session.run

        def counting(feeds: Any, *rest: Any) -> Any:
            seen.extend(len(array) for array in feeds.values())
            return run(feeds, *rest)

        model.session.run = counting  # type: ignore[method-assign]
        np.testing.assert_array_equal(predictor.predict(x), x)
        assert seen == [1] * 100


@pytest.fixture(params=["run", "bind"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the engine is called for a part: large answers are bound."""
    if request.param == "bind":
        monkeypatch.setattr(fast_path, "_LARGEST_BYTES", 0)
    return str(request.param)


@pytest.mark.parametrize("threads", [1, 2])
def test_an_engine_error_in_a_part_is_raised_and_the_predictor_stays_usable(
    threads: int, way: str
) -> None:
    x = RNG.random((300, 6), dtype="f4")
    with Predictor.load(artifact(), threads=threads) as predictor:
        predictor.predict(x)
        model = predictor._model
        assert model is not None
        call = getattr(model.session, way)
        calls: list[int] = []

        def failing(*ends: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise InferenceError("the second part failed: try again")
            return call(*ends)

        setattr(model.session, way, failing)
        with pytest.raises(InferenceError, match="the second part failed"):
            predictor.predict(x)
        setattr(model.session, way, call)
        np.testing.assert_allclose(predictor.predict(x), mlp().formula(x), rtol=1e-5)


def test_an_engine_that_writes_a_part_elsewhere_is_not_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast_path, "_LARGEST_BYTES", 0)  # all answers are large
    x = RNG.random((300, 6), dtype="f4")
    with Predictor.load(artifact()) as predictor:
        model = predictor._model
        assert model is not None
        bind = model.session.bind

        def copying(name: str, given: Any, output: str, answer: Any) -> Any:
            return bind(name, given, output, answer.copy())

        model.session.bind = copying  # type: ignore[method-assign]
        for _ in range(3):
            np.testing.assert_allclose(predictor.predict(x), mlp().formula(x), rtol=1e-5)


def test_a_small_models_engine_has_one_thread_and_a_large_ones_all_of_them() -> None:
    x = RNG.random((300, 6), dtype="f4")
    for work, options, own in (
        (WORK, {}, 1),
        (10**9, {}, 2),
        (WORK, {"finite": True}, 2),  # which takes the general path
        (None, {}, 2),
    ):
        content = sealed(mlp().onnx, replace(mlp().card, multiply_accumulates=work))
        with Predictor.load(content, threads=2, **options) as predictor:  # type: ignore[arg-type]
            assert predictor._model is not None
            assert (predictor.threads, predictor._model.session.threads) == (2, own)
            np.testing.assert_allclose(predictor.predict(x), mlp().formula(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("work", "threads", "spinning", "callers"),
    [
        (2**27, 1, False, 1),
        (2**27, 2, False, 2),
        (2**27, 4, False, 2),
        (2**27, 2, True, 1),
        (WORK, 4, False, 4),
        (None, 4, False, 1),
    ],
)
def test_how_many_parts_of_a_batch_run_side_by_side(
    work: int | None, threads: int, spinning: bool, callers: int
) -> None:
    content = sealed(mlp().onnx, replace(mlp().card, multiply_accumulates=work))
    options = Options(threads, False, None, None, None, CHUNK_BYTES)
    tuning = Tuning(threads, spinning) if spinning else None
    model = load_model(content, options, tuning=tuning)
    seen: set[int] = set()
    run, everybody = model.session.run, threading.Barrier(callers)

    def meeting(*arguments: Any) -> Any:
        if threading.get_ident() not in seen:
            seen.add(threading.get_ident())
            everybody.wait(30)  # each caller's first part waits for those of all others
        return run(*arguments)

    model.session.run = meeting  # type: ignore[method-assign]
    x = RNG.random((300, 6), dtype="f4")
    with Predictor(model) as predictor:
        np.testing.assert_allclose(predictor.predict(x), mlp().formula(x), rtol=1e-5)
    assert len(seen) == callers


def test_the_parts_of_a_batch_are_of_nearly_one_size() -> None:
    x = RNG.random((32, 6), dtype="f4")
    seen: list[int] = []
    with Predictor.load(artifact(), threads=2, chunk_bytes=6 * 36) as predictor:  # six samples
        model = predictor._model
        assert model is not None
        run = model.session.run

        def counting(feeds: Any, *rest: Any) -> Any:
            seen.append(len(feeds["x"]))
            return run(feeds, *rest)

        model.session.run = counting  # type: ignore[method-assign]
        predictor.predict(x)
    assert sorted(seen) == [5, 5, 5, 5, 6, 6]


IMPORTS = """
import sys
import numpy as np
from edgeport import Predictor

predictor = Predictor.load(sys.argv[1], threads=2)
before = set(sys.modules)
for size in (2, 64, 300):
    predictor.predict(np.ones((size, 6), "f4"))
print(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("work", [WORK, 2**27])
def test_a_batch_imports_nothing(work: int, tmp_path: Path, child: Child) -> None:
    """A signal may interrupt an import and leave its lock held; later batches would wait on it."""
    path = tmp_path / "model.onnx"
    path.write_bytes(artifact(work=work))
    result = child(IMPORTS, path)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_starts_helpers_of_its_own_and_loads_nothing_again() -> None:
    x = RNG.random((300, 6), dtype="f4")
    with Predictor.load(artifact(), threads=2) as predictor:
        wanted = predictor.predict(x)
        assert helpers._helpers
        model = predictor._model
        child = os.fork()
        if not child:
            had = list(helpers._helpers)
            same = np.array_equal(predictor.predict(x), wanted) and predictor._model is model
            os._exit(0 if same and not had and helpers._helpers else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_batches_of_many_callers_are_shared_without_mixing_them_up() -> None:
    wrong: list[int] = []
    with Predictor.load(artifact(identity("float32", ("N", 4))), threads=3) as predictor:

        def work(number: int) -> None:
            for turn in range(60):
                size = (1, 3, 40, 200)[(number + turn) % 4]
                x = np.full((size, 4), number * 1000 + turn, "f4")
                if not np.array_equal(predictor.predict(x), x):
                    wrong.append(number)

        in_threads(work, range(5))
    assert wrong == []


@pytest.mark.parametrize("kind", ["dict", "tuple", "stream", "classify", "int8"])
def test_every_way_to_pass_a_batch_shares_it(kind: str) -> None:
    """Helpers are started by the first batch that is shared."""
    x = RNG.random((300, 6), dtype="f4")
    helpers._forget()
    if kind == "int8":
        with Predictor.load(artifact(int8()), threads=2) as predictor:
            x[250] = 2.0  # six values out of range
            answer = predictor.predict({"x": x})
            np.testing.assert_allclose(answer, plain(int8().onnx, x), atol=0.125)
            assert predictor.out_of_range == {"x": 6}
            x[251, 3] = np.nan
            with pytest.raises(InputError, match=r"is nan at \[251, 3\]"):
                predictor.predict({"x": x})
            assert helpers._helpers
        return
    wanted = mlp().formula(x)
    with Predictor.load(artifact(), threads=2) as predictor:
        if kind == "dict":
            np.testing.assert_allclose(predictor.predict({"x": x}), wanted, rtol=1e-5)
        elif kind == "tuple":
            np.testing.assert_allclose(predictor.predict(tuple(x.tolist())), wanted, rtol=1e-5)
        elif kind == "stream":
            answers = list(predictor.stream(x, batch_size=100))
            np.testing.assert_allclose(answers, wanted, rtol=1e-5)
        else:
            found = [best[0].name for best in predictor.classify(x)]  # type: ignore[index]
            assert found == [("cat", "dog", "owl")[place] for place in wanted.argmax(axis=1)]
        assert helpers._helpers


def test_reload_copy_and_pickle_keep_threads_and_answers() -> None:
    x = RNG.random((300, 6), dtype="f4")
    with Predictor.load(artifact(), threads=2) as predictor:
        others = [copy.copy(predictor), pickle.loads(pickle.dumps(predictor))]  # noqa: S301 - ours
        predictor.reload(artifact(work=WORK + 1))
        for one in (predictor, *others):
            assert one.threads == 2
            np.testing.assert_allclose(one.predict(x), mlp().formula(x), rtol=1e-5)
        for other in others:
            other.close()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_after_batches_answers_them_alike(threads: int) -> None:
    x = RNG.random((300, 6), dtype="f4")
    with Predictor.load(artifact(), threads=threads) as predictor:
        wanted = [predictor.predict(x[:size]) for _ in range(3) for size in (1, 5, 300)]
        child = os.fork()
        if not child:
            answers = [predictor.predict(x[:size]) for _ in range(3) for size in (1, 5, 300)]
            os._exit(0 if all(map(np.array_equal, answers, wanted)) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i2", "u2", "f2", "f8", "i4", "i8", ">u2"])
@pytest.mark.parametrize("shape", [(6,), (1, 6), (5, 6), (300, 6)])
def test_arrays_of_other_kinds_give_the_answers_of_their_exact_values(
    kind: str, shape: tuple[int, ...]
) -> None:
    x = RNG.integers(0, 2, shape).astype(kind)
    with Predictor.load(artifact()) as predictor:
        wanted = wanted_of(x)
        for _ in range(3):
            np.testing.assert_allclose(predictor.predict(x), wanted, rtol=1e-5)
            predictor.predict(x.astype("f4"))
            np.testing.assert_allclose(predictor.predict(x[::-1]), wanted_of(x[::-1]), rtol=1e-5)


def wanted_of(x: Any) -> Any:
    answers = plain(mlp().onnx, x.astype("f4").reshape(-1, 6))
    return answers.reshape(*x.shape[:-1], 3)


@pytest.mark.parametrize("shape", [(6,), (5, 6), (300, 6)])
def test_a_number_too_large_for_float32_is_refused(shape: tuple[int, ...]) -> None:
    x = np.ones(shape)
    with Predictor.load(artifact()) as predictor:
        for _ in range(3):
            predictor.predict(x.astype("f4"))
        x[..., 2] = 1e300
        with pytest.raises(InputError, match="1e\\+300"):
            predictor.predict(x)
        x[..., 2] = np.inf  # which a float model may be fed
        predictor.predict(x)


def test_buffers_are_kept_for_the_first_sizes_that_come() -> None:
    with Predictor.load(artifact(identity("float32", ("N", 4)))) as predictor:
        for size in (*range(1, 40), *range(1, 40)):
            x = np.full((size, 4), size, "f4")
            np.testing.assert_array_equal(predictor.predict(x), x)
        assert predictor._model is not None
        assert predictor._model.fast_path is not None
        assert len(predictor._model.fast_path._idle) == 10  # a sample, one in a batch, eight sizes


@pytest.mark.parametrize(
    ("work", "chunk_bytes", "most"),
    [(None, 2**22, 2**22 // 36), (WORK, 2**22, 64), (WORK, 360, 10), (2**40, 2**22, 32)],
)
def test_a_part_is_bounded_by_bytes_and_by_work(
    work: int | None, chunk_bytes: int, most: int
) -> None:
    card = replace(mlp().card, multiply_accumulates=work, sha256="of a sealed file")
    assert Batching.of(card, chunk_bytes).most_in_one_run() == most  # a sample has 36 bytes
    free = replace(card, inputs=(spec("x", "float32", ("N", "T")),))
    assert Batching.of(free, chunk_bytes).most_in_one_run() == 0


def test_numbers_alone_and_in_batches_of_a_model_whose_samples_have_no_axes() -> None:
    x = RNG.random(7, dtype="f4")
    with Predictor.load(artifact(identity("float32", ("N",)))) as predictor:
        for _ in range(3):
            for given in (np.array(x[0]), x[:1], x, x.astype("f2")):
                np.testing.assert_array_equal(predictor.predict(given), given)


@pytest.mark.parametrize("target", ["uint8", "int8", "int16", "int32", "int64", "float16", "bool"])
def test_every_kind_is_converted_or_refused_as_on_the_general_path(target: str) -> None:
    kinds = ("?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", ">i2", "c8")
    with Predictor.load(artifact(identity(target, ("N", 2)))) as predictor:
        for size, kind in itertools.product((1, 3), kinds):
            x = np.ones((size, 2), kind)
            answers = []
            for options in ({"timeout": 60.0}, {}, {}, {}):  # a time limit: the general path
                try:
                    answer = predictor.predict(x, **options)
                except InputError as error:
                    answers.append(str(error))
                else:
                    answers.append(f"{answer.dtype} {answer.tolist()}")
            assert len(set(answers)) == 1, (kind, answers)
