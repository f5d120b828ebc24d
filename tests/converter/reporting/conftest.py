"""One small conversion with names that would break a careless page."""

from html.parser import HTMLParser

import keras
import numpy as np
import pytest

from edgeport_converter import convert

LABELS = ("<script>alert(1)</script>", 'a "b" & <b>c</b>', "שלום עולם", "猫 🐈 $x_1$")
COLUMNS = ("<img src=x>", "b&amp;", "long " * 40 + "name", "مرحبا")


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text outside of the style sheet."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open, self.texts = [], [], []
        self.feed(text)
        self.text = "".join(self.texts)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.texts.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def read_page():
    """A function from HTML to what a parser sees."""
    return Page


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """(N, 4) to four classes, as a file."""
    keras.utils.set_random_seed(4)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,), name="row"),
            layers.Dense(24, activation="relu", name="hidden"),
            layers.Dense(4, activation="softmax", name="scores"),
        ],
        name="small",
    )
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return model, path


@pytest.fixture(scope="session")
def rows(classifier):
    """300 samples and their labels, an eighth of which are wrong."""
    generator = np.random.default_rng(8)
    x = generator.normal(size=(300, 4)).astype(np.float32)
    y = np.asarray(classifier[0](x)).argmax(axis=1)
    y[::8] = generator.integers(0, 4, len(y[::8]))
    return x, y


@pytest.fixture(scope="session")
def conversion(classifier, rows, tmp_path_factory):
    """(report, path of the artifact, HTML) of a conversion with ``report=``."""
    folder = tmp_path_factory.mktemp("conversion")
    x, y = rows
    np.savez(folder / "data.npz", x=x, y=y)
    report = convert(
        classifier[1],
        folder / "model.onnx",
        calibration=folder / "data.npz",
        evaluation=folder / "data.npz",
        labels=LABELS,
        feature_names=COLUMNS,
        quantize="static",
        max_drop=0.05,
        report=folder / "report.html",
    )
    html = (folder / "report.html").read_text(encoding="utf-8")
    return report, folder / "model.onnx", html
