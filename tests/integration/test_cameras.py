"""The cameras in the runtime's README run as they stand there, and answer as plain onnxruntime."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from examples import sealed, spec
from onnx_writer import graph, model, node

from edgeport import FrameFormat, ModelCard
from edgeport_converter.sensors.frame_graph import prepend_frames
from edgeport_converter.sensors.frames import Frames

README = Path(__file__).parents[2] / "runtime" / "README.md"
FRAMES = Frames("opencv-area", order="bgr", scale=1 / 255)
PICTURE = (24, 32, 3)
LABELS = ("blue", "green", "red")

# Picamera2 itself needs libcamera. This has the interface that the README uses and the layout that
# its arrays have: of "RGB888", blue stands first, and rows are padded to a multiple of 64 bytes.
STAND_IN = """
import numpy as np

class Picamera2:
    def create_video_configuration(self, main):
        return {"main": main}

    def configure(self, configuration):
        main = configuration["main"]
        assert main["format"] == "RGB888"
        self.width, self.height = main["size"]

    def start(self):
        self.recorded = iter(np.load("frames.npy"))

    def capture_array(self, name):
        assert name == "main"
        row = -(-self.width * 3 // 64) * 64 + 64
        buffer = np.zeros((self.height, row), np.uint8)
        pixels = np.lib.stride_tricks.as_strided(
            buffer, (self.height, self.width, 3), (row, 3, 1)
        )
        pixels[...] = next(self.recorded)
        return pixels

    def stop(self):
        del self.recorded
"""


def block(word: str) -> str:
    """Return the Python block of the README that has this word in it."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [text for text in blocks if word in text]
    return found


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A model that tells the colour of a picture: the mean of each channel, as probabilities."""
    plain = model(
        graph(
            [
                node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
                node("Mul", ["mean", "nine"], ["scores"]),
                node("Gather", ["scores", "order"], ["bgr"], axis=1),
                node("Softmax", ["bgr"], ["colour"], axis=1),
            ],
            [("image", "float32", ["N", *PICTURE])],
            [("colour", "float32", ["N", 3])],
            {"nine": np.float32(9), "order": np.array([2, 1, 0])},
        )
    )
    whole = prepend_frames(onnx.load_from_string(plain), "image", FRAMES)
    for side, name in zip(whole.graph.input[0].type.tensor_type.shape.dim, "NHW", strict=False):
        side.dim_param = name
    card = ModelCard(
        "colours",
        (spec("image", "uint8", ("N", "H", "W", 3), axes=("N", "H", "W", "C")),),
        (spec("colour", "float32", ("N", 3), axes=("N", "C")),),
        labels=LABELS,
        frames={
            "image": FrameFormat("bgr", PICTURE, None, FRAMES.most_pixels, FRAMES.to_text()),
        },
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(sealed(whole.SerializeToString(), card))
    return path


def recording() -> np.ndarray:
    """Return a blue, a green and a red picture with some noise, BGR, (3, 480, 640, 3) uint8."""
    frames = np.random.default_rng(4).integers(0, 90, (3, 480, 640, 3), np.uint8)
    for channel, frame in enumerate(frames):
        frame[..., channel] += 120 + 9 * channel
    return frames


def by_hand(artifact: Path, frames: np.ndarray) -> np.ndarray:
    """Return the scores that the README's code has to print, from OpenCV and numpy alone."""
    scores = []
    for frame in frames:
        small = cv2.resize(frame, PICTURE[1::-1], interpolation=cv2.INTER_AREA).astype(np.float64)
        raised = np.exp(small.mean(axis=(0, 1)) / 255 * 9)
        scores.append((raised / raised.sum()).max())
    session = onnxruntime.InferenceSession(artifact.read_bytes())
    plain = [session.run(None, {"image": frame[None]})[0].max() for frame in frames]
    np.testing.assert_allclose(plain, scores, rtol=1e-4)
    return np.array(scores)


def answers(code: str, folder: Path) -> tuple[tuple[str, ...], list[float]]:
    """Return the labels and the scores that the code prints."""
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    names, scores = zip(*(line.split() for line in done.stdout.splitlines()), strict=True)
    return names, [float(score) for score in scores]


def test_a_recorded_file_is_read_by_opencv(artifact: Path, tmp_path: Path) -> None:
    video = cv2.VideoWriter(
        str(tmp_path / "door.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (640, 480)
    )
    for frame in recording():
        video.write(frame)
    video.release()
    played = cv2.VideoCapture(str(tmp_path / "door.avi"))
    frames = np.stack([played.read()[1] for _ in range(3)])
    expected = by_hand(artifact, frames)
    labels, scores = answers(block("VideoCapture"), tmp_path)
    assert labels == LABELS
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_picamera2_gives_frames_in_padded_rows(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "picamera2.py").write_text(STAND_IN)
    np.save(tmp_path / "frames.npy", recording())
    expected = by_hand(artifact, recording())
    labels, scores = answers(block("Picamera2"), tmp_path)
    assert labels == LABELS
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_photos_of_any_size_are_files_of_the_command(artifact: Path, tmp_path: Path) -> None:
    command = "edgeport predict model.onnx photo.jpg"
    assert f"`{command} ...`" in README.read_text(encoding="utf-8")
    sizes = ((480, 640), (30, 20))
    for frame, (height, width), name in zip(recording(), sizes, ("photo", "other"), strict=False):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), frame[:height, :width])
    frames = [cv2.imread(str(tmp_path / f"{name}.jpg")) for name in ("photo", "other")]
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        [scripts / "edgeport", *command.split()[1:], "other.jpg", "--top-k", "1", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["file"] for row in rows] == ["photo.jpg", "other.jpg"]
    best = [row["labels"][0] for row in rows]
    assert [each["name"] for each in best] == list(LABELS[:2])
    expected = [by_hand(artifact, frame[None])[0] for frame in frames]
    np.testing.assert_allclose([each["score"] for each in best], expected, rtol=0.02)


@pytest.mark.parametrize("word", ["VideoCapture", "Picamera2"])
def test_each_camera_takes_some_ten_lines(word: str) -> None:
    assert len([line for line in block(word).splitlines() if line.strip()]) <= 11
