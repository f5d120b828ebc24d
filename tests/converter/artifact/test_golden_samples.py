"""Which golden samples are chosen, what they may be off by, and whether they tell wrong weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from edgeport import ModelCard, Predictor, SelfTestError, TensorSpec
from edgeport.artifact import golden
from edgeport.artifact.card import card_json
from edgeport.artifact.seal import seal
from edgeport_converter import convert
from edgeport_converter.artifact.golden_samples import Runs, choose
from edgeport_converter.verification.spoiling import spoil

layers = keras.layers

SPEC = TensorSpec("x", np.dtype(np.float32), ("N", 4), ("N", "F"), (-1.0, 1.0))
OUT = TensorSpec("y", np.dtype(np.float32), ("N", 4), ("N", "C"))
SCALE = np.array([1.0, 2.0, 3.0, 4.0], dtype=np.float32)


def times(scale: Any) -> Any:
    return lambda batch: {"y": batch["x"] * scale}


def runs_of(defined: Any, *, optimized: Any = None, spoiled: Any = None) -> Runs:
    plainly_wrong = lambda batch: {name: a * 2 + 1 for name, a in defined(batch).items()}  # noqa: E731
    return Runs(defined, optimized or defined, spoiled or plainly_wrong)


def share(outputs: Any) -> dict[str, float]:
    """Allow a thousandth."""
    return dict.fromkeys(("y",), 0.001)


def decoded(choice: Any, name: str = "x") -> list[Any]:
    return [golden.decode_array(sample["inputs"][name]) for sample in choice.samples]


@pytest.fixture
def samples() -> dict[str, Any]:
    return {"x": np.random.default_rng(0).uniform(-1, 1, (20, 4)).astype(np.float32)}


def test_golden_samples_are_the_loudest_real_ones_where_these_tell(samples):
    choice = choose(runs_of(times(SCALE)), [SPEC], samples, share, made_up=False)
    loudest = np.argsort(-np.abs(samples["x"]).sum(axis=1))[:2]
    for place, sample, given in zip(loudest, choice.samples, decoded(choice), strict=True):
        np.testing.assert_array_equal(given, samples["x"][place : place + 1])
        stored = golden.decode_output(sample["outputs"]["y"]).values
        np.testing.assert_array_equal(stored, samples["x"][place] * SCALE)


def test_made_up_golden_samples_are_ramps_over_the_value_range_where_these_tell(samples):
    choice = choose(runs_of(times(SCALE)), [SPEC], samples, share, made_up=True)
    assert all("ramp" in sample["inputs"]["x"] for sample in choice.samples)
    first, second = decoded(choice)
    assert first.shape == (1, 4)
    assert not np.array_equal(first, second)
    assert min(first.min(), second.min()) >= -1
    assert max(first.max(), second.max()) <= 1


def test_a_saturated_sample_is_not_chosen_where_others_tell():
    """The sigmoid of 30 is 1, with other weights, too."""

    def sigmoid(weight: float) -> Any:
        return lambda batch: {"y": (1 / (1 + np.exp(-weight * batch["x"]))).astype("f4")}

    x = np.full((20, 4), 30.0, np.float32)
    x[13] = 0.5
    runs = runs_of(sigmoid(1.0), spoiled=sigmoid(1.3))
    choice = choose(runs, [SPEC], {"x": x[:14]}, share, made_up=False)
    assert any(np.array_equal(given, x[13:14]) for given in decoded(choice))
    assert choice.tells > 1
    hopeless = choose(runs, [SPEC], {"x": x[:13]}, share, made_up=False)
    assert hopeless.tells == 0


def test_the_tolerance_is_four_times_what_the_engine_differs_by_on_the_sample(samples):
    def optimized(batch: Any) -> Any:
        return {"y": batch["x"] * SCALE + np.float32(0.01)}

    choice = choose(
        runs_of(times(SCALE), optimized=optimized), [SPEC], samples, share, made_up=False
    )
    assert choice.tolerance["y"] == pytest.approx(0.04, rel=0.01)
    quiet = choose(runs_of(times(SCALE)), [SPEC], samples, share, made_up=False)
    assert quiet.tolerance == {"y": 1e-3}


def test_a_sample_whose_answer_hangs_on_rounding_is_passed_over():
    """The logarithm of a number that is zero but for rounding."""

    def log(batch: Any) -> Any:
        wide = batch["x"].astype(np.float64)
        return {"y": np.log(np.abs(wide - 30.0) + 1e-9).astype("f4")}

    x = np.full((3, 4), 30.0, np.float32)
    x[1:] = [[1.0], [2.0]]

    def spoiled(batch: Any) -> Any:
        return {"y": log(batch)["y"] + 1}

    choice = choose(runs_of(log, spoiled=spoiled), [SPEC], {"x": x}, share, made_up=False)
    assert {given[0, 0] for given in decoded(choice)} == {1.0, 2.0}
    assert choice.tolerance == {"y": 1e-3}


def test_a_counted_answer_that_the_engine_changes_is_no_golden_sample():
    def best(batch: Any) -> Any:
        return {"y": batch["x"].argmax(axis=1)}

    def otherwise(batch: Any) -> Any:
        return {"y": batch["x"][:, ::-1].argmax(axis=1)}

    x = {"x": np.eye(4, dtype="f4")}
    choice = choose(
        runs_of(best, optimized=otherwise), [SPEC], x, lambda _: {"y": 0.0}, made_up=False
    )
    assert choice.samples == []


PHOTO = TensorSpec("x", np.dtype(np.float32), ("N", 224, 224, 3), ("N", "H", "W", "C"), (0.0, 1.0))


def as_it_is(batch: Any) -> Any:
    return {"y": batch["x"]}


def test_a_large_golden_input_is_like_the_data():
    """A deep network answers noise of the same range by chance, and each CPU otherwise."""
    place = np.linspace(0, 3, 224, dtype=np.float32)
    photo = (np.sin(place[:, None]) * np.cos(place) / 2 + 0.5)[None, ..., None].repeat(3, -1)
    choice = choose(runs_of(as_it_is), [PHOTO], {"x": photo}, share, made_up=False)
    (back,) = decoded(choice)
    assert np.abs(back - photo).max() < 0.1  # of a block, and half of the 1/255 of a code
    assert np.corrcoef(back.ravel(), photo.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_a_large_golden_input_without_a_known_range_keeps_its_own(kind):
    """As of tokens: between 0 and 1, where nothing else is known, they would all be alike."""
    spec = TensorSpec("x", np.dtype(kind), ("N", "T"), ("N", "T"))
    tokens = {"x": np.random.default_rng(0).integers(-100, 30_000, (2, 3000)).astype(kind)}
    choice = choose(runs_of(as_it_is), [spec], tokens, lambda _: {"y": 0.0}, made_up=False)
    for back in decoded(choice):
        assert back.min() < 100
        assert 29_000 < back.max() < 30_000
        assert len(np.unique(back)) > 200


def test_a_range_is_of_numbers_alone():
    spec = TensorSpec("x", np.dtype("f4"), ("N", "T"), ("N", "T"))
    x = np.random.default_rng(0).uniform(-5, 5, (2, 3000)).astype("f4")
    x[:, ::100] = np.nan
    x[:, 1::100] = np.inf
    choice = choose(runs_of(as_it_is), [spec], {"x": x}, share, made_up=False)
    for sample in choice.samples:
        assert np.abs(sample["inputs"]["x"]["blocks"]["range"]).max() <= 5
        assert 4 < golden.decode_array(sample["inputs"]["x"]).max() <= 5.0001


def test_a_large_input_costs_the_file_next_to_nothing():
    noise = {"x": np.random.default_rng(0).random((2, 224, 224, 3)).astype(np.float32)}
    choice = choose(runs_of(as_it_is), [PHOTO], noise, share, made_up=False)
    assert len(card_json(ModelCard("big", (PHOTO,), (OUT,)), choice.samples)) < 20_000


def small_sigmoid() -> Any:
    """Answers below a thousandth, of which a ten-thousandth is less than float32 rounds by."""
    bias = keras.initializers.Constant(-9.0)
    return [layers.Dense(50, "relu"), layers.Dense(4, "sigmoid", bias_initializer=bias)]


def sure_softmax() -> Any:
    """Answers that are 0 and 1 on most inputs."""
    kernel = np.random.default_rng(1).normal(size=(20, 3)).astype("f4") * 300
    return [layers.Dense(3, "softmax", kernel_initializer=lambda *_, **__: kernel)]


class LogSpectrum(layers.Layer):
    """The logarithm of differences, such as those that cancel in a ramp's spectrum."""

    def call(self, x: Any) -> Any:
        return tf.math.log(tf.abs(tf.signal.rfft(x)) ** 2 + 1e-10)


def log_spectrum() -> Any:
    return [layers.Reshape((20,)), LogSpectrum(), layers.Dense(3)]


class Standardize(layers.Layer):
    """Divides by a deviation that is next to nothing where all values are alike."""

    def call(self, x: Any) -> Any:
        centred = x - tf.reduce_mean(x, 1, keepdims=True)
        return centred / (tf.math.reduce_std(x, 1, keepdims=True) + 1e-12)


def standardized() -> Any:
    return [Standardize(), layers.Dense(3)]


def far_from_zero() -> Any:
    return [layers.Rescaling(1e6), layers.Dense(30, "relu"), layers.Dense(3)]


@pytest.mark.parametrize(
    "made", [small_sigmoid, sure_softmax, log_spectrum, standardized, far_from_zero]
)
def test_an_artifact_passes_its_golden_samples_and_its_spoiled_copy_does_not(made, tmp_path):
    """By Keras' answers the artifact is right; with weights that are 30 % off it is not."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20,), name="x"), *made()])
    card = convert(model, tmp_path / "m.onnx").card
    x = np.random.default_rng(2).random((5, 20)).astype("f4")
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        np.testing.assert_allclose(predictor.predict(x), model(x), rtol=1e-3, atol=1e-4)
    assert len(card.golden_samples) == 2
    assert not any("golden samples" in doubt for doubt in card.unproven)
    graph = onnx.load(tmp_path / "m.onnx")
    (text,) = (entry.value for entry in graph.metadata_props if entry.key == "edgeport.card")
    del graph.metadata_props[:]
    with pytest.raises(SelfTestError):
        Predictor.load(seal(spoil(graph, 0.3, seed=5).SerializeToString(), text))


def test_golden_samples_that_tell_nothing_are_called_so(tmp_path):
    """The answer is 1 whatever the weights are."""
    keras.utils.set_random_seed(0)
    bias = keras.initializers.Constant(60.0)
    head = layers.Dense(1, "sigmoid", kernel_initializer="random_normal", bias_initializer=bias)
    report = convert(keras.Sequential([keras.Input((4,)), head]), tmp_path / "m.onnx")
    (doubt,) = (doubt for doubt in report.card.unproven if "golden samples" in doubt)
    assert "would pass with all weights 30% off" in doubt
    assert doubt in report.notes


def test_a_model_of_text_says_that_it_has_no_golden_samples(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            layers.StringLookup(vocabulary=["a", "b"]),
            layers.Embedding(4, 2),
        ]
    )
    report = convert(model, tmp_path / "m.onnx")
    assert any("no golden samples" in doubt for doubt in report.card.unproven)
