"""The command line of `edgeport convert`: texts become the values of options."""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeport import ArtifactError, ConversionError, OptionError, Predictor
from edgeport.cli.main import main
from edgeport_converter.commands import (
    _as_on_the_command_line,
    _default_output,
    _given,
    _read_labels,
    add_convert,
)
from edgeport_converter.option_texts import read_frames, read_numbers


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--scale", "1/0"], "--scale is '1/0', expected numbers such as 1/255"),
        (["--mean", "1,b"], "--mean is '1,b', expected numbers"),
        (["--image-range", "1"], "--image-range is '1', expected two numbers such as 0,1"),
        (["--max-drop", "much"], "--max-drop is 'much', expected a number"),
        (["--also", "auto,none"], "also is 'auto', expected one of static"),
        (["--max-drop", "5"], "--max-drop is 5.0, expected a share from 0"),
        (["--epochs", "2"], "--epochs was given without --finetune, expected the data"),
        (["--scale", "2"], "scale was given without --input-uint8, expected it for uint8"),
    ],
)
def test_an_unreadable_value_is_one_sentence_before_any_work(
    arguments, sentence, capsys, tmp_path, monkeypatch
):
    (tmp_path / "m.keras").write_text("{}")
    monkeypatch.chdir(tmp_path)
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


def test_a_signal_in_words_is_in_the_card(two_layer_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    two_layer_model.save("m.keras")
    arguments = ["convert", "m.keras", "--quantize", "none", "--signal"]
    assert main([*arguments, "rate=52.5 window=6 hop=3 pad=yes"]) == 0
    with Predictor.load("m.onnx") as predictor:
        assert predictor.card.signal.in_words == (
            "x: 52.5 Hz, 1 channel, windows of 6 (0.1143 s), one every 3 (0.05714 s), short "
            "recordings end in zeros"
        )
    capsys.readouterr()
    assert main([*arguments, "rate=52.5 window=7"]) == 2
    assert "the signal has windows of 7 samples and 1 channel(s)" in capsys.readouterr().err


def test_a_model_alone_becomes_a_float_artifact_beside_it(
    two_layer_model, samples, tmp_path, capsys
):
    two_layer_model.save(tmp_path / "m.keras")
    assert main(["convert", str(tmp_path / "m.keras")]) == 0
    assert "note       the artifact is a float one, since there is no" in capsys.readouterr().out
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        expected = two_layer_model(samples)
        np.testing.assert_allclose(predictor.predict(samples), expected, atol=1e-6)


@pytest.mark.parametrize("recipe", ["static", "weights"])
def test_a_named_recipe_needs_calibration_data(recipe, two_layer_model, tmp_path, capsys):
    two_layer_model.save(tmp_path / "m.keras")
    assert main(["convert", str(tmp_path / "m.keras"), "--quantize", recipe]) == 2
    error = capsys.readouterr().err
    assert "pass --calibration, or --quantize none for a float artifact" in error
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("option", ["--calibration", "--evaluation", "--weights", None])
def test_a_missing_file_is_refused_before_tensorflow_starts(option, tmp_path):
    (tmp_path / "m.json").touch()
    arguments = ["m.json", option, "gone.npz"] if option else ["gone.npz"]
    code = "import sys\nfrom edgeport.cli.main import main\ncode = main(sys.argv[1:])\n"
    code += "assert 'tensorflow' not in sys.modules\nsys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", code, "convert", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    purpose = option.removeprefix("--") if option else "model"
    assert done.stderr == f"edgeport: there is no {purpose} file 'gone.npz': check the path\n"
    assert done.returncode == 3


def test_a_table_with_labels_in_text_is_measured(two_layer_model, samples, tmp_path):
    two_layer_model.save(tmp_path / "m.keras")
    classes = two_layer_model.predict(samples, verbose=0).argmax(axis=1)
    head = ["f", "e", "kind", "d", "c", "b", "a"]
    named = dict(zip("abcdef", samples.T.tolist(), strict=True))
    named["kind"] = [("x", "y", "z")[number] for number in classes]
    rows = [",".join(map(str, row)) for row in zip(*(named[name] for name in head), strict=True)]
    (tmp_path / "e.csv").write_text("\n".join([",".join(head), *rows]))
    np.savetxt(tmp_path / "c.csv", samples, delimiter=",", header="a,b,c,d,e,f", comments="")
    arguments = ["convert", str(tmp_path / "m.keras"), "--quantize", "none", "--labels", "x,y,z"]
    arguments += ["--calibration", str(tmp_path / "c.csv"), "--evaluation", str(tmp_path / "e.csv")]
    assert main([*arguments, "--label-column", "kind"]) == 0
    assert Predictor.load(tmp_path / "m.onnx").card.accuracy.keras == 1.0
    assert main(arguments) == 2


def test_labels_are_a_list_of_any_length_or_a_file(tmp_path):
    names = [f"class {number}" for number in range(200)]
    assert _read_labels(", ".join(names)) == names
    (tmp_path / "names.txt").write_bytes("\ufeffZürich\n\n Oslo \n".encode())
    assert _read_labels(str(tmp_path / "names.txt")) == ["Zürich", "Oslo"]
    (tmp_path / "old.txt").write_bytes("Zürich".encode("latin-1"))
    with pytest.raises(OptionError, match="is no UTF-8 text"):
        _read_labels(str(tmp_path / "old.txt"))


@pytest.mark.parametrize("output", ["names.onnx", "other.onnx"])
def test_the_labels_file_is_never_overwritten(output, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("m.keras").write_text("{}")
    Path("c.npz").touch()
    Path("names.onnx").write_text("cat\ndog\n")
    Path("other.int16.onnx").hardlink_to("names.onnx")
    command = ["convert", "m.keras", "-o", output, "--labels", "names.onnx", "--also", "int16"]
    assert main([*command, "--calibration", "c.npz"]) == 2
    assert "would be overwritten, but 'names.onnx' is read" in capsys.readouterr().err
    assert Path("names.onnx").read_text() == "cat\ndog\n"


@pytest.mark.parametrize("text", ["lables.txt", "data/names"])
def test_a_mistyped_labels_file_is_no_class_name(text):
    with pytest.raises(ArtifactError, match=f"there is no labels file '{text}'"):
        _read_labels(text)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1/255", 1 / 255), (" 1 / 4, 2", [0.25, 2]), ("1e400", np.inf), ("1e999999999", np.inf)],
)
def test_fractions_are_read_at_once_whatever_their_size(text, numbers):
    assert read_numbers("--scale", text) == numbers


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ("-o", "the output '' is a folder, expected a file"),
        ("--calibration", "the calibration data is an empty path"),
        ("--evaluation", "the evaluation data is an empty path"),
    ],
)
def test_an_empty_path_is_not_taken_for_none(option, sentence, tmp_path, monkeypatch, capsys):
    """A shell makes one of a variable that is not set."""
    monkeypatch.chdir(tmp_path)
    Path("m.keras").write_text("{}")
    assert main(["convert", "m.keras", option, ""]) == 2
    assert capsys.readouterr().err.startswith(f"edgeport: {sentence}")


def test_recipes_may_stand_apart():
    options = argparse.ArgumentParser()
    add_convert(options.add_subparsers())
    for text in ("int16,none", " int16, none", "int16,none,"):
        found = _given(options.parse_args(["convert", "m.keras", "--also", text]))
        assert found == {"also": ["int16", "none"]}


def test_the_output_is_named_after_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved.v2").mkdir()
    given = ["a/m.keras", "m.weights.h5", "saved.v2", "package.module:build", "code.py:build"]
    names = ["a/m.onnx", "m.weights.onnx", "saved.v2.onnx", "build.onnx", "build.onnx"]
    assert [_default_output(model).as_posix() for model in given] == names


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("pass calibration=, or quantize='none'", "pass --calibration, or --quantize none"),
        ("pass evaluation=(x, y), or leave it out", "pass --evaluation, or leave it out"),
        ("pass allow_code=True, or --allow-code", "pass --allow-code"),
        ("pass a smaller max_drop", "pass a smaller --max-drop"),
        ("the labels=[...] and pass weights=", "the --labels and pass --weights"),
        ("a layer with return_state=True", "a layer with return_state=True"),
        ("layers 'my_quantize_1', 'scale'", "layers 'my_quantize_1', 'scale'"),
    ],
)
def test_ways_out_are_options_on_the_command_line(sentence, shown):
    assert _as_on_the_command_line(sentence) == shown


@pytest.mark.parametrize(
    ("texts", "read"),
    [
        (["keras fit=crop"], "keras fit=crop"),
        (["resize=keras fit=crop"], "resize=keras fit=crop"),
        (["none"], "none"),
        (["photo=keras order=bgr"], {"photo": "keras order=bgr"}),
        (["left=keras", "right=opencv"], {"left": "keras", "right": "opencv"}),
    ],
)
def test_frames_are_given_once_or_for_each_input_by_name(texts, read):
    assert read_frames("--frames", texts) == read


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["keras", "opencv"], r"--frames was given 2 times, once as 'keras', expected an input's"),
        (["a=keras", "a=opencv"], r"--frames names an input twice"),
    ],
)
def test_frames_without_a_name_for_each_are_refused(texts, sentence):
    with pytest.raises(OptionError, match=sentence):
        read_frames("--frames", texts)


def test_numbers_inside_of_frames_are_not_taken_for_options():
    sentence = "frames have the word scale=1/255: pass frames='keras scale=1/255'"
    told = _as_on_the_command_line(sentence)
    assert told == "frames have the word scale=1/255: pass --frames keras scale=1/255"


def test_the_output_is_named_as_what_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.json").write_text("{}")
    for name in ("m.tflite", "m.keras", "m.onnx.tmp"):
        assert main(["convert", "m.json", "-o", name]) == 2
        assert f"'{name}' ends in '{Path(name).suffix}', expected a name that ends in .onnx" in (
            capsys.readouterr().err
        )


STARTS_TENSORFLOW = """
import sys
from edgeport.cli.main import main
code = main(["convert", *sys.argv[1:]])
assert "tensorflow" not in sys.modules
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.onnx", b"hello", "'notes.onnx' is a text file that starts with 'hello'"),
        ("m.keras", b"", "'m.keras' is empty"),
        ("m.keras", b"PK\x03\x04abc", "'m.keras' is a truncated or damaged ZIP archive"),
        ("m.h5", b"\x89HDF\r\n\x1a\nabc", "'m.h5' is a truncated or damaged HDF5 file"),
        ("folder/notes.txt", b"hello", "the folder 'folder' holds no model"),
    ],
)
def test_what_is_no_model_is_refused_before_tensorflow_starts(name, content, sentence, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", STARTS_TENSORFLOW, name.partition("/")[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (ConversionError.exit_code, "")
    assert done.stderr.startswith(f"edgeport: {sentence}")
    assert len(done.stderr.splitlines()) == 1
