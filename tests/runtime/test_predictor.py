"""Predictor from the outside: answers against numpy's formula, checks, lifecycle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_writer as ow
import pytest
from examples import (
    doubler,
    golden,
    identity,
    int8,
    mlp,
    mlp_artifact,
    sealed,
    spec,
    two_inputs,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeport import (
    ArtifactError,
    InferenceError,
    InputError,
    Label,
    ModelCard,
    OptionError,
    Predictor,
    SelfTestError,
    UnsupportedFormatError,
)
from edgeport.labels import class_names

unit = st.floats(0, 1, width=32)


@given(st.integers(0, 40).flatmap(lambda n: hnp.arrays("float32", (n, 6), elements=unit)))
def test_answers_are_the_formulas_for_any_batch(x: Any) -> None:
    with Predictor.load(mlp_artifact()) as predictor:
        y = predictor.predict(x)
    assert (y.dtype, y.shape) == (np.float32, (len(x), 3))
    np.testing.assert_allclose(y, mlp().formula(x), rtol=1e-5, atol=1e-6)


@given(st.integers(0, 40).flatmap(lambda n: hnp.arrays("float32", (n, 6), elements=unit)))
def test_static_int8_gives_the_formulas_codes_and_batches_bit_by_bit(x: Any) -> None:
    with Predictor.load(int8().artifact()) as predictor:
        y = predictor.predict(x)
        singles = [predictor.predict(row) for row in x]
    # A sum exactly between two codes may fall to either side: one step of 1/8.
    assert np.abs(y - int8().formula(x)).max(initial=0) <= 0.125
    assert y.shape == (len(x), 4)
    for row, single in zip(y, singles, strict=True):
        assert row.tobytes() == single.tobytes()


@given(st.integers(0, 11), st.integers(1, 5))
def test_a_fixed_batch_is_served_by_splitting_and_padding(samples: int, fixed: int) -> None:
    x = np.random.default_rng(samples).normal(size=(samples, 3)).astype("f4")
    with Predictor.load(_fixed_batch(fixed)) as predictor:
        y = predictor.predict(x)
        assert y.tobytes() == (x + x).tobytes()
        assert y.shape == (samples, 3)
        if samples:
            np.testing.assert_array_equal(predictor.predict(x[0]), 2 * x[0], strict=True)


def _fixed_batch(size: int) -> bytes:
    example = doubler("float32", (size, 3))
    specs = [spec(n, "float32", (size, 3)) for n in ("x", "y")]
    return sealed(example.onnx, ModelCard("fixed", tuple(specs[:1]), tuple(specs[1:])))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_one_sample_in_one_answer_out(dtype: str) -> None:
    with Predictor.load(doubler(dtype).artifact()) as predictor:
        y = predictor.predict([1, 2, 3])
        np.testing.assert_array_equal(y, np.array([2, 4, 6], dtype), strict=True)
        y = predictor.predict([[1, 2, 3]])
        np.testing.assert_array_equal(y, np.array([[2, 4, 6]], dtype), strict=True)


@pytest.mark.parametrize(
    "dtype", ["bool", "float16", "int8", "uint8", "int16", "uint16", "uint32", "uint64"]
)
def test_every_number_format_passes_through(dtype: str) -> None:
    x = np.array([[0, 1, 1], [1, 0, 1]], dtype)
    with Predictor.load(identity(dtype).artifact()) as predictor:
        np.testing.assert_array_equal(predictor.predict(x), x, strict=True)


def test_text_passes_through() -> None:
    with Predictor.load(identity("str").artifact()) as predictor:
        assert predictor.predict([["a", "ß", ""]]).tolist() == [["a", "ß", ""]]
        assert predictor.predict(np.array([["a", "b", "c"]], object)).tolist() == [["a", "b", "c"]]
        with pytest.raises(InputError, match="pass text"):
            predictor.predict(np.array([["a", 1, None]], object))


def test_several_outputs_come_as_a_dict_in_the_models_order() -> None:
    left, right = np.array([[1, 2]], "f4"), np.array([[3, 5]], "f4")
    with Predictor.load(two_inputs().artifact()) as predictor:
        for answer in (
            predictor.predict(left, right),
            predictor.predict({"right": right, "left": left}),
        ):
            assert list(answer) == ["total", "difference"]
            np.testing.assert_array_equal(answer["total"], [[4, 7]])
            np.testing.assert_array_equal(answer["difference"], [[-2, -3]])
        single = predictor.predict(left[0], right[0])
        np.testing.assert_array_equal(single["total"], [4, 7])


def test_inputs_that_disagree_on_a_shared_axis_are_refused() -> None:
    """onnxruntime itself broadcasts here and answers nonsense without a word."""
    with (
        Predictor.load(two_inputs().artifact()) as predictor,
        pytest.raises(InputError, match="has 1 along axis T and input 'left' has 3"),
    ):
        predictor.predict(np.zeros((2, 3), "f4"), np.zeros((2, 1), "f4"))


def test_big_endian_arrays_give_the_same_answer(predictor: Predictor) -> None:
    """onnxruntime itself reads them as they lie and answers nonsense without a word."""
    x = np.linspace(-1, 1, 12, dtype="f4").reshape(2, 6)
    assert predictor.predict(x.astype(">f4")).tobytes() == predictor.predict(x).tobytes()


def test_the_input_is_left_as_it_was(predictor: Predictor) -> None:
    x = np.ones((2, 6), "f4")
    x.flags.writeable = False
    predictor.predict(x)
    assert (x == 1).all()


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_classify_ranks_the_scores(predictor: Predictor, top_k: int) -> None:
    x = np.random.default_rng(3).normal(size=(5, 6)).astype("f4")
    scores = mlp().formula(x)
    batch: Any = predictor.classify(x, top_k=top_k)
    assert len(batch) == 5
    for row, labels in zip(scores, batch, strict=True):
        expected = sorted(zip(row, ("cat", "dog", "owl"), strict=True), reverse=True)[:top_k]
        assert [label.name for label in labels] == [name for _, name in expected]
        np.testing.assert_allclose(
            [label.score for label in labels], [s for s, _ in expected], rtol=1e-4
        )
    single: Any = predictor.classify(x[0], top_k=top_k)
    assert [label.name for label in single] == [label.name for label in batch[0]]


def test_classes_without_labels_are_numbered_and_ties_keep_their_order() -> None:
    example = identity("float32", ("N", 4))
    with Predictor.load(example.artifact()) as predictor:
        assert predictor.classify([0.1, 0.4, 0.4, 0.1], top_k=4) == [
            Label("1", pytest.approx(0.4)),
            Label("2", pytest.approx(0.4)),
            Label("0", pytest.approx(0.1)),
            Label("3", pytest.approx(0.1)),
        ]


def test_one_probability_counts_as_two_classes() -> None:
    onnx = identity("float32", ("N", 1)).onnx
    card = ModelCard(
        "binary",
        (spec("x", "float32", ("N", 1)),),
        (spec("y", "float32", ("N", 1), value_range=(0.0, 1.0)),),
        labels=("no", "yes"),
    )
    with Predictor.load(sealed(onnx, card)) as predictor:
        assert predictor.classify([0.75], top_k=2) == [Label("yes", 0.75), Label("no", 0.25)]
        assert predictor.classify([[0.25], [0.75]]) == [[Label("no", 0.75)], [Label("yes", 0.75)]]


def test_one_logit_with_two_labels_is_ranked_by_its_sign() -> None:
    card = ModelCard(
        "binary",
        (spec("x", "float32", ("N", 1)),),
        (spec("y", "float32", ("N", 1)),),
        labels=("no", "yes"),
    )
    with Predictor.load(sealed(identity("float32", ("N", 1)).onnx, card)) as predictor:
        assert predictor.classify([0.25], top_k=2) == [Label("yes", 0.25), Label("no", -0.25)]
        assert predictor.classify([[-0.25], [0.0]]) == [[Label("no", 0.25)], [Label("no", 0.0)]]


@pytest.mark.parametrize("top_k", [0, 4, True, 1.0, "1", None])
def test_an_impossible_top_k_is_refused(predictor: Predictor, top_k: Any) -> None:
    with pytest.raises(OptionError) as caught:
        predictor.classify(np.ones(6), top_k=top_k)
    assert str(caught.value) == (
        f"top_k is {top_k!r}, expected a whole number from 1 to 3: the model has 3 classes"
    )


@pytest.mark.parametrize(
    "make", [two_inputs, lambda: identity("int64"), lambda: identity("float32", ("N", "T"))]
)
def test_classify_refuses_what_is_no_classifier(make: Callable[[], Any]) -> None:
    with (
        Predictor.load(make().artifact()) as predictor,
        pytest.raises(OptionError, match=r"classify needs one output of class scores.*use predict"),
    ):
        predictor.classify([1, 2, 3])


def test_of_several_outputs_classify_names_the_one_to_choose() -> None:
    card = mlp().card
    outputs = (spec("embedding", "float32", ("N", "H", "W")), *card.outputs)
    with pytest.raises(OptionError) as caught:
        class_names(replace(card, outputs=outputs))
    assert str(caught.value).endswith(
        "use predict and choose an output, such as predict(x)['y'], or convert the model with "
        "the scores alone, outputs=['y']"
    )


def test_classify_refuses_infinite_inputs_where_it_is_asked_to() -> None:
    with Predictor.load(mlp().artifact()) as predictor:
        x = np.full(6, np.inf, "f4")
        with pytest.raises(InputError, match=r"is inf at \[0\], expected finite"):
            predictor.classify(x, finite=True)
        with pytest.raises(OptionError, match="finite is 1"):
            predictor.classify(x, finite=1)  # type: ignore[arg-type]


def test_a_score_that_is_nan_is_no_class() -> None:
    with (
        Predictor.load(identity().artifact()) as predictor,
        pytest.raises(InferenceError, match="answered NaN for a class"),
    ):
        predictor.classify([0.1, np.nan, 0.3])


def test_a_golden_sample_within_tolerance_passes_and_outside_is_refused() -> None:
    x = np.ones((1, 6), "f4")
    y = mlp().formula(x).astype("f4")
    Predictor.load(mlp().artifact(golden(x, y + np.float32(5e-6)))).close()
    off = (y + np.array([[0, 2e-4, 0]])).astype("f4")
    with pytest.raises(SelfTestError) as caught:
        Predictor.load(mlp().artifact(golden(x, y), golden(x, off)))
    assert str(caught.value) == (
        f"the artifact gives another answer on this device: golden sample 2, output 'y', is off by "
        f"{caught.value.measured:.3g}, expected at most 1e-05: report the device's CPU and "
        "onnxruntime version, and convert for this target"
    )
    assert caught.value.measured == pytest.approx(2e-4, rel=0.05)
    assert caught.value.allowed == 1e-5


def test_a_golden_output_of_nan_is_infinitely_off() -> None:
    x = np.ones((1, 6), "f4")
    with pytest.raises(SelfTestError, match="is off by inf"):
        Predictor.load(mlp().artifact(golden(x, np.full((1, 3), np.nan, "f4"))))


def test_a_closed_predictor_says_so(mlp_file: Path) -> None:
    predictor = Predictor.load(mlp_file)
    with predictor:
        predictor.predict(np.ones(6))
    predictor.close()
    assert "closed" in repr(predictor)
    assert predictor.card.name == "mlp"
    with pytest.raises(InferenceError) as caught:
        predictor.predict(np.ones(6))
    assert str(caught.value) == "this predictor is closed: load the artifact again"


def test_the_repr_names_inputs_and_outputs(predictor: Predictor) -> None:
    assert repr(predictor) == ("<Predictor mlp: x float32 (N, 6) -> y float32 (N, 3), 1 thread(s)>")


def test_a_wrongly_shaped_array_is_one_sentence(predictor: Predictor) -> None:
    with pytest.raises(InputError) as caught:
        predictor.predict(np.zeros((2, 7)))
    assert str(caught.value) == (
        "input 'x' has shape (2, 7), expected (N, 6): pass one sample of shape (6,) or a batch "
        "of them"
    )


def test_a_newer_ir_or_opset_is_refused_with_both_versions() -> None:
    content = ow.graph(
        [ow.node("Identity", ["x"], ["y"])], [("x", "float32", [1])], [("y", "float32", [1])]
    )
    with pytest.raises(
        UnsupportedFormatError, match=r"has IR version 99, onnxruntime .* reads up to"
    ):
        Predictor.load(ow.model(content, ir_version=99))
    with pytest.raises(UnsupportedFormatError, match=r"has opset 999, onnxruntime .* reads up to"):
        Predictor.load(ow.model(content, opset=999))


@pytest.mark.parametrize("size", [1, 10, 60, 200, -1])
def test_a_foreign_file_cut_short_is_refused(size: int) -> None:
    with pytest.raises(ArtifactError, match="convert"):
        Predictor.load(mlp().onnx[:size])


@pytest.mark.parametrize("content", [b"hello world", b"\x00" * 100, bytes(range(256))])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="the artifact"):
        Predictor.load(content)


def test_an_operator_that_does_not_exist_is_named() -> None:
    content = ow.graph(
        [ow.node("Nonesuch", ["x"], ["y"])], [("x", "float32", [1])], [("y", "float32", [1])]
    )
    with pytest.raises(ArtifactError, match="Nonesuch"):
        Predictor.load(ow.model(content))


def test_a_failure_of_the_engine_is_translated_and_the_predictor_stays_usable() -> None:
    """Reshape to the wrong number of elements shows only when it runs."""
    content = ow.graph(
        [ow.node("Reshape", ["x", "shape"], ["y"])],
        [("x", "float32", ["N", "T"])],
        [("y", "float32", ["N", 6])],
        {"shape": np.array([-1, 6])},
    )
    with Predictor.load(ow.model(content)) as predictor:
        with pytest.raises(InferenceError, match="failed while running the model") as caught:
            predictor.predict(np.zeros((1, 5), "f4"))
        assert caught.value.__cause__ is not None
        assert predictor.predict(np.zeros((1, 6), "f4")).shape == (1, 6)


def test_a_foreign_graphs_axes_get_names() -> None:
    content = ow.graph(
        [ow.node("Identity", ["x"], ["y"])],
        [("x", "float32", [None, 2, "time"])],
        [("y", "float32", [None, 2, "time"])],
    )
    with Predictor.load(ow.model(content)) as predictor:
        assert predictor.card.inputs[0].shape == ("N", 2, "time")
        assert predictor.predict(np.zeros((3, 2, 5), "f4")).shape == (3, 2, 5)


def test_one_score_beside_another_output_is_no_classifier() -> None:
    onnx = two_inputs().onnx
    ports = two_inputs().card.outputs
    first = replace(ports[0], shape=("N", 1), value_range=(0.0, 1.0))
    card = replace(two_inputs().card, outputs=(first, ports[1]))
    with (
        Predictor.load(sealed(onnx, card)) as predictor,
        pytest.raises(OptionError, match=r"the model gives total float32 \(N, 1\), difference"),
    ):
        predictor.classify([[0.5]], [[0.5]])
