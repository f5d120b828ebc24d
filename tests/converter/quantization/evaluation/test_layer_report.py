"""What each layer became, beside figures that numpy works out."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model_of
from onnx import helper

from edgeport_converter.optimizing import compact
from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.evaluation.keras_layers import KerasLayers
from edgeport_converter.quantization.evaluation.layer_report import BETWEEN_LAYERS, report_layers
from edgeport_converter.quantization.qdq.quantize import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.targets import find_target
from edgeport_converter.verification.runners import run_as_defined

GENERATOR = np.random.default_rng(2)
FIRST = GENERATOR.normal(size=(40, 60)).astype(np.float32)
SECOND = GENERATOR.normal(size=(60, 50)).astype(np.float32)
BIAS = GENERATOR.normal(size=60).astype(np.float32)
X = GENERATOR.normal(size=(16, 40)).astype(np.float32)
LAYERS = KerasLayers(["hidden", "scores"])


@pytest.fixture(scope="module")
def float_graph():
    zeros = np.zeros(50, np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="net/hidden/MatMul"),
        helper.make_node("Relu", ["h"], ["r"], name="net/hidden/Relu"),
        helper.make_node("Gemm", ["r", "v", "c"], ["z"], name="net/scores/MatMul"),
        helper.make_node("Softmax", ["z"], ["y"], name="net/scores/Softmax"),
    ]
    constants = {"w": FIRST, "b": BIAS, "v": SECOND, "c": zeros}
    inner = {"h": ["N", 60], "r": ["N", 60], "z": ["N", 50]}
    return model_of(nodes, {"x": ["N", 40]}, {"y": ["N", 50]}, constants, inner)


def report(float_graph, kind, kept=()):
    model = ir.from_proto(float_graph)
    ranges = collect_ranges(model, lambda size: [{"x": X}])
    recipe = Recipe(kind, float_nodes=frozenset(kept))
    artifact = compact(ir.to_proto(quantize(model, recipe, ranges, find_target("any")).graph))
    return artifact, {
        line.name: line for line in report_layers(float_graph, artifact, LAYERS, {"x": X}, ())
    }


@pytest.mark.parametrize(
    ("kind", "kept", "hidden", "scores"),
    [
        ("static", (), "int8", "int8"),
        ("static", ("net/hidden/MatMul",), "float32", "int8"),
        ("int16", (), "int16", "int16"),
        ("weights", (), "int8 weights, float32 arithmetic", "int8 weights, float32 arithmetic"),
        ("dynamic", (), "int8, ranges at each run", "int8, ranges at each run"),
        ("none", (), "float32", "float32"),
    ],
)
def test_number_formats_are_told_by_layer(float_graph, kind, kept, hidden, scores):
    _, lines = report(float_graph, kind, kept)
    assert (lines["hidden"].number_format, lines["scores"].number_format) == (hidden, scores)


def test_the_error_of_the_last_layer_is_that_of_the_outputs(float_graph):
    artifact, lines = report(float_graph, "static")
    z = np.maximum(X.astype(np.float64) @ FIRST + BIAS, 0) @ SECOND
    expected = np.exp(z - z.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    found = run_as_defined(artifact)({"x": X})["y"]
    ratio = 10 * np.log10(np.sum(expected**2) / np.sum((expected - found) ** 2))
    assert lines["scores"].signal_to_noise_db == pytest.approx(ratio, abs=0.01)


def test_a_float_artifact_has_no_error(float_graph):
    _, lines = report(float_graph, "none")
    assert [line.signal_to_noise_db for line in lines.values()] == [None] * len(lines)


def test_bytes_are_those_of_the_constants(float_graph):
    _, lines = report(float_graph, "none")
    assert 60 * 41 * 4 <= lines["hidden"].weight_bytes < 60 * 41 * 4 + 40
    assert 50 * 61 * 4 <= lines["scores"].weight_bytes < 50 * 61 * 4 + 40


def test_shares_of_time_add_up(float_graph):
    _, lines = report(float_graph, "static")
    assert sum(line.time_share for line in lines.values()) == pytest.approx(1)
    assert lines["hidden"].time_share > 0
    assert set(lines) <= {"hidden", "scores", BETWEEN_LAYERS}


def test_layers_come_in_running_order_with_their_operators(float_graph):
    _, lines = report(float_graph, "none")
    assert [(line.name, line.operators) for line in lines.values()][:2] == [
        ("hidden", ("Gemm", "Relu")),
        ("scores", ("Gemm", "Softmax")),
    ]


def test_the_artifact_is_left_as_it_was(float_graph):
    artifact, _ = report(float_graph, "static")
    before = artifact.SerializeToString()
    report_layers(float_graph, artifact, LAYERS, {"x": X}, ())
    assert artifact.SerializeToString() == before
    onnx.checker.check_model(artifact)
