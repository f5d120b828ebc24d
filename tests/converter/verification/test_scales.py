"""Data on another scale than in training is refused where labels tell, else noted."""

import keras
import numpy as np
import pytest

from edgeport import OptionError
from edgeport_converter import convert

layers = keras.layers
GENERATOR = np.random.default_rng(4)
LABELS = GENERATOR.integers(0, 3, 300)
# A class is the brightest of three places; the model's weights say so for its own scale alone.
UNITS = np.clip(GENERATOR.random((300, 3)) * 0.5 + 0.5 * np.eye(3)[LABELS], 0, 1).astype(np.float32)
FITTING = {"units": UNITS, "signed": UNITS * 2 - 1, "pixels": UNITS * 255}


def model_for(scale):
    """A classifier that answers class 0 unless the input is on its own scale."""
    factor, shift = {"units": (1.0, 0.0), "signed": (0.5, 0.5), "pixels": (1 / 255, 0.0)}[scale]
    window = keras.Sequential(
        [keras.Input((3,), name="x"), layers.Dense(5), layers.ReLU(), layers.Dense(3)]
    )
    first = np.zeros((3, 5), np.float32)
    first[:, :3] = np.eye(3) * factor
    # The mean of a fitting sample lies within these bounds; outside, class 0 drowns the others.
    first[:, 3], first[:, 4] = factor / 3, -factor / 3
    bias = np.array([shift, shift, shift, shift - 0.66, 0.1 - shift], np.float32)
    second = np.zeros((5, 3), np.float32)
    second[:3] = np.eye(3)
    second[3:, 0] = 1e4
    window.set_weights([first, bias, second, np.zeros(3, np.float32)])
    return window


@pytest.mark.parametrize("trained", ["units", "signed", "pixels"])
def test_data_as_in_training_is_taken(trained, tmp_path):
    data = (FITTING[trained], LABELS)
    report = convert(model_for(trained), tmp_path / "m.onnx", evaluation=data, quantize="none")
    assert report.accuracy.keras > 0.9
    assert not report.notes


@pytest.mark.parametrize(
    ("trained", "given", "words"),
    [
        ("units", "pixels", "divided by 255"),
        ("signed", "pixels", "divided by 127.5, minus 1"),
        ("pixels", "units", "times 255"),
        ("signed", "units", "times 2, minus 1"),
        ("units", "signed", "plus 1, divided by 2"),
        ("pixels", "signed", "plus 1, times 127.5"),
    ],
)
def test_data_on_another_scale_is_refused_with_the_right_one(trained, given, words, tmp_path):
    target = tmp_path / "m.onnx"
    with pytest.raises(OptionError, match=f"with the input 'x' {words}"):
        convert(model_for(trained), target, evaluation=(FITTING[given], LABELS), quantize="none")
    assert not target.exists()


def test_frames_on_another_scale_are_refused_with_what_to_write_into_them(tmp_path):
    image = keras.Input((1, 1, 3), name="photo")
    model = keras.Model(image, model_for("units")(layers.Reshape((3,))(image)))
    frames = np.rint(UNITS * 255).astype(np.uint8).reshape(-1, 1, 1, 3)
    with pytest.raises(OptionError, match=r"divided by 255, .*: write scale and mean into frames"):
        convert(model, tmp_path / "m.onnx", evaluation=(frames, LABELS), frames="keras")
    right = convert(
        model, tmp_path / "m.onnx", evaluation=(frames, LABELS), frames="keras scale=1/255"
    )
    assert right.accuracy.keras > 0.9


@pytest.mark.parametrize(
    ("trained", "scale", "refused"),
    [
        ("units", 1 / 255, False),
        ("units", None, True),
        ("pixels", 1 / 255, True),
        ("pixels", None, False),
        ("signed", 1 / 255, True),
    ],
)
def test_the_scale_of_uint8_pixels_is_checked_too(trained, scale, refused, tmp_path):
    options = {"input_uint8": True, "scale": scale, "quantize": "none"}
    options["evaluation"] = ((UNITS * 255).astype(np.uint8), LABELS)
    if refused:
        with pytest.raises(OptionError, match="expected data scaled as in training"):
            convert(model_for(trained), tmp_path / "m.onnx", **options)
    else:
        convert(model_for(trained), tmp_path / "m.onnx", **options)


def test_without_labels_raw_pixels_are_noted(tmp_path):
    report = convert(
        model_for("units"), tmp_path / "m.onnx", evaluation=FITTING["pixels"], quantize="none"
    )
    assert any("scales them in another way" in note for note in report.notes)


@pytest.mark.parametrize(("expected", "refused"), [(0.99, False), (0.5, True)])
def test_an_expected_metric_is_compared_with_keras(expected, refused, tmp_path):
    data = (FITTING["units"], LABELS)
    options = {"evaluation": data, "quantize": "none", "expected_metric": expected}
    if refused:
        with pytest.raises(OptionError, match=r"accuracy with Keras is .* expected 0.5000"):
            convert(model_for("units"), tmp_path / "m.onnx", **options)
    else:
        convert(model_for("units"), tmp_path / "m.onnx", **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"expected_metric": 0.9}, "given without evaluation data"),
        ({"expected_metric": float("nan"), "evaluation": UNITS}, "as no finite number"),
        ({"expected_metric": 0.9, "evaluation": UNITS}, "has no labels"),
    ],
)
def test_an_expected_metric_without_data_is_refused(options, sentence, tmp_path):
    with pytest.raises(OptionError, match=sentence):
        convert(model_for("units"), tmp_path / "m.onnx", quantize="none", **options)


def test_labels_that_fit_any_scale_leave_the_note(tmp_path):
    model = keras.Sequential([keras.Input((3,), name="x"), layers.Dense(3, use_bias=False)])
    model.set_weights([np.eye(3, dtype=np.float32)])  # as good on any scale
    data = (FITTING["pixels"], LABELS)
    report = convert(model, tmp_path / "m.onnx", evaluation=data, quantize="none")
    (note,) = report.notes
    assert "accuracy is as good on another scale" in note
