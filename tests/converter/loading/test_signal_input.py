"""Artifacts that take recordings: the answers of Keras on the same PCM, divided by 32768."""

import json
import wave

import keras
import numpy as np
import pytest

from edgeport import OptionError, Predictor
from edgeport.cli.main import main
from edgeport_converter import Signal, convert

layers = keras.layers

RATE, WINDOW, HOP = 4000, 1024, 300


def keyword_model(shape=(WINDOW,)):
    """A spectrogram and a small network, as a keyword spotter has them."""
    keras.utils.set_random_seed(11)
    x = sound = keras.Input(shape, name="sound")
    if len(shape) == 2:
        x = layers.Reshape((WINDOW,))(x)
    x = layers.MelSpectrogram(
        fft_length=128, sequence_stride=64, num_mel_bins=12, sampling_rate=RATE
    )(x)
    x = layers.Rescaling(1 / 40, 1)(layers.Reshape((12, -1, 1))(x))
    x = layers.Conv2D(6, 3, strides=2, activation="relu")(x)
    x = layers.Dense(3, "softmax", name="scores")(layers.Flatten()(x))
    return keras.Model(sound, x, name="keywords")


def recording(seconds, seed=0):
    """Tones that change their pitch and loudness, with noise; int16."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = np.interp(
        time, np.arange(0, seconds + 1), generator.uniform(100, 1500, int(seconds) + 1)
    )
    loudness = 0.5 + 0.45 * np.sin(2 * np.pi * time / 1.3)
    sound = loudness * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)
    sound += 0.02 * generator.normal(size=len(time))
    return np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


def windows(sound):
    return np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]


def alone(model, pcm):
    """Return Keras' answer to each window by itself: the spectrogram clips by the whole batch."""
    return np.concatenate([np.asarray(model(row[None] / np.float32(32768))) for row in pcm])


def write(path, sound):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(sound.astype("<i2").tobytes())
    return path


def test_pcm_in_a_spectrogram_inside_and_keras_own_answers(tmp_path, capsys):
    model, sound = keyword_model(), recording(6)
    wanted = alone(model, windows(sound))
    assert np.ptp(wanted, axis=0).max() > 0.05  # the answers differ from window to window
    artifact = tmp_path / "keywords.onnx"
    report = convert(
        model,
        artifact,
        signal=Signal(RATE, WINDOW, HOP),
        one_by_one=True,
        quantize="none",
        labels=["left", "right", "stop"],
    )
    (spec,) = report.card.inputs
    assert (spec.dtype, spec.accepted_shape) == (np.int16, ("N", WINDOW))
    assert report.card.preprocessing[0] == "'sound': int16 PCM * 1/32768"
    with Predictor.load(artifact) as predictor:
        np.testing.assert_allclose(predictor.predict(windows(sound)), wanted, atol=1e-4)
        whole = np.stack(list(predictor.windows([sound])))
        np.testing.assert_allclose(whole, wanted, atol=1e-4)
        for size in (1, 7, 160, 16_000):
            pieces = (sound[begin : begin + size] for begin in range(0, len(sound), size))
            assert np.stack(list(predictor.windows(pieces))).tobytes() == whole.tobytes()
    file = write(tmp_path / "sound.wav", sound)
    assert main(["predict", str(artifact), str(file), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_allclose([row["outputs"]["scores"] for row in rows], wanted, atol=1e-4)
    assert [row["seconds"] for row in rows] == [number * HOP / RATE for number in range(len(rows))]


def raw_model():
    """A network of the wave itself."""
    keras.utils.set_random_seed(5)
    sound = keras.Input((WINDOW, 1), name="sound")
    x = layers.Conv1D(8, 16, strides=8, activation="relu")(sound)
    x = layers.Conv1D(8, 4, strides=4, activation="relu")(x)
    return keras.Model(sound, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(x)))


def test_a_quantized_network_is_measured_on_the_files_that_the_device_will_hear(tmp_path):
    model, names = raw_model(), ["a", "b"]
    for seed, name in enumerate(names):
        (tmp_path / "data" / name).mkdir(parents=True)
        write(tmp_path / "data" / name / "1.wav", recording(8, seed))
    report = convert(
        model,
        tmp_path / "m.onnx",
        signal=Signal(RATE, WINDOW, HOP),
        calibration=tmp_path / "data",
        evaluation=tmp_path / "data",
        labels=[*names, "c"],
        quantize="static",
        max_drop=0.2,
    )
    pcm = [windows(recording(8, seed)) for seed in range(2)]
    labels = np.repeat([0, 1], [len(each) for each in pcm])
    pcm = np.concatenate(pcm)[..., None]
    wanted = alone(model, pcm)
    card = report.card
    assert card.quantization.recipe == "static"
    assert card.inputs[0].dtype == np.int16
    assert card.inputs[0].value_range == (pcm.min(), pcm.max())
    assert card.accuracy.samples == len(pcm)
    assert card.accuracy.keras == pytest.approx((wanted.argmax(1) == labels).mean())
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        found = predictor.predict(pcm)
        assert card.accuracy.artifact == pytest.approx((found.argmax(1) == labels).mean())
        np.testing.assert_allclose(found, wanted, atol=0.05)


@pytest.mark.parametrize("is_loud", [False, True])
def test_a_model_of_whole_batches_has_a_signal_and_refuses_windows(tmp_path, is_loud):
    noise = np.random.default_rng(0).integers(-32768, 32767, (20, WINDOW), np.int16)
    report = convert(
        keyword_model(),
        tmp_path / "m.onnx",
        signal=Signal(RATE, WINDOW, HOP),
        quantize="none",
        calibration=noise if is_loud else None,
    )
    assert report.card.samples_interact
    with (
        Predictor.load(tmp_path / "m.onnx") as predictor,
        pytest.raises(OptionError, match="convert it with one_by_one"),
    ):
        predictor.windows([])


def motion_model(steps=16):
    keras.utils.set_random_seed(3)
    motion = keras.Input((steps, 3), name="motion")
    x = layers.Conv1D(4, 3, activation="relu")(motion)
    return keras.Model(motion, layers.Dense(2)(layers.GlobalMaxPooling1D()(x)))


@pytest.mark.parametrize("steps", [16, None])
def test_rows_of_an_accelerometer(tmp_path, steps):
    model = motion_model(steps)
    signal = Signal(52.5, 16, 5, channels=3, dtype="float32")
    card = convert(model, tmp_path / "m.onnx", signal=signal, quantize="none").card
    assert (card.inputs[0].dtype, card.inputs[0].shape) == (np.float32, ("N", 16, 3))
    assert card.preprocessing == ()
    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    pcm = np.lib.stride_tricks.sliding_window_view(rows, 16, axis=0)[::5].swapaxes(1, 2)
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        found = np.stack(list(predictor.windows(rows[None, at] for at in range(100))))
    np.testing.assert_allclose(found, model(pcm), atol=1e-5)


def test_the_scale_and_the_input_of_several_are_as_the_signal_says(tmp_path):
    keras.utils.set_random_seed(3)
    sound, other = keras.Input((8,), name="sound"), keras.Input((8,), name="other")
    model = keras.Model([other, sound], layers.Dense(2)(layers.Concatenate()([sound, other])))
    signal = Signal(8, 8, 8, scale=0.25, input="sound")
    card = convert(model, tmp_path / "m.onnx", signal=signal, quantize="none").card
    assert [spec.dtype.name for spec in card.inputs] == ["float32", "int16"]
    pcm = np.arange(-8, 8, dtype=np.int16).reshape(2, 8) * 4000
    rest = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        found = predictor.predict(rest, pcm)
    np.testing.assert_allclose(found, model([rest, pcm * 0.25]), rtol=1e-5)
    with pytest.raises(OptionError, match=r"expected one named: pass Signal\(input="):
        convert(model, tmp_path / "m.onnx", signal=Signal(8, 8, 8))
    with pytest.raises(OptionError, match="expected one called 'noise'"):
        convert(model, tmp_path / "m.onnx", signal=Signal(8, 8, 8, input="noise"))


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (Signal(window=15, channels=3), r"windows of 15 samples .* \(N, 15, 3\)"),
        (Signal(window=16, channels=2), r"2 channel.*'motion' float32 \(None, 16, 3\), expected"),
        (Signal(window=16), r"expected floats of shape \(N, 16\) or \(N, 16, 1\)"),
    ],
)
def test_a_window_is_as_long_as_the_models_time_axis(tmp_path, signal, message):
    with pytest.raises(OptionError, match=message):
        convert(motion_model(), tmp_path / "m.onnx", signal=signal)


def test_a_signal_is_for_an_input_of_floats(tmp_path):
    with pytest.raises(
        OptionError, match=r"'motion' uint8 .*expected one of floats: leave out inp"
    ):
        convert(
            motion_model(),
            tmp_path / "m.onnx",
            signal=Signal(50, 16, 5, channels=3),
            input_uint8=True,
        )
