"""Parity with Keras: what is compared, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from onnx import helper

from edgeport import Predictor, TensorSpec
from edgeport_converter import AgreementError, convert
from edgeport_converter.data.made_up import Draw, LookupKeys, random_inputs
from edgeport_converter.verification.parity import compare_answers
from edgeport_converter.verification.trial_inputs import (
    BATCH_SIZES,
    find_lookup_keys,
    make_trial_inputs,
    with_cut_axes,
)

FREE = TensorSpec("x", np.dtype(np.float32), ("N", "T", 3), ("N", "T", "F"))
FIXED = TensorSpec("x", np.dtype(np.float32), ("N", 4), ("N", "F"))
IDS = TensorSpec("ids", np.dtype(np.int32), ("N", 5), ("N", "F"))
TEXT = TensorSpec("text", np.dtype(object), ("N", 2), ("N", "F"))


def answer(batch):
    return {"y": np.zeros(len(next(iter(batch.values()))), np.float32)}


def constant(value, dtype=np.float32):
    return lambda batch: {"y": np.asarray(value, dtype)}


def test_random_batches_have_every_size_at_two_lengths():
    batches = make_trial_inputs([FREE], answer)
    shapes = [batch["x"].shape[:2] for batch in batches]
    assert [size for size, _ in shapes] == [size for size in BATCH_SIZES for _ in range(2)]
    assert len({length for _, length in shapes}) == 2


def test_lengths_that_keras_does_not_take_are_skipped():
    def multiples_of_32(batch):
        if batch["x"].shape[1] % 32:
            raise ValueError("shapes do not fit")
        return answer(batch)

    lengths = {batch["x"].shape[1] for batch in make_trial_inputs([FREE], multiples_of_32)}
    assert lengths == {32, 64}


def test_a_model_that_takes_no_size_says_why():
    def never(batch):
        raise ValueError("the depth is too small")

    with pytest.raises(ValueError, match="the depth is too small"):
        make_trial_inputs([FREE], never)


def test_indices_stay_below_what_the_table_takes():
    def table_of_ten(batch):
        if batch["ids"].max() > 9:
            raise IndexError("no such row")
        return answer(batch)

    values = np.concatenate([b["ids"].ravel() for b in make_trial_inputs([IDS], table_of_ten)])
    assert values.max() > 1
    assert values.max() <= 9


def test_the_users_data_is_compared_whole_and_cut_short():
    data = [{"x": np.ones((2, 9, 3), np.float32)}]
    shapes = [batch["x"].shape for batch in with_cut_axes([FREE], data, answer)]
    assert shapes == [(2, 9, 3), (2, 6, 3)]


def test_random_values_cover_bytes_ranges_and_text():
    image = TensorSpec("image", np.dtype(np.uint8), ("N", 50), ("N", "F"))
    ranged = TensorSpec("r", np.dtype(np.float32), ("N", 50), ("N", "F"), (-20.0, -10.0))
    arrays = random_inputs([image, ranged, TEXT], 4, 8, 1, Draw())
    assert arrays["image"].max() > 200
    assert -20 <= arrays["r"].min() < arrays["r"].max() <= -10
    assert all(isinstance(word, str) for word in arrays["text"].flat)


def test_keys_of_lookup_tables_are_among_the_inputs():
    words = helper.make_node(
        "LabelEncoder",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        keys_strings=["Zürich", "Oslo"],
        values_int64s=[1, 2],
    )
    numbers = helper.make_node(
        "LabelEncoder",
        ["i"],
        ["j"],
        domain="ai.onnx.ml",
        keys_int64s=[70_000, -5],
        values_int64s=[1, 2],
    )
    model = helper.make_model(helper.make_graph([words, numbers], "g", [], []))
    known = find_lookup_keys(model)
    assert known == LookupKeys(("Zürich", "Oslo"), (70_000, -5))

    def takes_all(batch):
        return answer(batch)

    def none_below_zero(batch):
        if batch["ids"].min() < 0:
            raise IndexError("no such row")
        return answer(batch)

    def seen(reference, name):
        batches = make_trial_inputs([TEXT, IDS], reference, known)
        return {item for batch in batches for item in batch[name].ravel().tolist()}

    assert {"Zürich", "Oslo", "the"} <= seen(takes_all, "text")
    assert {70_000, -5} <= seen(takes_all, "ids")
    assert min(seen(none_below_zero, "ids")) >= 0
    assert "Oslo" in seen(none_below_zero, "text")


def test_sizes_for_which_keras_answers_nothing_but_nan_are_skipped():
    def long_sums(arrays):
        values = arrays["x"]
        return {"y": values.sum(1) if values.shape[1] > 13 else np.full(len(values), np.nan)}

    lengths = {batch["x"].shape[1] for batch in make_trial_inputs([FREE], long_sums)}
    assert lengths == {16, 32}


def test_nan_is_answered_where_there_is_nothing_else():
    def nothing(arrays):
        return {"y": np.full(len(arrays["x"]), np.nan)}

    assert make_trial_inputs([FREE], nothing)


# TensorFlow's eager convolutions answer with memory that was never written, where a kernel is
# longer than what it is moved over.
@pytest.mark.parametrize(
    ("shape", "build"),
    [
        ((None, None, 3), lambda: [layers.ZeroPadding2D(1), layers.DepthwiseConv2D(11, strides=2)]),
        ((None, 3), lambda: [layers.Conv1D(4, 9), layers.Conv1D(4, 9)]),
        ((None, None, 3), lambda: [layers.Conv2D(4, 5, strides=4), layers.SeparableConv2D(4, 3)]),
    ],
    ids=["DepthwiseConv2D", "Conv1D", "SeparableConv2D"],
)
def test_free_axes_are_made_as_long_as_the_kernels(shape, build, tmp_path):
    pool = layers.GlobalAveragePooling1D if len(shape) == 2 else layers.GlobalAveragePooling2D
    model = keras.Sequential([keras.Input(shape), *build(), pool(), layers.Dense(3)])
    report = convert(model, tmp_path / "m.onnx")
    x = np.random.default_rng(0).random((2, *[40 if size is None else size for size in shape]))
    with Predictor.load(report.output) as predictor:
        answers = predictor.predict(x.astype(np.float32))
    np.testing.assert_allclose(answers, model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_the_worst_element_is_reported_with_both_values():
    wanted = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    got = wanted + np.array([[0, 1e-6], [4e-6, 0]], np.float32)
    parity = compare_answers(constant(got), constant(wanted), [{"x": np.zeros((2, 4))}])
    assert (parity.output, parity.index, parity.keras) == ("y", (1, 0), 3.0)
    assert parity.largest_difference == abs(float(got[1, 0]) - 3.0)


def test_a_difference_beyond_the_tolerance_names_the_element():
    with pytest.raises(AgreementError, match=r"output 'y' is .*1\.5.* at \[1\] in ONNX"):
        compare_answers(constant([1.0, 1.5]), constant([1.0, 1.0]), [{"x": np.zeros((2, 4))}])


@pytest.mark.parametrize(
    ("got", "wanted", "dtype"), [([1, 2], [1, 3], np.int64), (["a"], ["b"], object)]
)
def test_integers_and_text_have_to_be_equal(got, wanted, dtype):
    same = compare_answers(constant(got, dtype), constant(got, dtype), [{"x": np.zeros((2, 4))}])
    assert same.largest_difference == 0
    with pytest.raises(AgreementError):
        compare_answers(constant(got, dtype), constant(wanted, dtype), [{"x": np.zeros((2, 4))}])


def test_another_shape_or_dtype_is_refused():
    with pytest.raises(AgreementError, match=r"float32 of shape \(2,\).*float32 of shape \(1,\)"):
        compare_answers(constant([1, 2]), constant([1]), [{"x": np.zeros((2, 4))}])
    with pytest.raises(AgreementError, match="int32"):
        compare_answers(constant([1], np.int32), constant([1]), [{"x": np.zeros((1, 4))}])


def test_an_answer_of_only_nan_is_refused():
    nan = constant([np.nan, np.nan])
    with pytest.raises(AgreementError, match="has only NaN"):
        compare_answers(nan, nan, [{"x": np.zeros((2, 4))}])


def test_single_nans_and_infinities_have_to_be_in_the_same_places():
    wanted = constant([np.nan, np.inf, 1.0])
    assert compare_answers(wanted, wanted, [{"x": np.zeros((3, 4))}]).largest_difference == 0
    with pytest.raises(AgreementError):
        compare_answers(constant([1.0, np.inf, 1.0]), wanted, [{"x": np.zeros((3, 4))}])


@pytest.mark.parametrize(
    "function", [np.log, np.sqrt, lambda x: np.log(x - 1), lambda x: np.log(-x)]
)
def test_samples_whose_answers_are_nan_are_drawn_again(function):
    def summed(batch):
        with np.errstate(invalid="ignore", divide="ignore"):
            return {"y": function(batch["x"]).sum(axis=1, keepdims=True)}

    batches = make_trial_inputs([FIXED], summed)
    assert [len(batch["x"]) for batch in batches] == list(BATCH_SIZES)
    assert np.abs(batches[-1]["x"]).max() > 1
    for batch in batches:
        assert not np.isnan(summed(batch)["y"]).all()


def test_a_model_that_answers_with_nan_beside_numbers_has_trial_inputs():
    def half(batch):
        return {"y": np.array([[np.nan, 1.0]] * len(batch["x"]), np.float32)}

    assert len(make_trial_inputs([FIXED], half)) == len(BATCH_SIZES)


def test_boxes_of_equal_scores_are_refused_as_that(tmp_path):
    class Best(layers.Layer):
        def call(self, boxes, scores):
            found = tf.image.combined_non_max_suppression(boxes, scores, 5, 10)
            return found.nmsed_boxes

    boxes, scores = keras.Input((20, 1, 4), name="boxes"), keras.Input((20, 3), name="scores")
    saturated = keras.ops.cast(scores > 0, "float32")
    model = keras.Model([boxes, scores], Best()(boxes, saturated))
    sentence = r"is allowed, in a graph that chooses boxes .*: give it scores that differ"
    with pytest.raises(AgreementError, match=sentence) as refused:
        convert(model, tmp_path / "m.onnx", quantize="none")
    assert refused.value.measured > 1
    model = keras.Model([boxes, scores], Best()(boxes, scores))
    convert(model, tmp_path / "m.onnx", quantize="none")
