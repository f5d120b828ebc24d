"""What a user may say of a signal, and in which words."""

import json
from fractions import Fraction

import numpy as np
import pytest

from edgeport import OptionError
from edgeport_converter import Signal, convert


def test_a_command_line_reads_as_the_same_signal():
    assert Signal.from_text("rate=16000 window=16000 hop=8000") == Signal()
    read = Signal.from_text("rate=8000 hop=1 channels=1 mix_down=yes pad=no scale=1/32767 input=a")
    assert read == Signal(8000, hop=1, mix_down=True, scale=1 / 32767, input="a")
    assert Signal.from_text("rate=104/2 dtype=float32 channels=6").rate == 52


@pytest.mark.parametrize(
    "signal",
    [
        Signal(),
        Signal(44100, 1000, 2000, mix_down=True, pad=True, scale=1, input="sound"),
        Signal(52.5, 128, 64, channels=3, dtype="float32"),
        Signal(scale=1 / 3),
        Signal(np.float32(16000), np.int32(400), np.int64(160), mix_down=np.True_),
        Signal(np.int16(50), scale=np.float32(0.1)),
        Signal(Fraction(105, 2), scale=Fraction(1, 32768)),
    ],
)
def test_text_and_json_give_the_signal_back(signal):
    assert Signal.from_text(signal.to_text()) == signal
    assert Signal.from_dict(json.loads(json.dumps(signal.to_dict()))) == signal


def test_int16_is_scaled_to_one_and_floats_not_at_all():
    assert Signal().scale == 2**-15
    assert Signal(dtype="float32").scale is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0}, "the rate 0, expected samples a second"),
        ({"rate": "16k"}, "the rate '16k'"),
        ({"rate": float("nan")}, "the rate nan"),
        ({"rate": 10**400}, "the rate 1000"),
        ({"window": 0}, "the window 0, expected a whole number"),
        ({"window": 1.5}, "the window 1.5"),
        ({"hop": True}, "the hop True"),
        ({"channels": -1}, "the channels -1"),
        ({"mix_down": "no"}, "mix_down 'no', expected True or False"),
        ({"pad": None}, "pad None"),
        ({"dtype": "int8"}, "the dtype 'int8', expected 'int16' for PCM or 'float32'"),
        ({"dtype": "float32", "scale": 1 / 32768}, "expected a scale with int16 only"),
        ({"scale": 0}, "the scale 0, expected a number above zero"),
        ({"scale": 1e-46}, "the scale 1e-46, expected a number above zero that float32 holds"),
        ({"scale": 1e39}, r"the scale 1e\+39, expected a number above zero that float32 holds"),
        ({"channels": 2, "mix_down": True}, "mix_down and 2 channels, expected 1"),
        ({"input": 3}, "the input 3, expected the name"),
    ],
)
def test_what_is_no_signal_is_refused(values, message):
    with pytest.raises(OptionError, match=message):
        Signal(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the signal is '', expected words such as rate=16000"),
        (" ", "the signal is ' ', expected words such as rate=16000"),
        ("16000", "with the word '16000', expected words such as rate=16000"),
        ("rate=1 rate=2", "with rate twice"),
        ("rate=fast", "rate=fast, expected a number"),
        ("window=1.5", "window=1.5, expected a number"),
        ("scale=1/0", "scale=1/0, expected a number"),
        ("pad=maybe", "pad=maybe, expected a number .* yes or no"),
        ("windows=3", "the key 'windows', expected rate, .*did you mean 'window'"),
    ],
)
def test_words_that_say_nothing_are_refused(text, message):
    with pytest.raises(OptionError, match=message):
        Signal.from_text(text)


def test_a_text_is_for_the_command_line_alone(two_layer_model, tmp_path):
    with pytest.raises(
        OptionError, match=r"signal= was given a str, expected a Signal: pass Signal\(rate=16000"
    ):
        convert(two_layer_model, tmp_path / "m.onnx", signal="rate=16000")
