"""The command line of `edgeport convert`: texts become the values of options."""

import pytest

from edgeport import Predictor
from edgeport.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scale", "1/0"], "--scale is '1/0', expected numbers such as 1/255"),
        (["--mean", "1,b"], "--mean is '1,b', expected numbers"),
        (["--image-range", "1"], "--image-range is '1', expected two numbers such as 0,1"),
        (["--max-drop", "much"], "--max-drop is 'much', expected a number"),
        (["--also", "auto,none"], "also is 'auto', expected one of static"),
        (["--max-drop", "5"], "max_drop is 5.0, expected a share from 0"),
    ],
)
def test_an_unreadable_value_is_one_sentence_before_any_work(arguments, sentence, capsys):
    assert main(["convert", "m.keras", "-o", "m.onnx", "--quantize", "none", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"edgeport: {sentence}")
    assert len(error.splitlines()) == 1


def test_values_of_the_command_line_reach_the_artifact(two_layer_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two_layer_model.save("m.keras")
    arguments = ["convert", "m.keras", "-o", "m.onnx", "--quantize", "none", "--input-uint8"]
    assert main([*arguments, "--scale", "1/255", "--mean", "1,2,3,4,5,6"]) == 0
    with Predictor.load("m.onnx") as predictor:
        (words,) = predictor.card.preprocessing
    assert words == "'x': uint8 pixels, (pixel - (1, 2, 3, 4, 5, 6)) * 0.00392157"
