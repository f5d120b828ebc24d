"""A graph that is not its library's is caught at conversion."""

import numpy as np
import pytest

from edgeport import ConversionError, OptionError
from edgeport_converter.sensors import proof
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.proof import prove_frames

PICTURE = (12, 12, 3)


def test_a_graph_of_another_resize_is_refused(monkeypatch):
    made = proof.make_frames_model

    def other(frames, picture, **options):
        return made(Frames("keras-bilinear"), picture, **options)

    monkeypatch.setattr(proof, "make_frames_model", other)
    assert prove_frames(Frames("keras"), PICTURE, [(40, 30)])
    with pytest.raises(
        ConversionError,
        match=r"'pillow-bilinear' differs from pillow by \d+.* on a frame of 40 × 30, expected at "
        "most 1",
    ):
        prove_frames(Frames("pillow-bilinear"), PICTURE, [(40, 30)])


def test_photos_of_the_user_count_too():
    photo = np.random.default_rng(1).integers(0, 256, (33, 21, 3), np.uint8)
    (difference,) = prove_frames(Frames("opencv"), PICTURE, sizes=(), photos=[photo])
    assert difference.size == (33, 21)


def test_a_declared_size_is_the_only_one_tried():
    sizes = {
        difference.size for difference in prove_frames(Frames("keras", size=(20, 31)), PICTURE)
    }
    assert sizes == {(20, 31)}


@pytest.mark.parametrize("text", ["keras fit=pad size=1x4000", "load_img fit=crop size=1x30000"])
def test_frames_of_which_the_library_refuses_all_are_refused(text):
    """TensorFlow pads neither to a height of 0, nor does load_img crop to a width of 0."""
    with pytest.raises(OptionError, match="refuses every such frame, so that nothing"):
        prove_frames(Frames.from_text(text), (24, 20, 3))
