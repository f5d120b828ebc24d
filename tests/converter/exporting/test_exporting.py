"""Names, axes, order and refusals of the export; `test_layer_cases` has the layers themselves."""

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from edgeport import ConversionError, Predictor
from edgeport_converter import UnsupportedModelError, convert, exporting
from edgeport_converter.exporting import freezing, tf2onnx_bridge, tf_ops, tracing
from edgeport_converter.exporting.patching import Patch
from edgeport_converter.loading.load import load_model
from edgeport_converter.loading.model import refuse_large

layers = keras.layers


def export(model):
    return exporting.export(load_model(model), opset=17, ir_version=8)


def shapes(values):
    return [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in values
    ]


def test_free_axes_have_letters_and_the_batch_is_n():
    image = keras.Input((None, None, 3), name="image")
    model = keras.Model(image, layers.Conv2D(4, 3, name="map")(image))
    exported = export(model)
    assert shapes(exported.graph.graph.input) == [["N", "H", "W", 3]]
    assert exported.inputs[0].axes == ("N", "H", "W", "C")
    assert exported.outputs[0].shape[0] == "N"


def test_two_inputs_may_have_two_lengths():
    first, second = keras.Input((None, 3), name="first"), keras.Input((None, 3), name="second")
    model = keras.Model([first, second], layers.Concatenate(axis=1)([first, second]))
    assert [spec.shape for spec in export(model).inputs] == [("N", "T", 3), ("N", "T2", 3)]


def test_an_output_axis_has_an_inputs_name_only_where_the_sizes_are_equal():
    x = keras.Input((None, 3), name="x")
    same = layers.LSTM(4, return_sequences=True)(layers.Dense(3)(x))
    half = layers.MaxPooling1D(2)(x)
    exported = export(keras.Model(x, [same, half]))
    assert exported.outputs[0].shape == ("N", "T", 4)
    assert exported.outputs[1].shape == ("N", "T2", 3)


def test_a_row_of_free_length_is_a_sequence():
    ids = keras.Input((None,), dtype="int32", name="ids")
    model = keras.Model(ids, layers.GlobalAveragePooling1D()(layers.Embedding(9, 4)(ids)))
    assert export(model).inputs[0].shape == ("N", "T")


def test_a_batch_fixed_by_the_model_stays_fixed(tmp_path):
    x = keras.Input((4,), batch_size=3, name="x")
    model = keras.Model(x, layers.Dense(2)(x))
    assert shapes(export(model).graph.graph.input) == [[3, 4]]
    convert(model, tmp_path / "m.onnx", quantize="none")
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        batch = np.random.default_rng(0).random((3, 4)).astype(np.float32)
        np.testing.assert_allclose(predictor.predict(batch), np.asarray(model(batch)), atol=1e-6)


def test_nodes_have_the_names_of_their_keras_layers():
    x = keras.Input((4,), name="x")
    y = layers.Dense(3, name="dense")(x)
    model = keras.Model(x, layers.Dense(2, name="dense_1")(y), name="net")
    names = [node.name for node in export(model).graph.graph.node if node.op_type == "MatMul"]
    assert names == ["net/dense/MatMul", "net/dense_1/MatMul"]


def test_every_file_is_valid_for_the_checker():
    x = keras.Input((None, 3), name="x")
    model = keras.Model(x, layers.LSTM(4, return_sequences=True)(layers.Masking()(x)))
    onnx.checker.check_model(export(model).graph, full_check=True)


def test_lstm_and_gru_masks_become_sequence_lengths():
    x = keras.Input((None, 3), name="x")
    model = keras.Model(
        x, layers.GRU(4)(layers.LSTM(5, return_sequences=True)(layers.Masking()(x)))
    )
    nodes = {node.op_type: node for node in export(model).graph.graph.node}
    assert "Loop" not in nodes
    assert nodes["LSTM"].input[4]
    assert nodes["GRU"].input[4]


class Reverses(layers.Layer):
    """Calls Python in the middle of a graph."""

    def call(self, x):
        y = tf.numpy_function(lambda array: array[::-1].copy(), [x], tf.float32)
        y.set_shape(x.shape)
        return y


class Draws(layers.Layer):
    """Adds noise at inference, too."""

    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class Counts(layers.Layer):
    """Changes a weight on each call."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), name="calls", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return x * self.calls


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        (Reverses(name="turn"), r"Reverses 'turn' calls back into Python .*Keras operations"),
        (Draws(name="noise"), r"Draws 'noise' draws random numbers at inference"),
        (Counts(name="count"), r"Counts 'count' changes a variable while it answers"),
        (
            layers.LSTM(3, stateful=True, name="memory"),
            r"LSTM 'memory' has stateful=True, .*return_state=True",
        ),
        (
            layers.Conv1D(3, 2, data_format="channels_first", name="first"),
            r"the layer 'first' \(Conv1D\) has data_format='channels_first'.*channels_last",
        ),
    ],
    ids=["python", "random", "writes", "stateful", "channels_first"],
)
def test_what_onnx_cannot_say_is_refused_by_the_layers_name(layer, sentence, tmp_path):
    x = keras.Input((4, 3), batch_size=2, name="x")
    model = keras.Model(x, layer(x))
    with pytest.raises(UnsupportedModelError, match=sentence) as refused:
        convert(model, tmp_path / "m.onnx", quantize="none")
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (layers.Hashing(5), "Hashing"),
        (layers.TextVectorization(vocabulary=["a", "b"]), "TextVectorization"),
        (layers.StringLookup(vocabulary=["a"], num_oov_indices=2), "num_oov_indices=2"),
        (layers.StringLookup(vocabulary=["a"], num_oov_indices=0), "num_oov_indices=0"),
    ],
    ids=["hashing", "vectorization", "two unknown", "no unknown"],
)
def test_text_steps_are_named_as_the_hosts(layer, name):
    x = keras.Input((1,), dtype="string", name="x")
    with pytest.raises(UnsupportedModelError, match=f"{name}.*(on the device|num_oov_indices=1)"):
        export(keras.Model(x, layer(x)))


def test_a_model_with_text_inputs_converts_and_answers(tmp_path):
    kind = keras.Input((1,), dtype="string", name="kind")
    encoded = layers.StringLookup(vocabulary=["red", "blue"], output_mode="one_hot")(kind)
    model = keras.Model(kind, layers.Dense(2)(encoded))
    convert(model, tmp_path / "m.onnx", quantize="none")
    words = [["blue"], ["red"], ["Grün"]]
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        np.testing.assert_allclose(
            predictor.predict(np.array(words)), np.asarray(model(tf.constant(words))), atol=1e-6
        )


def test_weights_are_counted_as_they_are_stored():
    model = keras.Sequential(
        [
            keras.Input((100,)),
            layers.Dense(7, use_bias=False),
            layers.Dense(9, dtype="float16", use_bias=False),
        ]
    )
    function = tf.function(lambda x: model(x) + tf.zeros((1, 9), tf.float16)[0])
    concrete = function.get_concrete_function(tf.TensorSpec((None, 100)))
    weights, graph = 4 * 700 + 2 * 63, concrete.graph.as_graph_def().ByteSize()
    assert freezing.weight_bytes(concrete) == weights + graph


@pytest.mark.parametrize(("weight_bytes", "refused"), [(2**31 - 2**24, False), (2**31, True)])
def test_weights_beyond_what_an_onnx_file_holds_are_refused(weight_bytes, refused):
    if not refused:
        refuse_large("ranker", weight_bytes)
        return
    with pytest.raises(UnsupportedModelError, match=r"'ranker' has 2\.00 GiB .* less than 2 GiB"):
        refuse_large("ranker", weight_bytes)


def test_large_weights_arrive_whole_wherever_they_are_used():
    ids = keras.Input((6,), dtype="int32", name="ids")
    table = layers.Embedding(300, 100, name="table")
    shared = layers.Dense(300, activation="tanh", name="shared")
    x = shared(table(ids))
    x = layers.Dense(100, name="back")(layers.Conv1D(200, 3, name="steps")(x))
    score = keras.ops.matmul(x, keras.ops.transpose(table.embeddings))
    model = keras.Model(ids, [score, shared(x), layers.LSTM(90, name="memory")(x)])
    loaded = load_model(model)
    offloaded = tracing.trace(loaded).weights
    # The table, the table turned by Keras, and two matrices; the kernel of the sequence gets an
    # axis first, and the LSTM's gates another order.
    assert sorted(len(value) for value in offloaded.values()) == [80_000, 120_000, 120_000, 120_000]
    sample = np.random.default_rng(0).integers(0, 300, (2, 6)).astype(np.int32)
    graph = exporting.export(loaded, opset=17, ir_version=8).graph
    with Predictor.load(graph.SerializeToString()) as predictor:
        found = predictor.predict(sample)
    for wanted, got in zip(model(sample), found.values(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


class Gelu(layers.Layer):
    """The exact gelu, whose Erfc has a handler of the converter's own."""

    def call(self, x):
        return tf.math.erfc(x)


@pytest.mark.parametrize(
    "fault", [TypeError("zip() argument 2 is shorter"), AttributeError("NoneType has no len()")]
)
def test_a_fault_of_the_translation_is_not_called_a_missing_operation(fault, monkeypatch):
    def fail(build):
        raise fault

    monkeypatch.setitem(tf_ops._HANDLERS, "Erfc", fail)
    model = keras.Sequential([keras.Input((3,)), Gelu(name="curve")])
    sentence = rf"the layer 'curve' \(Gelu\) .*{type(fault).__name__}.* Erfc .*report this model"
    with pytest.raises(ConversionError, match=sentence) as failed:
        export(model)
    assert not isinstance(failed.value, UnsupportedModelError)
    assert str(fault) not in str(failed.value)
    assert failed.value.__cause__ is fault


def test_a_fault_of_tf2onnx_s_optimizer_is_not_called_a_missing_operation(monkeypatch):
    def fail(original, node_names):
        def optimize(*args, **options):
            raise ValueError("make_sure failure: Cannot find node with output 'a:0' in graph 'g'")

        return optimize

    patch = Patch("tf2onnx.optimizer.optimize_graph", fail, "the test's", "its end")
    monkeypatch.setattr(tf2onnx_bridge, "PATCHES", (*tf2onnx_bridge.PATCHES, patch))
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(ConversionError, match=r"the model could not be .*report this model") as met:
        export(model)
    assert not isinstance(met.value, UnsupportedModelError)
    assert "make_sure" not in str(met.value)


def test_a_reason_that_a_handler_gives_is_the_users_reason():
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Resizing(4, 4, interpolation="bicubic", name="shrink"),
        ]
    )
    sentence = r"'shrink' .Resizing. .*ONNX resizes free sizes .*: give the image a fixed size"
    with pytest.raises(UnsupportedModelError, match=sentence):
        export(model)


def test_no_operation_has_two_handlers():
    modules = (
        tf_ops.convolutions,
        tf_ops.einsum,
        tf_ops.images,
        tf_ops.integers,
        tf_ops.mathematics,
        tf_ops.scatters,
        tf_ops.signal,
    )
    entries = [operation for module in modules for operation in module.HANDLERS]
    assert sorted(entries) == sorted(tf_ops._HANDLERS)
