"""The command that makes an artifact again is read by the parser that it is meant for."""

import argparse
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeport import ModelCard, TensorSpec
from edgeport_converter import Finetune, Frames, Signal
from edgeport_converter.commands import _finetune, _given, _read_labels, add_convert
from edgeport_converter.options import RECORDS, gather_options
from edgeport_converter.reporting.remaking import command_of_card, command_of_conversion

CARD = ModelCard(
    "m",
    (TensorSpec("x", np.dtype(np.float32), ("N", 3)),),
    (TensorSpec("y", np.dtype(np.float32), ("N", 3)),),
    provenance={"source": "m.keras", "keras": "3.15.1"},
)
NO_DATA = {"calibration": None, "evaluation": None}


def parsed(text):
    parser = argparse.ArgumentParser()
    add_convert(parser.add_subparsers())
    program, *arguments = shlex.split(text.replace("\\\n", " "))
    assert program == "edgeport"
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"quantize": "static", "ranges": "mse", "max_drop": 0.01, "objective": "size"},
        {"keep_float": ["conv*", "it's"], "also": ["none", "int16"], "target": "arm64"},
        {"input_uint8": True, "scale": [1 / 255, 0.1, 1 / 3], "mean": 127.5},
        {"image_range": (-1.0, 1.0), "outputs": ["a", "b/c"], "one_by_one": True},
        {"frames": Frames("ImageOps.fit-lanczos", scale=1 / 127.5, mean=127.5, order="bgr")},
        {"frames": {"left": Frames("keras"), "right": Frames("opencv", size=(48, 64))}},
        {"signal": Signal(16000, window=400, hop=100, pad=True)},
        {"metric": "my.py:score", "label_column": "-kind of", "feature_names": ["a b", "c"]},
    ],
)
def test_options_survive_the_command_line(given):
    options = gather_options(dict.fromkeys(RECORDS), given)
    data = {"calibration": "my data.npz", "evaluation": Path("test.npz")}
    command = command_of_conversion("a b.keras", Path("out.onnx"), data, None, options, CARD)
    found = parsed(command.text)
    assert command.is_exact
    assert (found.model, found.output, found.calibration) == (
        "a b.keras",
        "out.onnx",
        "my data.npz",
    )
    assert gather_options(dict.fromkeys(RECORDS), _given(found)) == options


@pytest.mark.parametrize(
    ("tuned", "expected"),
    [
        (Finetune("train.npz", epochs=6, learning_rate=0.01, seed=3), None),
        (Finetune(Path("train.npz"), batch_size=8, model="tuned.keras"), None),
        (Finetune(epochs=3), Finetune("calibration.npz", epochs=3)),
    ],
)
def test_fine_tuning_survives_the_command_line(tuned, expected):
    options = replace(gather_options(dict.fromkeys(RECORDS), {}), finetune=tuned)
    data = {"calibration": "calibration.npz", "evaluation": None}
    command = command_of_conversion("m.keras", Path("out.onnx"), data, None, options, CARD)
    found = _finetune(parsed(command.text))
    wanted = expected or replace(tuned, data=str(tuned.data))
    assert command.is_exact
    assert found == wanted


def test_fine_tuning_on_data_in_memory_is_a_call_that_is_not_whole():
    samples = np.zeros((60, 3), np.float32), np.zeros(60, np.int64)
    tuned = Finetune(samples, epochs=6, model="tuned.keras")
    options = replace(gather_options(dict.fromkeys(RECORDS), {}), finetune=tuned)
    data = {"calibration": "calibration.npz", "evaluation": None}
    command = command_of_conversion("m.keras", Path("out.onnx"), data, None, options, CARD)
    found = {}

    def convert(model, output, **given):
        found.update(given)

    names = {"convert": convert, "Finetune": Finetune, "finetune_data": samples}
    exec(command.text.replace("from edgeport_converter import Finetune, convert", ""), names)  # noqa: S102
    assert found["finetune"] == tuned
    assert found["calibration"] == "calibration.npz"
    assert not command.is_exact
    assert any("finetune_data came from the memory" in remark for remark in command.remarks)
    assert "# finetune_data: (ndarray float32 (60, 3), ndarray int64 (60,))" in command.text


def test_class_names_are_in_the_command_or_in_a_file():
    options = gather_options(dict.fromkeys(RECORDS), {})
    few = command_of_conversion("m.keras", Path("o.onnx"), NO_DATA, ("a", "it's"), options, CARD)
    assert _read_labels(parsed(few.text).labels) == ["a", "it's"]
    for names in (("a, b", "c"), tuple(map(str, range(1000)))):
        many = command_of_conversion("m.keras", Path("o.onnx"), NO_DATA, names, options, CARD)
        assert parsed(many.text).labels == "labels.txt"
        assert any("labels.txt holds" in remark for remark in many.remarks)


def test_what_is_in_memory_becomes_a_call_that_python_reads():
    options = gather_options(dict.fromkeys(RECORDS), {"metric": len, "max_drop": 0.1})
    data = {"calibration": np.zeros((4, 3), np.float32), "evaluation": ("x.npz", None)}
    command = command_of_conversion(len, Path("o.onnx"), data, ("a", "b"), options, CARD)
    assert not command.is_exact
    compile(command.text, "command", "exec")
    assert "# calibration: ndarray float32 (4, 3)" in command.text
    assert "labels=['a', 'b']" in command.text
    assert "max_drop=0.1" in command.text


@pytest.mark.parametrize("names", [("tench, Tinca tinca", "shark"), (" a", "b"), ("only",)])
def test_names_that_commas_cannot_separate_are_in_a_file_for_a_card_too(names):
    command = command_of_card(replace(CARD, labels=names), Path("o.onnx"))
    assert parsed(command.text).labels == "labels.txt"
    assert any("labels.txt holds" in remark for remark in command.remarks)


def test_a_card_alone_leaves_gaps():
    command = command_of_card(CARD, Path("o.onnx"))
    assert not command.is_exact
    assert command.text == "edgeport convert m.keras \\\n    -o o.onnx"
    assert command.packages == "pip install keras==3.15.1"
