"""Classes: expected accuracies come from Keras' own metrics on the same outputs and labels."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

import edgeport
from edgeport import OptionError, TensorSpec
from edgeport_converter import convert
from edgeport_converter.data.labels import (
    as_classes,
    check_number_of_classes,
    class_names_of,
    find_border,
)

layers = keras.layers
GENERATOR = np.random.default_rng(7)
X = GENERATOR.normal(size=(300, 4)).astype(np.float32)
Z = X @ np.array([2.0, -1.0, 0.5, 0.0], np.float32) - 0.8
CHANCE = GENERATOR.uniform(size=300) < 1 / (1 + np.exp(-2 * Z))
ONE = CHANCE.astype(np.int64)


def linear(activation=None, scale=1.0, shift=0.0):
    """One output: Z * scale + shift."""
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(1, activation, name="y")])
    weights = np.array([[2.0], [-1.0], [0.5], [0.0]]) * scale
    model.layers[0].set_weights([weights, np.array([-0.8 * scale + shift])])
    return model


def binary(threshold, outputs, labels):
    metric = keras.metrics.BinaryAccuracy(threshold=threshold)
    return float(metric(np.reshape(labels, outputs.shape), outputs))


def spec(*shape, value_range=None):
    return (TensorSpec("y", np.dtype(np.float32), ("N", *shape), "", value_range),)


@pytest.mark.parametrize(
    ("scale", "labels"), [(0.3, ONE), (2.0, ONE[:, None].astype(np.float32)), (40.0, CHANCE)]
)
def test_logits_are_compared_with_zero(scale, labels, tmp_path):
    model = linear(scale=scale)
    report = convert(model, tmp_path / "m.onnx", evaluation=(X, labels), quantize="none")
    expected = binary(0.0, model.predict(X, verbose=0), ONE)
    assert report.accuracy.keras == pytest.approx(expected, abs=1e-6)
    assert any("was taken for a logit: class 1 above 0" in note for note in report.notes)


def test_the_expected_metric_of_a_logit_says_its_border(tmp_path):
    model = linear(scale=0.3)
    with pytest.raises(OptionError, match=r"accuracy \(class 1 above 0\) with Keras is"):
        convert(
            model,
            tmp_path / "m.onnx",
            evaluation=(X, ONE),
            quantize="none",
            expected_metric=0.6,
        )


def test_a_column_that_learned_zero_and_one_by_squares_is_compared_with_a_half(tmp_path):
    model = linear(scale=0.2, shift=0.5)
    outputs = model.predict(X, verbose=0)
    assert outputs.min() < 0
    report = convert(model, tmp_path / "m.onnx", evaluation=(X, ONE), quantize="none")
    assert report.accuracy.keras == pytest.approx(binary(0.5, outputs, ONE), abs=1e-6)
    assert binary(0.5, outputs, ONE) != binary(0.0, outputs, ONE)
    assert any("taken for a probability" in note for note in report.notes)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("shift", [-3.0, 0.0, 0.659, 2.0])
def test_the_border_is_found_from_labels_drawn_by_the_outputs(scale, shift):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 1)) * scale + shift
    shares = 1 / (1 + np.exp(-logits))
    labels = (generator.uniform(size=shares.shape) < shares).astype(int)[:, 0]
    assert find_border(logits, labels) == 0.0
    assert find_border(shares, labels) == 0.5
    regression = labels.mean() + 1.2 * (shares - labels.mean())  # some beyond 0 and 1
    if regression.std() > 0.1:
        assert find_border(regression, labels) == 0.5


def test_logits_of_several_classes_take_names_and_have_their_accuracy(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3, name="y")])
    outputs = model.predict(X, verbose=0)
    labels = np.where(GENERATOR.uniform(size=300) < 0.9, outputs.argmax(axis=1), 0)
    texts = np.array(["a", "b", "c"])[labels]
    report = convert(
        model, tmp_path / "m.onnx", evaluation=(X, texts), labels=["a", "b", "c"], quantize="none"
    )
    expected = float(keras.metrics.SparseCategoricalAccuracy()(labels, outputs))
    assert report.accuracy.keras == pytest.approx(expected, abs=1e-6)
    assert report.card.labels == ("a", "b", "c")


@pytest.mark.parametrize("evaluation", [None, (X, ONE)])
def test_names_of_a_logit_are_told_by_the_device(evaluation, tmp_path):
    model = linear()
    output = tmp_path / "m.onnx"
    convert(model, output, evaluation=evaluation, labels=["no", "yes"], quantize="none")
    told = [best[0].name for best in edgeport.Predictor.load(output).classify(X)]
    expected = np.where(model.predict(X, verbose=0)[:, 0] > 0, "yes", "no")
    assert told == expected.tolist()


def test_names_of_a_column_whose_border_no_device_knows_are_refused(tmp_path):
    with pytest.raises(OptionError, match="'y' has no sigmoid and is no logit whose border is 0"):
        convert(
            linear(scale=0.2, shift=0.5),
            tmp_path / "m.onnx",
            evaluation=(X, ONE),
            labels=["no", "yes"],
            quantize="none",
        )


@pytest.mark.parametrize("labels", [np.zeros(300, "i4"), np.ones((300, 1)), np.zeros(300, bool)])
@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_labels_of_one_class_are_noted(labels, activation, tmp_path):
    model = linear(activation)
    report = convert(model, tmp_path / "m.onnx", evaluation=(X, labels), quantize="none")
    expected = binary(0.5 if activation else 0.0, model.predict(X, verbose=0), labels)
    assert report.accuracy.keras == pytest.approx(expected, abs=1e-6)
    assert any("all 300 labels of the evaluation data are class" in note for note in report.notes)


@pytest.mark.parametrize("labels", [ONE, np.zeros(300, "i4")])
def test_answers_of_one_class_are_written(labels, tmp_path):
    model = linear("sigmoid", shift=9.0)
    report = convert(
        model, tmp_path / "m.onnx", calibration=X, evaluation=(X, labels), quantize="static"
    )
    assert report.accuracy.keras == pytest.approx(labels.mean(), abs=0.01)
    assert any("the same class" in note or "says nothing about" in note for note in report.notes)


@pytest.mark.parametrize("shape", [(300,), (300, 1)])
def test_shares_of_a_sigmoid_are_a_regression(shape, tmp_path):
    shares = GENERATOR.uniform(size=shape).astype(np.float32)
    report = convert(
        linear("sigmoid"), tmp_path / "m.onnx", evaluation=(X, shares), quantize="none"
    )
    assert report.accuracy is None
    assert any("the model is taken for a regression" in note for note in report.notes)


@pytest.mark.parametrize("name", ["house prices", "counts", "beyond"])
def test_other_numbers_for_one_output_are_refused_with_a_way_out(name, tmp_path):
    labels = {"house prices": Z, "counts": np.arange(300) % 7, "beyond": Z}[name]
    model = linear("sigmoid" if name == "beyond" else None)
    with pytest.raises(OptionError, match=r"pass a metric|number the classes as the model does"):
        convert(model, tmp_path / "m.onnx", evaluation=(X, labels), quantize="none")
    assert not (tmp_path / "m.onnx").exists()


IMAGES = GENERATOR.normal(size=(40, 6, 5, 3)).astype(np.float32)
STEPS = GENERATOR.normal(size=(40, 9, 3)).astype(np.float32)


def pointwise(shape, count, activation):
    keras.utils.set_random_seed(3)
    dense = layers.Dense(count, activation, name="y", bias_initializer="random_normal")
    return keras.Sequential([keras.Input(shape, name="x"), dense])


@pytest.mark.parametrize(
    ("x", "shape", "activation", "form"),
    [
        (IMAGES, (6, 5, 3), "softmax", "numbers"),
        (IMAGES, (None, None, 3), None, "one-hot"),
        (IMAGES, (6, 5, 3), None, "column"),
        (STEPS, (9, 3), "softmax", "one-hot"),
        (STEPS, (None, 3), "softmax", "column"),
        (STEPS, (9, 3), None, "numbers"),
    ],
)
def test_every_place_counts_in_the_accuracy(x, shape, activation, form, tmp_path):
    model = pointwise(shape, 4, activation)
    outputs = model.predict(x, verbose=0)
    wrong = GENERATOR.uniform(size=outputs.shape[:-1]) < 0.2
    labels = (outputs.argmax(axis=-1) + wrong) % 4
    expected = float(keras.metrics.SparseCategoricalAccuracy()(labels, outputs))
    given = {"numbers": labels, "column": labels[..., None], "one-hot": np.eye(4)[labels]}[form]
    report = convert(model, tmp_path / "m.onnx", evaluation=(x, given), quantize="none")
    assert report.accuracy.keras == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_places_of_two_classes_have_one_number(activation, tmp_path):
    model = pointwise((6, 5, 3), 1, activation)
    outputs = model.predict(IMAGES, verbose=0)
    border = 0.5 if activation else 0.0
    flips = GENERATOR.uniform(size=outputs.shape[:-1]) < 0.2
    labels = (outputs[..., 0] > border) ^ flips
    report = convert(
        model,
        tmp_path / "m.onnx",
        calibration=IMAGES,
        evaluation=(IMAGES, labels),
        max_drop=0.02,
    )
    assert report.accuracy.keras == pytest.approx(binary(border, outputs, labels), abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        (
            np.full((5, 6, 5), 255),
            spec(6, 5, 21),
            r"from 255 to 255, .* to 20 of shape \(N",
        ),
        (np.zeros((5, 5, 6), int), spec(6, 5, 3), r"of shape \(N, 6, 5\) or one-hot rows of shape"),
        (np.zeros(5, int), spec(9, 3), r"int64 of shape \(5,\).* of shape \(N, 9\) or one-hot"),
        (np.zeros((5, 9), float) + 0.5, spec(9, 3), "no single output of class scores"),
        (np.array(["a"] * 5), spec(1), r"the labels are text .*labels=\[...\]"),
        (np.eye(4)[:3] / 2, spec(4), "shares of them, pass a metric"),
        (np.zeros(5, int), spec("T"), "no single output of class scores"),
    ],
)
def test_labels_that_fit_no_classes_are_refused_by_shape_and_range(labels, outputs, message):
    with pytest.raises(OptionError, match=message):
        as_classes(labels, outputs)


def test_names_of_classes_come_from_folders_and_sets_that_keras_read(tmp_path):
    for name in ("cat", "dog", ".cache"):
        (tmp_path / name).mkdir()
    (tmp_path / "list.txt").touch()
    assert class_names_of(tmp_path) == class_names_of(str(tmp_path)) == ("cat", "dog")

    read_by_keras = SimpleNamespace(class_names=["dog", "cat"])
    assert class_names_of(read_by_keras) == ("dog", "cat")
    for data in (tmp_path / "cat", tmp_path / "none.npz", np.zeros(3), None):
        assert class_names_of(data) is None


def test_folders_of_fewer_classes_than_the_model_has_are_refused(tmp_path):
    check_number_of_classes(["cat", "dog", "owl"], spec(3), None)
    check_number_of_classes(["cat", "dog"], spec(1, value_range=(0.0, 1.0)), None)
    with pytest.raises(
        OptionError, match=r"has 2 classes by its folders, 'cat', 'owl', and the mo"
    ):
        check_number_of_classes(["cat", "owl"], spec(3), tmp_path)
    with pytest.raises(OptionError, match=r"has 1 class .*: pass the names of all classes"):
        check_number_of_classes(["photos"], spec(2), tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    with pytest.raises(OptionError, match=r"has 1 class .*: pass '.*/photos', which has 2 folders"):
        check_number_of_classes(["photos"], spec(2), tmp_path)
