"""Fine-tuning through the whole of ``convert``: what it brings back, and what it leaves alone."""

import hashlib
import html
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import edgeport_converter
from edgeport import OptionError, Predictor
from edgeport_converter import Finetune, QuantizationError

layers = keras.layers


def convert(model, output, taught, finetune, **options):
    (x, _), judged = taught
    return edgeport_converter.convert(
        model,
        output,
        calibration=x[:200],
        evaluation=judged,
        finetune=finetune,
        **{"quantize": "static", "max_drop": 0.01, "objective": "size", **options},
    )


def digest(model):
    found = hashlib.sha256()
    for weight in model.get_weights():
        found.update(weight.tobytes())
    return found.hexdigest()


def loss_of(report, word):
    return next(step.loss for step in report.steps if word in step.recipe)


@pytest.fixture(scope="session")
def converted(broken_by_int8, taught, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finetuned")
    before = digest(broken_by_int8)
    report = convert(
        broken_by_int8,
        folder / "a.onnx",
        taught,
        Finetune(taught[0], epochs=6, model=folder / "tuned.keras"),
        max_drop=0.02,
    )
    return report, folder, before


def test_most_of_what_int8_loses_comes_back(converted, taught):
    report, folder, _ = converted
    x, y = taught[1]
    plain = loss_of(report, "static, minmax ranges")
    tuned = loss_of(report, "fine-tuned")
    assert plain > 0.03
    assert tuned < plain / 2
    found = Predictor.load(folder / "a.onnx").predict(x).argmax(1)
    assert (found == y).mean() == pytest.approx(report.accuracy.artifact, abs=0.003)


def test_what_was_trained_is_what_runs(converted, taught):
    report, folder, _ = converted
    assert "fine-tuned" in report.recipe
    tuned = keras.models.load_model(folder / "tuned.keras")
    x, _ = taught[1]
    classes = Predictor.load(folder / "a.onnx").predict(x).argmax(1)
    # The Keras model computes in float between the layers, so that samples on a border may change.
    assert (tuned(x).numpy().argmax(1) == classes).mean() > 0.97


def test_the_model_is_not_touched_and_the_card_says_what_changed(converted, broken_by_int8, taught):
    report, folder, before = converted
    assert digest(broken_by_int8) == before
    told = report.card.provenance
    tuned = keras.models.load_model(folder / "tuned.keras")
    assert told["finetuned_from_sha256"] == before
    assert told["finetuned_to_sha256"] == digest(tuned)
    assert "960 samples" in told["finetuned_on"]
    assert "labels" in told["finetuned_on"]
    x, y = taught[1]
    figures = re.fullmatch(r"accuracy ([\d.]+), ([\d.]+) before", told["finetuned_float"])
    for model, reached in ((tuned, figures[1]), (broken_by_int8, figures[2])):
        assert float(reached) == pytest.approx((model(x).numpy().argmax(1) == y).mean(), abs=1e-4)
    assert report.card.accuracy.keras == pytest.approx(float(figures[2]), abs=1e-4)
    found = Predictor.load(folder / "a.onnx").predict(x).argmax(1)
    assert report.card.accuracy.artifact == pytest.approx((found == y).mean(), abs=0.003)
    assert "McNemar's exact test" in told["finetuned_gain"]
    gained = re.match(r"accuracy ([\d.]+) to ([\d.]+) on 800 samples", told["finetuned_gain"])
    before_training = float(figures[2]) - loss_of(report, "static, minmax ranges")
    assert float(gained[1]) == pytest.approx(before_training, abs=1e-4)
    assert float(gained[2]) == pytest.approx(report.card.accuracy.artifact, abs=1e-4)
    assert any(note.startswith("fine-tuning was tried, since int8") for note in report.notes)
    assert any("not those of the model" in note for note in report.notes)
    assert sorted(path.name for path in folder.iterdir()) == ["a.onnx", "tuned.keras"]


def test_info_and_report_tell_of_the_changed_weights(converted, tmp_path):
    report, folder, before = converted
    for command in (["info", "a.onnx"], ["report", "a.onnx", "-o", str(tmp_path / "a.html")]):
        run = [sys.executable, "-m", "edgeport", *command]
        shown = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout
        if command[0] == "report":
            shown = (tmp_path / "a.html").read_text(encoding="utf-8")
        for name in ("from_sha256", "to_sha256", "on", "float", "gain"):
            told = report.card.provenance[f"finetuned_{name}"]
            assert told in html.unescape(shown), name
        assert before in shown


def test_the_float_model_teaches_where_there_are_no_labels(broken_by_int8, taught, tmp_path):
    (x, _), _ = taught
    report = convert(broken_by_int8, tmp_path / "a.onnx", taught, Finetune(x, epochs=6))
    assert loss_of(report, "fine-tuned") < 0.6 * loss_of(report, "static, minmax")


def test_the_same_seed_gives_the_same_weights(converted, broken_by_int8, taught, tmp_path):
    report, _, _ = converted
    again = convert(
        broken_by_int8,
        tmp_path / "a.onnx",
        taught,
        Finetune(taught[0], epochs=6),
        max_drop=0.02,
    )
    name = "finetuned_to_sha256"
    assert report.card.provenance[name] == again.card.provenance[name]


def test_nothing_is_trained_where_int8_keeps_the_budget(two_layer_model, samples, tmp_path):
    report = edgeport_converter.convert(
        two_layer_model,
        tmp_path / "a.onnx",
        calibration=samples,
        finetune=Finetune(),
        max_drop=0.1,
        quantize="static",
    )
    assert any("int8 keeps the budget without it" in note for note in report.notes)
    assert not [key for key in report.card.provenance if key.startswith("finetuned")]


def test_samples_that_judge_are_not_trained_on(broken_by_int8, taught, tmp_path):
    (x, y), (held_x, held_y) = taught
    both = np.concatenate([x, held_x]), np.concatenate([y, held_y])
    report = convert(broken_by_int8, tmp_path / "a.onnx", taught, Finetune(both, epochs=1))
    assert any(note.startswith("800 of the 2000 samples") for note in report.notes)
    with pytest.raises(OptionError, match="0 samples are left to fine-tune on"):
        convert(broken_by_int8, tmp_path / "a.onnx", taught, Finetune((held_x, held_y)))


def test_bad_data_is_refused_in_a_sentence(two_layer_model, samples, tmp_path):
    output = tmp_path / "a.onnx"

    def refuse(finetune, match, **options):
        given = {"calibration": samples, "quantize": "static"} | options
        with pytest.raises(OptionError, match=match):
            edgeport_converter.convert(two_layer_model, output, finetune=finetune, **given)
        assert not output.exists()

    y = np.zeros(300)
    y[::2] = 1
    y[7] = np.nan
    other = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    refuse(Finetune((other, y)), "the label of sample 7 to fine-tune on is NaN")
    refuse(Finetune(other[:10]), "10 samples are left to fine-tune on, expected at least 50")
    refuse(Finetune(other[:0]), "holds no sample|no sample")
    refuse(Finetune(), "without calibration data", calibration=None, quantize="auto")
    refuse(Finetune(), "finetune was given with quantize='none'", quantize="none")
    refuse(other, "finetune is a ndarray, expected Finetune")
    refuse(Finetune((other, y.astype(bool) * 7 + 9.0)), "label", quantize="static")


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"epochs": 0}, "epochs of finetune is 0, expected a whole number from 1 on"),
        ({"epochs": 1.5}, "epochs of finetune is 1.5"),
        ({"epochs": -1}, "epochs of finetune is -1"),
        ({"learning_rate": -0.1}, "learning_rate of finetune is -0.1, expected a number between"),
        ({"learning_rate": float("nan")}, "learning_rate of finetune is nan"),
        ({"learning_rate": 0}, "learning_rate of finetune is 0, expected a number between"),
        ({"model": "out.h5"}, "expected a name that ends in .keras"),
    ],
)
def test_options_that_mean_nothing_are_refused(option, match):
    with pytest.raises(OptionError, match=match):
        Finetune(**option)


def small(*inner):
    return keras.Sequential([keras.Input((8,), name="x"), *inner])


def with_attention():
    x = keras.Input((8,), name="x")
    steps = layers.Dense(8)(layers.Reshape((4, 2))(x))
    return keras.Model(
        x, layers.Dense(4)(layers.Flatten()(layers.MultiHeadAttention(2, 4)(steps, steps)))
    )


def in_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        return small(layers.Dense(12, activation="relu"), layers.Dense(4, dtype="float32"))
    finally:
        keras.mixed_precision.set_global_policy("float32")


def with_a_tied_weight():
    x, encode = keras.Input((8,), name="x"), layers.Dense(6, activation="tanh", name="encode")

    class Decode(layers.Layer):
        def call(self, hidden):
            return keras.ops.matmul(hidden, keras.ops.transpose(encode.kernel))

    return keras.Model(x, layers.Dense(4)(Decode()(encode(x))))


def with_several_outputs():
    x = keras.Input((8,), name="x")
    hidden = layers.Dense(12, activation="tanh")(x)
    scores = layers.Dense(4, activation="softmax", name="scores")(hidden)
    return keras.Model(x, {"y": scores, "z": layers.Dense(2)(hidden)})


def with_a_shared_layer():
    x, twice = keras.Input((8,), name="x"), layers.Dense(8, activation="tanh", name="twice")
    return keras.Model(x, layers.Dense(4)(twice(twice(x))))


def with_a_loss_of_its_own():
    model = small(layers.Dense(12, activation="relu"), layers.Dense(4, activation="softmax"))
    model.compile("adam", loss=lambda wanted, found: keras.ops.mean((wanted - found) ** 2))
    model.fit(np.ones((8, 8)), np.zeros((8, 4)), verbose=0)
    return model


def all_frozen():
    model = small(layers.Dense(6), layers.Dense(4))
    model.trainable = False
    return model


MODELS = {
    "shared": with_a_shared_layer,
    "several outputs": with_several_outputs,
    "subclassed": lambda: Subclassed(),
    "recurrent": lambda: small(layers.Reshape((4, 2)), layers.GRU(6), layers.Dense(4)),
    "memory": lambda: small(layers.Reshape((4, 2)), layers.LSTM(6), layers.Dense(4)),
    "attention": with_attention,
    "mixed precision": in_mixed_precision,
    "a float16 layer": lambda: small(layers.Dense(12, dtype="float16"), layers.Dense(4)),
    "a bfloat16 layer": lambda: small(layers.Dense(12, dtype="bfloat16"), layers.Dense(4)),
    "random in training": lambda: small(
        layers.GaussianNoise(0.5), layers.Dense(12, activation="relu"), layers.Dropout(0.5),
        layers.BatchNormalization(), layers.Dense(4),
    ),
    "augmentation": lambda: small(
        layers.Reshape((2, 4, 1)), layers.RandomFlip(), layers.RandomRotation(0.1),
        layers.Conv2D(16, 2, padding="same"), layers.Flatten(), layers.Dense(16), layers.Dense(4),
    ),
    "tied": with_a_tied_weight,
    "Lambda": lambda: small(layers.Dense(6), layers.Lambda(lambda x: 2.0 * x), layers.Dense(4)),
    "a loss of its own": with_a_loss_of_its_own,
    "one number": lambda: small(layers.Dense(12, activation="relu"), layers.Dense(1)),
    "no weights": lambda: small(layers.Softmax()),
    "all frozen": all_frozen,
}  # fmt: skip
LEFT_OUT = {"recurrent", "memory", "no weights", "all frozen"}
QUICK = {"shared", "several outputs", "subclassed", "recurrent"}


def mean_squared_error(outputs, labels):
    return float(((outputs - labels) ** 2).mean())


def first_output(model, x):
    answers = model(x, training=False)
    return (answers["y"] if isinstance(answers, dict) else answers).numpy()


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first = layers.Dense(6, activation="swish")
        self.last = layers.Dense(4, activation="softmax")
        self.build((None, 8))

    def build(self, shape):
        self.first.build(shape)
        self.last.build((None, 6))
        self.built = True

    def call(self, x):
        return self.last(self.first(x))


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[] if each in QUICK else pytest.mark.slow) for each in MODELS]
)
def test_any_model_is_trained_or_left_alone_with_a_reason(name, taught, tmp_path):
    (x, _), (held_x, _) = taught
    keras.utils.set_random_seed(3)
    model = MODELS[name]()
    if name == "subclassed":
        model(x[:2])
        model.inputs = [keras.Input((8,), name="x")]
    before = digest(model)
    report = edgeport_converter.convert(
        model,
        tmp_path / "a.onnx",
        calibration=x[:200],
        evaluation=(held_x[:200], first_output(model, held_x[:200])),
        metric=mean_squared_error,
        finetune=Finetune(x, epochs=1),
        max_drop=0.0,  # which int8 always misses
    )
    assert digest(model) == before
    tuned = [step for step in report.steps if "fine-tuned" in step.recipe]
    reasons = [note for note in report.notes if "fine-tuning was left out" in note]
    assert bool(tuned) != bool(reasons)
    assert bool(reasons) == (name in LEFT_OUT)


def test_a_missed_budget_says_why_nothing_was_trained(taught, tmp_path):
    (x, _), (held_x, _) = taught
    model = small(layers.Reshape((4, 2)), layers.Conv1D(8, 2), layers.GlobalMaxPooling1D())
    with pytest.raises(QuantizationError, match=r"left out, since training knows no form of .*Max"):
        edgeport_converter.convert(
            model,
            tmp_path / "a.onnx",
            calibration=x[:200],
            evaluation=(held_x[:200], model(held_x[:200]).numpy()),
            metric=mean_squared_error,
            finetune=Finetune(x, epochs=1),
            quantize="static",
            max_drop=0.0,
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_numbers_of_words_and_several_inputs_are_trained(tmp_path):
    generator = np.random.default_rng(0)
    words = generator.integers(0, 20, (900, 6)).astype(np.int32)
    more = generator.normal(size=(900, 3)).astype(np.float32)
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6,), name="words", dtype="int32"), keras.Input((3,), name="more")
    embedded = layers.Flatten()(layers.Embedding(20, 4)(inputs[0]))
    hidden = layers.Dense(8, activation="relu")(layers.Concatenate()([embedded, inputs[1]]))
    model = keras.Model(inputs, layers.Dense(3)(hidden))
    data = {"words": words, "more": more}
    part = [
        {name: array[rows] for name, array in data.items()}
        for rows in (slice(200), slice(700, 900))
    ]
    report = edgeport_converter.convert(
        model,
        tmp_path / "a.onnx",
        calibration=part[0],
        evaluation=(part[1], model(part[1]).numpy()),
        metric=mean_squared_error,
        finetune=Finetune({name: array[:700] for name, array in data.items()}, epochs=1),
        max_drop=0.0,
    )
    assert any("fine-tuned" in step.recipe for step in report.steps)


def test_a_fixed_batch_is_trained_or_left_alone_with_a_reason(taught, tmp_path):
    (x, _), (held_x, _) = taught
    keras.utils.set_random_seed(3)
    inputs = keras.Input(batch_shape=(32, 8), name="x")
    scores = layers.Dense(4, activation="softmax")(layers.Dense(8, activation="tanh")(inputs))
    model = keras.Model(inputs, scores)
    answers = np.concatenate([model(held_x[at : at + 32]) for at in range(0, 192, 32)])
    before = digest(model)
    found = {}
    for count in (100, 300):
        found[count] = edgeport_converter.convert(
            model,
            tmp_path / "a.onnx",
            calibration=x[:96],
            evaluation=(held_x[:192], answers),
            metric=mean_squared_error,
            finetune=Finetune(x[:count], epochs=1),
            max_drop=0.0,  # which int8 always misses
        )
    reason = "the model takes 32 samples at a time, and only 20 are there"
    assert any(reason in note for note in found[100].notes)
    assert any("fine-tuned" in step.recipe for step in found[300].steps)
    assert digest(model) == before


def test_frozen_layers_stay_as_they_are(broken_by_int8, taught, tmp_path):
    first = broken_by_int8.get_layer("first")
    first.trainable = False
    try:
        convert(
            broken_by_int8,
            tmp_path / "a.onnx",
            taught,
            Finetune(taught[0], epochs=2, model=tmp_path / "tuned.keras"),
            max_drop=0.03,
        )
    finally:
        first.trainable = True
    tuned = keras.models.load_model(tmp_path / "tuned.keras", compile=False)
    for layer in broken_by_int8.layers:
        same = np.array_equal(layer.get_weights()[0], tuned.get_layer(layer.name).get_weights()[0])
        assert same == (layer is first)


def test_the_tuned_model_overwrites_nothing_that_is_read(broken_by_int8, taught, tmp_path):
    path = tmp_path / "model.keras"
    broken_by_int8.save(path)
    before = path.read_bytes()
    for name in ("model.keras", "a.onnx"):
        with pytest.raises(OptionError):
            convert(path, tmp_path / "a.onnx", taught, Finetune(taught[0], model=tmp_path / name))
    assert path.read_bytes() == before
    assert not (tmp_path / "a.onnx").exists()
