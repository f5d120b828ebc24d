"""What is replaced in Keras, TensorFlow and tf2onnx: the lists are complete, and taken back."""

import ast
from pathlib import Path

import keras
import pytest
import tensorflow as tf
import tf2onnx
from tf2onnx.optimizer import transpose_optimizer

from edgeport import ConversionError
from edgeport_converter import UnsupportedModelError, exporting
from edgeport_converter.exporting import keras_patches, patching, tf2onnx_bridge
from edgeport_converter.exporting.patching import Patch
from edgeport_converter.exporting.placeholders import Placeholders
from edgeport_converter.exporting.tf2onnx_bridge.passes import NodeNames
from edgeport_converter.loading.load import load_model

FOLDER = Path(exporting.__file__).parent
LISTS = {
    "keras": (
        keras_patches.PATCHES,
        lambda: patching.applied(keras_patches.PATCHES, Placeholders()),
    ),
    "tf2onnx": (
        tf2onnx_bridge.PATCHES,
        lambda: patching.applied(tf2onnx_bridge.PATCHES, NodeNames()),
    ),
}
PATCHES = [*keras_patches.PATCHES, *tf2onnx_bridge.PATCHES]


def values(patches):
    """Return what stands at each target, None where nothing does."""
    return {
        (patch.target, getattr(owner, "__name__", "")): vars(owner).get(name)
        for patch in patches
        for owner, name in patch.places()
    }


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.target)
def test_every_target_exists_in_the_installed_library(patch):
    assert patch.places()
    assert patch.why
    assert patch.until


def test_no_target_is_listed_twice():
    targets = [patch.target for patch in PATCHES]
    assert len(set(targets)) == len(targets)


@pytest.mark.parametrize(("patches", "patched"), LISTS.values(), ids=LISTS)
def test_every_patch_of_the_list_is_applied_and_taken_back(patches, patched):
    before = values(patches)
    with patched():
        inside = values(patches)
    assert [key for key in before if inside[key] is before[key]] == []
    assert values(patches) == before


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_else_replaces_a_part_of_a_library(path):
    """Only `patching` uses mock or setattr; other modules assign to attributes of `self` alone."""
    if path.name == "patching.py":
        return
    libraries = {"keras", "tensorflow", "tf", "tf2onnx"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            libraries |= {
                alias.asname or alias.name for alias in node.names if "tf2onnx" in alias.name
            }
        if isinstance(node, ast.ImportFrom):
            assert not str(node.module).startswith("unittest"), f"line {node.lineno}"
            if str(node.module).partition(".")[0] in libraries:
                libraries |= {alias.asname or alias.name for alias in node.names}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Name):
            assert node.id not in ("setattr", "delattr"), f"line {node.lineno}"
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        for target in targets if isinstance(node, (ast.Assign, ast.AugAssign)) else ():
            root = target
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            if root is not target and isinstance(root, ast.Name):
                assert root.id not in libraries, f"line {node.lineno}"


@pytest.mark.parametrize(
    "target",
    ["keras.layers.LayerOfTheFuture.call", "keras.layers.PReLU.compute", "keras.future.layer.call"],
)
def test_a_library_without_the_target_is_named_in_one_sentence(target):
    """And what was replaced before it is as it was."""
    original = keras.layers.PReLU.call
    first = Patch("keras.layers.PReLU.call", lambda call, context: None, "a", "b")
    missing = Patch(target, lambda call, context: None, "ONNX has no such layer", "b")
    expected = rf"keras {keras.__version__} has no '{target}', which .*no such layer.*: install a"
    with (
        pytest.raises(ConversionError, match=expected) as refused,
        patching.applied([first, missing], None),
    ):
        pass
    assert "\n" not in str(refused.value)
    assert keras.layers.PReLU.call is original


def test_an_export_with_an_unknown_keras_fails_with_that_sentence(monkeypatch):
    missing = Patch("keras.layers.Future.call", lambda call, context: None, "why", "until")
    monkeypatch.setattr(keras_patches, "PATCHES", (*keras_patches.PATCHES, missing))
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(ConversionError, match=r"keras .* has no 'keras.layers.Future.call'"):
        exporting.export(load_model(model), opset=17, ir_version=8)


def test_a_name_that_a_patch_misses_in_keras_is_named_with_the_version():
    """As if another Keras called this attribute of its layer otherwise."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.LayerNormalization(name="ln")])
    loaded = load_model(model)
    del vars(model.get_layer("ln"))["axis"]
    expected = rf"^keras {keras.__version__} has no 'LayerNormalization.axis', which .*: install a"
    with pytest.raises(ConversionError, match=expected):
        exporting.export(loaded, opset=17, ir_version=8)


def test_a_name_that_a_patch_misses_in_tf2onnx_is_named_with_the_version(monkeypatch):
    name = "_handle_node_having_branches"
    monkeypatch.delattr(transpose_optimizer.TransposeOptimizer, name)
    x = keras.Input((6, 6, 2))
    model = keras.Model(x, keras.layers.Conv2D(4, 3, use_bias=False)(x) + 0.5)
    expected = rf"^tf2onnx {tf2onnx.__version__} has no 'TransposeOptimizer.{name}', which "
    with pytest.raises(ConversionError, match=expected):
        exporting.export(load_model(model), opset=17, ir_version=8)


def test_a_name_that_the_users_layer_misses_is_the_users_matter():
    class Forgetful(keras.layers.Layer):
        def call(self, x):
            return x * (self.factor if tf.inside_function() else 1.0)

        def compute_output_shape(self, shape):
            return shape

    x = keras.Input((3,))
    with pytest.raises(UnsupportedModelError, match=r"Forgetful.*no attribute 'factor'"):
        exporting.export(load_model(keras.Model(x, Forgetful()(x))), opset=17, ir_version=8)


def test_keras_answers_as_before_after_an_export():
    layers = keras.layers
    x = keras.Input((5, 4), name="x")
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.PReLU()(x))
    model = keras.Model(x, layers.TimeDistributed(layers.Dense(2))(layers.LayerNormalization()(y)))
    sample = keras.random.normal((2, 5, 4), seed=1)
    before = model(sample)
    exporting.export(load_model(model), opset=17, ir_version=8)
    assert bool(tf.reduce_all(before == model(sample)))
