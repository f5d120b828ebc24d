"""A set that gives other samples at each pass is read once; labels stay with their samples."""

import itertools
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from edgeport import OptionError, TensorSpec
from edgeport_converter import convert
from edgeport_converter.data import sources
from edgeport_converter.data.datasets import read_dataset
from edgeport_converter.data.user_data import read_user_data

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(240, 6)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)
SPEC = (TensorSpec("x", np.dtype(np.float32), ("N", 6), ("N", "F")),)
SCORES = (TensorSpec("y", np.dtype(np.float32), ("N", 3), ("N", "F")),)
PAIRS = tf.data.Dataset.from_tensor_slices((X, Y))


@pytest.fixture(scope="module")
def model():
    """A classifier of the sums that ``Y`` was made of; some samples are wrong."""
    keras.utils.set_random_seed(2)
    made = keras.Sequential(
        [keras.Input((6,), name="x"), keras.layers.Dense(3, "softmax", name="scores")]
    )
    made.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    weights = np.zeros((6, 3))
    weights[:3] = [[-3, 0, 3]]
    made.layers[0].set_weights([weights, np.array([0, 1, -1.5])])
    assert 0.5 < made.evaluate(X, Y, verbose=0)[1] < 0.98
    return made


def others(x, y):
    """Random in each pass, and no change of the best class."""
    return x * tf.random.uniform((1,), 1.0, 1.0000001), y


class Drawn:
    """Other samples in each pass, as a set of samples drawn at random has them; keeps count."""

    def __init__(self):
        self.passes = []

    def __iter__(self):
        chosen = np.random.default_rng(len(self.passes)).permutation(240)[:100]
        self.passes.append(chosen)
        return iter([(X[chosen[:60]], Y[chosen[:60]]), (X[chosen[60:]], Y[chosen[60:]])])


class Batches(keras.utils.PyDataset):
    """A set of Keras that shuffles at each pass."""

    order = np.arange(240)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 0:
            self.order = np.random.permutation(240)
        part = self.order[index * 60 : (index + 1) * 60]
        return X[part], Y[part]


SETS = {
    "shuffled": lambda: PAIRS.shuffle(240).batch(32),
    "shuffled samples": lambda: PAIRS.shuffle(240),
    "augmented": lambda: PAIRS.shuffle(240).map(others).batch(7),
    "repeated": lambda: PAIRS.shuffle(240).repeat().take(720).batch(32),
    "generator": lambda: ((X[i : i + 9], Y[i : i + 9]) for i in range(0, 240, 9)),
    "generator of samples": lambda: zip(X, Y, strict=True),
    "of Keras": Batches,
    "one-hot": lambda: PAIRS.shuffle(240).batch(32).map(lambda x, y: (x, tf.one_hot(y, 3))),
}


@pytest.mark.parametrize("form", SETS)
def test_accuracy_is_what_keras_evaluate_gives(form, model, tmp_path):
    expected = model.evaluate(X, Y, verbose=0)[1]
    report = convert(model, tmp_path / "m.onnx", evaluation=SETS[form](), quantize="none")
    assert report.accuracy.keras == pytest.approx(expected, abs=1e-6)
    assert report.accuracy.samples == (720 if form == "repeated" else 240)


@pytest.mark.parametrize("kept_in_memory", [2**30, 1000])
def test_a_set_with_other_samples_in_each_pass_is_read_once(kept_in_memory, model, monkeypatch):
    monkeypatch.setattr(sources, "_BYTES_IN_MEMORY", kept_in_memory)
    source = Drawn()
    data = read_dataset(source, SPEC, "evaluation")
    (chosen,) = source.passes
    for size in (7, 100, 1000):
        parts = [batch["x"] for batch in data.batches(size)]
        np.testing.assert_array_equal(np.concatenate(parts), X[chosen])
    np.testing.assert_array_equal(data.labels, Y[chosen])


def test_passes_over_kept_samples_do_not_disturb_each_other():
    data = read_dataset((x for x in X), SPEC, "calibration")
    for first, second in zip(data.batches(10), data.batches(10), strict=True):
        np.testing.assert_array_equal(first["x"], second["x"])


@pytest.mark.parametrize(
    "make",
    [
        Drawn,
        lambda: iter([(X, Y)]),
        lambda: PAIRS.shuffle(240).batch(32),
        lambda: (X, Y),
        lambda: {"x_train": X, "y_train": Y, "x_test": X[:50], "y_test": Y[:50]},
    ],
)
def test_one_object_for_calibration_and_evaluation_is_read_once(make):
    source = make()
    user = read_user_data(
        source, source, SPEC, SCORES, needs_classes=True, image_range=(0.0, 255.0)
    )
    samples = user.measured.first(999)["x"]
    np.testing.assert_array_equal(
        (samples[:, 0] + samples[:, 1] > 0).astype(int) + (samples[:, 2] > 0.5), user.labels
    )
    assert (user.measured.sha256 == user.calibration.sha256) == (not isinstance(source, dict))
    assert len(getattr(source, "passes", [0])) == 1


class Endless(Batches):
    """A set of Keras without an end."""

    num_batches = None


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: PAIRS.repeat(), "repeats without end"),
        (
            lambda: PAIRS.repeat().batch(8).map(lambda x, y: (x, y)),
            "repeats without end",
        ),
        (Endless, "repeats without end"),
        (lambda: PAIRS.repeat().filter(lambda x, y: True).batch(32), "is still going on after"),
        (lambda: itertools.cycle([X]), r"is still going on after \d+ samples"),
    ],
)
def test_a_set_without_an_end_is_refused_with_a_way_out(make, found, monkeypatch):
    monkeypatch.setattr(sources, "_MOST_ITEMS", 2000)
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1000)
    with pytest.raises(OptionError, match=rf"the evaluation data {found}.*cut it short with take"):
        read_dataset(make(), SPEC, "evaluation")


def test_a_set_that_says_its_length_has_no_other_bound(monkeypatch):
    monkeypatch.setattr(sources, "_MOST_ITEMS", 100)
    assert len(read_dataset(PAIRS, SPEC, "evaluation")) == 240


def test_kept_samples_leave_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sources, "_BYTES_IN_MEMORY", 100)
    data = read_dataset((x for x in X), SPEC, "calibration")
    assert len(list(data.batches(100))) == 3
    if os.name == "posix":
        assert list(tmp_path.iterdir()) == []


class Columns:
    """Like a set of torch: a length, and items by their number."""

    def __len__(self):
        return 240

    def __getitem__(self, index):
        return X[index], Y[index]


def test_a_set_of_items_by_number_ends_at_its_length():
    data = read_dataset(Columns(), SPEC, "evaluation")
    np.testing.assert_array_equal(data.first(240)["x"], X)
    np.testing.assert_array_equal(data.labels, Y)


class Broken:
    """A set that cannot even begin."""

    def __iter__(self):
        raise RuntimeError("no such table")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Broken, r"raised RuntimeError \(no such table\) after 0 items"),
        (lambda: iter([np.array([b"\xff"], object)]), "text that is no UTF-8"),
        (lambda: [tf.ragged.constant([[1.0], [2.0, 3.0]])], "an item of Python objects"),
        (lambda: iter([tf.sparse.from_dense([[1.0]])]), "an item of Python objects"),
        (lambda: (X[:3], [[0], [1, 2], [0]]), "labels of the evaluation data cannot be an array"),
        (lambda: [(X[:5], Y[:3]), (X[5:9], Y[3:9])], "has 5 samples and 3 labels"),
        (lambda: iter([(X[:5], Y[:3]), (X[5:7], Y[3:7])]), "has 5 samples and 3 labels"),
    ],
)
def test_items_that_cannot_be_read_are_refused_in_one_sentence(make, sentence):
    with pytest.raises(OptionError, match=sentence):
        read_dataset(make(), SPEC, "evaluation")


def test_a_directory_that_keras_shuffles_is_measured_as_keras_does(tmp_path):
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / name).mkdir()
        for number in range(30):
            noise = GENERATOR.normal(level, 60, (8, 8, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / name / f"{number}.png")
    shuffled = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(8, 8), batch_size=7, verbose=False
    )
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, "softmax"),
        ]
    )
    model.layers[-1].set_weights([np.array([[0.0, 1.0]] * 3) / 9, np.array([0.0, -60.0])])
    model.compile(metrics=["accuracy"], loss="sparse_categorical_crossentropy")
    report = convert(model, tmp_path / "m.onnx", evaluation=shuffled, quantize="none")
    assert report.accuracy.keras == pytest.approx(model.evaluate(shuffled, verbose=0)[1], abs=1e-6)
    assert report.accuracy.keras > 0.6
    with pytest.raises(OptionError, match=r"as 'dark', 'light' and the labels have 'light' where"):
        convert(model, tmp_path / "m.onnx", evaluation=shuffled, labels=["light", "dark"])
