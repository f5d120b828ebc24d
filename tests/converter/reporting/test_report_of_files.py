"""Reports of files: what is measured, and what is said of that which is not there."""

import json

import keras
import numpy as np
import onnx
import pytest

from edgeport import ArtifactError, OptionError
from edgeport_converter import convert
from edgeport_converter.reporting.commands import _run
from edgeport_converter.reporting.files import from_file
from edgeport_converter.reporting.records import Missing
from edgeport_converter.reporting.rendering import render

layers = keras.layers


def test_a_file_alone_says_what_is_not_there_and_how_to_get_it(conversion, read_page):
    data = from_file(conversion[1])
    for part in (data.candidates, data.pairs, data.worst, data.activations, data.class_pairs):
        assert isinstance(part, Missing)
        assert part.reason
        assert part.remedy
    assert data.self_test.holds
    assert data.metrics[0].artifact == conversion[0].card.accuracy.artifact
    page = read_page(render(data))
    assert [each for each in page.all("svg") if each.get("role") == "img"] == []
    assert data.pairs.reason in page.text


def test_data_and_model_give_the_figures_of_the_conversion(conversion, classifier, rows):
    x, y = rows
    data = from_file(conversion[1], data=(x, y), model=classifier[1])
    accuracy = conversion[0].accuracy
    measured = data.metrics[1]
    assert (measured.artifact, measured.keras) == (accuracy.artifact, accuracy.keras)
    assert {(one.rows, one.columns) for one in data.class_pairs} == {
        ("label", "Keras"),
        ("label", "artifact"),
        ("Keras", "artifact"),
    }
    assert data.pairs[0].against == "Keras"
    assert [one.form for one in data.reliability] == ["Keras", "artifact"]
    json.dumps(data.to_dict(), allow_nan=False)


def test_labels_that_are_no_classes_are_a_note(conversion, rows):
    data = from_file(conversion[1], data=(rows[0], np.full(len(rows[0]), 9)))
    assert data.metrics[0].samples == conversion[0].card.accuracy.samples
    assert "no accuracy was measured by the labels" in data.notes[0]


def test_another_model_is_not_compared(conversion, rows):
    model = keras.Sequential([keras.Input((4,), name="other"), layers.Dense(4)])
    data = from_file(conversion[1], data=rows, model=model)
    assert "takes 'row' float32 and the Keras model 'other' float32" in data.pairs.reason


def test_nothing_vouches_for_a_plain_file(conversion, tmp_path, read_page):
    graph = onnx.load(conversion[1])
    del graph.metadata_props[:]
    onnx.save(graph, tmp_path / "plain.onnx")
    data = from_file(tmp_path / "plain.onnx")
    assert not data.holds
    assert data.headline.startswith("Nothing vouches for this file")
    assert isinstance(data.self_test, Missing)
    assert "no golden samples" in read_page(render(data)).text


def several_outputs():
    first, second = keras.Input((3,), name="alpha"), keras.Input((2,), name="beta")
    joined = layers.Dense(8, activation="relu")(layers.Concatenate()([first, second]))
    outputs = [layers.Dense(size, name=f"out_{size}")(joined) for size in (1, 2, 3, 4)]
    return keras.Model([first, second], outputs), {"alpha": (40, 3), "beta": (40, 2)}


def sequence():
    inputs = keras.Input((None, 3), name="steps")
    return keras.Model(inputs, layers.Dense(2)(layers.GRU(4, return_sequences=True)(inputs))), {
        "steps": (40, 6, 3)
    }


def picture():
    inputs = keras.Input((8, 8, 3), name="photo")
    hidden = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    return keras.Model(inputs, layers.Dense(2)(hidden)), {"photo": (40, 8, 8, 3)}


@pytest.mark.parametrize("build", [several_outputs, sequence, picture])
def test_regressions_of_every_form_are_shown(build, tmp_path, read_page):
    keras.utils.set_random_seed(1)
    model, shapes = build()
    generator = np.random.default_rng(2)
    samples = {k: generator.normal(size=shape).astype(np.float32) for k, shape in shapes.items()}
    report = tmp_path / "report.html"
    convert(model, tmp_path / "m.onnx", calibration=samples, report=report)
    text = report.read_text(encoding="utf-8")
    page = read_page(text)
    assert len(text) < 5e6
    for name in model.output_names:
        assert f"Output {name}: Keras across, artifact up" in page.text
    assert "The output scores no classes" in page.text


def test_text_goes_in_and_no_golden_sample_comes_out(tmp_path, read_page):
    inputs = keras.Input((2,), dtype="string", name="words")
    hidden = layers.Embedding(3, 4)(layers.StringLookup(vocabulary=["a", "<i>b</i>"])(inputs))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(layers.Flatten()(hidden)))
    samples = np.array([["a", "<i>b</i>"], ["z", "a"]] * 20, object)
    report = tmp_path / "report.html"
    convert(model, tmp_path / "m.onnx", calibration=samples, quantize="none", report=report)
    page = read_page(report.read_text(encoding="utf-8"))
    assert "a card stores arrays as numbers" in page.text
    assert page.all("i") == []


def test_the_command_writes_the_page_beside_the_file(conversion, tmp_path, capsys, monkeypatch):
    options = command(conversion[1], "-o", str(tmp_path / "page.html"), "--json")
    _run(options)
    shown = json.loads(capsys.readouterr().out)
    assert shown["file"]["sha256"] == conversion[0].card.sha256
    assert shown["pairs"]["missing"]
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (["gone.onnx"], ArtifactError, "there is no artifact file 'gone.onnx'"),
        (["m.onnx", "--data", "gone.npz"], ArtifactError, "there is no data file 'gone.npz'"),
        (["m.onnx", "-o", "m.onnx"], OptionError, "does not end in .html"),
    ],
)
def test_the_command_refuses_before_any_work(arguments, error, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"no artifact")
    with pytest.raises(error, match=sentence):
        _run(command(*arguments))


def command(*arguments):
    import argparse

    from edgeport_converter.reporting.commands import add_report

    parser = argparse.ArgumentParser()
    add_report(parser.add_subparsers())
    return parser.parse_args(["report", *map(str, arguments)])
