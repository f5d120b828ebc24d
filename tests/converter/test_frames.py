"""convert(frames=...): any frame in, and the answers that the training's own library leads to."""

import cv2
import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from edgeport import ConversionError, OptionError, Predictor, TensorSpec
from edgeport_converter import Frames, convert
from edgeport_converter.data.datasets import read_dataset
from edgeport_converter.sensors import proof

CHANCE = np.random.default_rng(7)
SIDES = [(int(h), int(w)) for h, w in CHANCE.integers(9, 70, (120, 2))]
COLOURS = np.array([[210, 60, 40], [40, 200, 70], [60, 70, 220]])
CLASSES = np.arange(len(SIDES)) % 3


def photo(number):
    """A smooth picture in the colour of its class, with noise."""
    height, width = SIDES[number]
    coarse = COLOURS[CLASSES[number]] + np.random.default_rng(number).normal(0, 60, (4, 5, 3))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth, 0, 255).astype(np.uint8)


FRAMES = [photo(number) for number in range(len(SIDES))]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [
            keras.Input((12, 16, 3), name="photo"),
            keras.layers.Conv2D(6, 3, strides=2, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, activation="softmax", name="scores"),
        ],
        name="colours",
    )
    network.compile("adam", "sparse_categorical_crossentropy")
    x = np.stack([tf.image.resize(frame, (12, 16)).numpy() for frame in FRAMES]) / 127.5 - 1
    network.optimizer.learning_rate = 0.02
    network.fit(x, CLASSES, epochs=8, verbose=0)
    return network


def by_teachable_machine(frame):
    """The sample code of Teachable Machine for Keras."""
    image = ImageOps.fit(Image.fromarray(frame), (16, 12), Image.Resampling.LANCZOS)
    return np.asarray(image).astype(np.float32) / 127.5 - 1


def by_opencv(frame):
    return cv2.resize(frame, (16, 12), interpolation=cv2.INTER_AREA).astype(np.float32) / 127.5 - 1


def by_keras(frame):
    return tf.image.resize(frame, (12, 16)).numpy() / 127.5 - 1


@pytest.mark.parametrize(
    ("frames", "prepare"),
    [
        ("ImageOps.fit-lanczos mean=127.5 scale=1/127.5", by_teachable_machine),
        (Frames("keras", mean=127.5, scale=1 / 127.5), by_keras),
        ("opencv-area mean=127.5 scale=1/127.5", by_opencv),
    ],
    ids=["ImageOps.fit", "keras", "opencv"],
)
def test_a_float_artifact_answers_frames_as_the_training_code_and_keras_do(
    model, frames, prepare, tmp_path
):
    convert(model, tmp_path / "m.onnx", frames=frames)
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        assert predictor.card.inputs[0].shape == ("N", "H", "W", 3)
        assert predictor.card.inputs[0].dtype == np.uint8
        assert len({sample.inputs["photo"].shape for sample in predictor.card.golden_samples}) == 2
        for frame in FRAMES[:12]:
            expected = model(prepare(frame)[None], training=False).numpy()[0]
            assert predictor.predict(frame) == pytest.approx(expected, abs=2e-3)
    # Every language's onnxruntime gets the same, without a line of ours.
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    found = session.run(None, {"photo": FRAMES[0][None]})[0][0]
    assert found == pytest.approx(model(prepare(FRAMES[0])[None]).numpy()[0], abs=2e-3)


def test_an_int8_artifact_tells_the_accuracy_that_a_device_measures(model, tmp_path):
    """Also with frames of many sizes, in the camera's own order, and for a variant."""
    bgr = [frame[..., ::-1] for frame in FRAMES]
    report = convert(
        model,
        tmp_path / "m.onnx",
        calibration=bgr,
        evaluation=(bgr, CLASSES),
        labels=["red", "green", "blue"],
        quantize="static",
        also=["none"],
        frames="pillow-bilinear order=bgr mean=127.5 scale=1/127.5",
        max_drop=0.1,
    )
    for path in (tmp_path / "m.onnx", tmp_path / "m.none.onnx"):
        with Predictor.load(path) as predictor:
            right = [
                predictor.predict(frame).argmax() == label
                for frame, label in zip(bgr, CLASSES, strict=True)
            ]
            card = predictor.card
            assert card.accuracy.artifact == np.mean(right)
            assert card.frames["photo"].order == "bgr"
            assert card.inputs[0].value_range == (0.0, 255.0)
            assert card.provenance["frames_proven_with"].startswith("pillow ")
    small = [
        np.asarray(Image.fromarray(frame).resize((16, 12), Image.Resampling.BILINEAR))
        for frame in FRAMES
    ]
    scores = model.predict(np.stack(small).astype(np.float32) / 127.5 - 1, verbose=0)
    assert report.accuracy.keras == np.mean(scores.argmax(axis=1) == CLASSES)
    assert "frames     'photo': uint8 frames of any size in bgr" in report.to_text()


def test_a_folder_is_read_as_the_device_reads_its_files(model, tmp_path):
    folder = tmp_path / "photos"
    for number, frame in enumerate(FRAMES[:30]):
        path = folder / f"class_{CLASSES[number]}" / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        Image.fromarray(frame).save(path, quality=92, exif=exif)
    convert(
        model,
        tmp_path / "m.onnx",
        evaluation=folder,
        frames="keras mean=127.5 scale=1/127.5",
    )
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        assert predictor.card.labels == tuple(sorted(path.name for path in folder.iterdir()))
        right, by_hand = [], []
        for path in sorted(folder.rglob("*.jpg")):
            with Image.open(path) as image:
                right.append(predictor.predict(image).argmax() == int(path.parent.name[-1]))
                upright = np.asarray(ImageOps.exif_transpose(image))
            by_hand.append(
                model(by_keras(upright)[None]).numpy().argmax() == int(path.parent.name[-1])
            )
        assert predictor.card.accuracy.samples == 30
        assert predictor.card.accuracy.artifact == np.mean(right)
        assert predictor.card.accuracy.keras == np.mean(by_hand)


def test_one_image_among_several_inputs_takes_frames_by_its_name(tmp_path):
    photo = keras.Input((8, 8, 1), name="photo")
    meta = keras.Input((3,), name="meta")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(photo), meta])
    model = keras.Model([photo, meta], keras.layers.Dense(2, name="y")(joined))
    frames, rows = FRAMES[:24], CHANCE.normal(size=(24, 3)).astype(np.float32)
    convert(
        model,
        tmp_path / "m.onnx",
        calibration={"photo": frames, "meta": rows},
        quantize="none",
        frames={"photo": "opencv scale=1/255"},
    )
    gray = cv2.resize(cv2.cvtColor(frames[3], cv2.COLOR_RGB2GRAY), (8, 8)).astype(np.float32) / 255
    expected = model([gray[None, ..., None], rows[3:4]]).numpy()[0]
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        found = predictor.predict({"photo": frames[3], "meta": rows[3]})
        assert found == pytest.approx(expected, abs=0.01)
    convert(model, tmp_path / "single.onnx", frames="keras")  # there is one image only
    with pytest.raises(OptionError, match="input 'picture', found the inputs 'photo' float32"):
        convert(model, tmp_path / "n.onnx", frames={"picture": "keras"})


def test_two_images_take_frames_of_two_sizes(tmp_path):
    left, right = keras.Input((6, 6, 3), name="left"), keras.Input((4, 4, 3), name="right")
    parts = [keras.layers.GlobalAveragePooling2D()(side) for side in (left, right)]
    model = keras.Model([left, right], keras.layers.Subtract(name="y")(parts))
    convert(model, tmp_path / "m.onnx", frames={"left": "keras", "right": "pillow"})
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        assert predictor.card.inputs[1].shape == ("N", "H2", "W2", 3)
        found = predictor.predict({"left": FRAMES[0], "right": FRAMES[1]})
    first = tf.image.resize(FRAMES[0], (6, 6)).numpy().mean(axis=(0, 1))
    second = np.asarray(Image.fromarray(FRAMES[1]).resize((4, 4))).mean(axis=(0, 1))
    assert found == pytest.approx(first - second, abs=0.1)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"frames": "keras", "input_uint8": True}, "input_uint8 was given with frames, which"),
        ({"frames": "keras", "image_range": (0, 1)}, "image_range was given with frames, which"),
        ({"frames": "keras", "scale": 2.0}, "scale was given"),
        ({"frames": "kera"}, "did you mean 'keras'"),
        (
            {"frames": " "},
            "frames are ' ', expected the call of the training code",
        ),
        ({"frames": 3}, "frames is 3, expected Frames, a text such as 'keras fit=crop'"),
        (
            {"frames": "keras", "evaluation": np.zeros((4, 12, 16, 3), np.float32)},
            "the frame is float32 .* and floats are for frames='none'",
        ),
        ({"frames": "keras", "evaluation": [FRAMES[0], FRAMES[1][..., :1]]}, "expected uint8"),
    ],
)
def test_what_frames_cannot_be_is_said_in_a_sentence(model, options, expected, tmp_path):
    with pytest.raises(OptionError, match=expected):
        convert(model, tmp_path / "m.onnx", **options)
    assert not (tmp_path / "m.onnx").exists()


def test_a_model_may_resize_the_picture_once_more(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((20, 24, 3), name="photo"),
            keras.layers.Resizing(10, 12),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, name="y"),
        ]
    )
    convert(model, tmp_path / "m.onnx", calibration=FRAMES[:24], frames="keras", quantize="none")
    with Predictor.load(tmp_path / "m.onnx") as predictor:
        for frame in FRAMES[:4]:
            expected = model(tf.image.resize(frame, (20, 24))[None]).numpy()[0]
            assert predictor.predict(frame) == pytest.approx(expected, abs=1e-3)


def test_pixels_that_are_scaled_twice_are_told(tmp_path):
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6, 6, 3), name="photo"), *layers])
    twice = "begins with \"Rescaling 'rescaling"
    report = convert(model, tmp_path / "m.onnx", frames="keras scale=1/255")
    assert any(twice in note and "scale and mean" in note for note in report.notes)
    report = convert(model, tmp_path / "m.onnx", frames="keras")
    assert not any(twice in note for note in report.notes)


def test_a_mean_in_another_unit_than_pixels_is_told(tmp_path):
    layers = [keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6, 6, 3), name="photo"), *layers])
    units = "mean=0.485,0.456,0.406 scale=1/0.229,1/0.224,1/0.225"
    report = convert(model, tmp_path / "m.onnx", frames=f"pillow-bilinear {units}")
    # The largest value that a pixel can become: (255 - 0.456) / 0.224.
    assert any("up to 1136" in note and "times 255" in note for note in report.notes)
    levels = "mean=123.675,116.28,103.53 scale=1/58.395,1/57.12,1/57.375"
    report = convert(model, tmp_path / "m.onnx", frames=f"pillow-bilinear {levels}")
    assert not any("times 255" in note for note in report.notes)


def test_a_model_of_free_size_is_refused_by_name(tmp_path):
    model = keras.Sequential(
        [keras.Input((None, None, 3), name="scene"), keras.layers.Conv2D(2, 3)]
    )
    with pytest.raises(OptionError, match=r"input 'scene' of float32 .* fixed height and width"):
        convert(model, tmp_path / "m.onnx", frames="keras")


def test_without_frames_a_folder_is_resized_as_keras_does_it(tmp_path):
    for number in range(4):
        Image.fromarray(FRAMES[number]).save(tmp_path / f"{number}.png")
    spec = TensorSpec("photo", np.dtype("f4"), ("N", 12, 16, 3), ("N", "H", "W", "C"))
    data = read_dataset(tmp_path, [spec], "calibration")
    expected = keras.utils.image_dataset_from_directory(
        tmp_path, labels=None, image_size=(12, 16), shuffle=False, batch_size=4, verbose=False
    )
    assert data.first(4)["photo"] == pytest.approx(next(iter(expected)).numpy(), abs=1e-3)


def test_a_graph_that_differs_from_its_library_is_not_written(model, tmp_path, monkeypatch):
    read = proof.read_frame
    monkeypatch.setattr(proof, "read_frame", lambda *given: read(*given) + 2)
    with pytest.raises(
        ConversionError, match=r"the graph of frames 'keras-bilinear' differs from keras"
    ):
        convert(model, tmp_path / "m.onnx", frames="keras")
    assert not list(tmp_path.iterdir())
