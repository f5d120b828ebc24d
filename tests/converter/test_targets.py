"""Which onnxruntime an artifact has to open in, and which CPUs it is right on."""

import keras
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model_of, node

from edgeport import ModelCard, OptionError, Predictor, SelfTestError, TensorSpec
from edgeport.artifact.card import card_json
from edgeport_converter import UnsupportedModelError, convert
from edgeport_converter.artifact import stamping
from edgeport_converter.artifact.golden_samples import Runs, choose
from edgeport_converter.quantization.calibration.ranges import collect_ranges
from edgeport_converter.quantization.qdq.quantize import quantize
from edgeport_converter.quantization.recipe import Recipe
from edgeport_converter.targets import (
    ONNXRUNTIME_FLOOR,
    TARGETS,
    find_engine,
    find_target,
    require_readable,
)
from edgeport_converter.verification.runners import run_as_defined


def test_the_default_is_the_oldest_that_the_runtime_supports():
    engine = find_engine(ONNXRUNTIME_FLOOR)
    assert (engine.version, engine.newest_opset, engine.newest_ir_version) == ("1.19", 21, 10)
    assert engine.opset <= engine.newest_opset
    assert engine.ir_version <= engine.newest_ir_version


@pytest.mark.parametrize("version", ["1.19.2", "1.32.0", "2.0"])
def test_newer_engines_read_what_older_ones_did(version):
    assert find_engine(version).newest_opset >= 21


@pytest.mark.parametrize("version", ["1.18", "1.9.1", "0.5"])
def test_an_engine_that_the_runtime_does_not_support_is_refused(version):
    with pytest.raises(OptionError, match=rf"version is {version}, expected 1\.19 or newer"):
        find_engine(version)


@pytest.mark.parametrize("version", ["", "latest", "1", "1.x"])
def test_what_is_no_version_is_refused(version):
    with pytest.raises(OptionError, match=r"expected one such as '1\.19'"):
        find_engine(version)


@pytest.mark.parametrize(
    ("opset", "ir_version", "reason"), [(22, 10, "opset 22"), (21, 11, "IR version 11")]
)
def test_a_graph_that_needs_more_is_refused_with_the_reason(opset, ir_version, reason):
    engine = find_engine("1.19")
    require_readable(engine, {"": 21, "ai.onnx.ml": 2}, 10)
    with pytest.raises(UnsupportedModelError, match=f"{reason}, onnxruntime 1.19 reads up to"):
        require_readable(engine, {"": opset}, ir_version)


def test_the_card_records_the_engine(two_layer_model, tmp_path):
    report = convert(two_layer_model, tmp_path / "m.onnx", quantize="none", onnxruntime="1.21.1")
    requires = report.card.requires
    assert (requires.onnxruntime, requires.opset, requires.ir_version) == ("1.21", 17, 8)


def saturating_layer():
    """A layer whose weights are all as large as they can be, and the inputs that show it."""
    weights, x = np.ones((64, 8), np.float32), np.ones((4, 64), np.float32)
    nodes = [node("Gemm", ["x", "w", "b"], "z"), node("Gemm", ["z", "v", "b"], "y")]
    constants = {"w": weights, "v": np.eye(8, dtype="f4"), "b": np.zeros(8, np.float32)}
    model = model_of(nodes, {"x": ["N", 64]}, {"y": ["N", 8]}, constants, {"z": ["N", 8]})
    return model, x, x @ weights


def artifact_for(target):
    """The layer quantized for the target, sealed, with golden outputs as ONNX defines them."""
    model, x, expected = saturating_layer()
    float_graph = ir.from_proto(model)
    ranges = collect_ranges(float_graph, lambda size: [{"x": x * share} for share in (0, 1)])
    graph = ir.to_proto(quantize(float_graph, Recipe("static"), ranges, find_target(target)).graph)
    card = ModelCard(
        "m",
        (TensorSpec("x", np.dtype("f4"), ("N", 64), ("N", "F")),),
        (TensorSpec("y", np.dtype("f4"), ("N", 8), ("N", "C")),),
        tolerance={"y": 0.02 * float(expected.max())},
    )
    run = run_as_defined(graph)
    golden = choose(Runs(run, run, run), card.inputs, {"x": x}, lambda _: {"y": 0.0}, made_up=False)
    return stamping.stamp(graph, card_json(card, golden.samples)), x, expected


@pytest.mark.parametrize("target", TARGETS)
def test_an_artifact_answers_right_or_not_at_all(target):
    artifact, x, expected = artifact_for(target)
    try:
        with Predictor.load(artifact) as predictor:
            found = predictor.predict(x)
    except SelfTestError as error:
        # Full weights on a CPU that adds pairs in 16 bits: 255 * 127 + 255 * 127 > 32,767.
        assert find_target(target).judged_as_defined
        assert error.measured > error.allowed  # noqa: PT017
    else:
        np.testing.assert_allclose(found, expected, rtol=0.02)


def test_as_defined_every_target_computes_right():
    for target in TARGETS:
        artifact, x, expected = artifact_for(target)
        graph = onnx.load_from_string(artifact)
        np.testing.assert_allclose(run_as_defined(graph)({"x": x})["y"], expected, rtol=0.02)


def test_a_conversion_for_another_kind_of_cpu_is_proven_as_defined(
    two_layer_model, samples, tmp_path
):
    path = tmp_path / "m.onnx"
    report = convert(
        two_layer_model, path, calibration=samples, quantize="static", target="x86-64-v4"
    )
    assert report.card.quantization.target == "x86-64-v4"
    assert "all 8 bits" in report.card.quantization.weights
    found = run_as_defined(onnx.load(path))({"x": samples})
    expected = two_layer_model.predict(samples, verbose=0)
    assert np.mean(next(iter(found.values())).argmax(1) == expected.argmax(1)) >= 0.99


def test_a_fixed_batch_is_converted_for_another_kind_of_cpu(tmp_path):
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input(batch_shape=(4, 6), name="x"), layers.Dense(40, "relu"), layers.Dense(9)]
    )
    x = np.random.default_rng(1).random((48, 6)).astype(np.float32)
    convert(model, tmp_path / "m.onnx", calibration=x, quantize="static", target="arm64")
    run = run_as_defined(onnx.load(tmp_path / "m.onnx"))
    found = np.concatenate([next(iter(run({"x": x[i : i + 4]}).values())) for i in range(0, 48, 4)])
    expected = np.concatenate([model(x[i : i + 4]) for i in range(0, 48, 4)])
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_an_unknown_target_is_refused():
    with pytest.raises(OptionError, match=r"target is 'z80', expected 'any' or 'x86-64-v3'"):
        find_target("z80")
