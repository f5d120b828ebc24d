import hashlib

import numpy as np
import pytest
import tensorflow as tf

from edgeport import InputError, OptionError, TensorSpec
from edgeport_converter.data.datasets import read_dataset

ONE = (TensorSpec("image", np.dtype(np.float32), ("N", 2), ("N", "F")),)
TWO = (*ONE, TensorSpec("other", np.dtype(np.int64), ("N", 1), ("N", "F")))
X = np.arange(10, dtype=np.float32).reshape(5, 2)
Y = np.array([0, 1, 2, 1, 0])


@pytest.mark.parametrize("key", ["image", "x", "images", "whatever"])
def test_one_input_is_found_under_its_own_or_a_customary_name(tmp_path, key):
    np.savez(tmp_path / "data.npz", **{key: X, "y": Y})
    data = read_dataset(tmp_path / "data.npz", ONE, "evaluation")
    np.testing.assert_array_equal(data.first(99)["image"], X)
    np.testing.assert_array_equal(data.labels, Y)


@pytest.mark.parametrize("source", [X, X.tolist(), {"image": X}, {"x": X}, (X, Y)])
def test_arrays_dicts_and_pairs_are_data(source):
    data = read_dataset(source, ONE, "calibration")
    np.testing.assert_array_equal(data.first(99)["image"], X)
    assert (data.labels is not None) == isinstance(source, tuple)


def test_a_npy_file_is_one_input(tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert len(read_dataset(tmp_path / "x.npy", ONE, "calibration")) == 5


def test_batches_keep_the_order_and_the_ragged_end():
    parts = list(read_dataset(X, ONE, "calibration").batches(2))
    assert [len(part["image"]) for part in parts] == [2, 2, 1]
    np.testing.assert_array_equal(np.concatenate([part["image"] for part in parts]), X)


def test_the_digest_is_over_names_dtypes_and_values():
    values = hashlib.sha256(X.tobytes()).hexdigest()
    expected = hashlib.sha256(f"image <f4 {values}".encode()).hexdigest()
    assert read_dataset(X, ONE, "calibration").sha256 == expected


def test_the_value_range_is_that_of_the_data():
    assert read_dataset(X, ONE, "calibration").value_ranges == {"image": (0.0, 9.0)}


@pytest.mark.parametrize(
    ("source", "specs", "message"),
    [
        ("missing.npz", ONE, r"there is no calibration file 'missing.npz': pass a .npy, .npz"),
        ({"a": X, "b": X}, ONE, r"has the arrays 'a', 'b', expected 'image' .or 'x_train'.: name"),
        ({"image": X}, TWO, r"has the arrays 'image', expected 'image', 'other'"),
        (X[0], ONE, r"holds one sample without the batch axis, expected a batch"),
        (X[:0], ONE, r"holds no sample, expected some hundred"),
        (np.tile([[1.0, 2.0]], (5, 1)), ONE, r"all 5 samples of the calibration data are the same"),
        (np.ones((5, 2)), ONE, r"every value of the calibration data is 1, expected samples that"),
        ((X, Y[:3]), ONE, r"has 5 samples and 3 labels, expected one label a sample"),
        (np.where(X == 4, np.nan, X), ONE, r"NaN or an infinity in 'image' at \[2, 0\]"),
    ],
)
def test_unusable_data_is_refused_in_one_sentence(source, specs, message):
    with pytest.raises(OptionError, match=message):
        read_dataset(source, specs, "calibration")


def test_a_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "x.npz").write_text("hello")
    with pytest.raises(OptionError, match=r"is neither .npy nor .npz nor named .csv"):
        read_dataset(tmp_path / "x.npz", ONE, "calibration")


def test_a_wrong_shape_says_which_data_it_was_in():
    with pytest.raises(InputError, match=r"evaluation data: input 'image' has shape \(5, 3\)"):
        read_dataset(np.zeros((5, 3)), ONE, "evaluation")


@pytest.mark.parametrize("labels", [{"a": np.zeros(5), "b": np.zeros(5)}, (np.zeros(5),) * 2])
def test_labels_of_several_outputs_are_refused_with_what_to_do(labels):
    data = (np.arange(10.0).reshape(5, 2), labels)
    with pytest.raises(OptionError, match="of 2, expected one array: pass the labels of the first"):
        read_dataset(data, ONE, "evaluation")


def test_labels_may_be_a_tuple_of_numbers():
    data = read_dataset((np.arange(10.0).reshape(5, 2), (0, 1, 1, 0, 1)), ONE, "evaluation")
    assert data.labels.tolist() == [0, 1, 1, 0, 1]


BOTH = (X, np.arange(5).reshape(5, 1))


def batches_of(inputs):
    """Yield two batches of 3 and 2 samples."""
    for part in (slice(3), slice(3, 5)):
        yield inputs(X[part], BOTH[1][part]), Y[part]


@pytest.mark.parametrize(
    "source",
    [
        (BOTH, Y),
        (list(BOTH), Y),
        (BOTH, Y, np.ones(5)),
        list(BOTH),
        (list(BOTH),),
        [(BOTH, Y)],
        list(batches_of(lambda *both: both)),
        batches_of(lambda *both: both),
        batches_of(lambda *both: list(both)),
        iter([([*BOTH],)]),
        iter([(both, label) for *both, label in zip(*BOTH, Y, strict=True)]),
    ],
)
def test_several_inputs_are_taken_in_their_order(source):
    data = read_dataset(source, TWO, "evaluation")
    for name, array in data.first(99).items():
        np.testing.assert_array_equal(array, dict(zip(("image", "other"), BOTH, strict=True))[name])
    if data.labels is not None:
        np.testing.assert_array_equal(data.labels, Y)


def test_two_inputs_in_a_set_of_tensorflow():
    given = tf.data.Dataset.from_tensor_slices((BOTH, Y))
    for source in (given, given.batch(2)):
        data = read_dataset(source, TWO, "evaluation")
        np.testing.assert_array_equal(data.first(99)["other"], BOTH[1])
        np.testing.assert_array_equal(data.labels, Y)


def test_a_number_of_inputs_that_is_not_the_models_says_what_is_expected():
    with pytest.raises(
        OptionError, match=r"pass \(\(image, other\), y\), the inputs in this order"
    ):
        read_dataset(((X, X, X), Y), TWO, "evaluation")


NA = type("NAType", (), {"__repr__": lambda self: "<NA>"})()  # of pandas, for a missing number


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 1, 0, 1], np.int64),
        ([False, True, True, False, True], np.bool_),
        ([0, True, np.int32(1), np.False_, 1], np.int64),
        ([0.0, 1.0, 1, 0, 1], np.float64),
        ([0.25, 1.0, 0.5, np.float32(0), 1], np.float64),
        (["a", "b", "b", "a", "b"], object),
    ],
)
def test_labels_that_are_python_objects_are_taken_as_what_they_are(labels, expected):
    data = read_dataset((X, np.array(labels, object)), ONE, "evaluation")
    assert data.labels.dtype == expected
    assert data.labels.tolist() == labels


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([0, 1, None, 0, 1], "label None among others of other kinds"),
        ([0, 1, NA, 0, 1], "label <NA> among"),
        ([0, 1, "b", 0, 1], "label 'b' among"),
        ([0, 1, 1j, 0, 1], "label 1j among"),
        ([None] * 5, "label None, expected a number"),
        ([[0], [1, 2], [1], [0], [1]], r"label \[0\], expected a number"),
    ],
)
def test_labels_that_are_other_python_objects_are_refused_by_name(labels, found):
    given = np.empty(5, object)
    given[:] = labels
    with pytest.raises(OptionError, match=f"{found}.*: make them all one of the two"):
        read_dataset((X, given), ONE, "evaluation")


def test_whole_numbers_that_no_float_can_be_are_refused_as_labels():
    given = np.array([0, 1, 2**70, 0, 1], object)
    with pytest.raises(OptionError, match=r"label 1180591620717411303424 as .*, expected at most"):
        read_dataset((X, given), ONE, "evaluation")


@pytest.mark.parametrize("kind", [int, float])
def test_python_numbers_that_are_names_of_other_classes_are_refused(kind):
    data = X, np.array([kind(number) for number in (1, 2, 1, 2, 1)], object)
    with pytest.raises(OptionError, match=r"class 1 or the class of that name, number 0, expected"):
        read_dataset(data, ONE, "evaluation", class_names=["1", "2"])
    found = read_dataset(data, ONE, "evaluation", class_names=["0", "1", "2"])
    assert found.labels.tolist() == [1, 2, 1, 2, 1]


@pytest.mark.parametrize("labels", [{"scores": Y}, {"scores": Y, "boxes": X}, {"dense_1": Y}])
@pytest.mark.parametrize("form", [lambda pair: pair, lambda pair: iter([pair])])
def test_labels_may_be_in_a_dict_by_the_only_output(labels, form):
    data = read_dataset(form((X, labels)), ONE, "evaluation", outputs=["scores"])
    np.testing.assert_array_equal(data.labels, Y)


@pytest.mark.parametrize("labels", [{"a": Y[:2], "b": Y[:2]}, (Y[:2], Y[:2]), {"a": Y[:2]}])
@pytest.mark.parametrize("form", [lambda pair: pair, lambda pair: iter([pair])])
def test_labels_of_several_outputs_in_a_set_are_refused(labels, form):
    with pytest.raises(
        OptionError, match=r"of \d, expected one array: pass the labels of the first"
    ):
        read_dataset(form((X[:2], labels)), ONE, "evaluation", outputs=["a", "b"])


class Callable:
    def __call__(self):
        return iter([X])


@pytest.mark.parametrize("source", [lambda: iter([X]), batches_of, Callable(), Callable])
def test_a_function_that_makes_data_is_to_be_called(source):
    with pytest.raises(OptionError, match=r"itself, expected what it returns.*pass the result of"):
        read_dataset(source, ONE, "calibration")
