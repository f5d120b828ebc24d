"""What is no model is refused in one sentence that says what it is, and nothing is written."""

import io
import json
import pickle
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from graphs import model_of, node

from edgeport import ConversionError, OptionError
from edgeport_converter import convert
from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.load import load_model


def small_model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])


def keras_bytes(tmp_path, suffix=".keras"):
    path = tmp_path / f"whole{suffix}"
    small_model().save(path)
    return path.read_bytes()


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


def tflite_bytes():
    return tf.lite.TFLiteConverter.from_keras_model(small_model()).convert()


def onnx_bytes():
    return model_of([node("Relu", ["x"], "y")], {"x": [1]}, {"y": [1]}).SerializeToString()


def npz_bytes():
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


FILES = {
    "text": (lambda _: b"hello, I am a model\n", "is a text file that starts with 'hello, I am"),
    "empty": (lambda _: b"", "is empty"),
    "binary": (lambda _: bytes(range(128, 256)), "starts with the bytes 80 81"),
    "truncated keras": (lambda p: keras_bytes(p)[:3000], "truncated or damaged ZIP"),
    "truncated h5": (lambda p: keras_bytes(p, ".h5")[:3000], "truncated or damaged HDF5"),
    "pickle": (lambda _: pickle.dumps({"weights": [1, 2]}), "Python pickle"),
    "torch": (lambda _: zipped(archive__data__pkl="", archive__version="3"), "without a config"),
    "npz": (lambda _: npz_bytes(), "is an .npz file of arrays"),
    "npy": (lambda _: b"\x93NUMPY\x01\x00", "is a numpy array"),
    "tflite": (lambda _: tflite_bytes(), "is a TensorFlow Lite file"),
    "onnx": (lambda _: onnx_bytes(), "is an ONNX file already"),
    "git lfs": (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "web page": (lambda _: b"<!DOCTYPE html><html>", "is a web page"),
    "gzip": (lambda _: b"\x1f\x8b\x08\x00", "is a gzip archive"),
    "zip of a model": (lambda _: zipped(model_h5="x", **{"inner.h5": "x"}), "model inside"),
    "zip": (lambda _: zipped(readme="x"), "without a config.json"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_files_that_are_no_models_are_named(name, suffix, tmp_path):
    make, expected = FILES[name]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(make(tmp_path))
    with pytest.raises(ConversionError) as caught:
        load_model(path)
    message = str(caught.value)
    assert expected in message
    assert str(path) in message
    assert "\n" not in message
    assert ": " in message  # the way out comes after the colon


def test_a_pytorch_file_is_named(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(zipped(**{"archive/data.pkl": "x"}))
    with pytest.raises(ConversionError, match="is a PyTorch file"):
        load_model(path)


def test_a_changed_byte_in_an_archive_is_seen(tmp_path):
    data = bytearray(keras_bytes(tmp_path))
    with zipfile.ZipFile(tmp_path / "whole.keras") as archive:
        offset = archive.getinfo("model.weights.h5").header_offset + 2000
    data[offset] ^= 1
    (tmp_path / "model.keras").write_bytes(data)
    with pytest.raises(ConversionError, match=r"damaged in 'model.weights.h5'"):
        load_model(tmp_path / "model.keras")


def test_a_file_with_weights_alone_is_refused(tmp_path):
    path = tmp_path / "model.weights.h5"
    small_model().save_weights(path)
    with pytest.raises(ConversionError, match="holds weights without a model"):
        load_model(path)


def test_hdf5_of_anything_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["measurements"] = np.zeros(3)
    with pytest.raises(ConversionError, match="HDF5 file without a Keras model"):
        load_model(tmp_path / "model.h5")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConversionError, match="there is no model file"):
        load_model(tmp_path / "model.keras")


FOLDERS = {
    "empty": ([], "is empty"),
    "no model": (["notes.txt"], "holds no model"),
    "pytorch": (["config.json", "pytorch_model.bin"], "holds a PyTorch model"),
    "checkpoint": (["ckpt.index", "ckpt.data-00000-of-00001"], "holds a TensorFlow checkpoint"),
    "model inside": (["best.keras"], "best.keras'"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_without_a_model_are_named(name, tmp_path):
    files, expected = FOLDERS[name]
    folder = tmp_path / "model"
    folder.mkdir()
    for file in files:
        (folder / file).write_text("x")
    with pytest.raises(ConversionError, match=f"the folder .*{expected}"):
        load_model(folder)


def test_json_needs_its_weights(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(small_model().to_json())
    with pytest.raises(OptionError, match="without weights"):
        load_model(path)
    with pytest.raises(OptionError, match="no weights file"):
        load_model(path, weights=tmp_path / "missing.h5")


def test_weights_go_with_json_only(tmp_path):
    path = tmp_path / "model.keras"
    small_model().save(path)
    with pytest.raises(OptionError, match=r"expected them with a \.json model only"):
        load_model(path, weights=path)


def test_json_that_is_no_model_is_refused(tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(ConversionError, match="has no Keras model in its config"):
        load_model(path, weights=path)


def test_weights_that_do_not_belong_are_refused(tmp_path):
    (tmp_path / "model.json").write_text(small_model().to_json())
    (tmp_path / "text.h5").write_text("weights")
    smaller = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, use_bias=False)])
    smaller.save_weights(tmp_path / "smaller.weights.h5")
    for name in ("text.h5", "smaller.weights.h5"):
        with pytest.raises(ConversionError):
            load_model(tmp_path / "model.json", weights=tmp_path / name)


@keras.saving.register_keras_serializable("test")
class Forgetful(keras.layers.Layer):
    """Keeps a layer where Keras does not look when it saves."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = _Box(keras.layers.Dense(2))

    def build(self, shape):
        self.hidden.layer.build(shape)
        self._track(self.hidden.layer)
        self.built = True

    def _track(self, layer):
        self._layers.append(layer)

    def call(self, x):
        return self.hidden.layer(x)


class _Box:
    def __init__(self, layer):
        self.layer = layer


def test_a_weight_that_the_file_does_not_hold_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Forgetful(name="forgetful")])
    assert len(model.weights) == 2
    path = tmp_path / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "model.weights.h5").write_bytes(members["model.weights.h5"])
    with h5py.File(tmp_path / "model.weights.h5") as file:
        found = []
        file.visititems(lambda name, item: found.append(name) if "vars/" in name else None)
    if found:
        pytest.fail("this Keras saves the hidden layer, choose another way to hide it")
    with pytest.raises(ConversionError, match="no value for 2 of 2 weights"):
        load_model(path)


def test_an_unknown_layer_of_keras_3_asks_for_its_code(tmp_path):
    class Mystery(keras.layers.Layer):
        def call(self, x):
            return x + 1.0

    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((3,)), Mystery()]).save(path)
    with pytest.raises(UnsupportedModelError, match=r"'Mystery'.*--custom-objects$") as caught:
        load_model(path)
    assert "tf_keras" not in str(caught.value)  # Keras 2 would not know it either


def test_an_object_of_another_kind_is_refused():
    with pytest.raises(ConversionError, match=r"the model is a dict, expected a keras\.Model"):
        load_model({"layers": []})


def test_a_refusal_leaves_the_target_as_it_was(tmp_path):
    target = tmp_path / "model.onnx"
    target.write_bytes(b"before")
    (tmp_path / "model.h5").write_text("no model")
    with pytest.raises(ConversionError) as caught:
        convert(tmp_path / "model.h5", target, quantize="none")
    assert caught.value.stage == "load"
    assert target.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.h5", "model.onnx"]


def test_weights_of_another_size_are_named_with_their_layer(tmp_path):
    small_model().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["config"]["units"] = 7
    members["config.json"] = json.dumps(config).encode()
    (tmp_path / "other.keras").write_bytes(zipped(**members))
    with pytest.raises(ConversionError, match=r"the weights of Dense '\w+': .*shape.*must match"):
        load_model(tmp_path / "other.keras")


def test_two_models_in_one_archive_and_links_in_a_circle(tmp_path):
    small_model().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    both = {f"{folder}/{name}": data for folder in "ab" for name, data in members.items()}
    (tmp_path / "both.keras").write_bytes(zipped(**both))
    with pytest.raises(ConversionError, match=r"an archive with a model inside.*unpack it"):
        load_model(tmp_path / "both.keras")
    (tmp_path / "one.keras").symlink_to(tmp_path / "two.keras")
    (tmp_path / "two.keras").symlink_to(tmp_path / "one.keras")
    with pytest.raises(ConversionError, match=r"there is no model file '.*one.keras'"):
        load_model(tmp_path / "one.keras")
