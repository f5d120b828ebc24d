"""Checks between card and engine: requirements, agreement with the graph, providers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from commands import Capture, fails
from examples import Child, golden, identity, mlp, mlp_artifact, sealed, spec

from edgeport import (
    ArtifactError,
    GoldenSample,
    InferenceError,
    OptionError,
    Predictor,
    Requirements,
    SelfTestError,
    UnsupportedFormatError,
)
from edgeport.artifact.golden import GoldenOutput
from edgeport.engine.providers import refuse_fallback


def test_a_card_that_needs_a_newer_engine_is_refused() -> None:
    card = replace(mlp().card, requires=Requirements(8, 17, "99.1"))
    with pytest.raises(UnsupportedFormatError) as caught:
        Predictor.load(sealed(mlp().onnx, card))
    assert str(caught.value) == (
        f"the artifact needs onnxruntime 99.1 or newer, found {onnxruntime.__version__}: "
        "update onnxruntime, or convert for this version"
    )
    for enough in ("1.19", onnxruntime.__version__):
        fine = replace(mlp().card, requires=Requirements(8, 17, enough))
        Predictor.load(sealed(mlp().onnx, fine)).close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": (spec("z", "float32", ("N", 6)),)}, "input 'x' is missing in the card"),
        ({"inputs": (spec("x", "float64", ("N", 6)),)}, "input 'x' is float64 of shape"),
        ({"inputs": (spec("x", "float32", ("N", 7)),)}, r"shape \(N, 7\) in the card and float32"),
        ({"inputs": (spec("x", "float32", ("N", 2, 3)),)}, r"input 'x' is .* \(N, 2, 3\) in the"),
        ({"outputs": (spec("y", "float32", ("N", 4)),)}, r"output 'y' is .* \(N, 4\) in the"),
        ({"outputs": (spec("q", "float32", ("N", 3)),)}, "output 'q' is .* and missing in"),
    ],
)
def test_a_card_for_another_graph_is_refused(changes: dict[str, Any], words: str) -> None:
    card = replace(mlp().card, tolerance={}, **changes)
    with pytest.raises(ArtifactError, match=f"has a card for another graph: .*{words}"):
        Predictor.load(sealed(mlp().onnx, card))


def test_a_card_may_fix_what_the_graph_leaves_free() -> None:
    onnx = identity("float32", ("N", "T", 2)).onnx
    ports = [spec(name, "float32", ("N", 5, 2)) for name in ("x", "y")]
    card = replace(mlp().card, inputs=(ports[0],), outputs=(ports[1],), labels=None, tolerance={})
    with Predictor.load(sealed(onnx, card)) as predictor:
        assert predictor.predict(np.zeros((3, 5, 2))).shape == (3, 5, 2)


def test_the_named_provider_is_used() -> None:
    with Predictor.load(mlp_artifact(), providers=["CPUExecutionProvider"]) as predictor:
        x = np.ones((2, 6))
        np.testing.assert_allclose(predictor.predict(x), mlp().formula(x), rtol=1e-5)
    with Predictor.load(mlp_artifact(), providers=[("CPUExecutionProvider", {})]) as predictor:
        predictor.predict(np.ones(6))


CPU = "CPUExecutionProvider"


@pytest.mark.parametrize(
    "providers",
    [[5], [()], [(CPU,)], [(CPU, "fast")], [[CPU, {}]], [None]],
)
def test_what_is_no_provider_is_refused(providers: Any) -> None:
    with pytest.raises(OptionError) as caught:
        Predictor.load(mlp_artifact(), providers=providers)
    assert f"there is no execution provider {providers[0]!r} in this" in str(caught.value)


@pytest.mark.parametrize("providers", [["NoneExecutionProvider"], [("NoneExecutionProvider", {})]])
def test_a_provider_that_is_not_there_is_refused(providers: Any) -> None:
    available = ", ".join(onnxruntime.get_available_providers())
    with pytest.raises(OptionError) as caught:
        Predictor.load(mlp_artifact(), providers=providers)
    assert str(caught.value) == (
        "there is no execution provider 'NoneExecutionProvider' in this onnxruntime, expected one "
        f"of {available}: install the onnxruntime package that has it"
    )


@pytest.mark.parametrize("providers", [[], CPU, 5, iter([CPU]), {CPU: {}}])
def test_providers_are_a_list(providers: Any) -> None:
    with pytest.raises(OptionError, match="expected a list of one or more of"):
        Predictor.load(mlp_artifact(), providers=providers)


def test_a_provider_that_does_not_start_is_no_silent_fallback() -> None:
    """Onnxruntime goes on with the CPU; only its list of providers in use tells."""
    with pytest.raises(OptionError) as caught:
        refuse_fallback(
            [("CUDAExecutionProvider", {}), "CPUExecutionProvider"], ["CPUExecutionProvider"]
        )
    assert str(caught.value) == (
        "the execution provider 'CUDAExecutionProvider' did not start, only CPUExecutionProvider "
        "did: check its driver and libraries, or name the providers that this device has"
    )


@pytest.mark.parametrize("size", [0, -1, 1.5, True, None])
def test_an_impossible_chunk_is_refused(size: Any) -> None:
    with pytest.raises(OptionError, match="chunk_bytes is"):
        Predictor.load(mlp_artifact(), chunk_bytes=size)


def test_it_runs_where_nothing_but_the_standard_offers_exist(child: Child, mlp_file: Any) -> None:
    """What Linux alone has: affinity, fork, its hooks, the cgroup's files."""
    code = """
import os, sys
for name in ("sched_getaffinity", "fork", "register_at_fork"):
    delattr(os, name)
import edgeport, edgeport.cli.main
with edgeport.Predictor.load(sys.argv[1], threads=2) as predictor:
    print(predictor.predict([0] * 6).shape)
"""
    assert child(code, mlp_file).stdout == "(3,)\n"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outputs": []}, "card that cannot be read .*no outputs"),
        ({"inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 6]}]}, "an axis of size -1"),
        ({"inputs": [{"name": "x", "dtype": "float32", "shape": [2**70, 6]}]}, "an axis of size"),
        ({"requires": {"ir_version": 8, "opset": 17, "onnxruntime": 99}}, "needs onnxruntime 99"),
        (
            {"requires": {"ir_version": 8, "opset": 17, "onnxruntime": "9" * 5000}},
            "needs onnxruntime 99",
        ),
    ],
)
def test_a_card_of_nonsense_is_the_artifacts_fault(changes: Any, words: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        Predictor.load(mlp().artifact(**changes))


@pytest.mark.parametrize(
    ("features", "output"),
    [(7, "y"), (6, "z")],
)
def test_a_golden_sample_that_does_not_fit_is_the_artifacts_fault(
    features: int, output: str
) -> None:
    record = GoldenOutput.of(np.zeros((1, 3), "f4"), 10)
    sample = GoldenSample({"x": np.zeros((1, features), "f4")}, {output: record})
    with pytest.raises(ArtifactError, match="a golden sample that does not fit its own card"):
        Predictor.load(mlp().artifact(sample))


def test_a_batch_beyond_the_memory_is_an_inference_error() -> None:
    inputs = [{"name": "x", "dtype": "float32", "shape": [2**45, 6], "axes": ["N", "F"]}]
    with (
        Predictor.load(mlp().artifact(inputs=inputs)) as predictor,
        pytest.raises(InferenceError, match=r"not enough memory for 1 samples .*: pass fewer"),
    ):
        predictor.predict(np.ones(6))


@pytest.mark.parametrize(
    ("work", "size", "is_refused"),
    [
        (2**20, 0, False),
        (2**20 - 1, 2**20, True),
        pytest.param(None, 2**20, False, id="unknown work, a large file"),
        pytest.param(None, 0, True, id="unknown work, a small file"),
    ],
)
def test_all_but_tiny_models_run_their_first_golden_sample_at_load_and_all_of_them_for_verify(
    work: int | None, size: int, is_refused: bool, tmp_path: Path, capsys: Capture
) -> None:
    x = np.full((1, 6), 0.5, "f4")
    y = mlp().formula(x).astype("f4")
    card = replace(mlp().card, multiply_accumulates=work, unproven=("x" * size,))
    file = tmp_path / "large.onnx"
    file.write_bytes(sealed(mlp().onnx, card, golden(x, y), golden(x, y + 1)))
    if is_refused:
        with pytest.raises(SelfTestError, match="golden sample 2"):
            Predictor.load(file)
    else:
        Predictor.load(file).close()
    code, sentence = fails(capsys, "verify", file)
    assert code == SelfTestError.exit_code
    assert "golden sample 2" in sentence
    file.write_bytes(sealed(mlp().onnx, card, golden(x, y + 1), golden(x, y)))
    with pytest.raises(SelfTestError, match="golden sample 1"):
        Predictor.load(file)
