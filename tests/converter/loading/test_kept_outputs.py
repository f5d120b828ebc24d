"""``outputs=[...]``: the outputs and layers that are kept, and what is left out with the others."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from edgeport import OptionError, Predictor
from edgeport_converter import LoadingOptions, UnsupportedModelError, convert
from edgeport_converter.commands import _as_on_the_command_line
from edgeport_converter.loading.load import load_model

layers = keras.layers


class Sampling(layers.Layer):
    """The sampling head of a variational encoder."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, moments):
        mean, spread = moments
        noise = keras.random.normal(keras.ops.shape(mean), seed=self.seeds)
        return mean + keras.ops.exp(0.5 * spread) * noise


def encoder():
    x = keras.Input((8,), name="x")
    hidden = layers.Dense(6, activation="relu", name="hidden")(x)
    mean = layers.Dense(2, name="z_mean")(hidden)
    spread = layers.Dense(2, name="z_log_var")(hidden)
    return keras.Model(x, [mean, spread, Sampling(name="z")([mean, spread])], name="encoder")


def with_backbone():
    image = keras.Input((8, 8, 3), name="image")
    y = layers.Conv2D(4, 3, activation="relu", name="block1")(image)
    y = layers.BatchNormalization(name="norm")(y)
    y = layers.Conv2D(5, 3, activation="sigmoid", name="block2")(y)
    backbone = keras.Model(image, y, name="backbone")
    photo, kind = keras.Input((8, 8, 3), name="photo"), keras.Input((2,), name="kind")
    pooled = layers.GlobalAveragePooling2D(name="pooled")(backbone(photo))
    score = layers.Dense(3, name="score")(layers.Concatenate()([pooled, kind]))
    return keras.Model({"photo": photo, "kind": kind}, {"score": score}), backbone


def siamese():
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    shared = layers.Dense(3, name="shared")
    distance = layers.Subtract(name="distance")([shared(left), shared(right)])
    return keras.Model([left, right], distance), shared


def answer(loaded, *arrays):
    tensors = {
        info.name: tf.constant(array, info.dtype)
        for info, array in zip(loaded.inputs, arrays, strict=True)
    }
    return {name: np.asarray(tensor) for name, tensor in loaded.call(tensors).items()}


def drawn(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def test_outputs_are_kept_in_the_order_of_their_names():
    model = encoder()
    loaded = load_model(model, outputs=["z_log_var", "hidden"])
    x = drawn(3, 8)
    found = answer(loaded, x)
    np.testing.assert_array_equal(found["z_log_var"], model(x)[1])
    hidden = model.get_layer("hidden")
    np.testing.assert_allclose(found["hidden"], hidden(x), rtol=1e-6)
    assert [(info.name, info.shape) for info in loaded.outputs] == [
        ("z_log_var", (None, 2)),
        ("hidden", (None, 6)),
    ]
    assert loaded.outputs[1].activation == "relu"
    assert "outputs left out, as asked for: 'z_mean', 'z'" in loaded.notes


def test_a_random_head_is_refused_by_name_with_the_outputs_that_would_do():
    with pytest.raises(UnsupportedModelError, match=r"the Sampling 'z' draws.*'z_mean', 'z_log"):
        load_model(encoder())
    sentence = "keep the outputs that do not need it, outputs=['z_mean', 'z_log_var']"
    assert _as_on_the_command_line(sentence).endswith("--outputs z_mean,z_log_var")


def test_an_encoder_without_its_sampling_head_becomes_an_artifact(tmp_path):
    model = encoder()
    report = convert(model, tmp_path / "e.onnx", outputs="z_mean", labels=["cat", "dog"])
    assert [spec.name for spec in report.card.outputs] == ["z_mean"]
    x = drawn(3, 8)
    artifact = Predictor.load(tmp_path / "e.onnx")
    np.testing.assert_allclose(artifact.predict(x), model(x)[0], rtol=1e-5, atol=1e-6)
    assert artifact.card.labels == ("cat", "dog")


def test_a_layer_of_a_nested_model_and_inputs_that_nothing_needs():
    model, backbone = with_backbone()
    loaded = load_model(model, outputs=["backbone/block1"])
    assert [info.name for info in loaded.inputs] == ["photo"]
    assert any("no kept output needs them: 'kind'" in note for note in loaded.notes)
    photo = drawn(2, 8, 8, 3)
    found = answer(loaded, photo)["backbone/block1"]
    np.testing.assert_allclose(found, backbone.get_layer("block1")(photo), rtol=1e-5)
    assert "block2" not in loaded.layer_names


def test_inner_tensors_beside_what_is_computed_from_them():
    model, backbone = with_backbone()
    names = ["score", "backbone/norm", "backbone/block2", "pooled"]
    loaded = load_model(model, outputs=names)
    photo, kind = drawn(2, 8, 8, 3), drawn(2, 2)
    found = answer(loaded, photo, kind)
    assert list(found) == names
    np.testing.assert_allclose(found["backbone/block2"], backbone(photo), rtol=1e-5)
    score = model({"photo": photo, "kind": kind})["score"]
    np.testing.assert_allclose(found["score"], score, rtol=1e-5, atol=1e-6)
    assert loaded.outputs[2].activation == "sigmoid"


def test_two_levels_of_nested_models(tmp_path):
    _, backbone = with_backbone()
    middle = keras.Sequential([keras.Input((8, 8, 3)), backbone, layers.ReLU()], name="middle")
    photo = keras.Input((8, 8, 3), name="photo")
    model = keras.Model(photo, layers.Flatten(name="flat")(middle(photo)))
    loaded = load_model(model, outputs=["flat", "middle/backbone/block1"])
    x = drawn(1, 8, 8, 3)
    found = answer(loaded, x)
    np.testing.assert_allclose(found["flat"], model(x), rtol=1e-5)
    wanted = backbone.get_layer("block1")(x)
    np.testing.assert_allclose(found["middle/backbone/block1"], wanted, rtol=1e-5)


def test_a_shared_layer_is_named_by_its_call():
    model, shared = siamese()
    with pytest.raises(OptionError, match=r"called 2 times.*shared:0 \(of 'left'\), shared:1 \("):
        load_model(model, outputs=["shared"])
    loaded = load_model(model, outputs=["shared:1"])
    assert [info.name for info in loaded.inputs] == ["right"]
    x = drawn(2, 4)
    np.testing.assert_allclose(answer(loaded, x)["shared:1"], shared(x), rtol=1e-6)
    with pytest.raises(OptionError, match="expected a number from 0 to 1"):
        load_model(model, outputs=["shared:2"])


def test_layers_of_sequential_models_and_layers_with_several_tensors():
    model = keras.Sequential(
        [keras.Input((5, 3)), layers.LSTM(4, name="steps"), layers.Dense(2, name="out")]
    )
    assert [info.name for info in load_model(model, outputs=["steps"]).outputs] == ["steps"]
    x = keras.Input((5, 3))
    states = layers.LSTM(4, return_state=True, name="lstm")(x)
    whole = keras.Model(x, layers.Dense(1)(states[0]))
    loaded = load_model(whole, outputs=["lstm"])
    assert [info.name for info in loaded.outputs] == ["lstm", "lstm_1", "lstm_2"]


def test_subclassed_models_and_saved_models_keep_outputs_by_name(tmp_path):
    class Encoder(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense, self.sampling = layers.Dense(2), Sampling()

        def call(self, x):
            mean = self.dense(x)
            return {"mean": mean, "drawn": self.sampling([mean, mean])}

    model, x = Encoder(), drawn(3, 8)
    mean = model(x)["mean"]
    np.testing.assert_array_equal(answer(load_model(model, outputs=["mean"]), x)["mean"], mean)
    with pytest.raises(OptionError, match=r"no layer 'dense', and those that the call of 'own'"):
        load_model(model, outputs=["dense"])
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(UnsupportedModelError, match=r"random numbers.*outputs=\['mean'\]"):
        load_model(tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", outputs=["mean"])
    np.testing.assert_allclose(answer(loaded, x)["mean"], mean, rtol=1e-6)
    with pytest.raises(OptionError, match=r"has no output 'dense'.*name one of 'drawn', 'mean'"):
        load_model(tmp_path / "saved", outputs=["dense"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("zmean", "did you mean 'z_mean'"),
        ("x", "name one of 'z_mean'"),
        ("hidden/deep", "keeps no graph of its layers"),
    ],
)
def test_an_unknown_name_is_refused_with_the_near_ones(name, hint):
    with pytest.raises(OptionError, match=hint):
        load_model(encoder(), outputs=[name])


def test_a_layer_of_a_nested_model_without_its_path_is_found_by_its_name():
    with pytest.raises(OptionError, match="did you mean 'backbone/block2'"):
        load_model(with_backbone()[0], outputs=["block2"])


@pytest.mark.parametrize("outputs", ["", [], [""], [3]])
def test_no_name_is_no_option(outputs):
    with pytest.raises(OptionError, match="outputs"):
        LoadingOptions(outputs=outputs)
