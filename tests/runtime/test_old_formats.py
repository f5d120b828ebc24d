"""Artifacts of every released format load today, and answer as they always did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgeport import Predictor

DATA = Path(__file__).parents[1] / "data"
ARTIFACTS = sorted(DATA.glob("format_*/*.onnx"))


def stored(artifact: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the inputs and the outputs of that time, by name."""
    with np.load(artifact.with_suffix(".npz")) as file:
        inputs = {name[3:]: file[name] for name in file.files if name.startswith("in_")}
        outputs = {name[4:]: file[name] for name in file.files if name.startswith("out_")}
    return inputs, outputs


def as_dict(predictor: Predictor, answer: Any) -> Mapping[str, Any]:
    return answer if isinstance(answer, dict) else {predictor.card.outputs[0].name: answer}


def test_every_format_has_artifacts() -> None:
    assert {path.parent.name for path in ARTIFACTS} == {"format_1"}


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_old_artifact_answers_as_it_did(artifact: Path) -> None:
    inputs, wanted = stored(artifact)
    with Predictor.load(artifact) as predictor:
        got = as_dict(predictor, predictor.predict(inputs))
        tolerance = predictor.card.tolerance
    assert list(got) == list(wanted)
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=max(tolerance[name], 1e-5))


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_old_artifact_gives_the_bits_of_the_engine(artifact: Path) -> None:
    """One sample at a time: dynamic int8 lets the samples of a batch change each other."""
    inputs, outputs = stored(artifact)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        artifact.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    samples = len(next(iter(inputs.values())))
    with Predictor.load(artifact, threads=1) as predictor:
        for index in range(samples):
            feed = {name: array[index : index + 1] for name, array in inputs.items()}
            wanted = session.run(list(outputs), feed)
            got = as_dict(predictor, predictor.predict(feed))
            for name, array in zip(outputs, wanted, strict=True):
                assert got[name].tobytes() == array.tobytes(), (name, index)
