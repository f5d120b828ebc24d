"""The budget is held to what the user reads, whatever the outputs look like."""

import keras
import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgeport import Predictor
from edgeport_converter import QuantizationError, convert

pytestmark = pytest.mark.slow

layers = keras.layers
GENERATOR = np.random.default_rng(0)
# One scale for both columns drowns the second, which alone carries the signal.
UNLIKE = np.stack([GENERATOR.uniform(0, 1000, 300), GENERATOR.normal(size=300)], 1)
UNLIKE = UNLIKE.astype(np.float32)
KERNEL = np.random.default_rng(1).normal(size=(2, 40)) * [[1e-4], [1.0]]
X = np.random.default_rng(3).normal(size=(200, 64)).astype(np.float32)


def drowned(activation):
    """A model whose best output is always the first, and whose values int8 wrecks."""
    keras.utils.set_random_seed(2)
    x = keras.Input((2,), name="x")
    hidden = layers.Dense(40, "tanh", name="hidden")
    answer = layers.Dense(4, activation, name="answer")
    model = keras.Model(x, answer(hidden(x)))
    hidden.set_weights([KERNEL, np.zeros(40)])
    answer.set_weights([answer.get_weights()[0], np.array([6.0, 0.0, 0.0, 0.0])])
    return model


def noise_db(found, wanted):
    return 10 * np.log10(np.var(wanted, axis=0).mean() / np.mean((found - wanted) ** 2))


def fresh():
    generator = np.random.default_rng(9)
    columns = [generator.uniform(0, 1000, 300), generator.normal(size=300)]
    return np.stack(columns, 1).astype(np.float32)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", None])
def test_values_count_where_no_softmax_makes_them_classes(activation, tmp_path):
    model = drowned(activation)
    report = convert(model, tmp_path / "m.onnx", calibration=UNLIKE, quantize="static")
    assert report.agreement.top_1 is None
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        assert noise_db(predictor.predict(fresh()), model.predict(fresh(), verbose=0)) > 15


def test_an_output_that_the_metric_does_not_see_is_held_to_the_float_one(tmp_path):
    x = keras.Input((2,), name="x")
    hidden = layers.Dense(40, "tanh", name="hidden")
    seen = layers.Dense(40, name="seen")(layers.Rescaling(1e-3)(x))
    model = keras.Model(x, [seen, layers.Dense(2, name="unseen")(hidden(x))])
    hidden.set_weights([KERNEL, np.zeros(40)])
    labels = model.predict(UNLIKE, verbose=0)[0].argmax(axis=1)
    report = convert(
        model,
        tmp_path / "m.onnx",
        calibration=UNLIKE,
        evaluation=(UNLIKE, labels),
        metric=lambda scores, y: float(np.mean(scores.argmax(axis=1) == y)),
        quantize="static",
        max_drop=0.1,
    )
    assert not report.steps[0].holds  # all in int8 the metric is kept, the other output is lost
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        found = predictor.predict(fresh())["unseen"]
    assert noise_db(found, model.predict(fresh(), verbose=0)[1]) > 15


def two_layers():
    keras.utils.set_random_seed(5)
    return keras.Sequential(
        [
            keras.Input((64,), name="x"),
            layers.Dense(64, "relu", bias_initializer="random_normal", name="hidden"),
            layers.Dense(40, bias_initializer="random_normal", name="answer"),
        ]
    )


@pytest.mark.parametrize("kind", ["static", "int16", "dynamic", "weights"])
def test_a_layer_kept_in_float_has_float_weights_and_is_reported_so(kind, tmp_path):
    report = convert(
        two_layers(), tmp_path / "m.onnx", calibration=X, quantize=kind, keep_float=["hidden"]
    )
    formats = {layer.name: layer.number_format for layer in report.layers}
    assert formats["hidden"] == "float32"
    assert formats["answer"].startswith(("int8", "int16"))
    sizes = {
        tuple(t.dims): t.data_type
        for t in onnx.load(tmp_path / "m.onnx").graph.initializer
        if len(t.dims) == 2
    }
    assert sizes[64, 64] == TensorProto.FLOAT


@pytest.mark.parametrize("kind", ["static", "int16", "dynamic", "weights"])
def test_nothing_is_called_int8_where_every_layer_stays_in_float(kind, tmp_path):
    options = {"calibration": X, "keep_float": ["hidden", "answer"]}
    with pytest.raises(QuantizationError, match="no layer that the recipe"):
        convert(two_layers(), tmp_path / "m.onnx", quantize=kind, **options)
    report = convert(two_layers(), tmp_path / "m.onnx", quantize="auto", also=[kind], **options)
    assert (report.recipe, report.card.quantization, report.variants) == ("none", None, {})


def test_a_variant_that_misses_the_budget_is_reported(tmp_path):
    report = convert(
        drowned(None), tmp_path / "m.onnx", calibration=UNLIKE, quantize="none", also=["static"]
    )
    assert report.variants == {}
    assert [(step.recipe.split(",")[0], step.holds) for step in report.steps] == [("static", False)]


def test_masks_are_looked_up_in_float(tmp_path):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((12, 9), name="x"),
            layers.Masking(-1.0, name="mask"),
            layers.LSTM(16, name="cells"),
            layers.Dense(64, "relu", name="wide"),
            layers.Dense(8, name="answer"),
        ]
    )
    x = np.random.default_rng(2).normal(size=(200, 12, 9)).astype(np.float32)
    for sample, length in enumerate(np.random.default_rng(4).integers(1, 13, 200)):
        x[sample, length:] = -1.0
    report = convert(model, tmp_path / "m.onnx", calibration=x, quantize="static")
    assert report.agreement.signal_to_noise_db > 20


def test_dynamic_int8_is_right_for_every_target(tmp_path):
    """Weights of one sign a column are what saturates without VNNI."""
    keras.utils.set_random_seed(8)
    model = keras.Sequential([keras.Input((256,), name="x"), layers.Dense(16, name="answer")])
    kernel = np.abs(np.random.default_rng(5).normal(size=(256, 16)))
    model.set_weights([kernel, np.zeros(16)])
    x = np.random.default_rng(6).uniform(0.5, 1.0, (100, 256)).astype(np.float32)
    for target in ("any", "x86-64-v4", "arm64"):
        report = convert(
            model, tmp_path / "m.onnx", calibration=x, quantize="dynamic", target=target
        )
        assert report.agreement.signal_to_noise_db > 20
