"""Models in memory, models made by a function, code of the user, and mixed precision."""

import shutil
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeport import ConversionError, OptionError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.load import load_model


def answer(loaded, *arrays):
    tensors = {
        info.name: tf.constant(array, info.dtype)
        for info, array in zip(loaded.inputs, arrays, strict=True)
    }
    return {name: np.asarray(tensor) for name, tensor in loaded.call(tensors).items()}


def test_a_sequential_model(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,), name="x"), keras.layers.Dense(3, activation="softmax", name="y")]
    )
    loaded = load_model(model)
    assert [(i.name, i.shape, i.dtype) for i in loaded.inputs] == [("x", (None, 4), "float32")]
    assert [(o.name, o.activation) for o in loaded.outputs] == [("y", "softmax")]
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    kernel, bias = model.get_weights()
    scores = np.exp(x @ kernel + bias)
    expected = scores / scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(answer(loaded, x)["y"], expected, rtol=1e-5)
    assert loaded.notes == ()
    assert loaded.source == {"source": "memory"}


def test_dicts_keep_their_keys_and_their_declared_order(tmp_path):
    inputs = {"z": keras.Input((2,), name="z"), "a": keras.Input((3,), name="a")}
    outputs = {
        "sum": keras.layers.Dense(1, name="d")(inputs["z"]),
        "best": keras.layers.Rescaling(2.0)(inputs["a"]),
    }
    model = keras.Model(inputs, outputs)
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        loaded = load_model(source)
        assert [info.name for info in loaded.inputs] == ["z", "a"]
        assert [info.name for info in loaded.outputs] == ["sum", "best"]
        found = answer(loaded, np.ones((2, 2)), np.full((2, 3), 3.0))
        np.testing.assert_array_equal(found["best"], np.full((2, 3), 6.0, np.float32))
        assert list(found) == ["sum", "best"]


def test_names_are_unique_among_inputs_and_outputs():
    x = keras.Input((2,), name="x")
    model = keras.Model({"x": x}, {"x": x * 2.0, "y": x + 1.0})
    loaded = load_model(model)
    assert [info.name for info in loaded.outputs] == ["x_1", "y"]
    np.testing.assert_array_equal(answer(loaded, [[1.0, 2.0]])["x_1"], [[2.0, 4.0]])


class Scaled(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)

    def call(self, features, training=False):
        return {"scores": self.dense(features), "twice": features * 2.0}


def test_a_subclassed_model_that_was_called_once():
    model = Scaled(name="scaled")
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    expected = model(x)
    loaded = load_model(model)
    assert [(i.name, i.shape) for i in loaded.inputs] == [("features", (None, 3))]
    assert loaded.name == "scaled"
    found = answer(loaded, x[:1])
    assert list(found) == ["scores", "twice"]
    np.testing.assert_allclose(found["scores"], np.asarray(expected["scores"])[:1], rtol=1e-6)
    assert any("features (N, 3) in float32" in note for note in loaded.notes)


class TakesDict(keras.Model):
    def call(self, inputs):
        return inputs["left"] - inputs["pair"][0] * inputs["pair"][1]


def test_a_subclassed_model_with_nested_inputs():
    model = TakesDict()
    model({"left": np.ones((2, 3)), "pair": [np.ones((2, 3)), np.ones((2, 3))]})
    loaded = load_model(model)
    assert [info.name for info in loaded.inputs] == ["left", "pair.0", "pair.1"]
    (found,) = answer(
        loaded, np.full((1, 3), 7.0), np.full((1, 3), 2.0), np.full((1, 3), 3.0)
    ).values()
    np.testing.assert_array_equal(found, np.ones((1, 3)))


def test_a_model_that_was_never_called_is_refused():
    for model in (Scaled(), keras.Sequential([keras.layers.Dense(2)])):
        with pytest.raises(UnsupportedModelError, match="call it on a sample once"):
            load_model(model)


class Counting(keras.layers.Layer):
    calls = 0

    def call(self, x):
        self.calls += 1
        return x * self.calls


class Python(keras.layers.Layer):
    def call(self, x):
        return tf.ensure_shape(tf.py_function(lambda a: a * 2, [x], tf.float32), x.shape)

    def compute_output_shape(self, shape):
        return shape


class Remembering(keras.layers.Layer):
    def build(self, shape):
        self.total = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.total.assign_add(1.0)
        return x + self.total


class Dice(keras.layers.Layer):
    def call(self, x):
        return x + keras.random.normal((1,))


class Numpy(keras.Model):
    def call(self, x):
        return x * float(np.mean(np.asarray(x)))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (Counting, "the Counting 'odd' gives two answers"),
        (Python, "the Python 'odd' calls back into Python"),
        (Remembering, "the Remembering 'odd' changes a variable"),
        (Dice, "the Dice 'odd' draws random numbers"),
    ],
)
def test_code_that_depends_on_more_than_its_inputs_is_refused(layer, expected):
    model = keras.Sequential([keras.Input((3,)), layer(name="odd")])
    with pytest.raises(UnsupportedModelError, match=expected):
        load_model(model)


def test_the_layer_that_draws_random_numbers_is_named_among_others():
    x = keras.Input((3,))
    y = Dice(name="odd")(keras.layers.Lambda(lambda t: t * 2.0, name="even")(x))
    model = keras.Model(x, keras.layers.Lambda(lambda t: t + 1.0, name="last")(y))
    with pytest.raises(UnsupportedModelError, match="the Dice 'odd' draws random numbers"):
        load_model(model)


def test_code_that_leaves_tensorflow_is_refused():
    model = Numpy(name="odd")
    model(np.ones((2, 3), np.float32))
    with pytest.raises(UnsupportedModelError, match=r"the call of the model 'odd' \(Numpy\)"):
        load_model(model)


class Twice(keras.layers.Layer):
    def call(self, x):
        return x * 2.0


RECURRENT = {
    "lstm": lambda **options: keras.layers.LSTM(3, **options),
    "gru": lambda **options: keras.layers.GRU(3, **options),
    "simple": lambda **options: keras.layers.SimpleRNN(3, **options),
    "convolutional": lambda **options: keras.layers.ConvLSTM1D(3, 3, **options),
    "both ways": lambda **options: keras.layers.Bidirectional(keras.layers.LSTM(3, **options)),
    "cells": lambda **options: keras.layers.RNN([keras.layers.LSTMCell(3, **options)] * 2),
}


@pytest.mark.parametrize("own", [Twice, lambda: keras.layers.Lambda(lambda x: x * 2.0)])
@pytest.mark.parametrize("name", RECURRENT)
def test_dropout_in_a_recurrent_layer_beside_own_code_is_no_random_answer(name, own):
    shape = (5, 8, 3) if name == "convolutional" else (5, 3)
    recurrent = RECURRENT[name](dropout=0.5, recurrent_dropout=0.5)
    model = keras.Sequential([keras.Input(shape), own(), recurrent])
    loaded = load_model(model)
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    (found,) = answer(loaded, x).values()
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


CODE = textwrap.dedent(
    """
    import keras

    @keras.saving.register_keras_serializable("mine")
    class Twice(keras.layers.Layer):
        def call(self, x):
            return x * 2.0

    def plus_one(x):
        return x + 1.0

    def make():
        return keras.Sequential([keras.Input((3,)), Twice(name="y")])

    def fail():
        raise RuntimeError("no data")
    """
)


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A module `mine_NAME` in the working folder; its registrations end with the test."""
    name = f"mine_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    with keras.saving.custom_object_scope({}):
        yield name
    keras.saving.get_custom_objects().clear()


def test_custom_objects_come_from_a_file_a_module_or_a_dict(code, tmp_path):
    class Twice(keras.layers.Layer):
        def call(self, x):
            return x * 2.0

    path = tmp_path / "model.keras"
    plus_one = lambda x: x + 1.0  # noqa: E731
    plus_one.__name__ = "plus_one"
    model = keras.Sequential(
        [keras.Input((3,)), Twice(), keras.layers.Dense(3, activation=_named(plus_one))]
    )
    model.save(path)
    x = np.ones((1, 3), np.float32)
    expected = 2.0 * x @ model.get_weights()[0] + 1.0
    for objects in (tmp_path / f"{code}.py", code, {"Twice": Twice, "plus_one": plus_one}):
        loaded = load_model(path, custom_objects=objects)
        np.testing.assert_allclose(next(iter(answer(loaded, x).values())), expected, rtol=1e-6)


def _named(function):
    def plus_one(x):
        return function(x)

    return plus_one


def test_a_function_that_returns_a_model(code, tmp_path):
    for name in (f"{code}:make", f"{code}.py:make"):
        loaded = load_model(name)
        np.testing.assert_array_equal(answer(loaded, [[1.0, 2.0, 3.0]])["y"], [[2.0, 4.0, 6.0]])
        assert loaded.source == {"source": name}


def test_functions_and_modules_that_are_not_there(code, tmp_path):
    for name, error, match in (
        (f"{code}:missing", OptionError, "has no function 'missing'"),
        ("no_such_module:make", OptionError, "cannot be imported"),
        (f"{code}:fail", ConversionError, "RuntimeError: no data"),
    ):
        with pytest.raises(error, match=match):
            load_model(name)
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(tmp_path / "m.keras")
    (tmp_path / "nothing.py").write_text("import math\n")
    for objects, match in (("nothing.py", "define no class"), ("missing.py", "no Python file")):
        with pytest.raises(OptionError, match=match):
            load_model(tmp_path / "m.keras", custom_objects=objects)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_code_in_a_file_is_refused_unless_allowed_and_then_named(suffix, tmp_path):
    x = keras.Input((3,), name="x")
    double = keras.layers.Lambda(lambda t: keras.ops.abs(t) * 2.0, output_shape=(3,), name="double")
    path = tmp_path / f"model{suffix}"
    keras.Model(x, double(x)).save(path)
    with pytest.raises(
        UnsupportedModelError, match=r"layer 'double': .* uses keras, .*--allow-code"
    ):
        load_model(path)


def test_code_in_a_file_runs_where_it_is_allowed(tmp_path):
    x = keras.Input((3,), name="x")
    double = keras.layers.Lambda(lambda t: abs(t) * 2.0, output_shape=(3,), name="double")
    path = tmp_path / "model.keras"
    keras.Model(x, double(x)).save(path)
    loaded = load_model(path, allow_code=True)
    assert any(note.startswith("ran code from the file, layer 'double'") for note in loaded.notes)
    np.testing.assert_array_equal(answer(loaded, [[-1.0, 2.0, 0.0]])["double"], [[2.0, 4.0, 0.0]])


def test_mixed_precision_in_memory_is_rebuilt_in_float32():
    x = keras.Input((3,), name="x")
    y = keras.layers.Dense(2, dtype="mixed_float16", name="y")(x)
    y = keras.layers.Bidirectional(keras.layers.LSTM(2, dtype="mixed_float16"), name="z")(
        keras.layers.Reshape((1, 2), dtype="mixed_float16")(y)
    )
    model = keras.Model(x, y)
    loaded = load_model(model)
    assert loaded.outputs[0].dtype == "float32"
    for mine, theirs in zip(loaded.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert {layer.dtype_policy.name for layer in loaded.model._flatten_layers()} == {"float32"}
    assert "mixed_float16" in loaded.notes[0]
    assert model.get_layer("y").dtype_policy.name == "mixed_float16"  # the user's stays as it was


@pytest.mark.parametrize("policy", ["float16", "bfloat16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("in_file", [False, True])
def test_another_precision_is_rebuilt_in_float32(policy, in_file, tmp_path):
    x = keras.Input((3,), name="x")
    y = keras.layers.Dense(4, dtype=policy, activation="tanh")(x)
    model = keras.Model(x, keras.layers.Dense(2, dtype=policy, name="y")(y))
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras" if in_file else model)
    sample = np.array([[0.5, -2.0, 3.0]], np.float32)
    first, bias, second, last = (w.astype(np.float64) for w in model.get_weights())
    expected = np.tanh(sample @ first + bias) @ second + last
    assert loaded.outputs[0].dtype == "float32"
    np.testing.assert_allclose(answer(loaded, sample)["y"], expected, rtol=2e-6, atol=2e-6)
    assert f"the model computes in {policy}" in loaded.notes[0]


def test_a_cast_between_layers_is_no_policy(tmp_path):
    x = keras.Input((3,), name="x", dtype="float64")
    y = keras.ops.cast(keras.layers.Dense(2)(x), "float64")
    keras.Model(x, y).save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    assert (loaded.inputs[0].dtype, loaded.outputs[0].dtype) == ("float64", "float64")
    assert not any("rebuilt" in note for note in loaded.notes)


def test_regularizers_vanish_and_a_frozen_batch_normalization_is_noted():
    x = keras.Input((4, 4, 3), name="x")
    y = keras.layers.RandomFlip()(x)
    y = keras.layers.Dropout(0.9)(keras.layers.GaussianNoise(1.0)(y))
    y = keras.layers.BatchNormalization(name="frozen")(y, training=True)
    loaded = load_model(keras.Model(x, y))
    ones = np.ones((1, 4, 4, 3), np.float32)
    # Moving mean 0 and variance 1 of a fresh layer, epsilon 0.001.
    np.testing.assert_allclose(answer(loaded, ones)["frozen"], ones / np.sqrt(1.001), rtol=1e-6)
    assert [note for note in loaded.notes if "BatchNormalization 'frozen'" in note]


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_every_kind_of_keras_3_file_gives_the_same_answers(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.Sequential([keras.Input((6, 6, 2)), keras.layers.DepthwiseConv2D(3)]),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="hard_sigmoid"),
        ]
    )
    generator = np.random.default_rng(0)
    model.set_weights([generator.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    x = generator.normal(size=(2, 6, 6, 2)).astype(np.float32)
    expected = np.asarray(model(x, training=False))
    model.save(tmp_path / "model.keras")
    model.save(tmp_path / "model.h5")
    (tmp_path / "model.json").write_text(model.to_json())
    model.save_weights(tmp_path / "model.weights.h5")
    shutil.copy(tmp_path / "model.weights.h5", tmp_path / "renamed.bin")
    for name, options in (
        ("model.keras", {}),
        ("model.h5", {}),
        ("model.json", {"weights": tmp_path / "model.weights.h5"}),
        ("model.json", {"weights": tmp_path / "renamed.bin"}),
        ("model.json", {"weights": tmp_path / "model.h5"}),
        ("model.json", {"weights": tmp_path / "model.keras"}),
    ):
        (found,) = answer(load_model(tmp_path / name, **options), x).values()
        np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=f"{name} {options}")


def test_a_batch_that_a_first_call_fixed_is_noted():
    model = keras.Sequential([keras.layers.Dense(2)], name="called")
    model(np.ones((4, 3), np.float32))
    loaded = load_model(model)
    assert loaded.inputs[0].shape == (4, 3)
    assert "the batch of 'called' is fixed to 4 samples" in loaded.notes[0]


def test_a_layer_that_remembers_earlier_calls_is_refused():
    layer = keras.layers.Bidirectional(keras.layers.LSTM(2, stateful=True, name="memory"))
    model = keras.Sequential([keras.Input(batch_shape=(1, 4, 3)), layer])
    with pytest.raises(UnsupportedModelError, match=r"LSTM '\w+ward_memory' has stateful=True"):
        load_model(model)


def test_sparse_inputs_are_refused():
    x = keras.Input((4,), sparse=True, name="x")
    with pytest.raises(UnsupportedModelError, match=r"the input 'x' of the model .* is sparse"):
        load_model(keras.Model(x, keras.layers.Dense(2)(x)))


def test_layers_that_do_the_same_in_training_are_not_called_left_out():
    layers = keras.layers
    image = [keras.Input((40, 52, 3)), layers.Resizing(24, 24), layers.RandomFlip()]
    assert load_model(keras.Sequential([*image, layers.GlobalAveragePooling2D()])).notes == ()
    x = keras.Input((40, 52, 3))
    explicit = layers.GlobalAveragePooling2D()(layers.CenterCrop(24, 24)(x, training=True))
    assert load_model(keras.Model(x, explicit)).notes == ()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (keras.layers.SpatialDropout1D(0.5, name="it"), "it is left out"),
        (keras.layers.GaussianNoise(0.5, name="it"), "it is left out"),
        (keras.layers.LSTM(3, dropout=0.5, name="it"), "with training=False, as predict does"),
        (keras.layers.LSTM(3, name="it"), None),
        (keras.Sequential([keras.layers.Dropout(0.5)], name="it"), "with training=False"),
    ],
)
def test_a_note_on_training_says_what_becomes_of_the_layer(layer, said):
    x = keras.Input((4, 3))
    notes = load_model(keras.Model(x, layer(x, training=True))).notes
    assert [note for note in notes if "'it' was called with training=True" in note] == list(notes)
    assert [said in note for note in notes] == ([True] if said else [])


def test_arguments_that_a_call_does_not_name_are_not_noted():
    class Own(keras.Model):
        def call(self, x, *rest, scale=2.0, **options):
            return x * scale

    model = Own(name="own")
    model(np.ones((1, 3), np.float32))
    assert [note for note in load_model(model).notes if "at the defaults" in note] == [
        "the call of 'own' takes scale, too: kept at the defaults"
    ]


def test_preprocessing_is_what_comes_before_the_first_weights():
    layers = keras.layers
    x = keras.Input((8, 8, 3))
    scaled = keras.Sequential([keras.Input((8, 8, 3)), layers.Rescaling(0.1, name="first")])
    y = layers.Normalization(mean=1.0, variance=2.0, name="second")(scaled(x))
    y = layers.Conv2D(1, 3)(y)
    y = layers.Resizing(8, 8, name="late")(layers.Rescaling(3.0, name="last")(y))
    loaded = load_model(keras.Model(x, y))
    assert [step.partition(":")[0] for step in loaded.preprocessing] == [
        "Rescaling 'first'",
        "Normalization 'second'",
    ]


class Chunks(keras.layers.Layer):
    def call(self, x):
        return keras.ops.reshape(x, (-1, x.shape[1] // 2, 2))

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, None, 2))


class Steps(keras.layers.Layer):
    def call(self, x):
        return sum(x[:, step] for step in range(x.shape[1]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, 3))


@pytest.mark.parametrize("layer", [Chunks, Steps])
def test_python_that_needs_the_size_of_a_free_axis_says_so(layer):
    model = keras.Sequential([keras.Input((None, 3)), layer()])
    with pytest.raises(UnsupportedModelError, match="size of a free axis, expected a fixed one"):
        load_model(model)


def test_custom_objects_of_a_model_in_memory_are_not_used_and_of_a_function_are(
    tmp_path, monkeypatch
):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, activation=swapped)])
    loaded = load_model(model, custom_objects={"swapped": swapped})
    assert "custom_objects were not used: a model in memory has its code" in loaded.notes
    model.save(tmp_path / "model.keras")
    text = "import keras\n\ndef build():\n    return keras.saving.load_model('model.keras')\n"
    (tmp_path / "maker.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    loaded = load_model("maker.py:build", custom_objects={"swapped": swapped})
    assert loaded.notes == ()


def swapped(x):
    return -x
