"""A metric that measures nothing does not decide, and one that cannot be meant is refused."""

import keras
import numpy as np
import pytest

from edgeport import OptionError
from edgeport_converter import QuantizationError, convert
from edgeport_converter.quantization.evaluation.evaluator import Evaluator

layers = keras.layers
GENERATOR = np.random.default_rng(5)
X = GENERATOR.normal(size=(200, 6)).astype(np.float32)
TRUTH = X @ np.array([3.0, 1.0, -2.0, 0.5, 0.0, 1.0], np.float32)


@pytest.fixture(scope="module")
def regressor():
    """Sums its six inputs with the weights that ``TRUTH`` was made with, through 64 relus."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((6,), name="x"), layers.Dense(64, "relu"), layers.Dense(1, name="sum")]
    )
    hidden = model.layers[0](X).numpy()
    solved = np.linalg.lstsq(hidden, TRUTH, rcond=None)[0]
    model.layers[1].set_weights([solved[:, None], np.zeros(1)])
    return model


def minus_mean_error(outputs, labels):
    return -float(np.mean(np.abs(outputs - labels)))


def evaluator(outputs, labels, metric, **options):
    """An evaluator of a model that gives its input back."""
    return Evaluator(
        lambda batch: {"y": batch["x"]},
        lambda size: [{"x": outputs}],
        labels,
        metric,
        classifier=False,
        **options,
    )


def test_a_metric_that_compares_each_output_with_every_label_is_refused(regressor, tmp_path):
    with pytest.raises(OptionError, match=r"\(200, 1\).*\(200,\) spread to \(200, 200\)"):
        convert(
            regressor,
            tmp_path / "m.onnx",
            calibration=X,
            evaluation=(X, TRUTH),
            metric=minus_mean_error,
        )
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize(
    ("labels", "metric"),
    [
        (TRUTH[:, None], minus_mean_error),
        (TRUTH, lambda outputs, labels: minus_mean_error(outputs[:, 0], labels)),
    ],
)
def test_a_metric_of_pairs_is_taken_in_either_form(labels, metric):
    outputs = TRUTH[:, None] + 0.5
    assert evaluator(outputs, labels, metric).float_metric == pytest.approx(-0.5)


def test_a_budget_that_shuffled_answers_would_keep_is_left_to_agreement():
    small = TRUTH[:, None] * 1e-3  # wrong answers cost some thousandths only
    found = evaluator(small, small, minus_mean_error, max_drop=0.05)
    assert (found.reached, found.float_metric) == (0.0, None)
    assert evaluator(small, small, minus_mean_error, max_drop=1e-4).float_metric == 0.0


def test_one_sample_tells_no_accuracy():
    scores, labels = np.array([[0.1, 0.9]]), np.array([1])
    found = Evaluator(
        lambda batch: {"y": batch["x"]},
        lambda size: [{"x": scores}],
        labels,
        lambda y, t: float((y.argmax(1) == t).mean()),
        classifier=True,
    )
    assert (found.reached, found.float_metric) == (1.0, None)


def test_labels_by_chance_do_not_excuse_an_artifact(tmp_path):
    """The column that carries the signal is drowned by the other: static int8 answers nonsense."""
    generator = np.random.default_rng(2)
    x = np.stack([generator.uniform(0, 1000, 300), generator.normal(size=300)], 1)
    x = x.astype(np.float32)
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(40, "tanh"), layers.Dense(4, "softmax")]
    )
    model.layers[0].set_weights([generator.normal(size=(2, 40)) * [[1e-4], [1.0]], np.zeros(40)])
    labels = generator.integers(0, 4, 300)
    with pytest.raises(QuantizationError, match="best classes"):
        convert(
            model, tmp_path / "m.onnx", calibration=x, evaluation=(x, labels), quantize="static"
        )
    report = convert(model, tmp_path / "m.onnx", calibration=x, evaluation=(x, labels))
    assert any("says nothing" in note for note in report.notes)
    assert report.agreement.top_1 >= 0.99


def test_a_metric_without_labels_is_refused(regressor, tmp_path):
    for evaluation, found in ((None, "is missing"), (X, "has no labels")):
        with pytest.raises(OptionError, match=f"evaluation data {found}"):
            convert(
                regressor,
                tmp_path / "m.onnx",
                calibration=X,
                evaluation=evaluation,
                metric=minus_mean_error,
            )


def test_a_keras_metric_begins_again_at_each_call(regressor, tmp_path):
    report = convert(
        regressor,
        tmp_path / "m.onnx",
        calibration=X,
        evaluation=(X, TRUTH[:, None]),
        metric=keras.metrics.R2Score(),
    )
    wanted = keras.metrics.R2Score()
    wanted.update_state(TRUTH[:, None], regressor(X))
    assert report.accuracy.metric == "r2_score"
    assert report.accuracy.keras == pytest.approx(float(wanted.result()), abs=1e-5)
    assert report.accuracy.float32 - report.accuracy.artifact <= 0.005


def test_a_metric_cannot_change_the_labels():
    def spoil(outputs, labels):
        labels[:] = 0
        return 1.0

    with pytest.raises(OptionError, match="read-only"):
        evaluator(TRUTH[:, None], TRUTH.copy(), spoil)


def test_targets_that_are_values_make_no_classes(tmp_path):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.Input((6,), name="x"), layers.Dense(80, "relu"), layers.Dense(6)]
    )
    report = convert(
        model, tmp_path / "m.onnx", calibration=X, evaluation=(X, X), metric=minus_mean_error
    )
    assert report.agreement.top_1 is None


@pytest.mark.parametrize(
    ("labels", "remedy"),
    [
        (np.array(["a", "b", "c", "a"] * 50), "pass the classes' names"),
        (GENERATOR.integers(0, 2, (200, 3)), "pass a metric of your own"),
    ],
)
def test_labels_of_another_kind_are_refused_with_what_to_do(
    labels, remedy, two_layer_model, tmp_path
):
    with pytest.raises(OptionError, match=remedy):
        convert(two_layer_model, tmp_path / "m.onnx", calibration=X, evaluation=(X, labels))


def test_class_names_in_bytes_are_understood(two_layer_model, tmp_path):
    best = two_layer_model.predict(X, verbose=0).argmax(axis=1)
    report = convert(
        two_layer_model,
        tmp_path / "m.onnx",
        calibration=X,
        labels=["a", "b", "c"],
        evaluation=(X, np.array([b"a", b"b", b"c"])[best]),
    )
    assert report.accuracy.keras == 1.0


def test_data_of_one_class_is_noted(two_layer_model, tmp_path):
    near = (X[:1] + GENERATOR.normal(size=(100, 6)) * 1e-3).astype(np.float32)
    report = convert(two_layer_model, tmp_path / "m.onnx", calibration=near)
    assert any("all 50 samples the same class" in note for note in report.notes)
    assert report.agreement.classes == 1
    assert report.agreement.signal_to_noise_db >= 20


def test_a_metric_without_a_number_for_wrong_answers_decides():
    def precision(outputs, labels):
        hits = float(np.sum((outputs > 0) & (labels > 0)))
        return hits / hits  # no number where nothing is right

    signs = np.array([1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0])[:, None]
    found = evaluator(signs, signs, precision)
    assert found.reached == 1.0
