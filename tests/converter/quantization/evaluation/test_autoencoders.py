"""An autoencoder is made to rank samples by how badly it reconstructs them."""

import keras
import numpy as np
import pytest
import sklearn.metrics

from edgeport import Predictor
from edgeport_converter import QuantizationError, convert

layers = keras.layers
GENERATOR = np.random.default_rng(21)
BASIS = np.linalg.qr(GENERATOR.normal(size=(48, 48)))[0][:, :8]


def samples(count, noise):
    """Eight numbers a sample, spread over 48, and noise, which is what an anomaly has more of."""
    inner = GENERATOR.normal(size=(count, 8)) @ BASIS.T
    return (inner + noise * GENERATOR.normal(size=(count, 48))).astype(np.float32)


X, NORMAL, STRANGE = samples(400, 0.02), samples(1000, 0.02), samples(1000, 0.024)


def dense():
    """The projection onto the first eight principal components, by relus of either sign."""
    model = keras.Sequential(
        [
            keras.Input((48,), name="x"),
            layers.Dense(16, "relu"),
            layers.Dense(48),
            layers.Dense(48, name="again"),
        ]
    )
    both = np.hstack([BASIS, -BASIS])
    model.set_weights([both, np.zeros(16), both.T, np.zeros(48), np.eye(48), np.zeros(48)])
    return model


def convolved():
    """The projection of signals (48, 1)."""
    first, second = layers.Conv1D(8, 48), layers.Conv1D(48, 1)
    x = keras.Input((48, 1), name="x")
    model = keras.Model(x, layers.Reshape((48, 1))(second(first(x))))
    first.set_weights([BASIS[:, None], np.zeros(8)])
    second.set_weights([BASIS.T[None], np.zeros(48)])
    return model


def in_two_heads():
    """The dense one beside what it encodes."""
    x, inner = keras.Input((48,), name="x"), dense()
    code = inner.layers[0](x)
    return keras.Model(x, [code, inner.layers[2](inner.layers[1](code))])


def area(predict, shape):
    scores = []
    for x in (NORMAL, STRANGE):
        answers = predict(x.reshape(-1, *shape))
        if isinstance(answers, (dict, list, tuple)):
            answers = answers["again"] if isinstance(answers, dict) else answers[1]
        scores.append(np.mean((np.asarray(answers).reshape(-1, 48) - x) ** 2, axis=1))
    return sklearn.metrics.roc_auc_score(np.repeat([0, 1], 1000), np.concatenate(scores))


@pytest.mark.parametrize("quantize", ["auto", "static"])
@pytest.mark.parametrize("make", [dense, convolved, in_two_heads])
def test_int8_ranks_samples_as_float_does_or_is_refused(make, quantize, tmp_path):
    model = make()
    shape = (48, 1) if make is convolved else (48,)
    wanted = area(model, shape)
    assert 0.8 < wanted < 0.95
    x = X.reshape(-1, *shape)
    if make is convolved and quantize == "static":  # 36 dB remain, and 0.02 of the area are lost
        with pytest.raises(QuantizationError, match="ranks the samples by their reconstruction"):
            convert(model, tmp_path / "m.onnx", calibration=x, quantize="static")
        return
    report = convert(model, tmp_path / "m.onnx", calibration=x, quantize=quantize, objective="size")
    assert report.agreement.error_ranks > 0.98
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        assert area(predictor.predict, shape) == pytest.approx(wanted, abs=0.01)


def test_a_metric_says_what_counts_instead(tmp_path):
    def closeness(outputs, labels):
        return 1 - float(np.mean((outputs - labels) ** 2) / np.var(labels))

    report = convert(
        convolved(),
        tmp_path / "m.onnx",
        calibration=X[..., None],
        evaluation=(NORMAL[..., None], NORMAL[..., None]),
        metric=closeness,
        quantize="static",
    )
    assert report.agreement.error_ranks < 0.98
    assert any("if these errors tell anomalies, pass a metric" in note for note in report.notes)
    assert report.card.quantization.recipe == "static"
