"""What a whole call costs beside code by hand: the tables of a stored run of `make calls`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peers.models import MODELS

from tables.sections import table

MISSING = "—"
SIZES = ("1", "2", "8", "32", "128", "1000", "10000")
KINDS = ("float64", "uint8", "view", "fortran", "list")
STATES = {"alone": "alone", "busy": "beside a busy process", "paused": "20 ms between calls"}


def render(run: dict[str, Any]) -> str:
    """Return the tables of one stored run in Markdown."""
    titles = {model.name: model.title for model in MODELS}
    found = run["artifacts"]
    names = [*(name for name in titles if name in found), *(n for n in found if n not in titles)]
    rows = {titles.get(name, name): found[name] for name in names}
    return "\n\n".join(
        [
            "Time of `predict` / that of `InferenceSession.run`, one thread, by batch size (a "
            "dash: too large or too slow to measure):",
            table(
                ("", *(f"{int(size):,}" for size in SIZES)),
                [
                    (title, *(_number(row.get("batches", {}).get(size)) for size in SIZES))
                    for title, row in rows.items()
                ],
            ),
            "Other kinds of arrays, one sample and 64: time of `predict` / that of "
            "`np.ascontiguousarray` to float32 and `run`:",
            table(
                ("", *KINDS),
                [
                    (
                        title,
                        *(
                            " · ".join(
                                _number(row.get("kinds", {}).get(f"{kind} {size}"))
                                for size in (1, 64)
                            )
                            for kind in KINDS
                        ),
                    )
                    for title, row in rows.items()
                ],
            ),
            "`threads=2`: times of `predict` / those on one thread, of a plain session that does "
            "not spin, and of one that spins; CPU time / that of a plain session that does not "
            "spin. Medians:",
            table(
                ("", "samples", "", "one thread", "waiting", "spinning", "CPU time"),
                [
                    line
                    for title, row in rows.items()
                    for line in _threads(title, row.get("threads", {}))
                ],
            ),
            "Load and first answer: time / that of a plain session, and the same of CPU time:",
            table(
                ("", "passed", "CPU"),
                [
                    (title, *(_number(row.get("load", {}).get(kind)) for kind in ("passed", "cpu")))
                    for title, row in rows.items()
                ],
            ),
            f"On {run['machine']['cpu']}, {run['machine']['cpus']} CPUs, onnxruntime "
            f"{run['onnxruntime']}.",
        ]
    )


def _threads(title: str, found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    lines = []
    for what, row in found.items():
        size, state = what.split()
        cells = (row[under]["median"] for under in ("one", "waiting", "spinning", "cpu/waiting"))
        lines.append((title, f"{int(size):,}", STATES[state], *(f"{cell:.2f}" for cell in cells)))
    return lines


def _number(found: Mapping[str, float] | None) -> str:
    return MISSING if found is None else f"{found['min']:.2f}"
