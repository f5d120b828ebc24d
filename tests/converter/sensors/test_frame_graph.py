"""The graph of frames beside Pillow, OpenCV and TensorFlow themselves."""

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import model_of, node
from onnx import helper
from PIL import Image, ImageOps

from edgeport import OptionError
from edgeport_converter.sensors.frame_graph import make_frames_model, prepend_frames
from edgeport_converter.sensors.frames import RESIZES, Frames
from edgeport_converter.sensors.proof import SIZES, allowed_levels, prove_frames

QUICK = ((1, 1), (2, 3), (31, 47), (97, 95), (1, 300), (130, 3), (120, 161))
PICTURE = (32, 48, 3)


def noise(*shape, seed=5):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def run(model, **feed):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feed)


def fits_of(resize):
    return (
        ("stretch", "crop")
        if resize.startswith(("opencv", "load_img"))
        else (
            "stretch",
            "crop",
            "pad",
        )
    )


@pytest.mark.parametrize("resize", RESIZES)
def test_every_resize_is_its_library_s(resize):
    for fit in fits_of(resize):
        frames = Frames(resize, fit)
        differences = prove_frames(frames, PICTURE, QUICK)
        assert len(differences) >= 7
        if frames.library == "pillow":
            assert max(difference.levels for difference in differences) == 0


@pytest.mark.slow
@pytest.mark.parametrize("picture", [(96, 96, 3), (7, 300, 3)])
@pytest.mark.parametrize("resize", RESIZES)
def test_every_resize_is_its_library_s_on_frames_of_many_sizes(resize, picture):
    for fit in fits_of(resize):
        assert prove_frames(Frames(resize, fit), picture, SIZES)


@pytest.mark.parametrize("resize", ["keras", "load_img-bilinear", "opencv-area", "opencv-linear"])
@pytest.mark.parametrize(
    ("order", "channels"), [("bgr", 3), ("gray", 3), ("gray", 1), ("rgb", 1), ("bgr", 1)]
)
def test_colours_and_gray_are_the_library_s(resize, order, channels):
    frames = Frames(resize, order=order, scale=1 / 127.5, mean=127.5)
    assert prove_frames(frames, (24, 24, channels), QUICK)
    assert allowed_levels(frames, channels) == (
        0.01 if resize == "keras" and (channels == 3 or order == "gray") else 1
    )


@pytest.mark.parametrize("library", ["keras", "pillow-lanczos"])
def test_padding_is_painted_in_the_model_s_colours(library):
    frames = Frames(library, "pad", pad=[10, 20, 30], order="bgr", model_order="bgr")
    assert prove_frames(frames, (24, 24, 3), QUICK)
    picture = run(make_frames_model(frames, (24, 24, 3)), frames=noise(1, 10, 50, 3))[0][0]
    np.testing.assert_array_equal(picture[0, 0], [10, 20, 30])


def test_a_declared_size_gives_the_same_with_ready_weights():
    for resize in ("keras", "pillow-lanczos", "opencv-area", "opencv-nearest"):
        frame = noise(2, 50, 70, 3)
        free, fixed = (
            make_frames_model(Frames(resize, "crop", size=size), PICTURE)
            for size in (None, (50, 70))
        )
        np.testing.assert_allclose(
            run(fixed, frames=frame)[0], run(free, frames=frame)[0], atol=2e-3
        )
        assert not {"Shape", "Range", "Div"} & {node.op_type for node in fixed.graph.node}


@pytest.mark.parametrize("resize", ["keras", "keras-area", "pillow-bicubic", "opencv-linear"])
def test_a_batch_is_its_frames_one_by_one(resize):
    model = make_frames_model(Frames(resize, "crop", order="bgr"), (20, 30, 3))
    frames = noise(3, 41, 33, 3)
    single = [run(model, frames=frame[None])[0][0] for frame in frames]
    np.testing.assert_allclose(run(model, frames=frames)[0], single, atol=1e-3)


def test_teachable_machine_s_own_lines_give_the_same_numbers():
    frame = noise(90, 160, 3)
    image = ImageOps.fit(Image.fromarray(frame), (56, 56), Image.Resampling.LANCZOS)
    expected = np.asarray(image).astype(np.float32) / 127.5 - 1
    frames = Frames("ImageOps.fit-lanczos", scale=1 / 127.5, mean=127.5)
    found = run(make_frames_model(frames, (56, 56, 3)), frames=frame[None])[0][0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_load_img_s_kept_aspect_gives_the_same_numbers(tmp_path):
    import keras

    frame = noise(60, 101, 3)
    Image.fromarray(frame).save(tmp_path / "frame.png")
    for kind in ("nearest", "bilinear", "lanczos"):
        expected = keras.utils.load_img(
            tmp_path / "frame.png",
            target_size=(24, 24),
            interpolation=kind,
            keep_aspect_ratio=True,
        )
        frames = Frames(f"load_img-{kind}", "crop")
        found = run(make_frames_model(frames, (24, 24, 3)), frames=frame[None])[0][0]
        np.testing.assert_array_equal(found, np.asarray(expected))


def test_a_folder_read_by_keras_gives_the_same_numbers(tmp_path):
    import keras

    frame = noise(60, 101, 3)
    (tmp_path / "one").mkdir()
    Image.fromarray(frame).save(tmp_path / "one" / "frame.png")
    for fit, options in (
        ("stretch", {}),
        ("crop", {"crop_to_aspect_ratio": True}),
        ("pad", {"pad_to_aspect_ratio": True}),
    ):
        data = keras.utils.image_dataset_from_directory(
            tmp_path, image_size=(24, 30), verbose=False, **options
        )
        expected = next(iter(data))[0].numpy()[0]
        found = run(make_frames_model(Frames("keras", fit), (24, 30, 3)), frames=frame[None])[0][0]
        np.testing.assert_allclose(found, expected, atol=0.01)


# In front of a model


def a_model(names=("image", "extra")):
    """Twice the mean of the picture, plus another input; its names look like ours."""
    nodes = [
        helper.make_node("ReduceMean", [names[0]], ["frames/1"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["frames/1", "frames/2"], ["frames/3"], name="frames/4"),
        helper.make_node("Add", ["frames/3", names[1]], ["answer"]),
    ]
    inputs = {names[0]: ["N", 6, 8, 3], names[1]: ["N", 1]}
    return model_of(nodes, inputs, {"answer": ["N", 3]}, {"frames/2": np.float32([2])})


def test_frames_stand_in_front_of_a_model_under_the_input_s_name():
    model = a_model()
    before = model.SerializeToString()
    combined = prepend_frames(model, "image", Frames("keras-area", scale=1 / 255))
    onnx.checker.check_model(combined, full_check=True)
    assert model.SerializeToString() == before
    assert [info.name for info in combined.graph.input] == ["image", "extra"]

    frame, extra = noise(2, 30, 16, 3), np.float32([[1], [5]])
    means = frame.mean(axis=(1, 2)) / 255  # an area filter keeps the mean
    found = run(combined, image=frame, extra=extra)[0]
    np.testing.assert_allclose(found, 2 * means + extra, atol=1e-5)


def test_known_shapes_stay_known():
    combined = prepend_frames(a_model(), "image", Frames(size=(30, 16)))
    shapes = {
        info.name: [side.dim_value or side.dim_param for side in info.type.tensor_type.shape.dim]
        for info in (*combined.graph.input, *combined.graph.output, *combined.graph.value_info)
    }
    assert shapes["image"] == ["N", 30, 16, 3]
    assert ["N", 6, 8, 3] in shapes.values()
    assert shapes["answer"] == ["N", 3]


def test_frames_of_two_inputs_differ_in_size():
    pictures = {name: ["N", 6, 8, 3] for name in ("left", "right")}
    subtract = node("Sub", ["left", "right"], "answer")
    model = model_of([subtract], pictures, {"answer": ["N", 6, 8, 3]})
    for name in ("left", "right"):
        model = prepend_frames(model, name, Frames("load_img"))
    onnx.checker.check_model(model, full_check=True)
    sides = [
        [side.dim_param for side in info.type.tensor_type.shape.dim[:3]]
        for info in model.graph.input
    ]
    assert sides == [["N", "H", "W"], ["N", "H2", "W2"]]
    found = run(
        model, left=np.full((1, 30, 16, 3), 7, np.uint8), right=np.full((1, 9, 50, 3), 3, np.uint8)
    )[0]
    np.testing.assert_array_equal(found, np.full((1, 6, 8, 3), 4, np.float32))


def test_a_frames_graph_is_only_for_a_picture_of_fixed_size():
    with pytest.raises(OptionError, match="the input 'photo', found the inputs 'image', 'extra'"):
        prepend_frames(a_model(), "photo", Frames())
    with pytest.raises(OptionError, match="of shape \\('N', 1\\) and type FLOAT"):
        prepend_frames(a_model(), "extra", Frames())


def test_a_model_of_an_old_opset_is_refused():
    model = a_model()
    model.opset_import[0].version = 13
    with pytest.raises(OptionError, match="of opset 13, expected 16 or newer"):
        prepend_frames(model, "image", Frames())


def test_the_graph_has_standard_operators_only():
    for resize in RESIZES:
        model = make_frames_model(Frames(resize), PICTURE)
        onnx.checker.check_model(model, full_check=True)
        assert {node.domain for node in model.graph.node} == {""}
        assert model.ir_version == 8


@pytest.mark.parametrize("opset", [16, 18, 21])
def test_newer_and_older_opsets_give_the_same(opset):
    for resize in ("keras-lanczos3", "pillow-bicubic", "opencv-area", "load_img"):
        frame = noise(1, 40, 50, 3)
        answers = [
            run(make_frames_model(Frames(resize), PICTURE, opset=number), frames=frame)[0]
            for number in (17, opset)
        ]
        np.testing.assert_array_equal(*answers)


def test_a_position_on_a_pixel_s_border_is_rounded_as_the_library_rounds_it():
    """Engines may rewrite ``x * (1 / y)``: 3 * (1 / (21 / 287)) is 41 or just below it."""
    for resize in ("opencv-nearest", "opencv-linear", "keras-gaussian", "pillow-box"):
        assert prove_frames(Frames(resize), (60, 21, 3), [(85, 287), (612, 33), (300, 90)])
