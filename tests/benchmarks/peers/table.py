"""The tables of a run of ``make bench``, in Markdown.

``bench.py`` prints all of them; ``figures.py`` puts the first few into the README.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from peers.targets import KEPT_DB, Row, best_peer, is_judged, judge, ratio_to_auto

COLUMNS = {
    "keras": "Keras call",
    "raw": "onnxruntime float",
    "naive": "onnxruntime naive int8",
    "litert_float": "LiteRT float",
    "litert_int8": "LiteRT int8",
    "openvino_float": "OpenVINO float",
    "openvino_qdq": "OpenVINO naive int8",
    "edgeport_float": "edgeport float",
    "edgeport_auto": "edgeport auto",
}
TOOLS = {
    "ort_percentile": "onnxruntime percentile",
    "ort_entropy": "onnxruntime entropy",
    "litert_dynamic": "LiteRT int8 weights",
    "litert_int16": "LiteRT int16 activations",
    "litert_selective": "LiteRT, some layers float",
    "nncf": "OpenVINO NNCF",
    "nncf_accuracy": "OpenVINO NNCF, accuracy control",
}
ALL = COLUMNS | TOOLS
FEW = ("raw", "litert_float", "litert_int8", "edgeport_float", "edgeport_auto")
FILES = ("raw", "naive", "litert_float", "litert_int8", "edgeport_float", "edgeport_auto")
MISSING = "—"
NOT_JUDGED = "not measured in this run, which judged no file on held-out samples"
SAYS = {True: "met", False: "**missed**", None: "not measured"}

Result = Mapping[str, Any]


def render_short(result: Result) -> str:
    """Return the README's part: targets, the race, and one sample on one and two threads."""
    parts = [targets_table(result), *(race_table(result, kept=kept) for kept in (False, True))]
    parts += [latency_table(result, "1"), tools_table(result, "1"), answers_table(result)]
    parts += [latency_table(result, "2"), exceptions(result), machine_line(result)]
    return "\n\n".join(filter(None, parts))


def render(result: Result) -> str:
    parts = [targets_table(result), *(race_table(result, kept=kept) for kept in (False, True))]
    for threads in ("1", "2"):
        parts += [latency_table(result, threads), tools_table(result, threads)]
        parts.append(ratio_table(result, threads))
    parts.append(default_threads_table(result))
    for threads in ("1", "2"):
        title = f"Batches of {result['settings']['batch']}, {_threads(threads)}, samples a second"
        parts.append(_by_column(result, title, FEW, lambda cell, n=threads: _throughput(cell, n)))
    parts += [
        _by_column(
            result, "Load on one thread, ms", FEW, lambda cell: _number(cell.get("load_ms"))
        ),
        _by_column(
            result,
            "Cold start: fresh process to first answer, ms",
            FEW,
            lambda cell: _number(cell.get("cold_start_ms")),
        ),
        _by_column(
            result,
            "Most memory of that process, MiB",
            FEW,
            lambda cell: _number(cell.get("peak_bytes"), 2**20),
        ),
        _by_column(result, "File, bytes", FILES, lambda cell: _whole(cell.get("bytes"))),
        answers_table(result),
        overhead_table(result),
        kept_graph_table(result),
        exceptions(result),
        recipes(result),
        machine_line(result),
    ]
    return "\n\n".join(filter(None, parts))


def bars(result: Result) -> dict[str, tuple[float, float]]:
    """Return edgeport auto's and the best peer's time of one sample over onnxruntime float's.

    By network; networks for which one of the three is missing are left out.
    """
    found = {}
    for row in result["models"]:
        raw, best = ratio_to_auto(row, "raw"), best_peer(row)
        if raw and best:
            ours = 1 / raw["median"]
            found[row["title"]] = (ours, ours / best[1]["median"])
    return found


def targets_table(result: Result) -> str:
    rows = [("target", "found", "limit", "")]
    for target in judge(result):
        found = MISSING if target["found"] is None else f"{target['found']:.2f}"
        bound = "≤" if target["bound"] == "most" else "≥"
        rows.append((target["name"], found, f"{bound} {target['limit']:g}", SAYS[target["met"]]))
    return _table("Targets", rows)


def race_table(result: Result, *, kept: bool) -> str:
    """Return the fastest peer of each network on one thread, or that which keeps the bound.

    A file's distance to Keras stands there only where held-out samples told it.
    """
    which = f"that keeps {KEPT_DB:g} dB to Keras or is as near to it as edgeport auto"
    title = f"The fastest peer {which if kept else 'of all'}, one sample, one thread"
    if kept and not any(map(is_judged, result["models"])):
        return f"{title}: {NOT_JUDGED}."
    head = ("fastest peer", "µs", "edgeport auto, µs", "edgeport auto / peer")
    rows = [("", *head, "peer beside Keras", "edgeport auto beside Keras")]
    for row in result["models"]:
        best = best_peer(row, kept=kept)
        if best is None:
            rows.append((row["title"], *[MISSING] * (len(rows[0]) - 1)))
            continue
        column, ratio = best
        cells = [row["columns"][name] for name in (column, "edgeport_auto")]
        times = [_number(cell["one_sample_us"]["1"]["median"]) for cell in cells]
        answers = [_answers(row, cell) if is_judged(row) else MISSING for cell in cells]
        rows.append((row["title"], ALL[column], *times, _ratio(ratio), *answers))
    return _table(title, rows)


def tools_table(result: Result, threads: str) -> str:
    """Return microseconds of the files that the peers' own accuracy tools make."""
    title = f"Files of the peers' own accuracy tools, one sample, {_threads(threads)}"
    if not any(column in row["columns"] for row in result["models"] for column in TOOLS):
        return f"{title}: not measured in this run."
    rows = [("", *TOOLS.values())]
    for row in result["models"]:
        cells = (row["columns"].get(column) for column in TOOLS)
        timed = [_timed(cell, "one_sample_us", threads) for cell in cells]
        rows.append((row["title"], *(_number(each and each["median"]) for each in timed)))
    return _table(f"{title}, µs", rows)


def latency_table(result: Result, threads: str) -> str:
    """Return microseconds; the fastest of the peers stands in bold."""
    rows = [("", *COLUMNS.values(), "edgeport auto / best peer", "floor of as many nodes")]
    for row in result["models"]:
        best = best_peer(row, threads)
        cells = []
        for column in COLUMNS:
            timed = _timed(row["columns"].get(column), "one_sample_us", threads)
            text = _number(timed and timed["median"])
            cells.append(f"**{text}**" if best and column == best[0] else text)
        floor = _timed(row.get("floor"), "one_sample_us", threads)
        cells.append(_ratio(best and best[1]))
        cells.append(f"{_number(floor['median'])} ({row['floor']['nodes']})" if floor else MISSING)
        rows.append((row["title"], *cells))
    return _table(f"One sample, {_threads(threads)}, µs", rows)


def ratio_table(result: Result, threads: str) -> str:
    there = {column for row in result["models"] for column in row["columns"]}
    columns = [column for column in ALL if column in there - {"edgeport_auto"}]
    rows = [("", *(ALL[column] for column in columns))]
    for row in result["models"]:
        cells = (_ratio(ratio_to_auto(row, column, threads)) for column in columns)
        rows.append((row["title"], *cells))
    return _table(
        f"One sample, {_threads(threads)}: time / edgeport auto's, median of the rounds' ratios "
        "and their quartiles",
        rows,
    )


def default_threads_table(result: Result) -> str:
    rows = [("", "threads that edgeport chooses", "its time / one thread's")]
    for row in result["models"]:
        chosen = row.get("default_threads")
        cells = (str(chosen["threads"]), _ratio(chosen["ratio"])) if chosen else (MISSING,) * 2
        rows.append((row["title"], *cells))
    return _table(
        "edgeport auto with as many threads as it chooses (1: the same thing twice)", rows
    )


def answers_table(result: Result) -> str:
    """Return decibels and shares of equal best classes, a file in each line."""
    models = result["models"]
    title = "Answers beside Keras', "
    if any(map(is_judged, models)):
        title += "signal-to-noise ratio in dB and share of equal best classes, on held-out samples"
    else:
        title += (
            f"signal-to-noise ratio in dB on the first {result['settings']['batch']} samples that "
            "edgeport chose its formats by (shares of equal best classes, and both on held-out "
            "samples: not measured in this run)"
        )
    rows = [("", *(row["title"] for row in models))]
    if any(map(is_judged, models)):
        held_out = (row.get("held_out") for row in models)
        rows.append(("samples", *(str(each["samples"]) if each else MISSING for each in held_out)))
    for column, name in ALL.items():
        cells = [_answers(row, row["columns"].get(column, {})) for row in models]
        if set(cells) != {MISSING}:
            rows.append((name, *cells))
    return _table(title, rows)


def overhead_table(result: Result) -> str:
    seen = result.get("overhead")
    if not seen:
        return ""
    calls, starts = seen["per_call_us"], seen["cold_start_ms"]
    (batch,) = (seen[name] for name in seen if re.fullmatch(r"batch_of_\d+_us", name))
    rows = [
        ("", "bare onnxruntime", "edgeport", "edgeport / bare"),
        (
            "one sample, µs",
            _number(calls["session_run"]),
            _number(calls["predict_one_sample"]),
            f"{seen['per_call_ratio']:.2f}",
        ),
        (
            "the same with its batch axis, µs",
            _number(calls["session_run"]),
            _number(calls["predict_batch_of_one"]),
            f"{seen['per_call_batch_of_one_ratio']:.2f}",
        ),
        (
            "10,000 samples in one call, µs",
            _number(batch["session_run"]),
            _number(batch["predict"]),
            f"{1 / seen['batch_throughput_ratio']:.2f}",
        ),
        (
            "cold start, ms",
            _number(starts["bare"]),
            _number(starts["edgeport"]),
            f"{seen['cold_start_ratio']:.2f}",
        ),
    ]
    return _table("The demo artifact: the same file, one thread", rows)


def kept_graph_table(result: Result) -> str:
    seen = result.get("kept_graph")
    if not seen:
        return ""
    rows = [("", "without", "with", "without / with")]
    for what, title in (
        ("load", "load, ms"),
        ("first_answer", "load and first answer, ms"),
        ("engine", "the engine's start alone, ms"),
    ):
        times = [seen[what][way]["median_ms"] for way in ("without", "kept")]
        ratio = seen[f"{what}_ratio"]["median_ms"]
        rows.append((title, *map(_number, times), f"{ratio:.2f}"))
    return _table("MobileNetV2, edgeport auto, with the graph kept in `cache_dir`", rows)


def exceptions(result: Result) -> str:
    """Return the cells that are not what their column's title says: another route, or an error."""
    lines = []
    for row in result["models"]:
        for column, title in ALL.items():
            cell = row["columns"].get(column, {})
            if "error" in cell:
                lines.append(f"- {row['title']}, {title}: {cell['error']}")
            elif cell.get("failed_routes"):
                failed = "; ".join(cell["failed_routes"])
                lines.append(f"- {row['title']}, {title}: `{cell['route']}`, since {failed}")
    return "\n".join(lines)


def recipes(result: Result) -> str:
    cells = ((row["title"], row["columns"].get("edgeport_auto", {})) for row in result["models"])
    return "\n".join(f"- {title}: {cell['route']}" for title, cell in cells if "route" in cell)


def machine_line(result: Result) -> str:
    machine, settings = result["machine"], result["settings"]
    has = [name for name, there in machine["instructions"].items() if there]
    lacks = [name for name, there in machine["instructions"].items() if not there]
    versions = ", ".join(f"{name} {found}" for name, found in result["versions"].items())
    return (
        f"On {machine['cpu']}, {machine['cpus']} CPUs, with {', '.join(has) or 'none'} and without "
        f"{', '.join(lacks) or 'none'} of the instructions that matter. Medians of "
        f"{settings['rounds']} interleaved rounds, of batches a third as many; load average before "
        f"the run {machine['load_average_before'] or 0:.1f}. {versions}."
    )


def _by_column(
    result: Result, title: str, columns: Sequence[str], cell: Callable[[Mapping[str, Any]], str]
) -> str:
    rows = [("", *(COLUMNS[column] for column in columns))]
    for row in result["models"]:
        rows.append((row["title"], *(cell(row["columns"].get(column, {})) for column in columns)))
    return _table(title, rows)


def _answers(row: Row, cell: Mapping[str, Any]) -> str:
    """Return how near the answers are to Keras'; a network with one answer to all tells nothing."""
    if "decibels" not in cell or not row["answers_vary"]:
        return MISSING
    same = cell.get("same_class")
    return f"{cell['decibels']:.1f} dB" + ("" if same is None else f", {same:.1%}")


def _timed(cell: Row | None, kind: str, threads: str) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (cell or {}).get(kind, {}).get(threads)
    return found


def _throughput(cell: Mapping[str, Any], threads: str) -> str:
    timed = _timed(cell, "batch_us", threads)
    return _number(timed and timed["samples_per_second"])


def _number(value: float | None, unit: float = 1) -> str:
    """Return three digits that count, or the whole number where it has more."""
    if value is None:
        return MISSING
    scaled = value / unit
    if abs(scaled) >= 100:
        return f"{scaled:,.0f}"
    return f"{scaled:.1f}" if abs(scaled) >= 10 else f"{scaled:.2f}"


def _whole(value: int | None) -> str:
    return MISSING if value is None else f"{value:,}"


def _ratio(ratio: Mapping[str, float] | None) -> str:
    if not ratio:
        return MISSING
    return f"{ratio['median']:.2f} ({ratio['q1']:.2f}–{ratio['q3']:.2f})"


def _threads(number: str) -> str:
    return "one thread" if number == "1" else f"{number} threads"


def _table(title: str, rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(cells: Iterable[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    ruler = line("-" * width for width in widths)
    return "\n".join([f"{title}:", "", line(rows[0]), ruler, *map(line, rows[1:])])
