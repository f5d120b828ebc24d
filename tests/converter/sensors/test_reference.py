"""One picture prepared by the library, and what is no frame."""

import numpy as np
import pytest

from edgeport import OptionError
from edgeport_converter.sensors import reference
from edgeport_converter.sensors.frames import Frames
from edgeport_converter.sensors.reference import read_frame

PICTURE = (4, 4, 3)


def test_a_frame_of_the_model_s_size_stays_as_it_is():
    frame = np.arange(48, dtype=np.uint8).reshape(PICTURE)
    for resize in ("keras", "load_img", "pillow-lanczos", "opencv-area"):
        np.testing.assert_array_equal(read_frame(frame, Frames(resize), PICTURE), frame)
        swapped = read_frame(frame, Frames(resize, order="bgr", scale=2, mean=1), PICTURE)
        np.testing.assert_array_equal(swapped, (frame[..., ::-1] - np.float32(1)) * 2)


def test_gray_frames_may_lack_the_channel_axis():
    frame = np.arange(16, dtype=np.uint8).reshape(4, 4)
    found = read_frame(frame, Frames(order="gray"), PICTURE)
    np.testing.assert_array_equal(found, np.repeat(frame[..., None], 3, axis=2))


def test_a_frame_that_is_not_contiguous_is_read_by_its_values():
    frame = np.arange(96, dtype=np.uint8).reshape(4, 8, 3)[::-1, ::2]
    for resize in ("keras", "pillow-box", "opencv-linear"):
        np.testing.assert_array_equal(read_frame(frame, Frames(resize), PICTURE), frame)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        [[[1, 2, 3]]],
    ],
)
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(OptionError, match=r"expected uint8 \(H, W, 3\) in the order 'rgb'"):
        read_frame(frame, Frames(), PICTURE)


def test_a_frame_that_is_too_large_or_of_another_size_is_refused():
    frame = np.zeros((5, 4, 3), np.uint8)
    with pytest.raises(OptionError, match="5 × 4, expected at most 19 pixels"):
        read_frame(frame, Frames(most_pixels=19), PICTURE)
    with pytest.raises(OptionError, match=r"5 × 4, expected the declared size \(4, 5\)"):
        read_frame(frame, Frames(size=(4, 5)), PICTURE)


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(reference._PACKAGES, "opencv", ("no_such_cv2", "opencv-python-headless"))
    with pytest.raises(OptionError, match="pip install opencv-python-headless"):
        read_frame(np.zeros((5, 4, 3), np.uint8), Frames("opencv"), PICTURE)


def test_a_picture_that_the_library_refuses_is_named():
    frame = np.zeros((2, 3, 3), np.uint8)
    for resize in ("load_img", "load_img-lanczos"):
        with pytest.raises(OptionError, match="2 × 3, which pillow cannot bring to 7 × 300"):
            read_frame(frame, Frames(resize, "crop"), (7, 300, 3))
