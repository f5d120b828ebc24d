"""Made-up indices lie within the tables' sizes, which the graph tells."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from graphs import model_of, node
from onnx import TensorProto

from edgeport import TensorSpec
from edgeport_converter import DeviceOptions, UnsupportedModelError, convert
from edgeport_converter.data.made_up import Draw, random_inputs
from edgeport_converter.exporting import export
from edgeport_converter.loading.load import load_model
from edgeport_converter.verification.index_limits import IndexLimits
from edgeport_converter.verification.trial_inputs import make_trial_inputs

layers, ops = keras.layers, keras.ops
WEIGHTS = np.arange(120, dtype=np.float32).reshape(40, 3)


class Computed(layers.Layer):
    """A layer of one function."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, *tensors):
        return self.function(*tensors)


def take(indices):
    return ops.take(ops.convert_to_tensor(WEIGHTS), indices, axis=0)


def gather(indices, rows=40):
    return tf.gather(tf.constant(WEIGHTS[:rows]), indices)


def exported_of(model):
    engine = DeviceOptions().engine
    return export(load_model(model), opset=engine.opset, ir_version=engine.ir_version)


def limits_of(model, free_size=8):
    """Return the limits of each input as two lists, of one sample."""
    exported = exported_of(model)
    found = IndexLimits(exported.graph, exported.inputs).find(free_size)
    return {name: (each.low[0].tolist(), each.high[0].tolist()) for name, each in found.items()}


def on_integers(function, size, dtype="int32"):
    x = keras.Input((size,), dtype=dtype, name="x")
    return keras.Model(x, function(x))


# The expected limits by hand: 0 <= slope * x + offset < rows.
CASES = {
    "one table": (lambda x: layers.Embedding(7, 2)(x), 2, [0, 0], [6, 6]),
    "a table of one row": (lambda x: layers.Embedding(1, 2)(x), 2, [0, 0], [0, 0]),
    "two tables on slices": (
        lambda x: layers.Embedding(300, 2)(x[:, 0]) + layers.Embedding(7, 2)(x[:, 1]),
        2,
        [0, 0],
        [299, 6],
    ),
    "the smaller of two": (
        lambda x: layers.Embedding(300, 2)(x) + layers.Embedding(5, 2)(x),
        1,
        [0],
        [4],
    ),
    "x * 2 + 1": (lambda x: Computed(lambda x: take(x * 2 + 1))(x), 2, [-0.5, -0.5], [19, 19]),
    "x - 1": (lambda x: Computed(lambda x: take(x - 1))(x), 1, [1], [40]),
    "39 - x": (lambda x: Computed(lambda x: gather(39 - x))(x), 1, [0], [39]),
    "3 - x": (lambda x: Computed(lambda x: gather(3 - x, 4))(x), 1, [0], [3]),
    "reversed": (
        lambda x: Computed(lambda x: take(x[:, ::-1] * ops.convert_to_tensor([1, 2])))(x),
        2,
        [0, 0],
        [19.5, 39],
    ),
    "one-hot": (lambda x: Computed(lambda x: ops.one_hot(x, 12))(x), 2, [0, 0], [11, 11]),
    "category encoding": (
        lambda x: layers.CategoryEncoding(5, output_mode="multi_hot")(x),
        2,
        [0, 0],
        [4, 4],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_limits_of_each_element(case):
    function, size, low, high = CASES[case]
    assert limits_of(on_integers(function, size)) == {"x": (low, high)}


def test_floats_and_bytes_are_indices_too():
    for dtype in ("float32", "uint8"):
        model = on_integers(lambda x: layers.Embedding(10, 2)(x), 2, dtype)
        assert limits_of(model) == {"x": ([0, 0], [9, 9])}


def test_features_beside_an_index_have_no_limits():
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Concatenate()([layers.Embedding(4, 2)(x[:, 0]), x[:, 1:]]))
    assert limits_of(model) == {"x": ([0, -np.inf, -np.inf], [3, np.inf, np.inf])}


def test_an_index_of_two_inputs_leaves_each_its_share():
    x, y = (keras.Input((2,), dtype="int32", name=name) for name in "xy")
    found = limits_of(keras.Model([x, y], Computed(lambda x, y: take(x + 9 * y))(x, y)))
    assert found == {name: ([0, 0], [3.9, 3.9]) for name in "xy"}


def test_what_a_network_computes_has_no_limits():
    def best_row(x):
        return layers.Embedding(4, 2)(ops.argmax(layers.Dense(4)(ops.cast(x, "float32")), -1))

    assert limits_of(on_integers(best_row, 3)) == {}


def test_random_values_keep_their_limits():
    x = keras.Input((3,), name="x")
    model = keras.Model(x, layers.Concatenate()([layers.Embedding(4, 2)(x[:, 0]), x[:, 1:]]))
    exported = exported_of(model)
    limits = IndexLimits(exported.graph, exported.inputs).find(8)
    drawn = random_inputs(exported.inputs, 50, 8, 0, Draw(spread=3.0, limits=limits))["x"]
    assert set(drawn[:, 0]) == {0, 1, 2, 3}
    assert drawn[:, 1:].min() < 0


def test_an_integer_division_by_zero_on_the_way_to_an_index_is_survived():
    """The reference evaluator, not the engine, computes indices: 1 / (x - 64) is tried at 64."""
    nodes = [
        node("Sub", ["x", "c"], "d"),
        node("Div", ["o", "d"], "i"),
        node("Gather", ["w", "i"], "y"),
    ]
    constants = {"c": np.int32(64), "o": np.int32(1), "w": WEIGHTS}
    model = model_of(nodes, {"x": (TensorProto.INT32, ["N", 2])}, {"y": None}, constants)
    spec = TensorSpec("x", np.dtype(np.int32), ("N", 2), ("N", "F"))
    assert IndexLimits(model, [spec]).find(8) == {}


def test_divisors_are_tried_without_zero():
    def divides(batch):
        if (batch["x"].astype(int) == 0).any():
            raise ZeroDivisionError("integer division by zero")
        return {"y": batch["x"]}

    for dtype in (np.float32, np.int64):
        spec = TensorSpec("x", np.dtype(dtype), ("N", 40), ("N", "F"))
        batches = make_trial_inputs([spec], divides)
        assert all(np.all(batch["x"].astype(int) != 0) for batch in batches)
        assert {len(batch["x"]) for batch in batches} == {1, 2, 5}


def test_models_with_indices_and_divisors_convert_without_data(tmp_path):
    x = keras.Input((1,))
    embedded = layers.Flatten()(layers.Embedding(4, 2)(x))
    convert(keras.Model(x, layers.Dense(1)(embedded)), tmp_path / "float_indices.onnx")
    x = keras.Input((3,))
    shares = Computed(lambda x: ops.cast(10 // ops.cast(x, "int32"), "float32"))(x)
    convert(keras.Model(x, shares), tmp_path / "division.onnx")


def test_a_short_table_of_positions_is_met_at_its_length(tmp_path):
    class Positions(layers.Layer):
        def build(self, shape):
            self.table = layers.Embedding(6, 4)
            self.table.build(None)

        def call(self, x):
            return x + self.table(ops.arange(ops.shape(x)[1]))

    tokens = keras.Input((None,), dtype="int32", name="tokens")
    segments = keras.Input((None,), dtype="int32", name="segments")
    y = layers.Embedding(1000, 4)(tokens) + layers.Embedding(2, 4)(segments)
    report = convert(keras.Model([tokens, segments], Positions()(y)), tmp_path / "m.onnx")
    assert report.parity.samples > 8


def test_a_model_that_takes_no_made_up_input_asks_for_data(tmp_path):
    x = keras.Input((2,), dtype="int32")
    beyond = keras.Model(x, Computed(lambda x: take(x * 0 + 40))(x))
    with pytest.raises(
        UnsupportedModelError, match=r"is not in \[0, 40\).*pass a few real samples"
    ):
        convert(beyond, tmp_path / "m.onnx")
