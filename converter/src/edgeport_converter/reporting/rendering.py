"""From the data of a report to one HTML file, which needs no other file and no network.

The template escapes every value; only the charts, whose text matplotlib has escaped, go in as they
are. ``page`` says where the file goes, ``charts`` draws.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from edgeport.atomic_files import replacing
from edgeport_converter.reporting import charts, words
from edgeport_converter.reporting.page import find_page
from edgeport_converter.reporting.records import (
    ActivationHistogram,
    CandidateRow,
    MetricFigures,
    Missing,
    OutputPairs,
    ReportData,
)

MOST_LAYERS = 60
MOST_OUTPUTS = 6
MOST_HISTOGRAMS = 12


def write_report(data: ReportData, path: str | os.PathLike[str]) -> Path:
    """Write the page; the file is replaced in one step.

    Raises:
        OptionError: it cannot be written there; the target is as it was.
    """
    page = find_page(path, ())
    text = render(data)
    with replacing(page) as file:
        file.write(text.encode("utf-8"))
    return page


def render(data: ReportData) -> str:
    """Return the page's HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {
        name: getattr(words, name)
        for name in (
            *("share", "rounded_share", "points", "number"),
            *("file_size", "duration", "decibel", "count", "key_figure"),
        )
    }
    environment.filters["code"] = _with_code
    environment.tests["missing"] = lambda value: isinstance(value, Missing)
    style = (Path(__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
    page: str = environment.get_template("report.html").render(
        data=data,
        style=Markup(style),  # noqa: S704 - our own file
        metric=words.metric,
        party=charts.party,
        charts=_draw(data),
        shown=_choose(data),
    )
    return page


def _printable(value: Any) -> Any:
    return words.printable(value) if isinstance(value, str) and type(value) is str else value


def _with_code(text: str) -> Markup:
    """Return a sentence with what stands between backticks as code."""
    parts = escape(words.printable(text)).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def _choose(data: ReportData) -> dict[str, Any]:
    """Return the parts of long lists that the page shows."""
    found: dict[str, Any] = {"layers": (), "outputs": (), "histograms": ()}
    if not isinstance(data.layers, Missing):
        slowest = sorted(data.layers, key=lambda layer: -layer.time_share)[:MOST_LAYERS]
        found["layers"] = [layer for layer in data.layers if layer in slowest]
        found["longest"] = max((layer.time_share for layer in slowest), default=0) or 1
        found["largest"] = max((layer.weight_bytes for layer in slowest), default=0) or 1
    if not isinstance(data.pairs, Missing):
        found["outputs"] = data.pairs[:MOST_OUTPUTS]
    if not isinstance(data.activations, Missing):
        found["histograms"] = _most_clipped(data.activations.histograms)
    return found


def _most_clipped(
    histograms: Sequence[ActivationHistogram],
) -> list[ActivationHistogram]:
    """Return those that are drawn: the ones that clip most, in running order."""
    most = sorted(histograms, key=lambda one: -one.clipped)[:MOST_HISTOGRAMS]
    return [one for one in histograms if one in most]


def _draw(data: ReportData) -> dict[str, Any]:
    """Return all charts by the part of the page; a part without figures has none."""
    found: dict[str, Any] = {"candidates": None, "pairs": {}, "activations": [], "classes": []}
    tried = data.candidates
    if not isinstance(tried, Missing):
        name, values, is_error = _quality(tried, data.metrics)
        is_timed = [row.latency_us is not None for row in tried]
        if sum(is_timed) > 1 and any(value is not None for value in values):
            found["candidates"] = _safe(charts.candidates(tried, name, values, smaller=is_error))
    for pair in _choose(data)["outputs"]:
        found["pairs"][pair.output] = _draw_pairs(pair)
    if not isinstance(data.activations, Missing):
        chosen = _most_clipped(data.activations.histograms)
        found["activations"] = [(one, _safe(charts.activation(one))) for one in chosen]
    if not isinstance(data.class_pairs, Missing):
        found["classes"] = [
            (one, _safe(charts.confusion(one)) if one.counts else None) for one in data.class_pairs
        ]
    if not isinstance(data.reliability, Missing):
        found["reliability"] = _safe(charts.reliability(data.reliability))
    return found


def _draw_pairs(pair: OutputPairs) -> Markup | None:
    values = [value for point in pair.points for value in point]
    return _safe(charts.pairs(pair)) if charts.is_drawable(values) else None


def _safe(chart: str) -> Markup:
    return Markup(chart)  # noqa: S704 - matplotlib and ElementTree have escaped all text


def _quality(
    rows: Sequence[CandidateRow], metrics: Sequence[MetricFigures] | Missing
) -> tuple[str, list[float | None], bool]:
    """Return what the candidates are compared by, each one's value, and whether less is better."""
    if not isinstance(metrics, Missing) and any(row.metric is not None for row in rows[1:]):
        one = metrics[0]
        scale, unit = (100, ", %") if one.is_share else (1, "")
        values = [None if row.metric is None else scale * row.metric for row in rows]
        return words.shortened(one.name, 32) + unit, values, one.smaller_is_better
    if any(row.same_class is not None for row in rows[1:]):
        values = [None if row.same_class is None else 100 * row.same_class for row in rows]
        return "same class as float, %", values, False
    decibels = [row.agreement_db for row in rows]
    known = [value if value is not None and abs(value) < 1e6 else None for value in decibels]
    return "agreement with float, dB", known, False
