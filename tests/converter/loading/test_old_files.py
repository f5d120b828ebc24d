"""Files of Keras 2: written by tf_keras, which is Keras 2, and compared with its own answers."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras2

from edgeport import ConversionError
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading import load
from edgeport_converter.loading.load import load_model

layers = keras2.layers
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


def randomize(model, seed=0):
    """Give every weight a value of its own; fresh biases are all zero."""
    generator = np.random.default_rng(seed)
    model.set_weights(
        [
            generator.uniform(0.2, 1.0, value.shape).astype(value.dtype)
            if "variance" in weight.name or "count" in weight.name
            else generator.normal(0, 0.5, value.shape).astype(value.dtype)
            for weight, value in zip(model.weights, model.get_weights(), strict=True)
        ]
    )
    return model


def sample(info, generator):
    shape = [
        2 if axis == 0 else 5 if size is None else size for axis, size in enumerate(info.shape)
    ]
    if info.dtype.startswith("int"):
        return tf.constant(generator.integers(0, 5, shape), info.dtype)
    return tf.constant(generator.normal(size=shape), info.dtype)


def largest_difference(model, loaded):
    """Return how far the loaded model is from tf_keras' own answer on two random samples."""
    generator = np.random.default_rng(1)
    tensors = {info.name: sample(info, generator) for info in loaded.inputs}
    if isinstance(model.input, dict):
        expected = model(tensors, training=False)
        expected = {name: expected[name] for name in expected}
        found = loaded.call(tensors)
        assert list(found) == list(expected)
        pairs = [(expected[name], found[name]) for name in expected]
    else:
        arguments = list(tensors.values())
        expected = model(arguments[0] if len(arguments) == 1 else arguments, training=False)
        pairs = list(zip(tf.nest.flatten(expected), loaded.call(tensors).values(), strict=True))
    assert all(wanted.shape == got.shape for wanted, got in pairs)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in pairs)


def edit_config(path, edit):
    """Rewrite the config in an HDF5 file."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        file.attrs["model_config"] = json.dumps(edit(config) or config)


def on_image(build):
    x = keras2.Input((8, 8, 3), name="image")
    return keras2.Model(x, build(x))


def on_sequence(build):
    x = keras2.Input((7, 4), name="steps")
    return keras2.Model(x, build(x))


def frozen_base():
    """A nested model whose trainable weights the file lists first, out of layer order."""
    inner = keras2.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, name="first")(inner)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Conv2D(3, 1, name="second")(x)
    base = keras2.Model(inner, x, name="base")
    base.get_layer("first").trainable = False
    return on_image(lambda x: layers.Flatten()(base(layers.ReLU()(x))))


def called_twice():
    inner = keras2.Input((8, 8, 3))
    base = keras2.Model(inner, layers.Conv2D(3, 1)(inner), name="base")
    return on_image(lambda x: layers.Add()([base(base(x)), base(x)]))


def nested_sequential():
    base = keras2.Sequential(
        [layers.Conv2D(3, 2, input_shape=(8, 8, 3)), layers.BatchNormalization()], name="base"
    )
    return on_image(lambda x: layers.Dense(2)(layers.Flatten()(base(layers.Rescaling(0.5)(x)))))


def sequential_of_functional():
    """As Teachable Machine saves: Sequential around Sequential around a functional model."""
    inner = keras2.Input((8, 8, 3))
    base = keras2.Model(inner, layers.DepthwiseConv2D(3)(inner), name="base")
    features = keras2.Sequential([base, layers.GlobalAveragePooling2D()], name="features")
    head = keras2.Sequential(
        [layers.Dense(4, activation="relu", input_shape=(3,)), layers.Dense(2)], name="head"
    )
    return keras2.Sequential([features, head])


def two_inputs_shared():
    dense = layers.Dense(3)
    first, second = keras2.Input((4,), name="z"), keras2.Input((4,), name="a")
    return keras2.Model([first, second], layers.Subtract()([dense(first), dense(second)]))


def dicts():
    first, second = keras2.Input((4,), name="z"), keras2.Input((4,), name="a")
    outputs = {"y": layers.Dense(2)(first), "b": layers.Dense(3)(second)}
    return keras2.Model({"z": first, "a": second}, outputs)


def state_from_tensors():
    def build(x):
        state = layers.Dense(3)(layers.Flatten()(x))
        return layers.LSTM(3)(x, initial_state=[state, layers.Dense(3)(state)])

    return on_sequence(build)


def embedding():
    x = keras2.Input((5,), dtype="int32", name="words")
    return keras2.Model(x, layers.LSTM(3)(layers.Embedding(9, 4, mask_zero=True)(x)))


def ordered_otherwise():
    """Keras 3 lists the two inner layers in another order than Keras 2, also within models."""

    def crossed(shape):
        x = keras2.Input(shape)
        first, second = layers.Dense(4, name="first"), layers.Dense(4, name="second")
        # Named arguments that are not in the order of the call.
        y = layers.MultiHeadAttention(2, 3)(x, value=first(x), key=second(x))
        return keras2.Model(x, y)

    x = keras2.Input((2, 7, 4), name="steps")
    y = layers.TimeDistributed(crossed((7, 4)))(x)
    y = layers.Reshape((14, 4))(y)
    return keras2.Model(x, layers.Dense(4)(crossed((14, 4))(crossed((14, 4))(y))))


# What Keras 3 reads from these files without tf_keras' help.
MODELS = {
    "depthwise": lambda: on_image(lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
    "separable": lambda: on_image(lambda x: layers.SeparableConv2D(4, 3)(x)),
    "transposed": lambda: on_image(
        lambda x: layers.Conv2DTranspose(4, 3, strides=2, padding="same")(x)
    ),
    "normalizations": lambda: on_image(
        lambda x: layers.LayerNormalization()(
            layers.BatchNormalization()(layers.Normalization()(x))
        )
    ),
    "old hard sigmoid": lambda: on_image(
        lambda x: layers.Activation("hard_sigmoid")(layers.Conv2D(4, 1)(x))
    ),
    "leaky relu": lambda: on_image(lambda x: layers.LeakyReLU(0.1)(x)),
    "thresholded relu": lambda: on_image(lambda x: layers.ThresholdedReLU(0.2)(x)),
    "regularizers at rest": lambda: on_image(
        lambda x: layers.RandomFlip()(
            layers.GaussianNoise(0.5)(layers.SpatialDropout2D(0.5)(layers.Dropout(0.5)(x)))
        )
    ),
    "slash in names": lambda: on_image(
        lambda x: layers.Conv2D(3, 1, name="block/conv")(layers.Conv2D(3, 1, name="block")(x))
    ),
    "lstm": lambda: on_sequence(
        lambda x: layers.LSTM(5, recurrent_activation="hard_sigmoid", return_state=True)(x)
    ),
    "gru, old bias": lambda: on_sequence(lambda x: layers.GRU(5, reset_after=False)(x)),
    "bidirectional": lambda: on_sequence(
        lambda x: layers.Bidirectional(layers.GRU(3, return_sequences=True))(x)
    ),
    "cells": lambda: on_sequence(lambda x: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)])(x)),
    "masking": lambda: on_sequence(lambda x: layers.LSTM(3)(layers.Masking(0.0)(x))),
    "state from tensors": state_from_tensors,
    "attention": lambda: on_sequence(lambda x: layers.Attention()([x, x])),
    "multi-head attention": lambda: on_sequence(
        lambda x: layers.MultiHeadAttention(2, 3)(x, value=layers.Dense(4)(x), key=x)
    ),
    "time distributed": lambda: on_sequence(lambda x: layers.TimeDistributed(layers.Dense(3))(x)),
    "embedding": embedding,
    "ordered otherwise": ordered_otherwise,
    "frozen base": frozen_base,
    "called twice": called_twice,
    "nested sequential": nested_sequential,
    "sequential of functional": sequential_of_functional,
    "sequential without input layer": lambda: keras2.Sequential(
        [layers.Dense(3, input_dim=4), layers.Dropout(0.2), layers.Dense(2)]
    ),
    "two inputs, shared": two_inputs_shared,
    "dicts": dicts,
}


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", MODELS)
def test_a_keras_2_file_answers_as_keras_2_does(name, suffix, tmp_path):
    keras2.backend.clear_session()
    model = randomize(MODELS[name]())
    path = tmp_path / f"model{suffix}"
    model.save(path)
    loaded = load_model(path)
    assert not [note for note in loaded.notes if "opened with tf_keras" in note]
    assert largest_difference(model, loaded) < 2e-6


def test_repairs_are_reported(tmp_path):
    model = on_image(lambda x: layers.DepthwiseConv2D(3)(layers.DepthwiseConv2D(3)(x)))
    model.save(tmp_path / "model.h5")
    assert load_model(tmp_path / "model.h5").notes == (
        "Keras 2 file: dropped groups=1, which changes nothing, from DepthwiseConv2D (2 times)",
    )


def test_the_hard_sigmoid_of_keras_2_is_its_formula(tmp_path):
    on_image(lambda x: layers.Activation("hard_sigmoid")(x)).save(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5")
    values = np.linspace(-4, 4, 192, dtype=np.float32).reshape(1, 8, 8, 3)
    (answer,) = loaded.call({"image": tf.constant(values)}).values()
    np.testing.assert_allclose(answer, np.clip(0.2 * values + 0.5, 0, 1), atol=1e-7)


def test_a_gru_without_reset_after_keeps_the_old_default(tmp_path):
    model = randomize(on_sequence(lambda x: layers.GRU(5, reset_after=False, use_bias=False)(x)))
    path = tmp_path / "model.h5"
    model.save(path)

    def forget(config):
        for layer in config["config"]["layers"]:
            layer["config"].pop("reset_after", None)

    edit_config(path, forget)
    assert largest_difference(model, load_model(path)) < 2e-6


def test_a_sequential_config_of_keras_2_2_2_is_a_bare_list(tmp_path):
    model = randomize(keras2.Sequential([layers.Dense(3, input_shape=(4,)), layers.Dense(2)]))
    path = tmp_path / "model.h5"
    model.save(path)

    def strip(config):
        dense = [layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense"]
        assert dense[0]["config"]["batch_input_shape"] == [None, 4]
        return {"class_name": "Sequential", "config": dense}

    edit_config(path, strip)
    loaded = load_model(path)
    assert loaded.inputs[0].shape == (None, 4)
    assert largest_difference(model, loaded) < 2e-6


@pytest.mark.parametrize("wrap", [lambda layer: layer, layers.Bidirectional])
@pytest.mark.parametrize(("cell", "gates"), [(layers.LSTM, 4), (layers.GRU, 3)])
def test_recurrent_layers_of_the_gpu(cell, gates, wrap, tmp_path):
    """tf_keras converts such weights when it loads them into its plain layers."""
    keras2.backend.clear_session()
    model = on_sequence(lambda x: wrap(cell(5, name="gpu"))(x))
    path = tmp_path / "model.h5"
    model.save(path)

    def use_gpu(part):
        if isinstance(part, dict):
            if part.get("class_name") == cell.__name__:
                part["class_name"] = f"CuDNN{cell.__name__}"
                for key in (
                    "activation",
                    "recurrent_activation",
                    "reset_after",
                    "use_bias",
                    "implementation",
                    "unroll",
                    "time_major",
                ):
                    part["config"].pop(key, None)
            for value in part.values():
                use_gpu(value)
        elif isinstance(part, list):
            for value in part:
                use_gpu(value)

    edit_config(path, use_gpu)
    generator = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        names = []
        file["model_weights"].visit(lambda name: names.append(name) if ":0" in name else None)
        assert len(names) in (3, 6)
        for name in names:
            old = file["model_weights"][name]
            shape = (2 * gates * 5,) if "bias" in name else old.shape
            del file["model_weights"][name]
            file["model_weights"][name] = generator.normal(0, 0.5, shape).astype(np.float32)
    model.load_weights(path)
    loaded = load_model(path)
    assert any("CuDNN" in note for note in loaded.notes)
    assert largest_difference(model, loaded) < 2e-6


def test_layer_names_of_tensorflow_1_are_known(tmp_path):
    model = randomize(on_image(lambda x: layers.BatchNormalization()(x)))
    path = tmp_path / "model.h5"
    model.save(path)

    def rename(config):
        config["config"]["layers"][1]["class_name"] = "BatchNormalizationV1"

    edit_config(path, rename)
    assert largest_difference(model, load_model(path)) < 2e-6


def test_weights_are_paired_by_name_not_by_order(tmp_path):
    model = randomize(
        keras2.Sequential(
            [layers.Dense(4, name="one", input_shape=(4,)), layers.Dense(4, name="two")]
        )
    )
    path = tmp_path / "model.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        file["model_weights"].attrs["layer_names"] = [b"two", b"one"]
    assert largest_difference(model, load_model(path)) < 2e-6


def test_a_weight_of_another_shape_is_refused_by_name(tmp_path, without_tf_keras):
    model = keras2.Sequential([layers.Dense(4, name="one", input_shape=(4,))])
    path = tmp_path / "model.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        del file["model_weights/one/one/bias:0"]
        file["model_weights/one/one/bias:0"] = np.zeros(5, np.float32)
    with pytest.raises(ConversionError, match=r"'one/bias' of layer 'one' has shape \(5,\)"):
        load_model(path)


def test_a_missing_layer_is_refused_by_name(tmp_path, without_tf_keras):
    model = keras2.Sequential(
        [layers.Dense(4, name="one", input_shape=(4,)), layers.Dense(4, name="two")]
    )
    path = tmp_path / "model.h5"
    model.save(path)
    with h5py.File(path, "r+") as file:
        file["model_weights"].attrs["layer_names"] = [b"one"]
    with pytest.raises(ConversionError, match=r"1 layers and the model has 2 .*'two'"):
        load_model(path)


def own_squash(x):
    return x / (1.0 + abs(x))


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_the_user_s_own_activation_is_found_by_its_name(suffix, tmp_path):
    def build(x):
        return layers.LSTM(3, recurrent_activation=own_squash)(
            layers.Dense(4, activation=own_squash)(x)
        )

    model = randomize(on_sequence(build))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    with pytest.raises(UnsupportedModelError, match=r"uses 'own_squash'.*--custom-objects"):
        load_model(path)
    loaded = load_model(path, custom_objects={"own_squash": own_squash})
    assert not [note for note in loaded.notes if "opened with tf_keras" in note]
    assert largest_difference(model, loaded) < 2e-6


def test_what_keras_3_cannot_say_is_opened_with_tf_keras(tmp_path):
    model = randomize(on_image(lambda x: tf.nn.relu(layers.Conv2D(2, 3)(x)) * 2.0))
    path = tmp_path / "model.h5"
    model.save(path)
    loaded = load_model(path)
    assert any("opened with tf_keras" in note and "TFOpLambda" in note for note in loaded.notes)
    assert largest_difference(model, loaded) == 0


@pytest.fixture
def without_tf_keras(monkeypatch):
    """An environment where the extra is not installed."""
    monkeypatch.setattr(load, "_has_tf_keras", lambda: False)


def test_without_tf_keras_the_refusal_names_the_extra(tmp_path, without_tf_keras):
    on_image(lambda x: tf.nn.relu(x)).save(tmp_path / "model.h5")
    with pytest.raises(UnsupportedModelError, match=r"'TFOpLambda'.*edgeport-converter\[legacy\]"):
        load_model(tmp_path / "model.h5")


def test_dropout_that_keras_2_keeps_awake_is_left_out_and_said(tmp_path):
    model = on_image(lambda x: layers.Dropout(0.9, name="awake")(x, training=True))
    model.save(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5")
    assert any("'awake' was called with training=True" in note for note in loaded.notes)
    ones = tf.ones((1, 8, 8, 3))
    np.testing.assert_array_equal(loaded.call({"image": ones})["awake"], ones)


def test_random_answers_of_a_tf_keras_model_are_refused():
    model = on_image(lambda x: layers.Dropout(0.9)(x, training=True))
    with pytest.raises(UnsupportedModelError, match="draws random numbers"):
        load_model(model)


def test_mixed_precision_in_a_keras_2_file_is_read_as_float32(tmp_path):
    model = randomize(on_sequence(lambda x: layers.Dense(3, dtype="mixed_float16")(x)))
    model.save(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5")
    x = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)
    kernel, bias = model.get_weights()
    (answer,) = loaded.call({"steps": tf.constant(x)}).values()
    assert answer.dtype == tf.float32
    np.testing.assert_allclose(answer, x @ kernel + bias, rtol=1e-5, atol=1e-5)
    assert any("mixed_float16" in note for note in loaded.notes)


def test_mirrored_kernels_of_theano_are_refused(tmp_path):
    path = tmp_path / "model.h5"
    on_image(lambda x: layers.Conv2D(2, 3)(x)).save(path)
    with h5py.File(path, "r+") as file:
        file.attrs["backend"] = b"theano"
    with pytest.raises(ConversionError, match="'theano' backend"):
        load_model(path)


def test_hdf5_under_a_keras_name_and_the_reverse(tmp_path: Path):
    model = randomize(on_image(lambda x: layers.DepthwiseConv2D(3)(x)))
    model.save(tmp_path / "model.h5")
    shutil.move(tmp_path / "model.h5", tmp_path / "really_hdf5.keras")
    model.save(tmp_path / "model.keras")
    shutil.move(tmp_path / "model.keras", tmp_path / "really_zip.h5")
    for name in ("really_hdf5.keras", "really_zip.h5"):
        assert largest_difference(model, load_model(tmp_path / name)) < 2e-6


@pytest.mark.parametrize("name", ["plain.h5", "new.weights.h5", "whole.keras"])
@pytest.mark.parametrize("build", [frozen_base, ordered_otherwise])
def test_json_and_weights_of_keras_2(build, name, tmp_path):
    keras2.backend.clear_session()
    model = randomize(build())
    (tmp_path / "model.json").write_text(model.to_json())
    if name == "whole.keras":
        model.save(tmp_path / name)
    else:
        model.save_weights(tmp_path / name)
    loaded = load_model(tmp_path / "model.json", weights=tmp_path / name)
    assert largest_difference(model, loaded) < 2e-6
    assert set(loaded.source) == {"source", "source_sha256", "weights", "weights_sha256"}


def lambda_file(path):
    model = keras2.Sequential(
        [layers.Lambda(lambda x: tf.abs(x) * 2.0, input_shape=(3,), name="size"), layers.Dense(2)]
    )
    randomize(model).save(path)
    return model


def test_bytecode_of_keras_2_is_named_and_runs_only_where_allowed(tmp_path):
    path = tmp_path / "model.h5"
    model = lambda_file(path)
    with pytest.raises(UnsupportedModelError, match=r"layer 'size': .* that uses tf, abs"):
        load_model(path)
    loaded = load_model(path, allow_code=True)
    assert largest_difference(model, loaded) < 2e-6
    assert loaded.notes[0].startswith("ran code from the file, layer 'size'")


def test_bytecode_that_this_python_cannot_read_is_said_to_be_so(tmp_path):
    path = tmp_path / "model.h5"
    lambda_file(path)

    def age(config):
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "Lambda":
                function = layer["config"]["function"]
                code = "4wEAAAAAAAAA\n"  # as Python 3.6 begins a code object
                if isinstance(function, list):
                    function[0] = code
                else:
                    function["config"]["code"] = code

    edit_config(path, age)
    with pytest.raises(UnsupportedModelError, match="'size': Python bytecode of another Python"):
        load_model(path)
    with pytest.raises(ConversionError, match="cannot load"):
        load_model(path, allow_code=True)


@pytest.mark.parametrize(
    ("version", "expected"),
    [("1.2.2", "written by Keras 1.2.2, expected Keras 2 or 3"), ("99.0.0", "upgrade Keras")],
)
def test_files_of_too_old_and_too_new_a_keras_say_so(version, expected, tmp_path):
    path = tmp_path / "model.h5"
    on_image(lambda x: layers.Conv2D(2, 3)(x)).save(path)

    def rename(config):
        config["config"]["layers"][1]["class_name"] = "Highway"

    edit_config(path, rename)
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = version
    with pytest.raises(ConversionError, match=expected):
        load_model(path)
