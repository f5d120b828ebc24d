"""matplotlib's pictures of the figures, one function a chart, each an SVG element for a page.

Colours are names of the page's style sheet, so that a picture is readable on light, on dark and on
paper: matplotlib draws with stand-ins, and ``_finish`` puts ``var(--…)`` in their place. Letters
stay letters, in the page's typeface, 12 units high in pictures 400 wide: readable on a phone.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings

# ElementTree reads what matplotlib has just written, no file of anybody else.
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from edgeport_converter.reporting import words
from edgeport_converter.reporting.records import (
    ActivationHistogram,
    CandidateRow,
    ClassPairs,
    OutputPairs,
    Reliability,
)

INK, MUTED, LINE, PAPER, OTHER, OWN, BAD = (f"#0{n}0{n}0{n}" for n in range(1, 8))
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    PAPER: "paper",
    OTHER: "other",
    OWN: "own",
    BAD: "bad",
}
FLOAT_ROW = "none"
"""How the recipe of the float graph begins, which is drawn in another colour."""

_WIDTH = 400 / 72  # inches of 72 units
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_NAME_LETTERS = 14
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgeport",
    "font.size": 12,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "text.parse_math": False,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "axes.unicode_minus": True,
}
_numbers = itertools.count(1)


@contextmanager
def _drawing(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure in the page's style; the browser draws glyphs that matplotlib lacks."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        warnings.filterwarnings("ignore", message=".*Matplotlib currently does not support.*")
        figure = Figure((_WIDTH, height / 72), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()


def candidates(
    rows: Sequence[CandidateRow],
    y_name: str,
    values: Sequence[float | None],
    *,
    smaller: bool = False,
) -> str:
    """Return time against quality of the candidates that were timed; the area tells the bytes.

    Args:
        rows: all candidates; each is drawn with its number in the table, from 1.
        y_name: what the values are.
        values: the quality of each, None where unknown.
        smaller: whether less is better.
    """
    with _drawing(290) as (figure, axes):
        drawn = [
            (number, row, row.latency_us, value)
            for number, (row, value) in enumerate(zip(rows, values, strict=True), start=1)
            if row.latency_us is not None and value is not None
        ]
        largest = max(row.file_bytes for _, row, _, _ in drawn)
        slowest = max(latency for _, _, latency, _ in drawn)
        low, high = min(value for *_, value in drawn), max(value for *_, value in drawn)
        height = max(high - low, 0.01 * abs(high), 1e-9)
        axes.set(xlim=(0, 1.2 * slowest), ylim=(low - 0.5 * height, high + height))
        raised: list[tuple[float, float]] = []
        for number, row, latency, value in drawn:
            colour = OTHER if row.recipe.startswith(FLOAT_ROW) else OWN
            axes.scatter(
                [latency],
                [value],
                s=max(1100 * row.file_bytes / largest, 40),
                facecolor=colour,
                alpha=0.75 if row.is_chosen else 0.3,
                edgecolor=colour,
                linewidth=2.5 if row.is_chosen else 1,
                zorder=3,
            )
            place = latency / slowest, (value - low) / height
            near = sum(math.dist(place, other) < 0.15 for other in raised)
            raised.append(place)
            axes.annotate(
                str(number),
                (latency, value),
                xytext=(-8, 28 + 14 * near),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6},
                ha="center",
                zorder=4,
            )
        axes.set_xlabel("time of one sample, µs (left is better)")
        axes.set_ylabel(f"{y_name} ({'down' if smaller else 'up'} is better)")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
        if y_name.endswith("%"):
            axes.yaxis.set_major_formatter(
                FuncFormatter(lambda y, _: f"{y:.6g}" if y <= 100 else "")
            )
        listed = "; ".join(
            f"{number}: {row.recipe}, {words.duration(latency)}, {words.number(value)}, "
            f"{words.file_size(row.file_bytes)}{', chosen' if row.is_chosen else ''}"
            for number, row, latency, value in drawn
        )
        return _finish(figure, f"Candidates by time and {y_name}; areas are file sizes", listed)


def pairs(found: OutputPairs) -> str:
    """Return the artifact's values over those of the other form, with the line of equality."""
    with _drawing(330) as (figure, axes):
        x, y = zip(*found.points, strict=True)
        low, high = min(*x, *y), max(*x, *y)
        margin = 0.04 * ((high - low) or 1.0)
        ends = (low - margin, high + margin)
        axes.plot(ends, ends, color=LINE, linewidth=1.2, zorder=2)
        axes.plot(x, y, "o", markersize=4, color=OWN, alpha=0.35, markeredgewidth=0, zorder=3)
        axes.set(xlim=ends, ylim=ends, aspect="equal")
        axes.set_xlabel(found.against)
        axes.set_ylabel("artifact")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
        return _finish(
            figure,
            f"Output {found.output}: {found.against} across, artifact up",
            f"{len(found.points)} points; the line marks equal values. The largest difference is "
            f"{words.number(found.largest)}, the typical one {words.number(found.typical)}.",
        )


def activation(found: ActivationHistogram) -> str:
    """Return the counts of values that enter a quantizer; the range of its codes is shaded."""
    with _drawing(150) as (figure, axes):
        axes.axvspan(found.low, found.high, color=OWN, alpha=0.12, linewidth=0)
        for end in (found.low, found.high):
            axes.axvline(end, color=OWN, linewidth=1)
        axes.stairs(found.counts, found.edges, fill=True, color=MUTED, alpha=0.8, linewidth=0)
        if any(found.counts):
            axes.set_yscale("log", nonpositive="clip")
            axes.set_ylim(bottom=0.7)
        axes.set_xlim(found.edges[0], found.edges[-1])
        axes.set_yticks([])
        axes.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return _finish(
            figure,
            f"Values that enter the quantizer of {found.layer}",
            f"The codes cover {words.number(found.low)} to {words.number(found.high)}; values from "
            f"{words.number(found.lowest)} to {words.number(found.highest)} were seen, and "
            f"{words.share(found.clipped)} of them clipped. Counts are logarithmic, without zeros.",
        )


def confusion(found: ClassPairs) -> str:
    """Return a confusion matrix; what differs is drawn in another colour than what is equal."""
    size = len(found.names)
    with _drawing(min(160 + 20 * size, 420)) as (figure, axes):
        totals = [sum(row) or 1 for row in found.counts]
        for row, counts in enumerate(found.counts):
            for column, count in enumerate(counts):
                if not count:
                    continue
                strength = 0.12 + 0.33 * count / totals[row]
                if row != column:
                    strength = min(0.15 + 2 * count / totals[row], 0.5)
                axes.add_patch(
                    Rectangle(
                        (column - 0.5, row - 0.5),
                        1,
                        1,
                        facecolor=OWN if row == column else BAD,
                        alpha=strength,
                        linewidth=0,
                    )
                )
                axes.text(
                    column,
                    row,
                    _few_letters(count),
                    ha="center",
                    va="center",
                    fontsize=max(6.5, min(11, 150 / size)),
                )
        names = [words.shortened(words.printable(name), _NAME_LETTERS) for name in found.names]
        small = max(7.5, min(11, 190 / size))
        is_long = max(map(len, names)) > 2
        axes.set_xticks(
            range(size),
            names,
            rotation=90 if is_long and size > 3 else 0,
            fontsize=small,
        )
        axes.set_yticks(range(size), names, fontsize=small)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        axes.set_xlabel(party(found.columns))
        axes.set_ylabel(party(found.rows))
        axes.grid(visible=False)
        axes.tick_params(length=0)
        return _finish(
            figure,
            f"Confusion matrix: {party(found.rows)} down, {party(found.columns)} across",
            f"{found.equal:,} of {found.total:,} are equal; {found.differing:,} different pairs.",
        )


def _few_letters(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def party(name: str) -> str:
    """Return in words what a side of a confusion matrix is."""
    return {
        "label": "label of the data",
        "artifact": "answer of the artifact",
        "float32": "answer of the float graph",
    }.get(name, f"answer of {name}")


def reliability(forms: Sequence[Reliability]) -> str:
    """Return the share of right answers over the scores, a line for each form."""
    looks = {
        "Keras": (OTHER, "o", "-"),
        "float32": (OTHER, "s", "--"),
        "artifact": (OWN, "o", "-"),
    }
    with _drawing(320) as (figure, axes):
        axes.plot((0, 1), (0, 1), color=LINE, linewidth=1.2, label="as often right as it says")
        shown = [form for form in forms if form.form != "float32" or len(forms) == 2]
        for form in shown:
            colour, marker, line = looks[form.form]
            axes.plot(
                [each.score for each in form.bins],
                [each.right for each in form.bins],
                linestyle=line,
                color=colour,
                linewidth=1.6,
                label=f"{form.form}, error {words.share(form.error)}",
            )
            most = max(each.count for each in form.bins)
            axes.scatter(
                [each.score for each in form.bins],
                [each.right for each in form.bins],
                s=[8 + 110 * each.count / most for each in form.bins],
                marker=marker,
                facecolor=colour,
                linewidth=0,
                alpha=0.8,
                zorder=3,
            )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.04))
        axes.set_xlabel("score of the best class")
        axes.set_ylabel("share that was right")
        axes.legend(loc="lower right")  # where scores promise much and hardly any answer is right
        listed = "; ".join(f"{form.form} {words.share(form.error)}" for form in forms)
        return _finish(
            figure, "Reliability of the scores", f"Expected calibration error: {listed}."
        )


def _finish(figure: Figure, title: str, description: str) -> str:
    """Return the figure as an SVG element with title and description, in the page's colours."""
    file = io.BytesIO()
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(file, format="svg", metadata=empty)
    root = ET.fromstring(file.getvalue())  # noqa: S314 - matplotlib wrote it
    prefix = f"chart-{next(_numbers)}"
    for element in list(root):
        if element.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}title"):
            root.remove(element)
    for element in root.iter():
        for child in list(element):
            if child.tag == f"{{{_SVG}}}style":  # it would hold for the whole page
                element.remove(child)
        _adapt(element, prefix)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {
        "class": "chart",
        "role": "img",
        "aria-labelledby": f"{prefix}-title {prefix}-description",
    }
    for place, (name, text) in enumerate((("title", title), ("description", description))):
        tag = "title" if name == "title" else "desc"
        child = ET.Element(f"{{{_SVG}}}{tag}", {"id": f"{prefix}-{name}"})
        child.text = words.printable(text)
        root.insert(place, child)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _adapt(element: ET.Element, prefix: str) -> None:
    """Make ids unique in the page, links point to these, and colours those of the page."""
    for name, value in list(element.attrib.items()):
        if name == "id":
            value = f"{prefix}-{value}"
        elif name == f"{{{_XLINK}}}href":
            element.attrib.pop(name)
            name, value = "href", value.replace("#", f"#{prefix}-", 1)
        elif name == "clip-path":
            value = value.replace("url(#", f"url(#{prefix}-")
        elif name == "style":
            for colour, variable in _VARIABLES.items():
                value = value.replace(colour, f"var(--{variable})")
            value = re.sub(r"font-family:[^;]*;?", "", value)
            value = re.sub(r"font:[^;]*?([\d.]+px)[^;]*", r"font-size: \1", value)
        element.attrib[name] = value


def is_drawable(values: Sequence[float]) -> bool:
    """Whether all values are finite numbers, as an axis needs them."""
    return bool(values) and all(map(math.isfinite, values))
