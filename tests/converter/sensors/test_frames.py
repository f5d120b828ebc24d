"""What a user may say of frames, and in which words."""

import json

import pytest

from edgeport import OptionError
from edgeport_converter.sensors.frames import RESIZES, Frames


@pytest.mark.parametrize(
    ("short", "full", "fit"),
    [
        ("keras", "keras-bilinear", "stretch"),
        ("load_img", "load_img-nearest", "stretch"),
        ("pillow", "pillow-bicubic", "stretch"),
        ("opencv", "opencv-linear", "stretch"),
        ("ImageOps.fit", "pillow-bicubic", "crop"),
        ("ImageOps.fit-lanczos", "pillow-lanczos", "crop"),
    ],
)
def test_a_short_name_means_what_the_call_does_by_default(short, full, fit):
    frames = Frames(short)
    assert (frames.resize, frames.fit) == (full, fit)


def test_a_command_line_reads_as_the_same_frames():
    read = Frames.from_text("ImageOps.fit-lanczos scale=1/127.5 mean=127.5 order=bgr size=480x640")
    assert read == Frames(
        "pillow-lanczos", "crop", order="bgr", size=(480, 640), scale=1 / 127.5, mean=127.5
    )
    assert Frames.from_text("fit=pad pad=114,114,114").pad == (114, 114, 114)


@pytest.mark.parametrize("resize", RESIZES)
def test_text_and_json_give_the_frames_back(resize):
    frames = Frames(resize, fit="crop", order="bgr", size=[3, 5], scale=[0.1, 1 / 3, 7], mean=1.5)
    assert Frames.from_text(frames.to_text()) == frames
    assert Frames.from_dict(json.loads(json.dumps(frames.to_dict()))) == frames


def test_nearest_and_area_have_no_antialias():
    for kind in ("nearest", "area"):
        with pytest.raises(OptionError, match="the resize 'keras-"):
            Frames(f"keras-{kind}-antialias")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resize": "pilow"}, r"the resize 'pilow', expected .*did you mean 'pillow'\?"),
        ({"resize": None}, "the resize None"),
        ({"fit": "squeeze"}, "the fit 'squeeze', expected 'stretch', 'crop', 'pad'"),
        ({"order": "rgba"}, "the order 'rgba', expected 'rgb', 'bgr', 'gray'"),
        ({"model_order": "gray"}, "the model_order 'gray'"),
        ({"resize": "opencv", "fit": "pad"}, "no padding of its own"),
        ({"resize": "load_img", "fit": "pad"}, "no padding of its own"),
        ({"resize": "ImageOps.fit", "fit": "pad"}, "leave fit out"),
        ({"pad": 3}, "expected a padding with fit='pad' only"),
        ({"fit": "pad", "pad": 256}, "from 0 to 255"),
        ({"fit": "pad", "pad": 0.5, "resize": "pillow"}, "whole numbers"),
        ({"scale": 0}, "numbers above zero"),
        ({"scale": float("nan")}, "a finite number"),
        ({"mean": "x"}, "a finite number"),
        ({"size": (0, 3)}, "a height and a width from 1"),
        ({"size": 480}, "a height and a width from 1"),
        ({"size": (480, 640), "most_pixels": 1000}, "at most 1000 pixels"),
        ({"most_pixels": 10**12}, "a whole number from 1"),
        ({"most_pixels": True}, "a whole number from 1"),
    ],
)
def test_what_frames_are_not_is_refused(values, message):
    with pytest.raises(OptionError, match=message):
        Frames(**values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keras crop", "the word 'crop'"),
        ("keras fit=crop fit=pad", "fit twice"),
        ("keras fitt=crop", "the key 'fitt'.*did you mean 'fit'"),
        ("keras size=640", "such as 480x640"),
        ("keras scale=1/0", "a number such as 1/255"),
    ],
)
def test_a_wrong_command_line_is_refused(text, message):
    with pytest.raises(OptionError, match=message):
        Frames.from_text(text)


def test_channels_that_are_no_picture_are_refused():
    with pytest.raises(OptionError, match="a picture of 4 channels, expected 1 or 3"):
        Frames().require_channels(4)
    with pytest.raises(OptionError, match="2 numbers as mean"):
        Frames(mean=[1, 2]).require_channels(3)
