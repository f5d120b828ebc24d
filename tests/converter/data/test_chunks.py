import numpy as np
import pytest

from edgeport import OptionError, TensorSpec
from edgeport_converter.data.chunks import Keys, pick_keys

ONE = (TensorSpec("image", np.dtype(np.float32), ("N", 2), ("N", "F")),)
TWO = (*ONE, TensorSpec("y", np.dtype(np.float32), ("N", 1), ("N", "F")))
MNIST = ("x_train", "y_train", "x_test", "y_test")


@pytest.mark.parametrize(
    ("keys", "specs", "purpose", "inputs", "labels"),
    [
        (("image", "y"), ONE, "evaluation", {"image": "image"}, "y"),
        (("x", "y"), ONE, "evaluation", {"image": "x"}, "y"),
        (("images", "labels"), ONE, "evaluation", {"image": "images"}, "labels"),
        (("anything",), ONE, "calibration", {"image": "anything"}, None),
        (("anything", "label"), ONE, "evaluation", {"image": "anything"}, "label"),
        (MNIST, ONE, "calibration", {"image": "x_train"}, "y_train"),
        (MNIST, ONE, "evaluation", {"image": "x_test"}, "y_test"),
        # an input may be called as labels are elsewhere
        (("image", "y"), TWO, "calibration", {"image": "image", "y": "y"}, None),
        (("image", "y", "labels"), TWO, "evaluation", {"image": "image", "y": "y"}, "labels"),
    ],
)
def test_arrays_are_told_by_name_and_in_pairs(keys, specs, purpose, inputs, labels):
    assert pick_keys(keys, specs, purpose) == Keys(inputs, labels)


@pytest.mark.parametrize(
    ("keys", "specs", "purpose"),
    [
        (("y",), ONE, "evaluation"),  # labels are no input
        (("a", "b"), ONE, "calibration"),
        (("x_train", "y_train", "other"), ONE, "evaluation"),
        (("image",), TWO, "calibration"),
        ((), ONE, "calibration"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(keys, specs, purpose):
    with pytest.raises(OptionError, match="name each array after the model's input"):
        pick_keys(keys, specs, purpose)
