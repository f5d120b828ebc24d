"""The page of a conversion: whole, closed, escaped, and with the figures that numpy computes."""

import re

import numpy as np
import pytest

from edgeport import OptionError, Predictor
from edgeport_converter import convert
from edgeport_converter.reporting import words
from edgeport_converter.reporting.page import find_page


@pytest.fixture(scope="session")
def page(conversion, read_page):
    return read_page(conversion[2])


def test_the_page_needs_no_other_file_and_runs_no_code(conversion, page):
    html = conversion[2]
    assert page.all("script") == page.all("link") == page.all("iframe") == []
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
        assert not any(name.startswith("on") for name in attributes)
    assert "url(http" not in html
    assert "@import" not in html
    (policy,) = (m for m in page.all("meta") if m.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_names_of_users_are_text(conversion, page):
    names = [*conversion[0].card.labels, *(column.name for column in conversion[0].card.columns)]
    for name in names:
        assert name in page.text
    assert page.all("b") == []
    assert [image for image in page.all("img") if image["src"] == "x"] == []


def test_every_chart_has_a_title_and_a_description_of_its_own(page):
    charts = [each for each in page.all("svg") if each.get("role") == "img"]
    assert len(charts) >= 6  # candidates, answers, two or more ranges, confusion, reliability
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for chart in charts:
        assert set(chart["aria-labelledby"].split()) <= set(ids)
        assert "viewbox" in chart  # the parser lowers names
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', "".join(map(str, page.elements)))
    assert set(references) <= set(ids)


def test_charts_take_their_colours_from_the_page(conversion):
    charts = re.findall(r"<svg.*?</svg>", conversion[2], re.DOTALL)
    assert charts
    for chart in charts:
        assert set(re.findall(r"(?:fill|stroke): (#\w+)", chart)) == set()
        assert "var(--ink)" in chart or "var(--muted)" in chart


def test_every_table_has_a_caption_and_heads(page):
    assert len(page.all("table")) == len(page.all("caption")) > 3
    for head in page.all("th"):
        assert head["scope"] in ("row", "col")
    assert all(image["alt"] for image in page.all("img"))
    assert len(page.all("h1")) == 1


def test_the_figures_are_those_that_numpy_computes(conversion, rows, page):
    report, path, _ = conversion
    x, y = rows
    with Predictor.load(path) as predictor:
        scores = predictor.predict(
            {name.name: x[:, i] for i, name in enumerate(report.card.columns)}
        )
    best = scores.argmax(axis=1)
    assert words.share(float(np.mean(best == y))) in page.text
    confidence, right = scores.max(axis=1), best == y
    places = np.ceil(confidence * 15).astype(int)
    error = sum(
        np.mean(places == place)
        * abs(right[places == place].mean() - confidence[places == place].mean())
        for place in np.unique(places)
    )
    assert f"artifact, error {words.share(float(error))}" in page.text
    assert f"{path.stat().st_size:,} bytes" in page.text
    assert report.card.sha256 in page.text


def test_the_artifact_does_not_depend_on_its_report(conversion, classifier, rows, tmp_path):
    x, y = rows
    _, path, _ = conversion
    convert(
        classifier[1],
        tmp_path / "model.onnx",
        calibration=(x, y),
        evaluation=(x, y),
        labels=conversion[0].card.labels,
        feature_names=[column.name for column in conversion[0].card.columns],
        quantize="static",
        max_drop=0.05,
    )
    assert (tmp_path / "model.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        ("", "the report is '', expected the path of a file"),
        (7, "the report is 7, expected the path of a file"),
        ("report.pdf", "does not end in .html, expected the name of a web page"),
        ("gone/report.html", "there is no folder"),
        ("data.html", "would be overwritten, but"),
        ("model.html", "the report 'model.html' and the artifact are one file"),
    ],
)
def test_a_page_that_cannot_be_written_is_refused_before_any_work(
    report, sentence, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.html").write_text("data")
    with pytest.raises(OptionError, match=sentence):
        find_page(report, ("data.html",), (tmp_path / "model.html",))
    assert (tmp_path / "data.html").read_text() == "data"


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeport_converter.reporting.page._NEEDED", ("no_such_package", "json"))
    with pytest.raises(
        OptionError, match=r"needs no_such_package, .* 'edgeport-converter\[report\]'"
    ):
        find_page(tmp_path / "report.html", ())


def test_of_an_error_less_is_better(classifier, rows, read_page, tmp_path):
    x, y = rows
    convert(
        classifier[1],
        tmp_path / "model.onnx",
        calibration=x,
        evaluation=(x, np.eye(4, dtype=np.float32)[y]),
        metric="keras.losses:mean_squared_error",
        quantize="static",
        report=tmp_path / "report.html",
    )
    text = read_page((tmp_path / "report.html").read_text("utf-8")).text
    assert "mean_squared_error (down is better)" in text
    assert "up is better" not in text
    assert "%" not in text[text.index("Candidates by time") : text.index("(down is better)")]
