"""What fine-tuning brings back: the tables of a stored run of `make finetune`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import Any

from tables.sections import table

_FORMS = ("layers in float", "fine-tuned")
NOTHING_LOST = "int8 keeps the budget without it"
"""The reason of a conversion where there is nothing to bring back."""
_HEAD = (
    "network", "seeds", "float", "int8 between layers", "int8", "with labels", "back",
    "by the teacher", "back", "as trained",
)  # fmt: skip


def render(run: dict[str, Any]) -> str:
    """Return the tables of one stored run in Markdown."""
    cases: dict[str, list[dict[str, Any]]] = {}
    for each in run["runs"]:
        cases.setdefault(each["case"], []).append(each)
    return "\n\n".join(
        [
            "Accuracy on held-out samples in percent, mean and spread over the seeds; `back` is "
            "the share\nof what int8 lost that came back:",
            table(_HEAD, [_row(case, runs) for case, runs in cases.items()]),
            "What is won against layers in float, of the first seed, both within one point of "
            "float: time of one\nsample on one thread, bytes, accuracy; shares of the time and "
            "of the bytes:",
            table(
                ("network", *_FORMS, "time", "bytes"),
                [_forms(*each) for each in run["forms"].items()],
            ),
            f"On {run['machine']['cpu']}.",
        ]
    )


def _row(case: str, runs: list[dict[str, Any]]) -> list[str]:
    cells = [case, str(len(runs))]
    cells += [_percent(run[name] for run in runs) for name in ("float32", "between_layers", "int8")]
    for name in ("labels", "teacher"):
        if lost_nothing(runs):
            cells += ["", "int8 lost nothing"]
        else:
            shares = f"**{_percent(recovered(runs, name), 0)}**{failures(runs, name)}"
            cells += [_percent(run[name] for run in runs), shares]
    agreements = [run["agreement"] for run in runs if run["agreement"] is not None]
    return [*cells, f"{100 * min(agreements):.2f}" if agreements else ""]


def lost_nothing(runs: list[dict[str, Any]]) -> bool:
    """Whether the mean of what int8 lost is within its noise.

    The noise is twice the standard error of a difference of two accuracies on the same samples:
    of all samples those count whose best class changed, and each may be a gain or a loss.
    """
    losses = [run["float32"] - run["int8"] for run in runs]
    noise = [math.sqrt(run["changed"] / run["samples"]) for run in runs]
    return statistics.mean(losses) <= 2 * statistics.mean(noise)


def failures(runs: list[dict[str, Any]], name: str) -> str:
    """Return how many seeds could not be trained, which count as nothing gained, and why."""
    reasons = [run.get("untrained", {}).get(name, "") for run in runs]  # older runs do not tell
    found = [each for each in reasons if each not in ("", NOTHING_LOST)]
    return f"; {len(found)} of {len(runs)} not trained: {found[0]}" if found else ""


def recovered(runs: list[dict[str, Any]], name: str) -> list[float]:
    """Return the share of what int8 lost that came back, by seed.

    A seed that lost nothing, so that nothing was trained, is left out; one that could not be
    trained gained nothing.
    """
    return [
        (run[name] - run["int8"]) / max(run["float32"] - run["int8"], 1e-9)
        for run in runs
        if run.get("untrained", {}).get(name) != NOTHING_LOST
    ]


def _percent(values: Iterable[float], digits: int = 1) -> str:
    found = [100 * value for value in values]
    if not found:
        return ""
    mean = f"{statistics.mean(found):.{digits}f}"
    return mean if len(found) == 1 else f"{mean} ± {statistics.pstdev(found):.{digits}f}"


def _forms(case: str, forms: dict[str, dict[str, Any]]) -> list[str]:
    plain, tuned = (forms[name] for name in _FORMS)
    if plain["recipe"] == tuned["recipe"]:
        return [case, _form(plain), "the same", "", ""]
    shares = [
        f"{tuned[key] / plain[key]:.2f}" if key in tuned else "" for key in ("latency_us", "bytes")
    ]
    return [case, _form(plain), _form(tuned), *shares]


def _form(form: dict[str, Any]) -> str:
    time = f"{form['latency_us']:,.1f} µs, " if "latency_us" in form else ""
    recipe = "all in float" if form["recipe"] == "none" else form["recipe"]
    return f"{time}{form['bytes']:,} B, {100 * form['accuracy']:.1f} % ({recipe})"
