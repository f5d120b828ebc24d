"""SavedModel folders, by their serving signature."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras2

from edgeport import ConversionError, Predictor
from edgeport_converter import convert
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.load import load_model


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory):
    """A SavedModel of Keras 2 with optimizer slots, and what Keras 2 answers to ``X``."""
    layers = keras2.layers
    model = keras2.Sequential(
        [
            layers.Conv2D(4, 3, input_shape=(8, 8, 1), name="conv"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", name="class"),
        ]
    )
    model.compile(keras2.optimizers.legacy.Adam(), "sparse_categorical_crossentropy")
    model.fit(X, np.arange(4) % 3, epochs=2, verbose=0)
    folder = tmp_path_factory.mktemp("keras2") / "trained"
    model.save(folder, save_format="tf")
    return folder, model.predict(X, verbose=0)


X = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)


def test_a_folder_of_keras_2_with_optimizer_slots(trained_folder):
    folder, expected = trained_folder
    loaded = load_model(folder)
    assert [(i.name, i.shape, i.dtype) for i in loaded.inputs] == [
        ("conv_input", (None, 8, 8, 1), "float32")
    ]
    assert [(o.name, o.shape) for o in loaded.outputs] == [("class", (None, 3))]
    found = loaded.call({"conv_input": tf.constant(X)})
    np.testing.assert_allclose(found["class"], expected, atol=1e-6)
    assert loaded.name == "trained"
    assert any("serving_default" in note for note in loaded.notes)


WITHOUT_TF_KERAS = """
import sys
import numpy as np

sys.modules["tf_keras"] = None  # as where it is not installed: TensorFlow asks it for optimizers
import onnxruntime
import tensorflow as tf
from edgeport_converter import exporting
from edgeport_converter.loading.load import load_model

folder, samples, answers = sys.argv[1:]
for _ in range(2):  # a second load must not stumble over the functions of the first
    loaded = load_model(folder)
x = tf.constant(np.load(samples))
traced = tf.function(lambda x: loaded.call({"conv_input": x}))
graph = exporting.export(loaded, opset=17, ir_version=8).graph.SerializeToString()
session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
(exported,) = session.run(None, {"conv_input": x.numpy()})
called = loaded.call({"conv_input": x})["class"]
np.savez(answers, called=called, traced=traced(x)["class"], exported=exported)
print(loaded.notes)
"""


def test_optimizer_slots_without_tf_keras(trained_folder, tmp_path):
    folder, expected = trained_folder
    np.save(tmp_path / "x.npy", X)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TF_KERAS, folder, tmp_path / "x.npy", tmp_path / "y.npz"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "read without its Python objects" in done.stdout
    with np.load(tmp_path / "y.npz") as answers:
        for name in ("called", "traced", "exported"):
            np.testing.assert_allclose(answers[name], expected, atol=1e-6)


def test_a_folder_that_keras_3_exported(tmp_path):
    first, second = keras.Input((3,), name="zebra"), keras.Input((2,), name="ant")
    model = keras.Model([first, second], keras.layers.Dense(2)(first) - second)
    model.export(tmp_path / "exported", verbose=False)
    loaded = load_model(tmp_path / "exported")
    assert [(info.name, info.shape) for info in loaded.inputs] == [
        ("zebra", (None, 3)),
        ("ant", (None, 2)),
    ]
    x, y = np.ones((2, 3), np.float32), np.full((2, 2), 5.0, np.float32)
    (found,) = loaded.call({"zebra": tf.constant(x), "ant": tf.constant(y)}).values()
    np.testing.assert_allclose(found, model([x, y]), rtol=1e-6)
    assert not any("sorted by name" in note for note in loaded.notes)


def test_inputs_of_a_folder_of_keras_2_keep_their_order_and_many_outputs_count_up(tmp_path):
    names = ["zebra", "ant", "mole"]
    inputs = [keras2.layers.Input((2,), name=name) for name in names]
    total = keras2.layers.Add()(inputs)
    outputs = [keras2.layers.Rescaling(n + 1.0, name=f"out_{n}")(total) for n in range(11)]
    keras2.Model(inputs, outputs).save(tmp_path / "saved", save_format="tf")
    loaded = load_model(tmp_path / "saved")
    assert [info.name for info in loaded.inputs] == names
    assert [info.name for info in loaded.outputs] == [f"out_{n}" for n in range(11)]
    found = loaded.call({name: tf.ones((1, 2)) for name in names})
    assert [float(tensor[0, 0]) for tensor in found.values()] == [3.0 * (n + 1) for n in range(11)]
    assert "a signature keeps no order: outputs are sorted by name" in loaded.notes


def test_a_function_of_ones_own_keeps_the_order_of_its_arguments(tmp_path):
    class Difference(tf.Module):
        @tf.function
        def serve(self, zebra, ant):
            return {"gap": zebra - ant}

    spec = tf.TensorSpec((None, 2))
    module = Difference()
    served = module.serve.get_concrete_function(
        zebra=tf.TensorSpec((None, 2), name="zebra"), ant=spec
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=served)
    loaded = load_model(tmp_path / "saved")
    assert [info.name for info in loaded.inputs] == ["zebra", "ant"]
    assert not any("sorted by name" in note for note in loaded.notes)
    (gap,) = loaded.call({"zebra": tf.fill((1, 2), 5.0), "ant": tf.ones((1, 2))}).values()
    np.testing.assert_array_equal(gap, [[4.0, 4.0]])


class Plain(tf.Module):
    def __init__(self):
        self.factor = tf.Variable(3.0)

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="x")])
    def scale(self, x):
        return {"y": self.factor * x}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="x")])
    def python(self, x):
        return {"y": tf.ensure_shape(tf.py_function(lambda a: a, [x], tf.float32), (None, 2))}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="x")])
    def count(self, x):
        self.factor.assign_add(1.0)
        return {"y": self.factor * x}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="examples")])
    def parse(self, examples):
        feature = {"x": tf.io.FixedLenFeature((2,), tf.float32)}
        return {"y": tf.io.parse_example(examples, feature)["x"] * self.factor}


def test_any_signature_will_do_where_there_is_one(tmp_path):
    module = Plain()
    tf.saved_model.save(module, tmp_path / "plain", {"scale": module.scale})
    loaded = load_model(tmp_path / "plain")
    found = loaded.call({"x": tf.constant([[1.0, 2.0]])})
    np.testing.assert_array_equal(found["y"], [[3.0, 6.0]])


def test_several_signatures_without_a_default_are_listed(tmp_path):
    module = Plain()
    signatures = {"scale": module.scale, "again": module.scale}
    tf.saved_model.save(module, tmp_path / "plain", signatures)
    with pytest.raises(UnsupportedModelError, match="the signatures again, scale, expected 's"):
        load_model(tmp_path / "plain")


def test_no_signature_is_refused(tmp_path):
    tf.saved_model.save(tf.Module(), tmp_path / "plain")
    with pytest.raises(UnsupportedModelError, match="has no signature"):
        load_model(tmp_path / "plain")


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("python", "calls back into Python"),
        ("count", "changes a variable"),
        ("parse", "reads serialized data"),
    ],
)
def test_signatures_that_no_file_can_hold_are_refused(method, expected, tmp_path):
    module = Plain()
    tf.saved_model.save(module, tmp_path / "plain", getattr(module, method))
    with pytest.raises(UnsupportedModelError, match=expected):
        load_model(tmp_path / "plain")


def test_another_tag_is_refused(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, (None, 2))
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "tpu"))
        signature = tf.compat.v1.saved_model.predict_signature_def({"x": x}, {"y": x * 2.0})
        builder.add_meta_graph_and_variables(session, ["tpu"], {"serving_default": signature})
        builder.save()
    with pytest.raises(ConversionError, match="has the tags tpu, expected one tagged 'serve'"):
        load_model(tmp_path / "tpu")


@pytest.mark.parametrize("content", [b"", b"<xml>not a protobuf</xml>"])
def test_a_saved_model_of_another_kind_is_refused(content, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ConversionError, match="TensorFlow"):
        load_model(tmp_path)


def test_a_file_of_the_folder_leads_to_the_folder(trained_folder):
    folder, _ = trained_folder
    with pytest.raises(ConversionError, match=r"one file of a SavedModel.*pass its folder"):
        load_model(folder / "saved_model.pb")


def test_missing_variables_are_refused(trained_folder, tmp_path):
    folder, _ = trained_folder
    (tmp_path / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes())
    with pytest.raises(ConversionError, match="expected a whole folder with its variables"):
        load_model(tmp_path)


def exported(tmp_path, *layers):
    """Export a Sequential model; return its folder and the model."""
    model = keras.Sequential(layers)
    model.export(tmp_path / "exported", verbose=False)
    return tmp_path / "exported", model


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2),
        keras.layers.Bidirectional(keras.layers.GRU(4, dropout=0.3)),
        keras.layers.GaussianNoise(0.3),
    ],
)
def test_seeds_that_no_output_needs_are_no_random_numbers(layer, tmp_path):
    folder, model = exported(tmp_path, keras.Input((6, 3)), layer, keras.layers.Dropout(0.5))
    x = np.random.default_rng(0).random((2, 6, 3), np.float32)
    convert(folder, tmp_path / "m.onnx")
    found = Predictor.load(tmp_path / "m.onnx").predict(x)
    np.testing.assert_allclose(found, model(x), rtol=1e-5, atol=1e-6)


def test_a_random_number_that_an_output_needs_is_refused(tmp_path):
    class Noisy(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seeds = keras.random.SeedGenerator(1)

        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)

    folder, _ = exported(tmp_path, keras.Input((3,)), Noisy())
    with pytest.raises(UnsupportedModelError, match="draws random numbers at inference"):
        load_model(folder)


def test_a_variable_that_is_counted_up_and_not_read_does_no_harm(tmp_path):
    module = tf.Module()
    module.calls = tf.Variable(0.0)

    def double(x):
        module.calls.assign_add(1.0)
        return {"y": 2.0 * x}

    module.double = tf.function(double, input_signature=[tf.TensorSpec((None, 2), name="x")])
    tf.saved_model.save(module, tmp_path / "plain", module.double)
    convert(tmp_path / "plain", tmp_path / "m.onnx")
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(Predictor.load(tmp_path / "m.onnx").predict(x), 2 * x)


def test_text_vectorization_in_a_saved_model_is_named(tmp_path, capfd):
    words = keras.layers.TextVectorization(max_tokens=20, output_sequence_length=4)
    words.adapt(["a b c", "the cat"])
    embedded = keras.layers.Embedding(20, 3)
    folder, _ = exported(tmp_path, keras.Input((), dtype="string"), words, embedded)
    capfd.readouterr()
    with pytest.raises(UnsupportedModelError, match=r"text_vectorization.*as TextVectorization"):
        convert(folder, tmp_path / "m.onnx")
    assert "CollectionDef" not in capfd.readouterr().err


def test_keras_own_graph_of_free_steps_is_doubted(tmp_path):
    steps = keras.layers.TimeDistributed(keras.layers.Dense(3))
    folder, model = exported(tmp_path, keras.Input((None, 4)), steps, keras.layers.LSTM(3))
    x = np.random.default_rng(0).random((2, 5, 4), np.float32)
    saved = tf.saved_model.load(folder)
    assert np.abs(saved.serve(x) - model(x)).max() > 0.01  # without ours: Keras' graph is wrong
    assert any("may answer otherwise than the Keras model" in n for n in load_model(folder).notes)


def test_a_convolution_of_unknown_rank_is_refused_as_that(tmp_path):
    steps = keras.layers.TimeDistributed(keras.layers.Conv2D(2, 3))
    last = keras.layers.ConvLSTM2D(3, 3)
    folder, _ = exported(tmp_path, keras.Input((None, 8, 8, 1)), steps, last)
    with pytest.raises(UnsupportedModelError, match="whose number of axes TensorFlow does not"):
        convert(folder, tmp_path / "m.onnx")
