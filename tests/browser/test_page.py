"""Every answer of the page in Chromium is that of ``Predictor`` on the same inputs, or a refusal.

onnxruntime-web is onnxruntime compiled for WebAssembly with kernels of its own, so answers are
compared within a tolerance. In float it is 1e-5, since sums are added in another order. In int8 the
integer sums are the same on every engine, and only a scale's rounding can differ; that moves an
activation by one code at most, which is what the card's tolerance allows for other CPUs, too.
"""

import base64
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from column_models import ROWS, artifact, mixed
from examples import camera, doubler, golden, identity, int8, mlp, sealed, two_inputs
from PIL import Image
from recordings import echo, strided, wav

from edgeport import InputError, Predictor
from edgeport_converter.browser.folder import write_page

REPOSITORY = Path(__file__).parents[2]
DIGITS = REPOSITORY / "assets" / "digits.onnx"
STORED = REPOSITORY / "tests" / "data"
FLOAT = 1e-5


@pytest.fixture
def show(page, serve, sideways, tmp_path):
    """A function that writes the page of an artifact and opens it on a phone."""

    def open_artifact(source, **options):
        if isinstance(source, bytes):
            (tmp_path / "model.onnx").write_bytes(source)
            source = tmp_path / "model.onnx"
        write_page(source, tmp_path / "page")
        opened = page(serve(tmp_path / "page"), **options)
        assert settled(opened) == "ready", opened.inner_text("#state")
        assert sideways(opened) == 0
        return opened

    return open_artifact


def settled(opened):
    opened.wait_for_selector("#state:not([data-state=loading])")
    return opened.get_attribute("#state", "data-state")


def answers(opened):
    """The outputs by name, once there are any."""
    opened.wait_for_selector("#whole-box:not([hidden]), #problem:not([hidden])")
    assert not opened.inner_text("#problem")
    outputs = json.loads(opened.text_content("#whole"))["outputs"]
    return {
        name: np.array(out["values"]).astype(out["dtype"]).reshape(out["shape"])
        for name, out in outputs.items()
    }


def answer(opened):
    (only,) = answers(opened).values()
    return only


def refusal(opened):
    opened.wait_for_selector("#problem:not([hidden])")
    assert not opened.text_content("#whole")
    return opened.inner_text("#problem")


def upload(opened, selector, data, name):
    opened.set_input_files(selector, {"name": name, "mimeType": "", "buffer": data})


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(pixels, mode=None, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind, **options)
    return file.getvalue()


def drop(opened, data, name):
    """Drop a file on the page, as from a desktop."""
    opened.evaluate(
        """([data, name]) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
        }""",
        [base64.b64encode(data).decode(), name],
    )


def pixels(dtype, shape):
    """An artifact that answers with the pixels of a picture (H, W, C), which its card names so."""
    example = identity(dtype, ("N", *shape))
    named = tuple(replace(spec, axes=("N", "H", "W", "C")) for spec in example.card.inputs)
    return sealed(example.onnx, replace(example.card, inputs=named))


def tolerance(predictor):
    """What an int8 artifact's card allows on other CPUs; 1e-5 for a float artifact."""
    return max(predictor.card.tolerance.values()) if predictor.card.quantization else FLOAT


@pytest.fixture(scope="session")
def sample_digits():
    """40 real digits, uint8 (N, 28, 28)."""
    with np.load(REPOSITORY / "assets" / "sample_digits.npz") as file:
        return file["images"]


def test_real_digits_are_answered_as_on_a_device(show, sample_digits):
    opened = show(DIGITS)
    with Predictor.load(DIGITS) as predictor:
        expected = predictor.predict(sample_digits.reshape(-1, 784) / np.float32(255))
        labels = predictor.classify(sample_digits[0].reshape(784) / np.float32(255), top_k=5)
    assert "2 of 2 golden samples hold" in opened.inner_text("#state")
    opened.click("#show-photo")
    upload(opened, "#photo-file", png(sample_digits[0]), "digit.png")
    np.testing.assert_allclose(answer(opened)[0], expected[0], atol=0.02)
    assert opened.locator(".name").all_inner_texts() == [label.name for label in labels]
    opened.click("#show-arrays")
    pixels = sample_digits.reshape(-1, 784) / np.float32(255)
    upload(opened, "#array-file-0", npy(pixels), "digits.npy")
    np.testing.assert_allclose(answer(opened), expected, atol=0.02)
    assert (answer(opened).argmax(1) == expected.argmax(1)).all()


def test_a_drawing_reaches_the_model_as_the_page_shows_it(show):
    opened = show(DIGITS)
    box = opened.locator("#drawing").bounding_box()
    stroke = [(0.55, 0.1), (0.5, 0.5), (0.45, 0.9)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in stroke]
    opened.mouse.move(*points[0])
    opened.mouse.down()
    for point in points[1:]:
        opened.mouse.move(*point, steps=5)
    opened.mouse.up()
    found = answer(opened)
    levels = opened.evaluate(
        "[...document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data]"
    )
    seen = np.array(levels, np.uint8).reshape(784, 4)[:, 0]
    rows = np.flatnonzero(seen.reshape(28, 28).any(1))
    assert rows[-1] - rows[0] == 19  # the digit fills MNIST's box of 20 x 20
    with Predictor.load(DIGITS) as predictor:
        expected = predictor.predict(seen / np.float32(255))
    np.testing.assert_allclose(found[0], expected, atol=0.02)
    assert opened.locator(".best .name").inner_text() == "1"
    opened.click("#clear")
    assert opened.is_hidden("#whole-box")


def test_a_digit_can_be_drawn_by_keys(show):
    opened = show(DIGITS, scheme="dark")
    opened.focus("#drawing")
    opened.keyboard.press("Space")
    for _ in range(14):
        opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Space")
    assert answer(opened).argmax() == 1


@pytest.mark.parametrize("name", ["static_pixels", "dynamic_lstm", "float_pair", "digits"])
def test_stored_artifacts_answer_arrays_as_on_a_device(show, name):
    path = STORED / "format_1" / f"{name}.onnx"
    opened = show(path)
    opened.click("#show-arrays") if opened.is_visible("#show-arrays") else None
    with np.load(path.with_suffix(".npz")) as file, Predictor.load(path) as predictor:
        inputs = {spec.name: file[f"in_{spec.name}"] for spec in predictor.card.inputs}
        expected = predictor.predict(inputs)
        allowed = tolerance(predictor)
    for place, array in enumerate(inputs.values()):
        upload(opened, f"#array-file-{place}", npy(array), "x.npy")
    found = answers(opened)
    for output, wanted in (expected if isinstance(expected, dict) else {"": expected}).items():
        only = found[output] if output else next(iter(found.values()))
        np.testing.assert_allclose(only, wanted, atol=allowed)


@pytest.mark.parametrize("name", ["fit_lanczos_bgr", "keras_30x41"])
def test_photos_are_prepared_by_the_graph_as_in_the_training(show, name):
    path = STORED / "frames" / f"{name}.onnx"
    opened = show(path)
    with np.load(path.with_suffix(".npz")) as file, Predictor.load(path) as predictor:
        order = slice(None, None, -1 if predictor.card.frames["image"].order == "bgr" else 1)
        batches = [file[each] for each in file.files if each.startswith("in_")]
        for frame in (batch[0] for batch in batches[:3]):
            opened.click("#show-photo")
            upload(opened, "#photo-file", png(np.ascontiguousarray(frame[..., order])), "a.png")
            np.testing.assert_allclose(answer(opened)[0], predictor.predict(frame), atol=FLOAT)


def test_a_photo_is_upright_and_its_channels_are_in_the_card_s_order(show):
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # row 0 is the right side of the scene
    opened = show(camera("bgr").artifact())
    opened.click("#show-photo")
    upload(opened, "#photo-file", png(pixels, exif=turned), "turned.png")
    upright = np.rot90(pixels, -1)[..., ::-1]
    np.testing.assert_allclose(answer(opened), camera("bgr").formula(upright[None]), atol=1e-3)
    # Decoders of JPEG differ by a few levels where a picture is smooth.
    smooth = np.linspace(0, 255, 20 * 30 * 3).reshape(20, 30, 3).astype(np.uint8)
    for options in ({}, {"progressive": True, "exif": turned}):
        upright = np.rot90(smooth, -1) if options else smooth
        opened.click("#show-photo")
        upload(opened, "#photo-file", png(smooth, kind="JPEG", quality=95, **options), "a.jpg")
        expected = camera("bgr").formula(upright[None, ..., ::-1])
        np.testing.assert_allclose(answer(opened), expected, atol=8)


def test_pictures_that_the_page_would_have_to_change_are_refused(show):
    gray = np.arange(28 * 28, dtype=np.uint32).reshape(28, 28).astype(np.uint8)
    opened = show(DIGITS)
    cases = {
        "'a.gif' is nothing that this model takes": png(gray, kind="GIF"),
        "is neither PNG nor JPEG": png(gray, kind="BMP"),
        "channels of 16 bits": png(gray.astype(np.uint16)),
        "20 x 14 pixels (H x W), expected 28 x 28": png(gray[:20, ::2]),
        "has colours": png(np.stack([gray, gray // 2, gray], -1)),
        "transparent pixels": png(np.stack([gray, gray, gray, gray], -1)),
        "was cut short": png(gray)[:-20],
        "'b.jpg' was cut short": png(gray, kind="JPEG")[:-20],
        "is CMYK": png(np.stack([gray] * 4, -1), mode="CMYK", kind="JPEG"),
        "cannot be read": png(gray).replace(b"IDAT", b"IDAX"),
    }
    for words, data in cases.items():
        opened.click("#show-photo")
        drop(opened, data, words.split("'")[1] if words.startswith("'") else "a.png")
        assert words in refusal(opened), words
    opened.click("#show-photo")
    opened.check("#resize")
    upload(opened, "#photo-file", png(gray[:20]), "small.png")
    answers(opened)
    assert "The browser resized this picture" in opened.inner_text("#answer")


def test_a_file_that_a_device_would_refuse_is_told(show, tmp_path):
    opened = show(pixels("uint8", (4, 5, 3)))
    opened.click("#show-photo")
    colours = np.random.default_rng(2).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    gray = colours[..., 0]
    opaque = np.dstack([colours, np.full((4, 5), 255, np.uint8)])
    with Predictor.load(tmp_path / "model.onnx") as predictor:
        for words, data in {
            "gray,": png(gray),
            "gray, and": png(gray, kind="JPEG"),
            "RGB with alpha,": png(opaque),
            "RGB with a transparent colour,": png(colours, transparency=(1, 2, 3)),
        }.items():
            upload(opened, "#photo-file", data, "a.png")
            opened.wait_for_selector(f"text=stores its pixels as {words}")
            with pytest.raises(InputError, match="for the training"):
                predictor.predict(Image.open(io.BytesIO(data)))
        upload(opened, "#photo-file", png(colours), "b.png")
        opened.wait_for_selector(".warning", state="detached")
        expected = predictor.predict(Image.open(io.BytesIO(png(colours))))
        assert (answer(opened)[0] == expected).all()


def test_a_photo_that_is_read_late_does_not_stand_over_the_answer_to_another(show):
    opened = show(pixels("uint8", (4, 5, 3)))
    opened.click("#show-photo")
    opened.evaluate(
        """() => {
            const decode = window.createImageBitmap;
            let count = 0;
            window.createImageBitmap = async (...given) => {
                if (++count === 1) await new Promise((go) => (window.goOn = go));
                return decode(...given);
            };
        }"""
    )
    upload(opened, "#photo-file", png(np.zeros((4, 5, 3), np.uint8)), "late.png")
    opened.wait_for_function("() => Boolean(window.goOn)")
    upload(opened, "#photo-file", png(np.full((4, 5, 3), 9, np.uint8)), "newest.png")
    assert (answer(opened) == 9).all()
    opened.evaluate("window.goOn()")
    opened.evaluate("new Promise((go) => setTimeout(go, 200))")
    assert opened.get_attribute(".photo canvas", "aria-label") == "newest.png"


def test_logits_between_0_and_1_are_no_per_cent(show):
    opened = show(identity("float32", ("N", 3)).artifact())
    opened.fill("#array-0", "[0.2, 0.5, 0.1]")
    opened.click("#ask-arrays")
    answers(opened)
    assert opened.locator(".score").all_inner_texts() == ["0.5", "0.2", "0.1"]


def test_a_file_of_another_size_than_the_frames_is_refused(show):
    opened = show(STORED / "frames" / "keras_30x41.onnx")
    opened.click("#show-photo")
    upload(opened, "#photo-file", png(np.zeros((41, 30, 3), np.uint8)), "tall.png")
    assert "expected 30 x 41, the only size of this model" in refusal(opened)


def test_the_camera_s_pictures_are_answered(show):
    opened = show(camera("rgb").artifact())
    opened.click("#show-camera")
    opened.click("#camera")
    found = answer(opened)
    assert found.shape == (1, 9)
    assert found.any()
    opened.click("#show-photo")
    assert opened.is_hidden("video")


def test_a_form_asks_for_each_column_of_a_table(show):
    opened = show(artifact(mixed()))
    assert "0.5 to 5" in opened.inner_text("#column-0-hint")
    assert "(m)" in opened.inner_text("label[for=column-0]")
    with Predictor.load(artifact(mixed())) as predictor:
        for row in [*ROWS.tolist(), [1.5, 100.0, ""]]:
            opened.reload()
            settled(opened)
            for place, value in enumerate(row):
                opened.fill(f"#column-{place}", str(value))
            opened.select_option("#column-3", "south")
            opened.click("#ask")
            named = dict(zip(predictor.card.columns, row, strict=False))
            given = {c.name: float("nan") if v == "" else v for c, v in named.items()}
            expected = predictor.predict({**given, "Région du nord": "south"})
            found = answers(opened)
            assert found["y"][0].tolist() == expected["y"].tolist()
            assert found["echo"].tolist() == [["south"]]


def test_a_form_refuses_what_is_missing_or_no_number_and_tells_what_is_far(show):
    opened = show(artifact(mixed()))
    for place, value in enumerate(["1,5", "100", ""]):
        opened.fill(f"#column-{place}", value)
    opened.click("#ask")
    assert "the column 'width_m' has the text '1,5', expected a number" in refusal(opened)
    opened.fill("#column-0", "1.5")
    opened.click("#ask")
    opened.wait_for_selector("text=the column 'Région du nord' has no value")
    opened.select_option("#column-3", "south")
    opened.fill("#column-0", "400")
    opened.click("#ask")
    answers(opened)
    assert "far outside of the training's 0.5 to 5" in opened.inner_text("#answer")


def test_a_recording_is_cut_into_windows_as_on_a_device(show):
    sound = np.random.default_rng(3).integers(-32768, 32768, 70, dtype=np.int16)
    opened = show(echo(16, 6).artifact())
    upload(opened, "#sound-file", wav(sound.astype("<i2").tobytes()), "a.wav")
    assert answer(opened).tolist() == strided(sound, 16, 6).tolist()
    assert "from 0.75 s" in opened.inner_text("#answer")


def test_channels_are_mixed_and_short_recordings_padded_where_the_card_says_so(show):
    sound = np.array([[1, 2], [-3, -4], [32767, 32767]], np.int16)
    opened = show(echo(4, 4, mix_down=True, pad=True).artifact())
    data = wav(sound.astype(">i2").tobytes(), channels=2, order=">")
    upload(opened, "#sound-file", data, "a.wav")
    assert answer(opened).tolist() == [[2, -4, 32767, 0]]


def test_recordings_that_would_change_are_refused(show):
    opened = show(echo(4, 4).artifact())
    silence = bytes(32)
    wide = np.arange(8, dtype="<i4").tobytes()
    cases = {
        "has 16 samples a second, expected 8": wav(silence, rate=16),
        "has 2 channels, expected 1": wav(silence, channels=2),
        "has 3 samples, expected at least one window of 4": wav(bytes(6)),
        "numbers of 32 bits that 16 bits do not hold, such as 1": wav(wide, bits=32),
        "has mu-law": wav(silence, bits=8, tag=7),
        "ends after 32 bytes of sound, expected 64": wav(silence, size=64),
        "is FLAC": b"fLaC" + silence,
    }
    for words, data in cases.items():
        opened.click("#show-sound")
        upload(opened, "#sound-file", data, "a.wav")
        assert words in refusal(opened)


def test_the_microphone_fills_windows(show):
    opened = show(echo(800, 800, rate=8000).artifact())
    opened.click("#microphone")
    assert answer(opened).shape == (1, 800)
    opened.click("#microphone")


def test_a_text_is_answered_as_it_is(show):
    opened = show(identity("str", ("N", 1)).artifact())
    opened.fill("#array-0", "[größer] 你好")
    opened.click("#ask-arrays")
    assert answer(opened).tolist() == [["[größer] 你好"]]


@pytest.mark.parametrize(
    ("dtype", "cases"),
    [
        (
            "float32",
            {
                "[1, 2]": "has shape (2,), expected (N, 3)",
                "[1, 2, [3]]": "lists of several lengths",
                "[1, 2, 1e999]": "has Infinity, expected finite numbers",
                "[1, 2, 16777217]": "whole numbers that float32 holds exactly",
                "[1, 2, NaN]": "is no JSON",
                '[1, 2, "3"]': 'has the text "3", expected float32 numbers',
            },
        ),
        (
            "int8",
            {
                "[1, 2, 128]": "expected whole numbers from -128 to 127",
                "[1, 2, 1.5]": "has 1.5, expected whole numbers",
            },
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(show, dtype, cases):
    opened = show(doubler(dtype).artifact())
    for text, words in cases.items():
        opened.fill("#array-0", text)
        opened.click("#ask-arrays")
        opened.locator("#problem", has_text=words).wait_for()
        assert not opened.text_content("#whole")


def test_whole_numbers_of_64_bits_stay_exact(show):
    opened = show(identity("int64").artifact())
    opened.fill("#array-0", "[1, -2, 9007199254740993]")
    opened.click("#ask-arrays")
    assert answer(opened).tolist() == [[1, -2, 9007199254740993]]
    opened.fill("#array-0", "[1, 2, 9223372036854775808]")
    opened.click("#ask-arrays")
    assert "expected whole numbers from -9223372036854775808" in refusal(opened)


def test_lists_of_two_inputs_are_answered(show):
    opened = show(two_inputs().artifact())
    opened.fill("#array-0", "[[1, 2, 3.5]]")
    opened.fill("#array-1", "[[0.25, 1, 1]]")
    opened.click("#ask-arrays")
    found = answers(opened)
    assert found["total"].tolist() == [[1.25, 3, 4.5]]
    assert found["difference"].tolist() == [[0.75, 1, 2.5]]


def test_values_of_another_unit_are_told_and_non_finite_ones_refused(show):
    opened = show(int8().artifact())
    x = np.array([[0, 51, 102, 153, 204, 255]], np.float32)
    upload(opened, "#array-file-0", npy(x), "x.npy")
    answers(opened)
    assert "calibrated for 0 to 1 and saturates beyond" in opened.inner_text("#answer")
    opened = show(doubler().artifact())
    upload(opened, "#array-file-0", npy(np.array([1, np.nan, 2], np.float32)), "x.npy")
    assert "is NaN at place 1, expected finite numbers" in refusal(opened)
    opened.fill("#array-0", "[1, 2, 3e38]")
    opened.click("#ask-arrays")
    opened.wait_for_selector("text=output 'y' is Infinity at place 2")


def replaced(tmp_path, data):
    """Put other bytes in the place of the artifact of a page."""
    write_page(DIGITS, tmp_path / "page")
    (tmp_path / "page" / "model.onnx").write_bytes(data)
    return tmp_path / "page"


def test_a_damaged_artifact_is_refused(page, serve, tmp_path):
    data = DIGITS.read_bytes()
    opened = page(serve(replaced(tmp_path, data)))
    assert settled(opened) == "ready"
    file = tmp_path / "page" / "model.onnx"
    several = (
        data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],  # one bit
        data[:-1000],
        data[:4] + b"?" + data[5:],  # within the head
        data[2:],
        b"<!doctype html>",
    )
    for number, damaged in enumerate(several, 1):
        file.write_bytes(damaged)
        os.utime(file, times=(number, number))  # older than what a cache may hold
        opened.reload()
        assert settled(opened) == "refused"
        assert opened.inner_text("#state").startswith("Refused: the artifact")
        assert opened.is_hidden("#ready")


def test_golden_samples_that_do_not_hold_are_refused(page, serve, tmp_path):
    x = np.linspace(-1, 1, 6, dtype="f4")[None]
    wrong = mlp().artifact(golden(x, mlp().formula(x).astype("f4") + np.float32(0.01)))
    opened = page(serve(replaced(tmp_path, wrong)))
    assert settled(opened) == "refused"
    assert "golden sample 1, output 'y', is off by 0.01, expected at most 0.00001" in (
        opened.inner_text("#state")
    )
    assert opened.is_hidden("#ready")


def test_a_card_of_another_graph_is_refused(page, serve, tmp_path):
    other = replace(mlp(), card=doubler().card).artifact()
    opened = page(serve(replaced(tmp_path, other)))
    assert settled(opened) == "refused"
    assert "card for another graph" in opened.inner_text("#state")


def test_a_page_that_is_opened_as_a_file_says_that_it_needs_a_server(page, tmp_path, troubles):
    write_page(DIGITS, tmp_path / "page")
    opened = page((tmp_path / "page" / "index.html").as_uri())
    assert "python3 -m http.server" in opened.inner_text("#state")
    troubles.clear()  # the browser itself says why it loads no module


def test_it_fits_a_desktop_and_shows_what_the_card_says(show):
    opened = show(DIGITS, width=1280, scheme="dark")
    opened.click("text=About this model")
    facts = opened.inner_text("#facts")
    assert "97.5 % on 10,000 samples" in facts
    assert "onnxruntime-web" in facts
