"""Ctrl-C in a search: the best so far is written if it keeps the budget, else nothing is."""

import os
import signal

import numpy as np
import pytest

from edgeport import Predictor
from edgeport_converter import convert
from edgeport_converter.progress import Progress


class Impatient(Progress):
    """Sends a SIGINT when a line begins so for the given time, and keeps all lines."""

    def __init__(self, *beginnings):
        self.left, self.lines = list(beginnings), []

    def say(self, line):
        self.lines.append(line)
        if self.left and line.startswith(self.left[0]):
            self.left.pop(0)
            os.kill(os.getpid(), signal.SIGINT)

    stage = say


def test_the_best_so_far_is_written(two_layer_model, samples, tmp_path):
    output = tmp_path / "m.onnx"
    told = Impatient("quantize: ")
    report = convert(
        two_layer_model,
        output,
        calibration=samples,
        max_drop=0.05,
        also=("weights",),
        progress=told,
    )
    before = told.lines[told.lines.index("quantize") :]
    assert [line.startswith("measure activation") for line in before[:4]].count(True) == 2
    assert report.interrupted
    assert len(report.steps) == 1
    assert report.steps[0].holds
    assert report.recipe == report.steps[0].recipe
    assert report.latency_us > 0
    assert report.variants == {}
    assert any("the search was stopped after 1 candidate," in note for note in report.notes)
    with Predictor.load(output) as predictor:
        found = predictor.predict(samples)
        expected = np.asarray(two_layer_model(samples, training=False))
        assert (found.argmax(1) == expected.argmax(1)).mean() > 0.9


def test_a_variant_that_is_interrupted_leaves_the_choice(two_layer_model, samples, tmp_path):
    class AtVariant(Impatient):
        def say(self, line):
            if line.startswith("quantize: dynamic"):
                os.kill(os.getpid(), signal.SIGINT)

    report = convert(
        two_layer_model,
        tmp_path / "m.onnx",
        calibration=samples,
        max_drop=0.05,
        quantize="static",
        also=("dynamic",),
        progress=AtVariant(),
    )
    assert (report.interrupted, report.variants) == (True, {})
    assert report.recipe.startswith("static")


def unlike_any_other(outputs, labels):
    """Return a metric that every rounding makes worse."""
    return -float(np.abs(outputs - labels).mean())


def test_nothing_is_written_where_nothing_keeps_the_budget(two_layer_model, samples, tmp_path):
    output = tmp_path / "m.onnx"
    output.write_bytes(b"as it was")
    exact = np.asarray(two_layer_model(samples, training=False))
    with pytest.raises(KeyboardInterrupt, match="none of 1 candidates kept the budget: nothing"):
        convert(
            two_layer_model,
            output,
            evaluation=(samples, exact),
            calibration=samples,
            metric=unlike_any_other,
            max_drop=1e-7,
            quantize="static",
            progress=Impatient("quantize: "),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert output.read_bytes() == b"as it was"


def test_a_second_ctrl_c_stops_at_once(two_layer_model, samples, tmp_path):
    progress = Impatient("quantize: ", "stopped: ")
    with pytest.raises(KeyboardInterrupt):
        convert(
            two_layer_model,
            tmp_path / "m.onnx",
            calibration=samples,
            max_drop=0.05,
            progress=progress,
        )
    assert progress.left == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["export", "check parity", "measure", "stamp"])
def test_ctrl_c_outside_of_the_search_writes_nothing(stage, two_layer_model, samples, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        convert(
            two_layer_model,
            tmp_path / "m.onnx",
            calibration=samples,
            max_drop=0.05,
            quantize="static",
            progress=Impatient(stage),
        )
    assert list(tmp_path.iterdir()) == []
