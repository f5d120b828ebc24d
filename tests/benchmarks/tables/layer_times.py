"""Graphs composed from layer times beside the search's: the table of `make layer-times`."""

from __future__ import annotations

from typing import Any

from tables.sections import table

_TIMED = ("float", "int8", "search", "composed")


def render(run: dict[str, Any]) -> str:
    """Return the table of one stored run in Markdown."""
    rows = [
        (
            row["model"],
            *(f"{row['us'][name]:,.1f}" for name in _TIMED),
            f"{row['composed_by_search']:.3f}",
            row["reason"].partition(" layers are in int8")[0],
        )
        for row in run["rows"]
    ]
    head = ("one sample, one thread, µs", *_TIMED, "ratio", "layers in int8")
    return f"{table(head, rows)}\n\nOn {run['machine']['cpu']}."
