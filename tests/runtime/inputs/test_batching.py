"""Answers that do not depend on how samples were grouped: chunks, padding, dynamic int8."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import doubler, identity, int8, mlp, mlp_artifact, sealed, spec
from hypothesis import given
from hypothesis import strategies as st

from edgeport import InferenceError, InputError, ModelCard, Predictor, Quantization
from edgeport.inputs.batching import Batching


def runs_of(predictor: Predictor) -> list[int]:
    """Note the size of every run from now on."""
    sizes: list[int] = []
    model: Any = predictor._model
    engine = model.session._run

    def run(names: Any, feeds: Any, options: Any) -> Any:
        sizes.append(len(next(iter(feeds.values()))))
        return engine(names, feeds, options)

    model.session._run = run
    return sizes


@given(st.integers(0, 60), st.integers(1, 400))
def test_chunks_stay_within_the_bound_and_change_nothing(samples: int, chunk_bytes: int) -> None:
    x = np.random.default_rng(samples).random((samples, 6)).astype("f4")
    with Predictor.load(int8().artifact(), chunk_bytes=chunk_bytes) as predictor:
        sizes = runs_of(predictor)
        whole = predictor.predict(x)
        bytes_per_sample = 6 * 4 + 4 * 4
        assert max(sizes, default=0) <= max(1, chunk_bytes // bytes_per_sample)
        rows = [predictor.predict(row).tobytes() for row in x]
    assert [row.tobytes() for row in whole] == rows


def test_free_axes_count_towards_the_bound() -> None:
    artifact = identity("float32", ("N", "T", 2)).artifact()
    with Predictor.load(artifact, chunk_bytes=4000) as predictor:
        sizes = runs_of(predictor)
        x = np.random.default_rng(0).random((10, 50, 2)).astype("f4")
        assert predictor.predict(x).tobytes() == x.tobytes()
    assert sizes == [5, 5]  # 50 x 2 floats in, as many out: 800 bytes a sample


def dynamic_int8(batch: int | str = "N") -> tuple[bytes, ModelCard]:
    """y = dequantized(quantized(x)), the scale taken from the whole batch."""
    content = ow.graph(
        [
            ow.node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            ow.node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        ],
        [("x", "float32", [batch, 4])],
        [("y", "float32", [batch, 4])],
    )
    ports = [spec(name, "float32", (batch, 4)) for name in ("x", "y")]
    recipe = Quantization("dynamic", "int8", "float32", "any")
    return ow.model(content), ModelCard("dynamic", (ports[0],), (ports[1],), quantization=recipe)


def dynamic_formula(x: Any) -> Any:
    """One sample by ONNX' definition of DynamicQuantizeLinear."""
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    scale = np.float32(np.float32(high - low) / np.float32(255)) if high > low else np.float32(1)
    zero = np.clip(np.rint(-low / scale), 0, 255)
    codes = np.clip(np.rint(x / scale) + zero, 0, 255)
    return ((codes - zero) * scale).astype("f4")


@pytest.mark.parametrize("batch", ["N", 1, 3, 16])
def test_with_dynamic_int8_a_loud_neighbour_changes_nothing(batch: int | str) -> None:
    x = np.random.default_rng(4).normal(size=(16, 4)).astype("f4")
    x[7] *= 1000
    with Predictor.load(sealed(*dynamic_int8(batch))) as predictor:
        y = predictor.predict(x)
        alone = [predictor.predict(row).tobytes() for row in x]
    assert [row.tobytes() for row in y] == alone
    np.testing.assert_allclose(y, [dynamic_formula(row) for row in x], rtol=1e-5, atol=1e-6)


def test_a_batch_that_cannot_be_taken_apart_is_run_whole() -> None:
    """The mean over the batch has no batch axis: chunks would give the mean of a part."""
    content = ow.graph(
        [ow.node("ReduceMean", ["x"], ["y"], axes=[0], keepdims=0)],
        [("x", "float32", ["N", 3])],
        [("y", "float32", [3])],
    )
    card = ModelCard(
        "mean", (spec("x", "float32", ("N", 3)),), (spec("y", "float32", (3,), axes=("F",)),)
    )
    x = np.random.default_rng(0).random((100, 3)).astype("f4")
    for data in (sealed(ow.model(content), card), ow.model(content)):
        with Predictor.load(data, chunk_bytes=100) as predictor:
            np.testing.assert_allclose(predictor.predict(x), x.mean(axis=0), rtol=1e-5)


def test_a_fixed_batch_that_cannot_be_taken_apart_takes_no_other_number() -> None:
    content = ow.graph(
        [ow.node("ReduceSum", ["x"], ["y"], keepdims=0)],
        [("x", "float32", [4, 3])],
        [("y", "float32", [])],
    )
    card = ModelCard("sum", (spec("x", "float32", (4, 3)),), (spec("y", "float32", (), axes=()),))
    with Predictor.load(sealed(ow.model(content), card)) as predictor:
        assert predictor.predict(np.ones((4, 3))) == 12
        with pytest.raises(InputError) as caught:
            predictor.predict(np.ones((5, 3)))
    assert str(caught.value) == (
        "the model was given 5 samples, expected exactly 4, and a batch cannot be split because "
        "output 'y' has no batch axis: pass 4 samples"
    )


def test_a_foreign_graph_is_never_taken_apart() -> None:
    """Its first axis may be time: here a running sum along it."""
    content = ow.graph(
        [ow.node("CumSum", ["x", "axis"], ["y"])],
        [("x", "float32", ["T", 2])],
        [("y", "float32", ["T", 2])],
        {"axis": np.int64(0)},
    )
    x = np.ones((1000, 2), "f4")
    with Predictor.load(ow.model(content), chunk_bytes=64) as predictor:
        np.testing.assert_array_equal(predictor.predict(x), np.cumsum(x, axis=0))


def test_foreign_inputs_with_first_axes_of_two_names_may_differ_in_them() -> None:
    content = ow.graph(
        [ow.node("MatMul", ["a", "b"], ["y"])],
        [("a", "float32", ["rows", "inner"]), ("b", "float32", ["inner", "columns"])],
        [("y", "float32", ["rows", "columns"])],
    )
    a, b = np.ones((2, 3), "f4"), np.ones((3, 5), "f4")
    with Predictor.load(ow.model(content)) as predictor:
        np.testing.assert_array_equal(predictor.predict(a, b), a @ b)
        with pytest.raises(InferenceError, match="failed while running the model"):
            predictor.predict(a, np.ones((4, 5)))


def test_a_foreign_graph_fixed_to_one_in_front_takes_what_the_engine_takes() -> None:
    """A leading 1 may be a channel: three of them are no three samples."""
    x = np.arange(12, dtype="f4").reshape(4, 3)
    with Predictor.load(doubler("float32", (1, 3)).onnx) as predictor:
        assert predictor.predict(x[:1]).tobytes() == (2 * x[:1]).tobytes()
        for wrong in (x, x[0]):
            with pytest.raises(InputError, match=r"expected \(1, 3\)"):
                predictor.predict(wrong)
        assert [y.tolist() for y in predictor.stream([x[:1], x[1:2]])] == [
            (2 * x[:1]).tolist(),
            (2 * x[1:2]).tolist(),
        ]


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "str"])
@pytest.mark.parametrize("batch", ["N", 1, 5])
def test_an_empty_batch_gives_an_empty_answer(dtype: str, batch: int | str) -> None:
    kind = object if dtype == "str" else dtype
    with Predictor.load(identity(dtype, (batch, 2, 3)).artifact()) as predictor:
        y = predictor.predict(np.zeros((0, 2, 3), kind))
    assert (y.shape, y.dtype) == ((0, 2, 3), np.dtype(kind))


def test_an_output_with_another_number_of_samples_is_noticed() -> None:
    content = ow.graph(
        [ow.node("Concat", ["x", "x"], ["y"], axis=0)],
        [("x", "float32", ["N", 2])],
        [("y", "float32", ["M", 2])],
    )
    card = ModelCard(
        "odd", (spec("x", "float32", ("N", 2)),), (spec("y", "float32", ("M", 2), axes=("N", "F")),)
    )
    with (
        Predictor.load(sealed(ow.model(content), card), chunk_bytes=32) as predictor,
        pytest.raises(InferenceError, match=r"has shape \(4, 2\) for 2 samples"),
    ):
        predictor.predict(np.zeros((5, 2), "f4"))


def test_inputs_without_batch_axis_reach_every_chunk() -> None:
    content = ow.graph(
        [ow.node("Mul", ["x", "gain"], ["y"])],
        [("x", "float32", ["N", 2]), ("gain", "float32", [])],
        [("y", "float32", ["N", 2])],
    )
    card = ModelCard(
        "gain",
        (spec("x", "float32", ("N", 2)), spec("gain", "float32", (), axes=())),
        (spec("y", "float32", ("N", 2)),),
    )
    x = np.random.default_rng(0).random((9, 2)).astype("f4")
    with Predictor.load(sealed(ow.model(content), card), chunk_bytes=40) as predictor:
        np.testing.assert_array_equal(predictor.predict(x, 3), x * np.float32(3))
        np.testing.assert_array_equal(predictor.predict(x[0], 3), x[0] * np.float32(3))


def test_one_sample_fits_whatever_the_bound() -> None:
    with Predictor.load(mlp_artifact(), chunk_bytes=1) as predictor:
        sizes = runs_of(predictor)
        x = np.ones((3, 6), "f4")
        np.testing.assert_allclose(predictor.predict(x, timeout=60), mlp().formula(x), rtol=1e-5)
    assert sizes == [1, 1, 1]


def test_the_plan_of_a_static_model() -> None:
    card = Predictor.load(int8().artifact()).card
    plan = Batching.of(card)
    assert (plan.fixed, plan.may_split, plan.one_by_one) == (None, True, False)
