"""The fast path of one sample: the general way's answers to the bit, and nobody else's buffers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import identity, in_threads, int8, mlp, mlp_artifact, sealed, spec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeport import InputError, ModelCard, Predictor

RNG = np.random.default_rng(8)


def bound(predictor: Predictor, x: Any) -> bool:
    """Whether the next call with such an array finds buffers at rest."""
    model = predictor._model
    assert model is not None
    return model.fast_path is not None and bool(model.fast_path._idle.get(x.shape))


def becomes_bound(predictor: Predictor, x: Any) -> bool:
    """Call until it is; a slow machine's first runs are not known to be short."""
    for _ in range(100):
        predictor.predict(x)
        if bound(predictor, x):
            return True
    return False


@pytest.mark.parametrize("shape", [(6,), (1, 6)])
def test_answers_are_the_formulas_and_stay_what_they_are(shape: tuple[int, ...]) -> None:
    samples = [RNG.random(shape).astype("f4") for _ in range(50)]
    with Predictor.load(mlp_artifact()) as predictor:
        assert becomes_bound(predictor, samples[0])
        answers = [predictor.predict(x) for x in samples]
        assert bound(predictor, samples[0])
        for x, y in zip(samples, answers, strict=True):
            assert y.shape == (*shape[:-1], 3)
            np.testing.assert_allclose(y, mlp().formula(x), rtol=1e-5)
            assert y.flags.owndata
            assert y.flags.writeable
            y[...] = 0  # nor does the caller's writing reach a later answer
        np.testing.assert_allclose(predictor.predict(samples[0]), mlp().formula(samples[0]), 1e-5)


@given(st.data(), st.sampled_from(["u1", "i8", "f2", "f4", "f8", "?"]))
def test_any_layout_of_the_right_dtype_gives_its_own_values(data: st.DataObject, kind: str) -> None:
    dtype = np.dtype(kind)
    x = data.draw(hnp.arrays(dtype, (3, 4)))
    unaligned = np.empty(x.nbytes + 1, "u1")[1:].view()
    unaligned[:] = np.frombuffer(x.tobytes(), "u1")
    frozen = x.copy()
    frozen.flags.writeable = False
    forms = (
        x,
        np.asfortranarray(x),
        np.repeat(x, 2, axis=0)[::2],
        x[::-1].copy()[::-1],
        unaligned.view(dtype).reshape(x.shape),
        x.astype(dtype.newbyteorder()),
        frozen,
    )
    with Predictor.load(identity(dtype.name, ("N", 3, 4)).artifact()) as predictor:
        for form in (*forms, *forms):
            assert predictor.predict(form).tobytes() == x.tobytes()
            assert predictor.predict(form[None]).tobytes() == x.tobytes()
        assert becomes_bound(predictor, x)


def test_what_the_engine_would_misread_takes_the_general_way() -> None:
    x = np.full(6, 0.5, "f4")
    with Predictor.load(mlp_artifact()) as predictor:
        wanted = predictor.predict(x)
        for other in (x.astype(">f4"), x.astype("f8"), x.tolist(), {"x": x}):
            assert predictor.predict(other).tobytes() == wanted.tobytes()
        with pytest.raises(InputError, match="masked"):
            predictor.predict(np.ma.array(x, mask=[1, 0, 0, 0, 0, 0]))
        with pytest.raises(InputError, match="has shape"):
            predictor.predict(np.zeros(7, "f4"))


def test_the_calibrated_range_is_watched_on_the_fast_path() -> None:
    x = np.full(6, 0.5, "f4")
    with Predictor.load(int8().artifact()) as predictor:
        assert becomes_bound(predictor, x)
        x[2] = 1.5
        predictor.predict(x)
        assert predictor.out_of_range == {"x": 1}
        for bad in (np.nan, np.inf, -np.inf):
            x[2] = bad
            with pytest.raises(InputError, match=rf"is {bad} at \[2\], which an int8 model"):
                predictor.predict(x)
        assert predictor.out_of_range == {"x": 1}


def test_finite_and_timeout_take_the_general_way() -> None:
    x = np.full(6, 0.5, "f4")
    with Predictor.load(mlp_artifact()) as predictor:
        wanted = predictor.predict(x)
        assert predictor.predict(x, timeout=60).tobytes() == wanted.tobytes()
        x[0] = np.nan
        predictor.predict(x)
        with pytest.raises(InputError, match="expected finite numbers"):
            predictor.predict(x, finite=True)


def test_threads_never_share_buffers() -> None:
    wrong: list[Any] = []
    with Predictor.load(identity("float32", ("N", 64)).artifact()) as predictor:
        assert becomes_bound(predictor, np.zeros(64, "f4"))

        def work(number: int) -> None:
            x = np.full(64, number, "f4")
            for _ in range(3000):
                y = predictor.predict(x)
                if not (y == number).all():
                    wrong.append(y)

        in_threads(work, range(8))
        model = predictor._model
        assert model is not None
        assert model.fast_path is not None
        assert 1 <= len(model.fast_path._idle[(64,)]) <= 8
    assert wrong == []


def _nonzero() -> bytes:
    """The places of what is not 0: as many rows as the data has."""
    content = ow.graph(
        [ow.node("NonZero", ["x"], ["places"]), ow.node("Transpose", ["places"], ["y"])],
        [("x", "float32", ["N", 3])],
        [("y", "int64", [None, 2])],
    )
    places = spec("y", "int64", ("rows", 2), axes=("T", "F"))
    card = ModelCard("places", (spec("x", "float32", ("N", 3)),), (places,))
    return sealed(ow.model(content), card)


def test_a_model_whose_answer_has_other_shapes_for_other_values() -> None:
    with Predictor.load(_nonzero()) as predictor:
        for values, wanted in (
            ([[0, 5, 0]], [[0, 1]]),
            ([[0, 0, 7]], [[0, 2]]),
            ([[0, 5, 7]], [[0, 1], [0, 2]]),
            ([[5, 0, 0]], [[0, 0]]),
            ([[0, 0, 0]], []),
        ):
            x = np.array(values, "f4")
            for _ in range(3):
                assert predictor.predict(x).tolist() == wanted


def test_a_model_that_draws_numbers_is_not_bound() -> None:
    content = ow.graph(
        [ow.node("RandomNormalLike", ["x"], ["y"])],
        [("x", "float32", ["N", 3])],
        [("y", "float32", ["N", 3])],
    )
    card = ModelCard("noise", (spec("x", "float32", ("N", 3)),), (spec("y", "float32", ("N", 3)),))
    x = np.zeros(3, "f4")
    with Predictor.load(sealed(ow.model(content), card)) as predictor:
        first, second = predictor.predict(x), predictor.predict(x)
        assert first.tobytes() != second.tobytes()
        assert not becomes_bound(predictor, x)


def test_an_engine_that_copies_what_is_bound_is_not_used() -> None:
    """Bound buffers must be the engine's own; one that read a copy would answer old samples."""
    x = np.zeros(6, "f4")  # equal to fresh memory, so that only the check itself can tell
    with Predictor.load(mlp_artifact()) as predictor:
        model = predictor._model
        assert model is not None
        bind = model.session.bind

        def copying(name: str, given: Any, output: str, answer: Any) -> Any:
            return bind(name, given.copy(), output, answer)

        model.session.bind = copying  # type: ignore[method-assign]
        wanted = mlp().formula(x)
        assert not becomes_bound(predictor, x)
        np.testing.assert_allclose(predictor.predict(x), wanted, rtol=1e-5)


def test_a_large_sample_is_not_copied() -> None:
    large = np.zeros((1, 70_000), "f4")
    with Predictor.load(identity("float32", ("N", 70_000)).artifact()) as predictor:
        assert not becomes_bound(predictor, large)


def test_another_predictor_on_the_same_engine_counts_for_itself() -> None:
    import copy

    x = np.full(6, 7, "f4")
    with Predictor.load(int8().artifact()) as first:
        second = copy.copy(first)
        first.predict(x)
        first.predict(x)
        second.predict(x)
        assert (first.out_of_range, second.out_of_range) == ({"x": 12}, {"x": 6})
        second.close()
        first.predict(x)


def test_buffers_of_the_old_model_go_with_a_reload() -> None:
    x = np.ones(6, "f4")
    other = replace(mlp().card, labels=("a", "b", "c"))
    with Predictor.load(mlp_artifact()) as predictor:
        assert becomes_bound(predictor, x)
        predictor.reload(sealed(mlp().onnx, other))
        assert not bound(predictor, x)
        np.testing.assert_allclose(predictor.predict(x), mlp().formula(x), rtol=1e-5)


def test_a_sample_without_axes_gives_an_array_either_way() -> None:
    with Predictor.load(identity("float32", ("N",)).artifact()) as predictor:
        for x in (2.5, np.float32(2.5), np.array(2.5, "f4"), np.array(2.5, "f4")):
            y = predictor.predict(x)
            assert isinstance(y, np.ndarray)
            assert (y.shape, y.dtype, float(y)) == ((), np.dtype("f4"), 2.5)
        assert becomes_bound(predictor, np.array(2.5, "f4"))
        assert predictor.predict(np.array(3.5, "f4")).shape == ()
        (streamed,) = predictor.stream([2.5])
        assert (streamed.shape, float(streamed)) == ((), 2.5)
