"""Frames given to ``predict``: answered by their pixels, or refused in one sentence."""

from __future__ import annotations

import collections
import contextlib
import math
import re
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from examples import camera, golden, sealed, spec
from onnx_writer import graph, model, node
from PIL import Image

from edgeport import ArtifactError, InferenceError, InputError, ModelCard, Predictor
from edgeport.inputs.examples import example
from edgeport.inputs.frames import as_frames, usual_size

Array = np.ndarray[Any, np.dtype[Any]]
RANDOM = np.random.default_rng(17)
COLOUR = RANDOM.integers(0, 256, (6, 8, 3), np.uint8)
GRAY = RANDOM.integers(0, 256, (6, 8, 1), np.uint8)


@contextlib.contextmanager
def loaded(
    order: str = "rgb", size: tuple[int, int] | None = None, most_pixels: int = 10**4
) -> Iterator[Predictor]:
    one = camera(order, size)
    frames = {"image": replace(one.card.frames["image"], most_pixels=most_pixels)}
    card = replace(one.card, frames=frames)
    with Predictor.load(sealed(one.onnx, card), threads=1) as predictor:
        yield predictor


def by_numpy(frames: Array) -> Array:
    return camera().formula(frames.reshape(-1, *frames.shape[-3:]))


@pytest.mark.parametrize("height", [1, 2, 7, 96])
@pytest.mark.parametrize("width", [1, 3, 64])
@pytest.mark.parametrize("order", ["rgb", "bgr", "gray"])
def test_frames_of_any_size_are_answered(height: int, width: int, order: str) -> None:
    channels = 1 if order == "gray" else 3
    batch = RANDOM.integers(0, 256, (4, height, width, channels), np.uint8)
    with loaded(order) as predictor:
        np.testing.assert_allclose(predictor.predict(batch), by_numpy(batch), rtol=1e-5)
        for frame, expected in zip(batch, by_numpy(batch), strict=True):
            np.testing.assert_allclose(predictor.predict(frame), expected, rtol=1e-5)
            assert predictor.classify(frame)[0].name == str(expected.argmax())


def test_sizes_may_change_from_call_to_call_and_in_a_stream() -> None:
    sizes = [(6, 8), (6, 8), (8, 6), (6, 8), (1, 1), (1, 1), (1, 1), (30, 40)]
    frames = [RANDOM.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    expected = [by_numpy(frame)[0] for frame in frames]
    with loaded() as predictor:
        answers = [predictor.predict(frame) for frame in frames]
        np.testing.assert_allclose(answers, expected, rtol=1e-5)
        for batch_size in (1, 2, 32):
            streamed = list(predictor.stream(iter(frames), batch_size=batch_size))
            np.testing.assert_allclose(streamed, expected, rtol=1e-5)


def test_a_stream_may_be_fed_from_one_buffer_that_the_camera_fills_again() -> None:
    frames = [RANDOM.integers(0, 256, (6, 8, 3), np.uint8) for _ in range(5)]
    buffer = np.empty((6, 8, 3), np.uint8)

    def camera_frames() -> Iterator[Array]:
        for frame in frames:
            buffer[...] = frame
            yield buffer

    with loaded() as predictor:
        answers = list(predictor.stream(camera_frames(), batch_size=3))
    np.testing.assert_allclose(answers, by_numpy(np.stack(frames)), rtol=1e-5)


# Views as device code makes them, of one buffer whose rows are longer than the picture.
BUFFER = RANDOM.integers(0, 256, (20, 32, 4), np.uint8)
VIEWS = {
    "channels swapped": BUFFER[..., 2::-1],
    "upside down": BUFFER[::-1, :, :3],
    "mirrored": BUFFER[:, ::-1, :3],
    "every second pixel": BUFFER[::2, ::2, :3],
    "crop": BUFFER[3:17, 5:29, :3],
    "turned": BUFFER[..., :3].transpose(1, 0, 2),
    "from channels first": np.ascontiguousarray(BUFFER[..., :3].transpose(2, 0, 1)).transpose(
        1, 2, 0
    ),
    "in columns": np.asfortranarray(BUFFER[..., :3]),
    "one pixel many times": np.broadcast_to(BUFFER[0, 0, :3], (20, 32, 3)),
    "read only": BUFFER[..., :3].copy(),
}
VIEWS["read only"].flags.writeable = False


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_answered_as_their_copies(view: str) -> None:
    frame = VIEWS[view]
    expected = by_numpy(np.array(frame.tolist(), np.uint8))
    with loaded() as predictor:
        np.testing.assert_allclose(predictor.predict(frame), expected[0], rtol=1e-5)
        np.testing.assert_allclose(predictor.predict(frame[None]), expected, rtol=1e-5)
        np.testing.assert_allclose([*predictor.stream([frame])], expected, rtol=1e-5)


def test_gray_frames_may_come_without_their_channel_axis() -> None:
    with loaded("gray") as predictor:
        expected = predictor.predict(GRAY)
        np.testing.assert_allclose(expected, by_numpy(GRAY)[0], rtol=1e-5)
        np.testing.assert_array_equal(predictor.predict(GRAY[..., 0]), expected)
        np.testing.assert_array_equal(predictor.predict(GRAY[None]), expected[None])
        np.testing.assert_array_equal(predictor.predict([GRAY[..., 0]] * 2), [expected] * 2)
        np.testing.assert_array_equal([*predictor.stream([GRAY[..., 0]])], [expected])


class Tensor:
    """What numpy reads as an array, without being one."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return self.array


@pytest.mark.parametrize(
    "value",
    [
        COLOUR.tolist(),
        [*COLOUR],
        memoryview(COLOUR),
        Tensor(COLOUR),
        Image.fromarray(COLOUR),
        COLOUR.view(np.memmap),
        collections.deque(COLOUR),
        {"image": COLOUR},
        COLOUR.astype(np.dtype("u1", metadata={"from": "camera"})),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_frame_in_another_form_is_the_same_frame(value: Any) -> None:
    with loaded() as predictor:
        expected = predictor.predict(COLOUR)
        np.testing.assert_array_equal(predictor.predict(value), expected)
        if not isinstance(value, dict):
            for form in ([value, value], (value, value), {"image": [value, COLOUR]}):
                if not isinstance(form, tuple):
                    np.testing.assert_array_equal(predictor.predict(form), [expected] * 2)


@pytest.mark.parametrize(
    ("value", "found", "remedy"),
    [
        (COLOUR.astype("f4"), "pixels of dtype float32", "as it was before it was scaled"),
        (COLOUR.astype("f4") / 255, "pixels of dtype float32", "as it was before it was scaled"),
        (np.zeros((6, 8, 3)), "pixels of dtype float64", "as it was before it was scaled"),
        (COLOUR.astype("f2"), "pixels of dtype float16", "as it was before it was scaled"),
        (COLOUR.astype("u2"), "pixels of dtype uint16", "bring it to 8 bits first"),
        (COLOUR.astype(">u2"), "pixels of dtype >u2", "bring it to 8 bits first"),
        (COLOUR.astype("i8"), "pixels of dtype int64", "x.astype(np.uint8) if all"),
        (COLOUR.astype("i1"), "pixels of dtype int8", "x.astype(np.uint8) if all"),
        (COLOUR > 9, "pixels of dtype bool", "x.astype(np.uint8) * 255 if True is white"),
        (COLOUR.astype(object), "pixels of dtype object", "decode it to an array"),
        ("photo.jpg", "pixels of dtype <U9", "decode it to an array"),
        (b"\xff\xd8\xff", "pixels of dtype |S3", "decode it to an array"),
        (None, "None", "pass an array"),
        (np.ma.masked_less(COLOUR, 9), "a masked array", "fill them first"),
        ((COLOUR / 255).tolist(), "pixels of dtype float64", "as it was before it was scaled"),
        ((COLOUR > 9).tolist(), "pixels of dtype bool", "if True is white"),
        ([[[256, 0, 0]]], "the value 256 at [0, 0, 0], which uint8 would change", "scale, round"),
        ([[[-1, 0, 0]]], "the value -1 at [0, 0, 0], which uint8 would change", "scale, round"),
        ([COLOUR, COLOUR / 255], "pixels of dtype float64", "as it was before it was scaled"),
        (COLOUR.transpose(2, 0, 1), "the shape (3, 6, 8)", "stand first, x.transpose(1, 2, 0)"),
        (COLOUR.transpose(2, 0, 1)[None], "the shape (1, 3, 6, 8)", "x.transpose(0, 2, 3, 1)"),
        (BUFFER, "the shape (20, 32, 4)", "drop the fourth channel, x[..., :3]"),
        (BUFFER[None], "the shape (1, 20, 32, 4)", "drop the fourth channel, x[..., :3]"),
        (GRAY, "the shape (6, 8, 1)", "it looks gray, np.repeat(x, 3, axis=-1)"),
        (GRAY[..., 0], "the shape (6, 8)", "it looks gray, np.repeat(x[..., None], 3, axis=-1)"),
        (COLOUR[0, 0], "the shape (3,)", "pass one decoded frame"),
        (COLOUR[None, None], "the shape (1, 1, 6, 8, 3)", "pass one decoded frame"),
        ([COLOUR[None]], "the shape (1, 1, 6, 8, 3)", "pass one decoded frame"),
        (COLOUR[..., :2], "the shape (6, 8, 2)", "pass one decoded frame"),
        (np.uint8(7), "the shape ()", "pass one decoded frame"),
        ([], "the shape (0,)", "pass one decoded frame"),
        (COLOUR[:0], "a frame of 0 x 8 (H x W)", "leave it out"),
        (COLOUR[:, :0], "a frame of 6 x 0 (H x W)", "leave it out"),
        ([[]], "the shape (1, 0)", "pass one decoded frame"),
        ([COLOUR, COLOUR[1:]], "frames of 6 x 8 (H x W) and of 5 x 8 (H x W)", "to stream"),
        ([COLOUR, Image.fromarray(COLOUR[:2])], "and of 2 x 8 (H x W)", "to stream"),
        ([[1, 2], [3]], "the shape (2, 2)", "looks gray"),
        ([[[1, 2, 3]], [[1]]], "that numpy cannot turn into an array", "equal lengths"),
    ],
)
def test_what_is_no_frame_is_refused_in_one_sentence(value: Any, found: str, remedy: str) -> None:
    with loaded() as predictor:
        pattern = f"^input 'image' (has|is) .*{re.escape(found)}.*, expected .*: "
        for ask in (predictor.predict, predictor.classify):
            with pytest.raises(InputError, match=pattern + f".*{re.escape(remedy)}"):
                ask(value)
        with pytest.raises(InputError, match=re.escape(found)):
            list(predictor.stream([value]))
        np.testing.assert_allclose(predictor.predict(COLOUR), by_numpy(COLOUR)[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (COLOUR, "convert it to gray first"),
        (BUFFER[None], "convert it to gray first"),
        (RANDOM.integers(0, 256, (5, 6, 8), np.uint8), "add the channel axis, x[..., None]"),
        (GRAY.transpose(2, 0, 1), "its channels stand first"),
        (GRAY.transpose(2, 0, 1)[None], "its channels stand first"),
    ],
)
def test_what_is_no_gray_frame_is_refused_in_one_sentence(value: Array, remedy: str) -> None:
    with (
        loaded("gray") as predictor,
        pytest.raises(InputError, match=f"in the order gray, .*{re.escape(remedy)}"),
    ):
        predictor.predict(value)


class Interface:
    """A tensor of any size that takes no memory."""

    def __init__(self, *shape: int) -> None:
        self.base = np.zeros(1, np.uint8)
        self.__array_interface__ = {
            **self.base.__array_interface__,
            "shape": shape,
            "strides": (0,) * len(shape),
        }


class Reader:
    """A file or a tensor on another device: it tells its shape, and reading it takes memory."""

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.zeros(self.shape, np.uint8)


PIXEL = [1, 2, 3]
ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
HUGE = {
    "a list that holds itself": ENDLESS,
    "an array": np.broadcast_to(COLOUR[0, 0], (10**5, 10**4, 3)),
    "a batch": np.broadcast_to(COLOUR[0, 0], (2, 10**5, 10**4, 3)),
    "floats": np.broadcast_to(np.float64(1), (10**5, 10**4, 3)),
    "an interface": Interface(10**5, 10**4, 3),
    "a reader": Reader(10**5, 10**4, 3),
    "nested lists": [[PIXEL] * 10**4] * 10**5,
    "a batch of arrays": [np.broadcast_to(COLOUR[0, 0], (10**5, 10**4, 3))] * 2,
    "a batch of interfaces": [Interface(10**5, 10**4, 3)],
    "lists of an array": [[np.broadcast_to(COLOUR[0, 0], (10**5, 10**4, 3))]],
    "frames of two sizes": [COLOUR, np.broadcast_to(COLOUR[0, 0], (10**5, 10**4, 3))],
    "deque": collections.deque([Interface(10**5, 10**4, 3)]),
    "beyond every integer": np.broadcast_to(COLOUR[0, 0], (2**31, 2**30, 3)),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_frame_beyond_the_cards_limit_is_refused_before_memory_is_asked_for(kind: str) -> None:
    with loaded() as predictor:
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match=r"^input 'image' (is|has) "):
                predictor.predict(HUGE[kind])
            assert tracemalloc.get_traced_memory()[1] < 2**21
        finally:
            tracemalloc.stop()


def test_the_largest_frame_is_answered_and_one_more_row_is_not() -> None:
    frame = RANDOM.integers(0, 256, (101, 100, 3), np.uint8)
    with loaded() as predictor:
        np.testing.assert_allclose(
            predictor.predict(frame[:100]), by_numpy(frame[:100])[0], rtol=1e-5
        )
        with pytest.raises(InputError) as caught:
            predictor.predict(frame)
    assert str(caught.value) == (
        "input 'image' is a frame of 101 x 100 (H x W), which are 10,100 pixels, expected at most "
        "10,000: crop it, or convert the model again with a larger most_pixels"
    )


def test_only_the_declared_size_is_taken() -> None:
    with loaded(size=(6, 8)) as predictor:
        for value in (COLOUR, COLOUR.tolist(), Image.fromarray(COLOUR)):
            for _ in range(3):  # through the fast path, too
                np.testing.assert_allclose(predictor.predict(value), by_numpy(COLOUR)[0], rtol=1e-5)
        for other in (COLOUR[1:], COLOUR.transpose(1, 0, 2), COLOUR[None, :, 1:]):
            with pytest.raises(InputError, match=r"expected 6 x 8 \(H x W\), the only size"):
                predictor.predict(other)
        with pytest.raises(InputError, match=r"is a frame of 6 x 7 .*the only size"):
            predictor.predict(Image.fromarray(COLOUR[:, :7].copy()))


def test_an_empty_batch_of_frames_has_an_empty_answer() -> None:
    with loaded() as predictor:
        assert predictor.predict(np.zeros((0, 6, 8, 3), np.uint8)).shape == (0, 9)


@pytest.mark.parametrize("shape", [(480, 640, 3), (2, 480, 640, 3)])
def test_neither_a_frame_nor_a_view_is_copied_before_the_engine(shape: tuple[int, ...]) -> None:
    spec, frames = camera().card.inputs[0], camera().card.frames["image"]
    frame = RANDOM.integers(0, 256, shape, np.uint8)
    assert as_frames(spec, frames, frame) is frame
    for view in (frame[..., ::-1], frame[..., ::2, ::2, :]):
        assert np.shares_memory(as_frames(spec, frames, view), frame)


def test_the_bits_are_those_of_the_plain_engine() -> None:
    session = onnxruntime.InferenceSession(camera().onnx, providers=["CPUExecutionProvider"])
    with loaded() as predictor:
        for size in ((6, 8), (33, 17)):
            frames = RANDOM.integers(0, 256, (3, *size, 3), np.uint8)
            for frame in frames:
                (expected,) = session.run(None, {"image": frame[None]})
                assert predictor.predict(frame).tobytes() == expected[0].tobytes()


@pytest.mark.parametrize("size", [None, (6, 8), (600, 700)])
def test_every_way_to_ask_gives_the_same_bits(size: tuple[int, int] | None) -> None:
    frame = RANDOM.integers(0, 256, (*(size or (33, 17)), 3), np.uint8)
    with loaded(size=size, most_pixels=10**6) as predictor:
        expected = predictor.predict(frame)
        answers = [
            *(predictor.predict(frame) for _ in range(3)),
            predictor.predict({"image": frame}),
            predictor.predict(frame[None])[0],
            predictor.predict(frame, finite=True),
            predictor.predict(frame, timeout=60),
            *predictor.stream([frame]),
        ]
    assert expected.shape == (9,)
    assert {answer.tobytes() for answer in answers} == {expected.tobytes()}


def test_a_frame_that_the_engine_fails_on_is_an_inference_error() -> None:
    """The graph takes no size but one, which its card does not say."""
    content = graph(
        [
            node("Reshape", ["image", "sizes"], ["flat"]),
            node("Cast", ["flat"], ["y"], to=1),
        ],
        [("image", "uint8", ["N", "height", "width", 3])],
        [("y", "float32", ["N", 9])],
        {"sizes": np.array([-1, 9])},
    )
    with Predictor.load(sealed(model(content), camera().card)) as predictor:
        good = np.arange(9, dtype=np.uint8).reshape(1, 3, 3)
        np.testing.assert_array_equal(predictor.predict(good), np.arange(9))
        with pytest.raises(InferenceError, match="failed while running the model"):
            predictor.predict(COLOUR[:5, :1])
        with pytest.raises(InferenceError, match=r"has shape \(16, 9\) for 1 samples"):
            predictor.predict(COLOUR)
        np.testing.assert_array_equal(predictor.predict(good), np.arange(9))


def test_frames_stand_beside_other_inputs_by_name() -> None:
    """y = (mean of the frame) * gain."""
    content = graph(
        [
            node("Cast", ["image"], ["pixels"], to=1),
            node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2], keepdims=0),
            node("Mul", ["mean", "gain"], ["y"]),
        ],
        [("image", "uint8", ["N", "height", "width", 3]), ("gain", "float32", ["N", 1])],
        [("y", "float32", ["N", 3])],
    )
    one = camera().card
    card = replace(
        one,
        inputs=(*one.inputs, spec("gain", "float32", ("N", 1))),
        outputs=(spec("y", "float32", ("N", 3)),),
    )
    with Predictor.load(sealed(model(content), card)) as predictor:
        expected = COLOUR.mean(axis=(0, 1)) * 2
        for ask in ((COLOUR, [2]), ({"gain": [2.0], "image": COLOUR.tolist()},)):
            np.testing.assert_allclose(predictor.predict(*ask), expected, rtol=1e-5)
        with pytest.raises(InputError, match="input 'image' has pixels of dtype float64"):
            predictor.predict(COLOUR / 255, [2])
        with pytest.raises(InputError, match=r"input 'image' is one sample .* a batch"):
            predictor.predict(COLOUR, [[2]])


def test_golden_frames_are_run_at_load() -> None:
    one = camera()
    sample = golden(COLOUR[None], one.formula(COLOUR[None]).astype("f4"))
    sample = replace(sample, inputs={"image": sample.inputs["x"]})
    with Predictor.load(one.artifact(sample)) as predictor:
        assert len(predictor.card.golden_samples) == 1


def test_a_reload_keeps_the_order_of_the_channels() -> None:
    with loaded("rgb") as predictor:
        with pytest.raises(ArtifactError, match=r"frames in the order bgr, expected .* rgb"):
            predictor.reload(camera("bgr").artifact())
        predictor.reload(camera("rgb").artifact())


@pytest.mark.parametrize(
    ("size", "most_pixels", "expected"),
    [
        (None, 2**26, (480, 640)),
        (None, 480 * 640, (480, 640)),
        (None, 480 * 640 - 1, (554, 554)),
        (None, 1, (1, 1)),
        ((30, 20), 10**4, (30, 20)),
    ],
)
def test_trial_frames_have_the_size_of_many_cameras(
    size: tuple[int, int] | None, most_pixels: int, expected: tuple[int, int]
) -> None:
    one = camera(size=size).card
    frames = replace(one.frames["image"], most_pixels=most_pixels)
    card: ModelCard = replace(one, frames={"image": frames})
    made = example(card, 2)["image"]
    assert usual_size(frames) == made.shape[1:3] == expected
    assert (made.dtype, made.shape[0], made.shape[3]) == (np.uint8, 2, 3)
    if math.prod(expected) > 100:
        assert made.min() < 5
        assert made.max() > 250
    if size is None:
        assert example(card, 1, {"height": 5, "width": 7})["image"].shape == (1, 5, 7, 3)
