"""What calibrates does not judge, where there is enough data."""

import keras
import numpy as np
import pytest

from edgeport import Predictor, TensorSpec
from edgeport_converter import convert
from edgeport_converter.data.datasets import read_dataset
from edgeport_converter.quantization.evaluation.held_out import Part, draw_held_out

layers = keras.layers
SPECS = (TensorSpec("x", np.dtype(np.float32), ("N", 6), ("N", "F")),)


@pytest.mark.parametrize(
    ("samples", "count"),
    [(100, 50), (101, 50), (300, 150), (600, 300), (999, 300), (1000, 300), (2000, 600)],
)
def test_half_is_held_out_until_three_hundred_are_and_the_same_ones_each_time(samples, count):
    held = draw_held_out(samples)
    np.testing.assert_array_equal(held, draw_held_out(samples))
    assert held.sum() == count


def test_data_sorted_by_class_is_spread_over_both_parts():
    classes = np.repeat(np.arange(10), 100)
    np.testing.assert_array_equal(np.bincount(classes[draw_held_out(1000)]), np.full(10, 30))


@pytest.mark.parametrize("period", range(2, 41))
def test_classes_by_turns_are_spread_over_both_parts(period):
    classes, held = np.arange(1000) % period, draw_held_out(1000)
    shares = np.bincount(classes, held) / np.bincount(classes)
    assert shares.min() > 0
    assert shares.max() < 0.7


@pytest.mark.parametrize("size", [1, 7, 16, 64, 1000])
def test_a_part_is_the_samples_that_numpy_picks(size, samples):
    kept = draw_held_out(300)
    part = Part(read_dataset(samples, SPECS, "calibration"), kept)
    batches = [batch["x"] for batch in part.batches(size)]
    np.testing.assert_array_equal(np.concatenate(batches), samples[kept])
    assert {len(batch) for batch in batches[:-1]} <= {size}
    assert len(part) == kept.sum()
    assert part.value_ranges == {"x": (samples[kept].min(), samples[kept].max())}


def equal_share(model, path, x):
    with Predictor.load(path) as predictor:
        found = predictor.predict(x).argmax(axis=1)
    return float(np.mean(found == np.asarray(model(x)).argmax(axis=1)))


def test_the_verdict_rests_on_samples_that_calibrated_nothing(two_layer_model, samples, tmp_path):
    held = draw_held_out(300)
    x = samples.copy()
    x[np.flatnonzero(held)[0], 0] = 1.2  # an outlier that no range may know
    report = convert(
        two_layer_model, tmp_path / "m.onnx", calibration=x, quantize="static", max_drop=0.2
    )
    assert report.agreement.samples == 150
    assert report.agreement.top_1 == equal_share(two_layer_model, tmp_path / "m.onnx", x[held])
    assert report.card.calibration.samples == 150
    assert report.card.inputs[0].value_range == (x[~held].min(), x[~held].max())
    assert "on 150 samples held out of the calibration data" in report.card.quantization.evidence
    assert "on 150 samples held out of the calibration data" in report.to_text()
    assert not any("calibration data itself" in note for note in report.notes)


@pytest.mark.parametrize(
    ("calibration", "evaluation", "judged", "flatters"),
    [
        (slice(0, 99), None, 99, True),
        (slice(0, 100), None, 50, False),
        (slice(0, 120), slice(0, 120), 120, True),  # the same samples, given twice
        (slice(0, 120), slice(120, 300), 180, False),
    ],
)
def test_a_verdict_on_what_calibrated_is_said(
    calibration, evaluation, judged, flatters, two_layer_model, samples, tmp_path
):
    report = convert(
        two_layer_model,
        tmp_path / "m.onnx",
        calibration=samples[calibration],
        evaluation=None if evaluation is None else samples[evaluation],
        quantize="static",
        max_drop=0.2,
    )
    assert report.agreement.samples == judged
    assert any("calibration data itself" in note for note in report.notes) is flatters


def test_several_inputs_and_a_fixed_batch_are_split_alike(regression_model, tmp_path):
    generator = np.random.default_rng(0)
    data = {"zeta": generator.random((150, 3)), "alpha": generator.random((150, 2))}
    report = convert(regression_model, tmp_path / "m.onnx", calibration=data)
    assert report.agreement.samples == 75
    model = keras.Sequential([keras.Input(batch_shape=(4, 6)), layers.Dense(40), layers.Dense(9)])
    x = generator.normal(size=(150, 6))
    report = convert(model, tmp_path / "m.onnx", calibration=x, quantize="static")
    assert report.agreement.samples == 75
    assert report.card.calibration.samples == 75
