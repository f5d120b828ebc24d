"""One model's row of the table: its files, and the statistics of their rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from peers.models import BenchModel
from peers.round_statistics import ratio_of_rounds, ratio_of_runs, significant, spread

OURS = "edgeport_auto"
DEFAULT, FLOOR = "edgeport_default", "floor"


def make_row(
    model: BenchModel,
    made: Mapping[str, Any],
    timed: Mapping[str, Any],
    keras: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """Return the row in the form that is stored.

    Args:
        model: which one it is.
        made: the facts of its files by column, and of the floor.
        timed: what ``timing`` wrote, with the medians of the cold starts as ``starts``.
        keras: rounds of the Keras call by number of threads; of another run, so that their ratio
            to ours is that of medians.
    """
    columns = {name: dict(facts) for name, facts in made["columns"].items()}
    columns["keras"] = {"route": "model(x, training=False)"}
    if not keras:
        columns["keras"] = {"error": "TensorFlow's process ended before its time"}
    for column in ("openvino_float", "openvino_qdq"):
        source = columns.get("raw" if column == "openvino_float" else "naive", {})
        columns.setdefault(
            column, {name: source[name] for name in ("file", "error") if name in source}
        )
    for column, error in timed.get("errors", {}).items():
        columns[column] |= {"error": error}
    for column, seen in timed.get("judged", {}).items():
        columns[column]["decibels"] = round(seen["decibels"], 1)
        if "same_class" in seen:
            columns[column]["same_class"] = significant(seen["same_class"])
    for column, seen in timed.get("starts", {}).items():
        columns[column] |= {name: significant(value) for name, value in seen.items()}
    row: dict[str, Any] = {
        "name": model.name,
        "title": model.title,
        "is_convolutional": model.is_convolutional,
        "shape": made.get("shape"),
        "answers_vary": timed.get("answers_vary", True),
        "held_out": made.get("held_out"),
        "columns": columns,
    }
    if "floor" in made:
        row["floor"] = {"nodes": made["floor"]["nodes"]}
    for threads, rounds in timed.get("one_sample_us", {}).items():
        _add_times(row, rounds, threads)
        if threads in keras and OURS in rounds:
            cell = _timed(keras[threads])
            cell["ratio"] = _shorten(ratio_of_runs(keras[threads], rounds[OURS]))
            columns["keras"].setdefault("one_sample_us", {})[threads] = cell
    for threads, rounds in timed.get("batch_us", {}).items():
        for column, times in rounds.items():
            cell = _timed(times)
            cell["samples_per_second"] = significant(timed["batch"] / cell["median"] * 1e6)
            columns[column].setdefault("batch_us", {})[threads] = cell
    facts = timed.get("facts", {})
    if "openvino_precision" in facts:
        columns["openvino_float"]["precision"] = facts["openvino_precision"]
    if "default_threads" in facts:
        rounds = timed["one_sample_us"]["1"]
        row["default_threads"] = {
            "threads": facts["default_threads"],
            "ratio": _shorten(ratio_of_rounds(rounds[DEFAULT], rounds[OURS])),
        }
    return row


def _add_times(row: dict[str, Any], rounds: Mapping[str, Sequence[float]], threads: str) -> None:
    for column, times in rounds.items():
        if column == DEFAULT:
            continue
        cell = _timed(times)
        if OURS in rounds and column != FLOOR:
            cell["ratio"] = _shorten(ratio_of_rounds(times, rounds[OURS]))
        place = row["floor"] if column == FLOOR else row["columns"][column]
        place.setdefault("one_sample_us", {})[threads] = cell


def _timed(times: Sequence[float]) -> dict[str, Any]:
    return {"rounds": [significant(time) for time in times], **_shorten(spread(times))}


def _shorten(values: Mapping[str, float]) -> dict[str, float]:
    return {name: significant(value) for name, value in values.items()}
