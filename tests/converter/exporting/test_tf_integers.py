"""Integers that are negative or out of range: as Keras answers, or not at all."""

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from edgeport import InferenceError, Predictor
from edgeport_converter import convert, exporting
from edgeport_converter.loading.load import load_model

VALUES = np.array([[-12], [-7], [-5], [-1], [0], [1], [4], [5], [7], [12]], dtype=np.int32)


def convert_function(function, path, dtype="int32"):
    x = keras.Input((1,), dtype=dtype, name="x")
    model = keras.Model(x, function(x))
    convert(model, path, quantize="none")
    return model


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: keras.ops.floor_divide(x, 5),
        lambda x: keras.ops.floor_divide(x, -5),
        lambda x: keras.ops.mod(x, 5),
        lambda x: keras.ops.mod(x, -5),
        lambda x: keras.ops.one_hot(x, 6),
        lambda x: keras.ops.one_hot(x, 6, dtype="int32"),
        lambda x: keras.layers.CategoryEncoding(6, "one_hot")(x),
        lambda x: keras.ops.take(keras.ops.arange(30.0), x + 12),
    ],
    ids=[
        "floor_divide",
        "by a negative",
        "mod",
        "mod of a negative",
        "one_hot",
        "one_hot int",
        "CategoryEncoding",
        "take",
    ],
)
def test_negative_numbers_give_keras_answers(function, dtype, tmp_path):
    model = convert_function(function, tmp_path / "m.onnx", dtype)
    x = VALUES.astype(dtype)
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        np.testing.assert_array_equal(predictor.predict(x), np.asarray(model(x)))


@pytest.mark.parametrize("index", [-11, 10])
def test_an_index_outside_of_an_embedding_is_no_answer(index, tmp_path):
    convert_function(keras.layers.Embedding(10, 3), tmp_path / "m.onnx")
    with (
        Predictor.load(tmp_path / "m.onnx") as predictor,
        pytest.raises(InferenceError, match="indices element out of data bounds"),
    ):
        predictor.predict(np.array([[index]], dtype=np.int32))


@pytest.mark.parametrize("between", ["int8", "uint8", "int32", "int64", "uint64"])
def test_an_integer_becomes_a_boolean_by_a_comparison(between, tmp_path):
    # onnxruntime before 1.21 joins two casts in a row, so that 0.5 becomes true: graphs have none.
    def is_there(x):
        whole = keras.ops.cast(x, between)
        return keras.ops.where(keras.ops.cast(whole, "bool"), 1.0, -1.0)

    model = convert_function(is_there, tmp_path / "m.onnx", "float32")
    x = np.array([[0.0], [0.5], [0.99], [1.0], [2.75], [100.0]], dtype=np.float32)
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        answers = predictor.predict(x)
    assert answers.ravel().tolist() == [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]
    np.testing.assert_array_equal(answers, np.asarray(model(x)))
    graph = onnx.load(tmp_path / "m.onnx").graph
    casts = [node for node in graph.node if node.op_type == "Cast"]
    assert casts
    assert onnx.TensorProto.BOOL not in [node.attribute[0].i for node in casts]


@pytest.mark.parametrize(
    ("function", "refused"),
    [
        (lambda x: tf.scatter_nd(x, tf.ones(tf.shape(x)[0]), [3]), [-1, 3]),
        (lambda x: tf.math.unsorted_segment_sum(tf.ones_like(x), x[:, 0], 3), [3, 4]),
        (lambda x: tf.math.unsorted_segment_max(tf.ones_like(x), x[:, 0], 3), [3, 4]),
    ],
    ids=["scatter_nd", "unsorted_segment_sum", "unsorted_segment_max"],
)
def test_an_index_or_segment_that_tensorflow_refuses_is_no_answer(function, refused):
    x = keras.Input((1,), dtype="int32", name="x")
    model = keras.Model(x, keras.layers.Lambda(function, output_shape=(1,))(x))
    exported = exporting.export(load_model(model), opset=17, ir_version=8)
    session = onnxruntime.InferenceSession(exported.graph.SerializeToString())
    good = np.array([[2], [0], [2]], dtype=np.int32)
    np.testing.assert_array_equal(session.run(None, {"x": good})[0], np.asarray(function(good)))
    for index in refused:
        bad = np.array([[index], [0]], dtype=np.int32)
        with pytest.raises(tf.errors.InvalidArgumentError):
            function(bad)
        with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
            session.run(None, {"x": bad})
