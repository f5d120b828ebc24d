"""Samples that see each other, and outputs that have no row a sample."""

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops

from edgeport import OptionError, Predictor
from edgeport_converter import UnsupportedModelError, convert

# Keras warns about a softmax over an axis that has the size 1 in a batch of one.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Apply(layers.Layer):
    """A layer of the user's own: one function."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, x):
        return self.function(x)


def model_of(function, *, batch=None, name="mixer", last=()):
    """Six features, a Dense layer, the function, then the last layers."""
    keras.utils.set_random_seed(3)
    x = keras.Input((6,), batch_size=batch, name="x")
    y = Apply(function, name=name)(layers.Dense(8, name="before")(x))
    for layer in last:
        y = layer(y)
    return keras.Model(x, y)


def centred(x):
    return x - ops.mean(x, axis=0, keepdims=True)


def doubled_if_any_is_large(x):
    return ops.where(ops.max(ops.abs(x)) > 300.0, x * 2, x)


def shrunk_if_any_is_a_byte(x):
    return ops.where(ops.max(x) > 1.0, x / 255, x)


def marked_if_any_is_positive(x):
    return x + ops.cast(ops.any(x > 0.5), "float32")


def halved_unless_all_are_small(x):
    return ops.where(ops.all(ops.abs(x) < 0.9), x, x / 2)


def ranked(x):
    return ops.cast(ops.argsort(ops.argsort(x, axis=0), axis=0), "float32")


INTERACTING = {
    "mean": centred,
    "softmax over the batch": lambda x: ops.softmax(x, axis=0),
    "batch statistics": lambda x: ops.batch_normalization(x, *ops.moments(x, axes=[0]), axis=-1),
    "norm of everything": lambda x: (x - ops.mean(x)) / (ops.std(x) + 1e-3),
    "largest of everything": lambda x: x / (1 + ops.max(x)),
    "rare branch": doubled_if_any_is_large,
    "scale by the largest": shrunk_if_any_is_a_byte,
    "common branch": marked_if_any_is_positive,
    "rarely left branch": halved_unless_all_are_small,
    "attention": lambda x: ops.matmul(ops.softmax(ops.matmul(x, ops.transpose(x))), x),
    "similarity": lambda x: ops.matmul(x, ops.transpose(x)),
    "running sum": lambda x: ops.cumsum(x, axis=0),
    "neighbour": lambda x: ops.roll(x, 1, axis=0),
    "mirror": lambda x: ops.flip(x, axis=0),
    "sort": lambda x: ops.sort(x, axis=0),
    "rank": ranked,
    "first sample": lambda x: x + x[:1],
    "a little of the mean": lambda x: x + 1e-5 * ops.mean(x, axis=0, keepdims=True),
    "clipped mean": lambda x: x - ops.mean(ops.clip(x, 0, 1), axis=0, keepdims=True),
    "number of samples": lambda x: x / ops.cast(ops.shape(x)[0], "float32"),
    "place": lambda x: x + ops.cast(ops.arange(ops.shape(x)[0]), "float32")[:, None],
}


@pytest.mark.parametrize("function", INTERACTING.values(), ids=INTERACTING.keys())
def test_a_batch_is_answered_as_keras_answers_it(function, tmp_path):
    model = model_of(function)
    report = convert(model, tmp_path / "m.onnx", quantize="none")
    assert report.card.samples_interact
    assert any("from layer 'mixer' on" in note for note in report.notes)
    x = np.random.default_rng(0).random((70, 6), np.float32) * 9
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        for batch in (x, x[:1], x[7:9]):
            expected = np.asarray(model(batch))
            allowed = 1e-5 * max(1, np.abs(expected).max())
            np.testing.assert_allclose(predictor.predict(batch), expected, atol=allowed)
        with pytest.raises(OptionError, match="depend on the whole batch"):
            predictor.stream(x)


def test_interaction_shows_through_a_saturated_softmax(tmp_path):
    loud = layers.Dense(3, activation="softmax", kernel_initializer=keras.initializers.Constant(9))
    model = model_of(centred, last=[layers.Rescaling(1e4), loud])
    assert convert(model, tmp_path / "m.onnx", quantize="none").card.samples_interact


APART = {
    "reshape": lambda x: ops.reshape(x, (-1, 8)),
    "softmax": lambda x: ops.softmax(x, axis=-1),
    "norm of a sample": lambda x: ops.normalize(x, axis=-1),
    "through the front and back": lambda x: ops.transpose(ops.cumsum(ops.transpose(x), axis=0)),
    "not a number": lambda x: ops.where(x > 0, x, ops.log(x)),
    "best": lambda x: ops.argmax(x, axis=-1),
}


@pytest.mark.parametrize("function", APART.values(), ids=APART.keys())
def test_samples_that_are_answered_by_themselves_get_no_mark(function, tmp_path):
    card = convert(model_of(function), tmp_path / "m.onnx", quantize="none").card
    assert not card.samples_interact
    assert "samples_interact" not in card.to_dict()


def test_recurrent_and_masked_layers_over_as_many_steps_as_samples_get_no_mark(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((3, 4)),
            layers.Masking(),
            layers.LSTM(5, return_sequences=True),
            layers.BatchNormalization(),
            layers.GRU(5, activation="relu"),
        ]
    )
    assert not convert(model, tmp_path / "m.onnx", quantize="none").card.samples_interact


def test_indices_stay_within_their_table(tmp_path):
    ids = keras.Input((5,), dtype="int32")
    apart = layers.Embedding(7, 4)(ids)
    card = convert(keras.Model(ids, apart), tmp_path / "m.onnx", quantize="none").card
    assert not card.samples_interact
    mixed = keras.Model(ids, Apply(centred, name="mixer")(apart))
    assert convert(mixed, tmp_path / "m.onnx", quantize="none").card.samples_interact


def test_samples_become_large_beside_their_row_numbers(tmp_path):
    x = keras.Input((6,), name="x")
    row = ops.cast(x[:, 0], "int32")  # 0 to 4; the other elements are measurements
    rare = Apply(doubled_if_any_is_large, name="rare")(x[:, 1:])
    model = keras.Model(x, ops.concatenate([layers.Embedding(5, 3)(row), rare], axis=1))
    assert convert(model, tmp_path / "m.onnx").card.samples_interact


def test_samples_change_within_tables_of_several_sizes(tmp_path):
    x = keras.Input((3,), dtype="int32", name="x")
    small = layers.Embedding(3, 4)(x[:, 0])
    large = ops.sum(layers.Embedding(100, 4)(x[:, 1:]), axis=1)
    mixed = Apply(lambda y: y + 2e-4 * ops.mean(y, axis=0, keepdims=True), name="mixer")
    model = keras.Model(x, mixed(small + large))
    assert convert(model, tmp_path / "m.onnx").card.samples_interact


def test_one_of_two_outputs_suffices(tmp_path):
    x, z = keras.Input((6,), name="x"), keras.Input((2,), name="z")
    model = keras.Model([x, z], [layers.Dense(3)(x), Apply(centred, name="mixer")(z)])
    convert(model, tmp_path / "m.onnx", quantize="none")
    rng = np.random.default_rng(0)
    batch = rng.random((5, 6), np.float32), rng.random((5, 2), np.float32)
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        assert predictor.card.samples_interact
        found = predictor.predict(*batch).values()
        for expected, answer in zip(model(list(batch)), found, strict=True):
            np.testing.assert_allclose(answer, np.asarray(expected), atol=1e-6)


def test_data_beyond_a_chunk_is_compared_and_answered_whole(tmp_path):
    image = keras.Input((64, 64, 3))
    pooled = layers.AveragePooling2D(16)(Apply(centred, name="mixer")(image))
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(pooled)))
    x = np.random.default_rng(0).random((100, 64, 64, 3), np.float32)
    report = convert(model, tmp_path / "m.onnx", calibration=(x, np.arange(100) % 2))
    assert report.recipe == "none"
    assert report.accuracy is None
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        np.testing.assert_allclose(predictor.predict(x), np.asarray(model(x)), atol=1e-6)


def test_the_self_test_runs_samples_in_company(tmp_path):
    card = convert(model_of(centred), tmp_path / "m.onnx", quantize="none").card
    for sample in card.golden_samples:
        assert len(sample.inputs["x"]) > 1
        assert np.abs(sample.outputs["mixer"].values).max() > 0  # one sample less itself is zero


@pytest.mark.parametrize(
    ("option", "value"), [("quantize", "static"), ("also", ["dynamic"]), ("expected_metric", 0.5)]
)
def test_what_no_batch_could_judge_is_refused(option, value, tmp_path):
    x = np.random.default_rng(0).random((40, 6), np.float32)
    data = {"calibration": x, "evaluation": (x, np.arange(40) % 3)}
    with pytest.raises(
        OptionError, match=f"{option} was given .*layer 'mixer'.*leave {option} out"
    ):
        convert(model_of(centred), tmp_path / "m.onnx", **data, **{option: value})
    assert not (tmp_path / "m.onnx").exists()


def test_samples_may_be_answered_alone_instead(tmp_path):
    # As in MelSpectrogram, which clips at a distance from the loudest sample of the batch.
    model = model_of(
        lambda x: ops.maximum(x, ops.max(x) - 2), last=[layers.Dense(3, activation="softmax")]
    )
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    alone = np.concatenate([np.asarray(model(row[None])) for row in x])
    assert np.abs(np.asarray(model(x)) - alone).max() > 0.1
    report = convert(
        model, tmp_path / "m.onnx", calibration=x, quantize="int16", max_drop=0.05, one_by_one=True
    )
    assert report.card.quantization.recipe == "int16"
    assert not report.card.samples_interact
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        answers = predictor.predict(x)
        np.testing.assert_allclose(answers, alone, atol=0.02)
        np.testing.assert_array_equal(list(predictor.stream(x)), answers)


def test_a_fixed_number_of_samples_is_not_answered_one_by_one(tmp_path):
    with pytest.raises(
        OptionError, match=r"one_by_one was given .* \(8, 6\), expected a free numb"
    ):
        convert(model_of(centred, batch=8), tmp_path / "m.onnx", one_by_one=True)


FIXED = {
    "mean": centred,
    "mirror": lambda x: ops.flip(x, axis=0),
    "two by two": lambda x: ops.reshape(ops.flip(ops.reshape(x, (-1, 2, 8)), 1), (-1, 8)),
    "place": lambda x: x * ops.arange(8, dtype="float32")[:, None],
}


@pytest.mark.parametrize("function", FIXED.values(), ids=FIXED.keys())
def test_a_fixed_number_of_samples_that_interact_is_refused(function, tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"exactly 8 samples.*layer 'mixer'"):
        convert(model_of(function, batch=8), tmp_path / "m.onnx", quantize="none")


@pytest.mark.parametrize(("batch", "function"), [(1, centred), (8, lambda x: x * 2)])
def test_a_fixed_number_of_samples_may_be_apart(batch, function, tmp_path):
    model = model_of(function, batch=batch)
    card = convert(model, tmp_path / "m.onnx", quantize="none").card
    assert not card.samples_interact


WITHOUT_ROWS = {
    "rows of four": (lambda x: ops.reshape(x, (-1, 4)), r"\(6, 4\) for a batch of 3"),
    "all in one row": (lambda x: ops.expand_dims(x, 0), r"\(1, 3, 8\) for a batch of 3"),
    "batch twice": (lambda x: ops.concatenate([x, x], 0), r"\(6, 8\) for a batch of 3"),
    "loss": (lambda x: ops.mean(x), r"\(\) for a batch of 3"),
    "batch behind": (ops.transpose, r"\(8, 3\) for a batch of 3"),
    "mean": (lambda x: ops.mean(x, axis=0), r"\(8,\) for a batch of 3"),
    "kept mean": (lambda x: ops.mean(x, axis=0, keepdims=True), r"\(1, 8\) for a batch of 3"),
    "first two": (lambda x: x[:2], r"\(2, 8\) for a batch of 3"),
}


@pytest.mark.parametrize("case", WITHOUT_ROWS.values(), ids=WITHOUT_ROWS.keys())
def test_an_output_without_a_row_a_sample_is_refused_by_name(case, tmp_path):
    function, shape = case
    sentence = rf"output 'boxes' has the shape {shape}, expected a first axis that counts the samp"
    with pytest.raises(UnsupportedModelError, match=sentence):
        convert(model_of(function, name="boxes"), tmp_path / "m.onnx", quantize="none")


@pytest.mark.parametrize("function", [ops.sum, lambda x: ops.reshape(x, (-1, 4))])
def test_a_fixed_batch_has_as_many_rows(function, tmp_path):
    with pytest.raises(UnsupportedModelError, match=r"output 'boxes' has the shape .* batch of 8"):
        convert(model_of(function, batch=8, name="boxes"), tmp_path / "m.onnx", quantize="none")


def test_a_layer_for_one_sample_alone_asks_for_a_batch_size(tmp_path):
    model = model_of(lambda x: ops.reshape(x, (1, 8)))
    with pytest.raises(UnsupportedModelError, match=r"1 sample and refuses 3.*batch_size=1"):
        convert(model, tmp_path / "m.onnx", quantize="none")


def test_ordinary_graphs_are_written_as_before(two_layer_model, tmp_path):
    convert(two_layer_model, tmp_path / "m.onnx", quantize="none")
    entries = onnx.load(tmp_path / "m.onnx").metadata_props
    assert any('"format_version":1,' in entry.value for entry in entries)
