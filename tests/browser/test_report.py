"""The report's page in Chromium: nothing fails, every picture is there, nothing sticks out."""

import keras
import numpy as np
import pytest

from edgeport_converter import convert

LONG = "a class with a name that does not end " * 8


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of a small network of pictures whose class names are long, foreign and hostile."""
    keras.utils.set_random_seed(2)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3), name="photo"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax", name="a_layer_of_a_very_long_name" * 3),
        ]
    )
    generator = np.random.default_rng(3)
    x = generator.random((120, 12, 12, 3)).astype(np.float32)
    y = generator.integers(0, 3, len(x))
    folder = tmp_path_factory.mktemp("report")
    convert(
        model,
        folder / "model.onnx",
        calibration=x,
        evaluation=(x, y),
        labels=["<script>document.title = 'taken'</script>", LONG, "שלום 🐈"],
        quantize="static",
        max_drop=0.1,
        report=folder / "report.html",
    )
    return (folder / "report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_all_its_pictures_are_there(report, page, sideways, width, scheme):
    opened = page(report, width=width, scheme=scheme)
    assert sideways(opened) == 0
    assert opened.title() == "sequential: edgeport report"
    pictures = "[...document.images].map(image => image.complete && image.naturalWidth > 0)"
    shown = opened.evaluate(pictures)
    assert shown
    assert all(shown)
    boxes = opened.evaluate(
        "[...document.querySelectorAll('svg.chart')].map(s => s.getBBox().width)"
    )
    assert len(boxes) >= 5
    assert min(boxes) > 100


def test_letters_stand_out_in_both_schemes(report, page):
    """Contrast of text in the page and in charts, as WCAG 2 defines it, is at least 4.5."""
    script = """() => {
      const light = c => { const [r, g, b] = c.match(/\\d+/g).map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b };
      const paper = light(getComputedStyle(document.body).backgroundColor);
      const contrast = c => { const ink = light(c);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) };
      const text = ['body', '.quiet', 'a', 'caption', '.headline']
        .map(s => getComputedStyle(document.querySelector(s)).color);
      const charts = [...document.querySelectorAll('svg.chart text')]
        .map(t => getComputedStyle(t).fill);
      return Math.min(...[...text, ...charts].map(contrast)) }"""
    for scheme in ("light", "dark"):
        assert page(report, scheme=scheme).evaluate(script) >= 4.5


def test_a_printed_page_is_white(report, page):
    opened = page(report, scheme="dark")
    opened.emulate_media(media="print", color_scheme="dark")
    paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
