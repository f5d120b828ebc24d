"""Recordings as data: the windows of numpy's strides, with the classes of their folders."""

import wave

import numpy as np
import pytest

from edgeport import InputError, OptionError, TensorSpec
from edgeport.artifact.signal_format import SignalFormat
from edgeport_converter.data.datasets import read_dataset

SPECS = (TensorSpec("x", np.dtype(np.int16), ("N", 8), ("N", "T")),)
SIGNAL = SignalFormat("x", 100, 8, 3)


def write(path, recording, rate=100):
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(recording.astype("<i2").tobytes())
    return recording


def windows(recording):
    return np.lib.stride_tricks.sliding_window_view(recording, 8)[::3]


def noise(length, seed):
    return np.random.default_rng(seed).integers(-32768, 32768, length).astype(np.int16)


def read(source, purpose="evaluation", **options):
    dataset = read_dataset(source, SPECS, purpose, signal=SIGNAL, **options)
    return dataset.first(len(dataset))["x"], dataset.labels


def test_a_file_is_its_windows(tmp_path):
    recording = write(tmp_path / "a.wav", noise(100, 0))
    found, labels = read(tmp_path / "a.wav")
    assert found.dtype == np.int16
    assert found.tolist() == windows(recording).tolist()
    assert labels is None


def test_windows_do_not_cross_from_one_file_into_the_next(tmp_path):
    recordings = [write(tmp_path / f"{name}.wav", noise(20, ord(name))) for name in "ab"]
    found, _ = read(tmp_path)
    assert found.tolist() == np.concatenate([windows(each) for each in recordings]).tolist()


def test_all_windows_of_a_file_have_the_class_of_its_folder(tmp_path):
    for name, length in {"no": 8, "yes": 14}.items():
        write(tmp_path / name / "1.wav", noise(length, length))
    assert read(tmp_path)[1].tolist() == [0, 1, 1, 1]
    assert read(tmp_path, class_names=["yes", "no"])[1].tolist() == [1, 0, 0, 0]
    with pytest.raises(OptionError, match="has the class 'yes', expected the labels 'no', 'ja'"):
        read(tmp_path, class_names=["no", "ja"])


def test_a_file_of_another_rate_is_named(tmp_path):
    write(tmp_path / "a.wav", noise(100, 0), rate=44100)
    with pytest.raises(InputError, match=r"a\.wav' has 44100 samples a second, expected 100"):
        read(tmp_path)


def test_arrays_are_of_the_recordings_kind(tmp_path):
    assert read(windows(noise(100, 0)))[0].dtype == np.int16
    with pytest.raises(InputError, match="expected whole numbers from -32768 to 32767"):
        read(windows(noise(100, 0)) / np.float32(32768))


def test_a_recording_without_a_signal_is_refused(tmp_path):
    write(tmp_path / "a.wav", noise(100, 0))
    with pytest.raises(OptionError, match=r"is a recording, expected its rate.*pass signal="):
        read_dataset(tmp_path / "a.wav", SPECS, "evaluation")


def test_a_folder_without_recordings_is_named(tmp_path):
    (tmp_path / "a.flac").touch()
    with pytest.raises(OptionError, match=r"holds no recording, expected \.wav"):
        read(tmp_path)


def test_a_missing_recording_is_named(tmp_path):
    with pytest.raises(OptionError, match=r"there is no evaluation file '.*none.wav'"):
        read(tmp_path / "none.wav")


def test_recordings_are_for_models_of_one_input(tmp_path):
    write(tmp_path / "a.wav", noise(100, 0))
    other = TensorSpec("y", np.dtype(np.float32), ("N", 2), ("N", "F"))
    with pytest.raises(OptionError, match="expected a model of one input, found 2"):
        read_dataset(tmp_path / "a.wav", (*SPECS, other), "evaluation", signal=SIGNAL)
