"""Comparing a frame graph with the library that it stands for, at conversion.

``prove_frames`` runs the graph in onnxruntime on made-up frames, and asks ``reference`` for the
same pictures. A conversion calls it before it writes an artifact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeport import ConversionError, OptionError
from edgeport.artifact.golden import Array
from edgeport_converter.sensors.frame_graph import make_frames_model
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.reference import read_frame, require_library

SIZES = (
    *((1, 1), (1, 7), (9, 1), (2, 3), (5, 4), (31, 47), (96, 96), (97, 95), (240, 320)),
    *((1, 640), (500, 2), (480, 640), (333, 517), (1080, 1920)),
)
"""Heights and widths: single pixels, odd ones, smaller and larger than models, extreme aspects."""

_FLOAT_LEVELS = 0.01
_BYTE_LEVELS = 1.0
_ROUNDING = 1e-3  # of float32, on top


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a graph was from the library.

    Attributes:
        size: (height, width) of the frame.
        levels: the largest difference, in levels of 0 to 255.
    """

    size: tuple[int, int]
    levels: float


def allowed_levels(frames: Frames, channels: int) -> float:
    """Return by how many levels of 255 a graph may differ from its library.

    TensorFlow computes in float, but for gray, which it rounds to a level.
    """
    to_gray = channels == 1 and frames.order != "gray"
    is_float = frames.library == "keras" and not to_gray
    return _FLOAT_LEVELS if is_float else _BYTE_LEVELS


def prove_frames(
    frames: Frames,
    picture: Sequence[int],
    sizes: Iterable[tuple[int, int]] = SIZES,
    photos: Iterable[Array] = (),
    *,
    opset: int = 17,
) -> list[Difference]:
    """Compare the graph with the library on noise, on gradients, and on photos.

    Args:
        frames: what the training code did.
        picture: (h, w, c) of the model's input.
        sizes: of the made-up frames; the declared size alone, where there is one.
        photos: (H, W, C) uint8, in the frames' order.
        opset: of the graph.

    Returns:
        One difference for each frame.

    Raises:
        OptionError: the library is not installed, or refuses all of the frames.
        ConversionError: the graph's answer is too far off.
    """
    import onnxruntime

    require_library(frames)
    session = onnxruntime.InferenceSession(
        make_frames_model(frames, picture, opset=opset).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    plain = replace(frames, scale=1.0, mean=0.0)
    scale, mean = (np.array(frames.numbers(name), np.float32) for name in ("scale", "mean"))
    allowed = allowed_levels(frames, int(picture[2]))
    differences = []
    for frame in (*_made_up(frames, sizes), *photos):
        try:
            expected = read_frame(frame, plain, picture)
        except OptionError:
            continue  # the library refuses such an aspect, so training never saw one
        found = session.run(None, {"frames": frame[None]})[0][0] / scale + mean
        size = (int(frame.shape[0]), int(frame.shape[1]))
        difference = Difference(size, float(np.abs(found - expected).max()))
        if not difference.levels <= allowed + _ROUNDING:
            raise ConversionError(
                f"the graph of frames '{frames.to_text()}' differs from {frames.library} by "
                f"{difference.levels:.3g} levels of 255 on a frame of {size[0]} × {size[1]}, "
                f"expected at most {allowed:g}: choose another resize, or report this"
            )
        differences.append(difference)
    if not differences:
        raise OptionError(
            f"frames are '{frames.to_text()}', and {frames.library} refuses every such frame, so "
            "that nothing can be proven, expected frames that the training could have seen: "
            "choose another size or fit"
        )
    return differences


def _made_up(frames: Frames, sizes: Iterable[tuple[int, int]]) -> Iterator[Array]:
    """Yield noise of black, white and all between, and for larger frames a gradient, too."""
    channels = 1 if frames.order == "gray" else 3
    generator = np.random.default_rng(17)
    for height, width in [frames.size] if frames.size else sizes:
        noise = generator.integers(0, 256, (height, width, channels), np.uint8)
        if (height + width) % 2:
            noise = np.where(noise < 128, np.uint8(0), np.uint8(255))  # the hardest edges
        yield noise
        if height * width > 64:
            ramp = np.add.outer(np.arange(height) * 2, np.arange(width))[..., None]
            yield (ramp * np.arange(1, channels + 1) % 256).astype(np.uint8)
