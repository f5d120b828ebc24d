"""convert() as its callers see it; the stages have tests of their own."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pytest

from edgeport import ConversionError, InputError, OptionError, Predictor
from edgeport_converter import QuantizationError, UnsupportedModelError, convert
from edgeport_converter.progress import Progress


def as_numpy(model, *arrays):
    return np.asarray(model(arrays[0] if len(arrays) == 1 else list(arrays), training=False))


def test_a_float_artifact_needs_no_data_and_gives_keras_answers(two_layer_model, samples, tmp_path):
    report = convert(two_layer_model, tmp_path / "m.onnx", quantize="none")
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        np.testing.assert_allclose(
            predictor.predict(samples), as_numpy(two_layer_model, samples), atol=1e-6
        )
    assert report.stages == (
        "load",
        "export",
        "read data",
        "optimize",
        "check parity",
        "report layers",
        "stamp",
    )


def test_the_card_carries_names_evidence_and_provenance(two_layer_model, samples, tmp_path):
    y = as_numpy(two_layer_model, samples).argmax(axis=1)
    report = convert(
        two_layer_model,
        tmp_path / "m.onnx",
        calibration=samples,
        evaluation=(samples, y),
        quantize="static",
        max_drop=0.05,
        labels=["red", "green", "blue"],
    )
    card = report.card
    assert card.is_vouched_for
    assert (card.inputs[0].name, card.inputs[0].shape) == ("x", ("N", 6))
    assert card.inputs[0].value_range == (samples.min(), samples.max())
    assert (card.outputs[0].name, card.outputs[0].shape) == ("scores", ("N", 3))
    assert card.outputs[0].value_range == (0.0, 1.0)
    assert card.labels == ("red", "green", "blue")
    assert card.accuracy.keras == 1.0
    assert card.accuracy.samples == card.calibration.samples == 300
    assert card.quantization.recipe == "static"
    assert list(card.quantization.float_layers) == ["scores"]
    assert card.multiply_accumulates == 6 * 8 + 8 * 3
    assert card.provenance["keras"] == keras.__version__
    assert len(card.golden_samples) == 2


def test_the_accuracy_of_an_int8_artifact_is_its_own(two_layer_model, samples, tmp_path):
    y = as_numpy(two_layer_model, samples).argmax(axis=1)
    report = convert(
        two_layer_model,
        tmp_path / "m.onnx",
        calibration=samples,
        evaluation=(samples, y),
        quantize="static",
        ranges="mse",
        max_drop=0.1,
    )
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        measured = float(np.mean(predictor.predict(samples).argmax(axis=1) == y))
    assert report.card.accuracy.artifact == measured < 1
    assert report.card.accuracy.float32 == 1


def test_several_inputs_and_outputs_keep_their_declared_order(regression_model, tmp_path):
    generator = np.random.default_rng(0)
    zeta, alpha = generator.random((300, 3)), generator.random((300, 2))
    report = convert(
        regression_model, tmp_path / "m.onnx", calibration={"alpha": alpha, "zeta": zeta}
    )
    assert [spec.name for spec in report.card.inputs] == ["zeta", "alpha"]
    assert [spec.name for spec in report.card.outputs] == ["wide", "thin"]
    assert report.agreement.top_1 is None
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        by_name = predictor.predict({"alpha": alpha[:4], "zeta": zeta[:4]})
        by_place = predictor.predict(zeta[:4], alpha[:4])
    wanted = regression_model([zeta[:4], alpha[:4]])
    for (name, answer), expected in zip(by_name.items(), wanted, strict=True):
        np.testing.assert_array_equal(answer, by_place[name])
        np.testing.assert_allclose(answer, expected, atol=0.03)


def test_a_batch_fixed_by_the_model_serves_any_number_of_samples(tmp_path):
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input(batch_shape=(4, 6), name="x"), layers.Dense(40, "relu"), layers.Dense(9)]
    )
    x = np.random.default_rng(1).random((50, 6)).astype(np.float32)
    report = convert(model, tmp_path / "m.onnx", quantize="static", calibration=x)
    assert report.card.inputs[0].shape == (4, 6)
    expected = np.concatenate([model(x[i : i + 4]) for i in range(0, 48, 4)])
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        found = predictor.predict(x)
        np.testing.assert_allclose(found[:48], expected, atol=0.05)
        np.testing.assert_array_equal(predictor.predict(x[0]), found[0])


def test_the_same_input_gives_the_same_file(two_layer_model, samples, tmp_path):
    for name in ("a.onnx", "b.onnx"):
        convert(two_layer_model, tmp_path / name, quantize="static", calibration=samples)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("kind", ["static", "weights", "none"])
def test_the_same_convolutions_give_the_same_file(kind, tmp_path):
    """tf2onnx has to add layout changes around these, and numbers what it adds."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5),
        ]
    )
    data = np.random.default_rng(3).normal(size=(20, 8, 8, 3)).astype(np.float32)
    for name in ("a.onnx", "b.onnx"):
        convert(model, tmp_path / name, quantize=kind, calibration=data)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_the_artifact_is_readable_by_others(two_layer_model, tmp_path):
    convert(two_layer_model, tmp_path / "m.onnx", quantize="none")
    assert (tmp_path / "m.onnx").stat().st_mode & stat.S_IRGRP


def test_a_missed_budget_is_refused_with_its_figures_and_writes_nothing(
    two_layer_model, samples, tmp_path
):
    # A line of samples from class to class: some of them lie close to a border.
    wide = np.linspace(-1, 1, 4000)[:, None] * samples[:1] + samples[1:2]
    wide = wide.astype(np.float32)
    y = as_numpy(two_layer_model, wide).argmax(axis=1)
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")
    coarse = samples * 100  # ranges a hundred times too wide leave int8 a handful of steps
    with pytest.raises(QuantizationError, match=r"loses .* expected at most 0.001") as caught:
        convert(
            two_layer_model,
            target,
            quantize="static",
            ranges="minmax",
            calibration=coarse,
            evaluation=(wide, y),
            max_drop=0.001,
        )
    assert caught.value.measured > caught.value.allowed == 0.001
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "static"}, r"quantization needs calibration data and none was given"),
        ({"also": "int16"}, r"quantization needs calibration data and none was given"),
        ({"evaluation": "gone.npz"}, r"there is no evaluation file 'gone.npz': pass a .npy"),
        (
            {"quantize": "int4"},
            r"quantize is 'int4', expected one of auto, static, dynamic",
        ),
        ({"quantize": "none", "max_drop": 5}, r"max_drop is 5, expected a share from 0"),
        ({"quantize": "none", "target": "z80"}, r"the target is 'z80', expected 'any'"),
        ({"quantize": "none", "labels": ["a"]}, r"there are 1 labels, the model has 3 classes"),
        ({"quantize": "none", "objective": "beauty"}, r"objective is 'beauty', expected one of"),
        ({"quantize": "none", "metric": "accuracy"}, r"the metric is 'accuracy', expected module:"),
        ({"quantize": "none", "metric": "os:nothing"}, r"metric 'os:nothing' cannot be imported"),
        (
            {"quantize": "none", "evaluation": (np.eye(2, 6), [0, 7])},
            r"the labels are int64 of shape \(2,\) from 0 to 7, expected class numbers from 0 to 2",
        ),
    ],
)
def test_impossible_options_are_refused_in_one_sentence(
    two_layer_model, tmp_path, options, message
):
    with pytest.raises(OptionError, match=message):
        convert(two_layer_model, tmp_path / "m.onnx", **options)
    assert list(tmp_path.iterdir()) == []


def test_wrongly_shaped_data_is_refused(two_layer_model, tmp_path):
    with pytest.raises(InputError, match=r"calibration data: input 'x' has shape \(9, 7\)"):
        convert(two_layer_model, tmp_path / "m.onnx", calibration=np.zeros((9, 7)))


def test_labels_for_a_regression_are_refused(regression_model, tmp_path):
    with pytest.raises(OptionError, match="no single output of class scores"):
        convert(regression_model, tmp_path / "m.onnx", quantize="none", labels=["a", "b"])


def test_the_source_is_never_overwritten(two_layer_model, tmp_path):
    source = tmp_path / "m.keras"
    two_layer_model.save(source)
    before = source.read_bytes()
    for output in (source, tmp_path / "." / "m.keras"):
        with pytest.raises(OptionError, match=r"would be overwritten, but .* is read by the"):
            convert(source, output, quantize="none")
    assert source.read_bytes() == before


def test_no_part_of_what_is_read_is_written(tmp_path):
    """Each is refused before anything is loaded, so that none of them has to be whole."""
    saved, photos = tmp_path / "saved", tmp_path / "photos"
    (saved / "variables").mkdir(parents=True)
    (photos / "cat").mkdir(parents=True)
    parts = [
        saved / "saved_model.pb",
        saved / "variables" / "variables.index",
        photos / "cat" / "1.png",
        tmp_path / "test.npz",
    ]
    for part in parts:
        part.write_bytes(b"precious")
    (tmp_path / "hard.onnx").hardlink_to(tmp_path / "test.npz")
    (tmp_path / "soft.onnx").symlink_to(photos / "cat" / "1.png")
    for output in (*parts, tmp_path / "hard.onnx", tmp_path / "soft.onnx"):
        with pytest.raises(OptionError, match=r"would be overwritten, but .* is read by the same"):
            convert(
                saved, output, calibration=photos, evaluation=tmp_path / "test.npz", quantize="auto"
            )
    assert [part.read_bytes() for part in parts] == [b"precious"] * len(parts)


CODE = """
import keras
def build():
    return keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(3, "softmax")])
def metric(outputs, labels):
    return 1.0
"""


@pytest.mark.parametrize(
    ("model", "options", "output"),
    [
        ("m.json", {"weights": "w.weights.h5"}, "w.weights.h5"),
        ("m.json", {"weights": "m.weights.h5", "also": ["int16"]}, "w.onnx"),
        ("m.json", {"weights": "w.weights.h5", "custom_objects": "own.py"}, "own.py"),
        ("m.json", {"weights": "w.weights.h5", "custom_objects": "own"}, "own.py"),
        ("m.json", {"weights": "w.weights.h5", "metric": "own.py:metric"}, "own.py"),
        ("own.py:build", {}, "own.py"),
        ("own:build", {}, "own.py"),
    ],
)
def test_weights_code_and_variants_are_read_or_written_too(
    model, options, output, tmp_path, monkeypatch
):
    """Each is refused before anything is loaded, so that none of them has to be whole."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(CODE)
    for name in ("m.json", "w.weights.h5", "m.weights.h5"):
        Path(name).write_bytes(b'{"precious": 1}')  # looks like a model at first
    Path("w.int16.onnx").hardlink_to("m.weights.h5")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    data = np.zeros((20, 6), np.float32)
    with pytest.raises(OptionError, match=r"would be overwritten, but .* is read by the same"):
        convert(model, output, calibration=data, **options)
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


def test_a_link_is_followed_and_stays_a_link(two_layer_model, tmp_path):
    (tmp_path / "real.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    convert(two_layer_model, tmp_path / "link.onnx", quantize="none")
    assert (tmp_path / "link.onnx").is_symlink()
    with Predictor.load(tmp_path / "real.onnx") as predictor:
        assert predictor.card.name == "small"


def test_a_device_is_no_output(two_layer_model):
    with pytest.raises(OptionError, match="is a device or a pipe, expected a regular file"):
        convert(two_layer_model, "/dev/null", quantize="none")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("abc", r"labels are the text 'abc', expected a list of names"),
        (["a", "b", "b"], r"the label 'b' occurs more than once"),
        (["a", "b", " "], r"expected a text for each class"),
    ],
)
def test_unusable_class_names_are_refused(two_layer_model, tmp_path, labels, message):
    with pytest.raises(OptionError, match=message):
        convert(two_layer_model, tmp_path / "m.onnx", quantize="none", labels=labels)


def test_an_output_folder_that_is_missing_is_refused_before_any_work(two_layer_model, tmp_path):
    class Told(Progress):
        stages: ClassVar[list[str]] = []

        def stage(self, name):
            self.stages.append(name)

    with pytest.raises(OptionError, match="there is no folder"):
        convert(two_layer_model, tmp_path / "no" / "m.onnx", quantize="none", progress=Told())
    assert Told.stages == []


def test_a_failure_names_its_stage(tmp_path):
    with pytest.raises(ConversionError, match="there is no model file") as caught:
        convert(tmp_path / "missing.keras", tmp_path / "m.onnx", quantize="none")
    assert caught.value.stage == "load"


def test_a_model_without_weights_to_store_is_refused_for_int8(tmp_path):
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Softmax()])
    x = np.random.default_rng(0).random((50, 4))
    with pytest.raises(QuantizationError, match=r"no layer that the recipe .* could store"):
        convert(model, tmp_path / "m.onnx", calibration=x, quantize="static")
    assert convert(model, tmp_path / "m.onnx", calibration=x).recipe == "none"


def test_an_operator_without_a_kernel_is_named(tmp_path):
    x = keras.Input((8, 8, 2), name="x")
    kernel = np.ones((3, 3, 2, 4))
    y = keras.ops.cast(keras.ops.conv(keras.ops.cast(x, "float64"), kernel), "float32")
    with pytest.raises(UnsupportedModelError, match=r"computes Conv \('.*'\) in a number format"):
        convert(keras.Model(x, y), tmp_path / "m.onnx", quantize="none")


def broken_metric(outputs, labels):
    raise KeyError("no such class")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"samples": 5}, r"holds 5 samples, expected at least 10"),
        ({"labels_as": "soft"}, r"or one-hot rows of shape \(N, 3\)"),
        (
            {"metric": broken_metric},
            r"the metric raised KeyError \('no such class'\) on outputs of",
        ),
        ({"metric": lambda outputs, labels: "good"}, r"the metric raised ValueError"),
        ({"image_range": (1, 1)}, r"image_range is \(1, 1\), expected two different numbers"),
        ({"image_range": "black"}, r"image_range is 'black', expected two different numbers"),
        ({"keep_float": "hiden"}, r"is called 'hiden', .* did you mean 'hidden'"),
        ({"also": "auto"}, r"also is 'auto'"),
    ],
)
def test_unusable_data_and_options_are_refused(
    options, sentence, two_layer_model, samples, tmp_path
):
    options = dict(options)
    y = as_numpy(two_layer_model, samples).argmax(axis=1)
    if options.pop("labels_as", None) == "soft":
        y = np.full((300, 3), 1 / 3)
    calibration = samples[: options.pop("samples", 300)]
    options["calibration"] = calibration
    target = tmp_path / "m.onnx"
    with pytest.raises(OptionError, match=sentence):
        convert(two_layer_model, target, evaluation=(samples, y), **options)
    assert not target.exists()


def test_thin_evidence_is_noted(two_layer_model, samples, tmp_path):
    report = convert(
        two_layer_model,
        tmp_path / "m.onnx",
        calibration=samples[:40],
        quantize="static",
        evaluation=(samples[:40], as_numpy(two_layer_model, samples[:40]).argmax(axis=1)),
        max_drop=0.5,
    )
    assert any("measured on 40 samples" in note for note in report.notes)


def test_a_name_does_nothing_to_the_screen(tmp_path):
    model = keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(3, name="red\x1b[31m\ndense")]
    )
    text = convert(model, tmp_path / "m.onnx", quantize="none").to_text()
    assert "red\\x1b[31m\\ndense" in text
    assert "\x1b" not in text


def test_a_report_is_json_where_nothing_was_lost(samples, tmp_path):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Rescaling(2.0)])
    report = convert(model, tmp_path / "m.onnx", calibration=samples)
    assert report.agreement.signal_to_noise_db == float("inf")
    found = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert found["agreement"]["signal_to_noise_db"] is None
    assert found["judged_on"] == "held out of the calibration data"
    assert found["reason"] == report.reason
    reasoned = replace(report, reason="static has the least product of time and size")
    assert "chosen     static has the least product" in reasoned.to_text()
    assert found["file_bytes"] == (tmp_path / "m.onnx").stat().st_size
