"""Artifacts that the converter gave frames: each engine computes what the training code did.

``tests/data/README.md`` says how the stored answers were made, with the training's own libraries.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edgeport import InputError, Predictor

FOLDER = Path(__file__).parents[1] / "data" / "frames"
ARTIFACTS = sorted(FOLDER.glob("*.onnx"))
each_artifact = pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda path: path.stem)


def stored(artifact: Path) -> list[tuple[Any, Any]]:
    """Return batches of frames, each of one size, with what Keras answers to their pictures."""
    with np.load(artifact.with_suffix(".npz")) as file:
        names = [name for name in file.files if name.startswith("in_")]
        return [(file[name], file[f"out_{name[3:]}"]) for name in names]


def plain(artifact: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(artifact.read_bytes(), providers=["CPUExecutionProvider"])


def test_there_are_frames_of_any_size_and_of_one() -> None:
    sizes = {len(stored(artifact)) > 1 for artifact in ARTIFACTS}
    assert sizes == {True, False}


@each_artifact
def test_plain_onnxruntime_gives_the_answers_of_the_training_code(artifact: Path) -> None:
    session = plain(artifact)
    for frames, expected in stored(artifact):
        (found,) = session.run(None, {"image": frames})
        np.testing.assert_allclose(found, expected, atol=1e-5)


@each_artifact
def test_a_predictor_gives_the_bits_of_plain_onnxruntime(artifact: Path) -> None:
    session = plain(artifact)
    with Predictor.load(artifact, threads=1) as predictor:
        for frames, _ in stored(artifact):
            for frame in frames:
                (expected,) = session.run(None, {"image": frame[None]})
                assert predictor.predict(frame).tobytes() == expected[0].tobytes()


@each_artifact
def test_frames_in_streams_and_views_are_answered_alike(artifact: Path) -> None:
    with Predictor.load(artifact) as predictor:
        frames = [frame for batch, _ in stored(artifact) for frame in batch]
        expected = np.concatenate([answers for _, answers in stored(artifact)])
        np.testing.assert_allclose([*predictor.stream(frames)], expected, atol=1e-5)
        buffers = [np.ascontiguousarray(frame[:, ::-1, ::-1]) for frame in frames]
        mirrored = [buffer[:, ::-1, ::-1] for buffer in buffers]
        answers = [predictor.predict(frame) for frame in mirrored]
        np.testing.assert_allclose(answers, expected, atol=1e-5)
        for frame in frames:
            with pytest.raises(InputError, match=re.escape("pixels of dtype float32")):
                predictor.predict(frame.astype(np.float32))
