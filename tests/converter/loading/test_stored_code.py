"""Python code and functions in a model file: refused by name, allowed, or given by the user."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import backend, ops

from edgeport_converter.errors import UnsupportedModelError
from edgeport_converter.loading.load import load_model

K = tf.keras.backend
layers = keras.layers
pytestmark = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
X = np.array([[-1.0, 0.5, 2.0], [3.0, -0.25, 0.0]], np.float32)


def answer(loaded, x=X):
    (info,) = loaded.inputs
    (tensor,) = loaded.call({info.name: tf.constant(x)}).values()
    return np.asarray(tensor)


def edit_config(path, edit):
    """Rewrite the config of the last layer in a file of either kind."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config["config"]["layers"][-1])
            file.attrs["model_config"] = json.dumps(config)
        return
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config["config"]["layers"][-1])
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


LAMBDAS = {
    "tf": lambda x: tf.abs(x) * 2.0,
    "ops": lambda x: ops.sum(x, axis=-1, keepdims=True),
    "K": lambda x: K.clip(x, 0.0, 1.0),
    "keras": lambda x: keras.activations.relu(x),
    "np": lambda x: x * np.float32(3.0),
}


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", LAMBDAS)
def test_allowed_code_finds_the_names_that_everybody_imports(name, suffix, tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Lambda(LAMBDAS[name], name="code")])
    path = tmp_path / f"model{suffix}"
    model.save(path)
    with pytest.raises(UnsupportedModelError, match=rf"'code': .* uses {name}, .*--allow-code"):
        load_model(path)
    loaded = load_model(path, allow_code=True)
    np.testing.assert_array_equal(answer(loaded), model.predict(X, verbose=0))


def own_abs(x):
    return abs(x)


def test_allowed_code_finds_the_user_s_objects_and_a_missing_name_is_told(tmp_path):
    path = tmp_path / "model.keras"
    model = keras.Sequential(
        [keras.Input((3,)), layers.Lambda(lambda x: (lambda y: own_abs(y))(x))]
    )
    model.save(path)
    loaded = load_model(path, allow_code=True, custom_objects={"own_abs": own_abs})
    np.testing.assert_array_equal(answer(loaded), np.abs(X))
    with pytest.raises(
        UnsupportedModelError, match=r"layer 'lambda.*', uses the name 'own_abs', .*module:function"
    ):
        load_model(path, allow_code=True)


FACTOR = 3.0


def test_values_and_modules_that_code_names_come_from_the_user_s_file(tmp_path):
    path, objects = tmp_path / "model.keras", tmp_path / "objects.py"
    layer = layers.Lambda(lambda x: arrays.abs(x) * FACTOR, output_shape=(3,))  # noqa: F821
    globals()["arrays"] = keras.ops
    keras.Sequential([keras.Input((3,)), layer]).save(path)
    with pytest.raises(
        UnsupportedModelError, match=r"define 'arrays' in a Python file.*custom_objects='FILE.py'"
    ):
        load_model(path, allow_code=True)
    objects.write_text("import keras.ops as arrays\nFACTOR = 3.0\n")
    loaded = load_model(path, allow_code=True, custom_objects=objects)
    np.testing.assert_allclose(answer(loaded), 3 * np.abs(X), rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_an_activation_without_a_name_is_code_too(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, activation=lambda x: x * 2.0)])
    model.save(path)
    with pytest.raises(UnsupportedModelError, match=r"carries Python code .*layer 'dense"):
        load_model(path)
    np.testing.assert_allclose(
        answer(load_model(path, allow_code=True)), 2 * X @ model.get_weights()[0], rtol=1e-6
    )


def test_a_function_that_is_only_named_lambda_can_be_given(tmp_path):
    path = tmp_path / "model.h5"
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.save(path)

    def name_it(layer):
        layer["config"]["activation"] = "<lambda>"

    edit_config(path, name_it)
    with pytest.raises(UnsupportedModelError, match=r"custom_objects=\{'<lambda>': the_function\}"):
        load_model(path)
    (tmp_path / "own.py").write_text(
        "def cube(x):\n    return x * x * x\nglobals()['<lambda>'] = cube"
    )
    expected = (X @ model.get_weights()[0]) ** 3
    for objects in ({"<lambda>": lambda x: x * x * x}, tmp_path / "own.py"):
        np.testing.assert_allclose(
            answer(load_model(path, custom_objects=objects)), expected, rtol=1e-5
        )


COMMANDS = {
    "os.system": {"module": "os", "class_name": "function", "config": "system"},
    "subprocess.Popen": {"module": "subprocess", "class_name": "Popen", "config": {"args": ["x"]}},
    "builtins.eval": {"module": "builtins", "class_name": "function", "config": "eval"},
    "shutil.rmtree": {"module": "shutil", "class_name": "function", "config": "rmtree"},
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("allow_code", [False, True])
def test_a_file_that_names_commands_is_refused_and_not_asked_for_its_code(
    name, allow_code, tmp_path
):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((3,)), layers.Dense(2)]).save(path)

    def put(layer):
        layer["config"]["activation"] = COMMANDS[name] | {"registered_name": name}

    edit_config(path, put)
    with pytest.raises(UnsupportedModelError, match=f"names '{name}' as a part") as caught:
        load_model(path, allow_code=allow_code)
    assert "custom" not in str(caught.value)
    edit_config(path, lambda layer: layer.update(COMMANDS[name]))
    with pytest.raises(UnsupportedModelError, match=f"names '{name}' as a part"):
        load_model(path, allow_code=allow_code)


def sampling(x):
    return x * 3.0


class Halve(layers.Layer):
    def call(self, x):
        return x / 2.0


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_registered_names_are_found_without_their_package(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    keras.saving.register_keras_serializable()(sampling)
    keras.saving.register_keras_serializable("own package")(Halve)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, activation=sampling), Halve()])
    model.save(path)
    expected = model.predict(X, verbose=0)
    for name in ("Custom>sampling", "own package>Halve"):  # as in another process
        del keras.saving.get_custom_objects()[name]

    def plain(x):
        return x * 3.0

    class Half(layers.Layer):
        def call(self, x):
            return x / 2.0

    for objects in (
        {"sampling": plain, "Halve": Half},
        {"Custom>sampling": plain, "own package>Halve": Half},
    ):
        loaded = load_model(path, custom_objects=objects)
        np.testing.assert_allclose(answer(loaded), expected, rtol=1e-6)
    with pytest.raises(UnsupportedModelError, match=r"uses '(sampling|Halve)'"):
        load_model(path)


def operations_between(x):
    y = layers.Dense(3, name="inner")(x)
    y = ops.relu(y) * 2.0 - x
    y = ops.concatenate([y, backend.epsilon() + x], axis=-1)
    y = ops.reshape(y, (-1, 2, 3))[:, ::-1]
    return layers.Dense(2)(ops.mean(y, axis=1) / 3.0)


def operations_of_layers_names(x):
    return layers.Add()([ops.maximum(x, 0.1), ops.add(x, x), ops.subtract(1.0, x)])


@pytest.mark.parametrize("build", [operations_between, operations_of_layers_names])
def test_operations_between_layers_in_an_hdf5_file(build, tmp_path):
    x = keras.Input((3,), name="x")
    model = keras.Model(x, build(x))
    model.save(tmp_path / "model.h5")
    loaded = load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(answer(loaded), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_weight_that_is_not_a_number_is_named(tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2), layers.Dense(4, name="broken")])
    kernel, bias = model.get_layer("broken").get_weights()
    kernel[1, 2] = bias[0] = np.nan
    model.get_layer("broken").set_weights([kernel, bias])
    model.save(tmp_path / "model.keras")
    for source in (model, tmp_path / "model.keras"):
        with pytest.raises(
            UnsupportedModelError, match=r"broken/kernel' .* NaN in 1 of its 8 elements, and 1 more"
        ):
            load_model(source)
