"""The same model and data give the same file, whatever order a process's hashes bring about."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeport_converter.exporting.tf2onnx_bridge.ordered_sets import OrderedSet

pytestmark = pytest.mark.slow

# What tf2onnx rewrites the most: blocks as in MobileNetV3, with equal constants of which one stays,
# attention, and a recurrent layer with its placeholder ops.
_CONVERSIONS = """
import sys
from pathlib import Path

import keras
import numpy as np

from edgeport_converter import convert

layers = keras.layers
keras.utils.set_random_seed(5)

image = keras.Input((8, 8, 3), name="image")
x = layers.Conv2D(32, 3, padding="same", activation="relu")(image)
for _ in range(2):
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.Activation("hard_silu")(layers.BatchNormalization()(y))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(8, 1, activation="relu")(gate)
    gate = layers.Conv2D(32, 1, activation="hard_sigmoid")(gate)
    x = layers.Add()([x, layers.Conv2D(32, 3, padding="same")(layers.Multiply()([y, gate]))])
gated = keras.Model(image, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)), name="gated")

steps = keras.Input((6, 32), name="steps")
x = layers.MultiHeadAttention(2, 32)(steps, steps)
x = layers.LayerNormalization()(layers.Add()([steps, x]))
x = layers.Bidirectional(layers.GRU(32))(x)
attending = keras.Model(steps, layers.Dense(3)(x), name="attending")

folder, rng = Path(sys.argv[1]), np.random.default_rng(6)
for model, quantize in ((gated, "none"), (gated, "static"), (attending, "weights")):
    data = rng.random((24, *model.input_shape[1:]), dtype=np.float32)
    convert(
        model,
        folder / f"{quantize}.onnx",
        calibration=None if quantize == "none" else data,
        quantize=quantize,
    )
"""


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Two folders of files, made by fresh processes with other hashes."""
    folders = [tmp_path_factory.mktemp(f"hashed-{seed}") for seed in (1, 2)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _CONVERSIONS, str(folder)],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seed, folder in enumerate(folders, 1)
    ]
    for process in running:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return folders


@pytest.mark.parametrize("quantize", ["none", "weights", "static"])
def test_fresh_processes_write_the_same_bytes(two_processes, quantize):
    """Not a byte differs between two runs of the same conversion."""
    first, second = ((folder / f"{quantize}.onnx").read_bytes() for folder in two_processes)
    assert first == second


_words = st.lists(st.text("abcde", max_size=2))


@given(_words, _words)
def test_an_ordered_set_holds_what_a_set_holds(left, right):
    """Each operation gives the elements that Python's own sets give, in the order of arrival."""
    one, other = OrderedSet(left), OrderedSet(right)
    expected = {
        "union": set(left) | set(right),
        "intersection": set(left) & set(right),
        "difference": set(left) - set(right),
    }
    for name, elements in expected.items():
        arrivals = [word for word in dict.fromkeys(left + right) if word in elements]
        assert list(getattr(one, name)(other)) == arrivals, name
    assert list(one | other) == list(one.union(right))
    assert list(one & other) == list(one.intersection(right))
    assert list(one - other) == list(one.difference(right))
    assert set(one ^ other) == set(left) ^ set(right)
    assert one.issubset(other) == set(left).issubset(right)
    assert (one == other) == (set(left) == set(right))
    assert list(one) == list(dict.fromkeys(left)), "an operation has changed its operand"


def test_an_ordered_set_is_changed_in_place():
    """Additions go to the end, and what was taken out is gone."""
    names = OrderedSet(["b", "a"])
    names.add("c")
    names.add("b")
    names |= ["d", "a"]
    names.update(["e"])
    names.remove("a")
    names.discard("x")
    assert list(names) == ["b", "c", "d", "e"]
    assert names.pop() == "e"
    assert "e" not in names
    assert len(names) == 3
    with pytest.raises(KeyError):
        names.remove("e")
