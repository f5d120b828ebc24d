"""Arrays of a workstation's libraries, given to the runtime: numbers that numpy does not have."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_writer as ow
import pytest
import tensorflow as tf

from edgeport import InputError, Predictor

NAMES = ["bfloat16", "float8_e4m3fn", "int4"]


@pytest.fixture(scope="module")
def relu():
    ports = [(name, "float32", ["N", 3]) for name in "xy"]
    content = ow.graph([ow.node("Relu", ["x"], ["y"])], ports[:1], ports[1:])
    with Predictor.load(ow.model(content)) as predictor:
        yield predictor


@pytest.mark.parametrize("name", NAMES)
def test_they_are_to_be_converted_and_none_changes(relu, name):
    x = np.array([[-1, 2, 3]], getattr(ml_dtypes, name))
    with pytest.raises(InputError, match=rf"is {name} numbers .*: x.astype\(np.float32\)$"):
        relu.predict(x)
    np.testing.assert_array_equal(relu.predict(x.astype(np.float32)), [[0, 2, 3]])


def test_a_tensor_of_them_is_no_record_either(relu):
    with pytest.raises(InputError, match="is bfloat16 numbers"):
        relu.predict(tf.ones((1, 3), tf.bfloat16))
