"""The data that is trained on: whose labels it takes, and that no judging sample is in it."""

import numpy as np
import pytest

from edgeport import OptionError, TensorSpec
from edgeport_converter.data.datasets import read_dataset
from edgeport_converter.quantization.finetuning import samples
from edgeport_converter.quantization.finetuning.samples import prepare

INPUT = TensorSpec("x", np.dtype(np.float32), ("N", 6))
SOFTMAX = TensorSpec("scores", np.dtype(np.float32), ("N", 3), (0.0, 1.0))
SIGMOID = TensorSpec("share", np.dtype(np.float32), ("N", 1), (0.0, 1.0))
LINEAR = TensorSpec("numbers", np.dtype(np.float32), ("N", 3))
GENERATOR = np.random.default_rng(4)
X = GENERATOR.normal(size=(300, 6)).astype(np.float32)
CLASSES = GENERATOR.integers(0, 3, 300)


def read(data, specs=(INPUT,), **options):
    return read_dataset(data, list(specs), "fine-tuning", **options)


def prepared(data, judged=X[:1] + 9, outputs=(SOFTMAX,), *, by_class=True, seed=0, **options):
    dataset = read(data, **options)
    given = read(np.concatenate([judged, judged + 100]))
    return prepare(dataset, dataset.labels, given, outputs, by_class=by_class, seed=seed)


def rows_of(arrays):
    return {row.tobytes() for row in arrays["x"]}


@pytest.mark.parametrize(
    ("labels", "outputs", "expected", "are_classes"),
    [
        (CLASSES, SOFTMAX, CLASSES, True),
        (CLASSES[:, None], SOFTMAX, CLASSES, True),
        (CLASSES.astype(np.float32), SOFTMAX, CLASSES, True),
        (np.eye(3, dtype=np.float32)[CLASSES], SOFTMAX, CLASSES, True),
        (CLASSES > 0, SIGMOID, (CLASSES > 0).astype(int), True),
        (X[:, :1] / 9 + 0.5, SIGMOID, X[:, :1] / 9 + 0.5, False),
        (X[:, :3], LINEAR, X[:, :3], False),
    ],
    ids=["sparse", "a column", "whole floats", "one-hot", "bool", "shares", "regression"],
)
def test_labels_in_any_usual_form_are_taken(labels, outputs, expected, are_classes):
    found = prepared((X, labels), outputs=(outputs,), by_class=False)
    assert found.are_classes == are_classes
    by_row = {row.tobytes(): each for row, each in zip(X, expected, strict=True)}
    wanted = np.array([by_row[row.tobytes()] for row in found.training["x"]])
    np.testing.assert_array_equal(
        found.labels.reshape(wanted.shape), wanted.astype(found.labels.dtype)
    )
    assert not found.notes


def test_one_number_a_sample_teaches_an_output_of_one_number():
    one = TensorSpec("number", np.dtype(np.float32), ("N", 1))
    found = prepared((X, X[:, 0]), outputs=(one,), by_class=False)
    assert found.labels.shape == (240, 1)
    np.testing.assert_array_equal(found.labels[:, 0], found.training["x"][:, 0])


def test_class_names_number_labels_in_text():
    names = ["ant", "bee", "cat"]
    found = prepared((X, np.array(names)[CLASSES]), class_names=names)
    assert found.are_classes
    assert set(found.labels) == {0, 1, 2}


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (CLASSES[:299], "300 samples and 299 labels, expected one label a sample"),
        (np.array(["ant", "bee", "cat"])[CLASSES], "label"),
        (np.where(CLASSES == 2, np.nan, CLASSES), "is NaN or infinite, expected a number"),
        (CLASSES + 1, "label"),
        (CLASSES - 1, "label"),
    ],
    ids=["too few", "text", "NaN", "beyond the classes", "negative"],
)
def test_labels_that_mean_nothing_are_refused_in_a_sentence(labels, match):
    with pytest.raises(OptionError, match=match):
        prepared((X, labels))


def test_labels_of_another_form_are_left_to_the_teacher():
    found = prepared((X, X[:, :2]), outputs=(LINEAR,), by_class=False)
    assert found.labels is None
    assert found.notes[0].startswith("the labels to fine-tune on were not used")


def test_no_sample_that_judges_is_trained_on_or_ends_the_training():
    found = prepared((X, CLASSES), judged=X[40:90])
    judged = {row.tobytes() for row in X[40:90]}
    assert not judged & (rows_of(found.training) | rows_of(found.checking))
    assert found.notes[0].startswith("50 of the 300 samples to fine-tune on were left out")


def test_copies_of_a_sample_stand_on_one_side_of_the_split():
    twice = np.concatenate([X[:100], X[:100]])
    found = prepared((twice, np.tile(CLASSES[:100], 2)))
    assert not rows_of(found.training) & rows_of(found.checking)
    assert len(rows_of(found.training) | rows_of(found.checking)) == 100
    with pytest.raises(OptionError, match="40 samples are left to fine-tune on, expected at least"):
        prepared((np.concatenate([X[:40]] * 5), np.tile(CLASSES[:40], 5)))


def test_inputs_and_labels_stay_together():
    a, b = np.arange(400, dtype=np.float32).reshape(200, 2), np.arange(200)[:, None]
    specs = TensorSpec("a", a.dtype, ("N", 2)), TensorSpec("b", np.dtype(np.int64), ("N", 1))
    dataset = read(({"a": a, "b": b}, np.arange(200.0)[:, None]), specs)
    judged = read({"a": a + 1000, "b": b}, specs)
    number = TensorSpec("y", np.dtype(np.float32), ("N", 1))
    found = prepare(dataset, dataset.labels, judged, [number], by_class=False, seed=3)
    np.testing.assert_array_equal(found.training["a"][:, 0], 2 * found.labels[:, 0])
    np.testing.assert_array_equal(found.training["b"], found.labels)
    assert not set(found.labels[:, 0]) & set(found.checking_labels[:, 0])


def test_text_is_compared_by_its_letters():
    text = TensorSpec("x", np.dtype(object), ("N", 1))
    words = np.array([[f"word {number}"] for number in range(120)], object)
    dataset, judged = read((words, np.arange(120) % 3), [text]), read(words[:20].copy(), [text])
    found = prepare(dataset, dataset.labels, judged, [SOFTMAX], by_class=True, seed=0)
    assert len(found) + len(found.checking_labels) == 100


def test_more_data_than_memory_should_hold_is_drawn_from(monkeypatch):
    monkeypatch.setattr(samples, "_MOST_BYTES", 100 * X[0].nbytes)
    found = prepared((X, CLASSES))
    assert len(found) + len(found.checking_labels) == 100
    assert found.notes == (
        "100 of the 300 samples to fine-tune on are used, drawn by the seed, since all would take "
        "more than 2.24e-06 GiB of memory",
    )
    assert rows_of(found.training) != rows_of(prepared((X, CLASSES), seed=1).training)


def test_samples_of_different_lengths_are_refused():
    free = TensorSpec("x", np.dtype(np.float32), ("N", "T", 2))
    short, long = np.ones((60, 3, 2), "f"), np.zeros((60, 4, 2), "f")
    dataset, judged = (
        read(iter([short, long]), [free]),
        read(short + np.arange(60.0)[:, None, None], [free]),
    )
    with pytest.raises(
        OptionError, match=r"different shapes.*expected one for all.*pad or cut them"
    ):
        prepare(dataset, None, judged, [SOFTMAX], by_class=True, seed=0)


def test_a_generator_is_read_once_and_an_endless_one_refused():
    pairs = ((X[at : at + 50], CLASSES[at : at + 50]) for at in range(0, 300, 50))
    assert len(prepared(pairs)) == 240
