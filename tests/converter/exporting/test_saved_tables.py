"""SavedModels whose functions look keys up in tables."""

import numpy as np
import pytest
import tensorflow as tf

from edgeport import ConversionError, Predictor
from edgeport_converter import UnsupportedModelError, exporting
from edgeport_converter.exporting import freezing
from edgeport_converter.loading.load import load_model

WORDS = ["ash", "Zürich", ""]


def table(keys, values, default):
    initializer = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), tf.constant(values))
    return tf.lookup.StaticHashTable(initializer, default)


class Looks(tf.Module):
    """A module that reads three tables beside a weight."""

    def __init__(self):
        super().__init__()
        self.number_of = table(WORDS, np.int64([3, 1, 2]), -1)
        self.price_of = table(np.int64([5, 7]), np.float32([0.5, 0.25]), 9.0)
        self.name_of = table(np.int32([0, 1]), ["no", "yes"], "?")
        self.small = table(np.int32([1, 2]), np.int32([10, 20]), 0)
        self.weight = tf.Variable([[1.0, 2.0]])

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 1), tf.string, name="word"),
            tf.TensorSpec((None, 1), tf.int64, name="key"),
        ]
    )
    def answer(self, word, key):
        small = tf.cast(key, tf.int32)
        return {
            "number": self.number_of.lookup(word),
            "price": tf.matmul(self.price_of.lookup(key), self.weight),
            "name": self.name_of.lookup(small % 3),
            "small": self.small.lookup(small - 4),
        }


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    module = Looks()
    tf.saved_model.save(module, folder, signatures=module.answer)
    return folder


def test_a_table_becomes_a_label_encoder(saved):
    exported = exporting.export(load_model(saved), opset=17, ir_version=8)
    words = np.array([["ash"], ["Zürich"], [""], ["oak"]], dtype=object)
    keys = np.array([[5], [7], [6], [-1]])
    with Predictor.load(exported.graph.SerializeToString()) as predictor:
        answers = predictor.predict({"word": words, "key": keys})
    np.testing.assert_array_equal(answers["number"], [[3], [1], [2], [-1]])
    np.testing.assert_array_equal(
        answers["price"], [[0.5, 1.0], [0.25, 0.5], [9.0, 18.0], [9.0, 18.0]]
    )
    np.testing.assert_array_equal(answers["name"], [["?"], ["yes"], ["no"], ["?"]])
    np.testing.assert_array_equal(answers["small"], [[10], [0], [20], [0]])


def test_a_fault_of_freezing_is_not_blamed_on_keras(saved, monkeypatch):
    def fail(*args):
        raise ValueError("zip() argument 2 is shorter than argument 1")

    monkeypatch.setattr(freezing, "freeze", fail)
    loaded = load_model(saved)
    with pytest.raises(ConversionError, match=r"internal error \(ValueError\)") as failed:
        exporting.export(loaded, opset=17, ir_version=8)
    assert not isinstance(failed.value, UnsupportedModelError)
    assert "zip" not in str(failed.value)
