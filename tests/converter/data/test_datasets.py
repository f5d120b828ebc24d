import hashlib

import numpy as np
import pytest

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
