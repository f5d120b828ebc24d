"""The five figures of the root README, from stored runs of ``make bench`` and ``make training``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peers.round_statistics import geometric_mean
from peers.targets import judge

from tables.sections import table, title_of

_TARGETS = (
    (
        "one sample beside onnxruntime with the float model, ten networks",
        "edgeport auto / onnxruntime float, geometric mean over all ten",
    ),
    (
        "one sample beside the fastest of four engines, whatever its answers, eight networks",
        "edgeport auto / fastest peer of all, geometric mean over the 8 convolution nets",
    ),
    (
        "`predict`, all checks included, beside onnxruntime's bare call",
        "demo artifact: predict / InferenceSession.run, one sample with and without its batch "
        "axis, the larger",
    ),
)


def render(bench: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Return the figures as a table in Markdown.

    Args:
        bench: the stored run of ``make bench`` by kind of CPU.
        training: the stored run of ``make training``.
    """
    digits = training["examples"]["cnn"]
    float_to_int8 = f"{digits['test_accuracy']:.2%} → {digits['int8_accuracy']:.2%}"
    rows = [
        ["accuracy on 10,000 digits, Keras → int8", *[float_to_int8] * len(bench)],
        ["bytes beside the float file, ten networks", *map(_size, bench.values())],
    ]
    judged = [{target["name"]: target["found"] for target in judge(run)} for run in bench.values()]
    for words, name in _TARGETS:
        found = [run[name] for run in judged]
        rows.append([words, *("—" if each is None else f"{each:.2f}" for each in found)])
    return table(("", *map(title_of, bench)), rows)


def _size(run: Mapping[str, Any]) -> str:
    cells = [row["columns"] for row in run["models"]]
    return f"{geometric_mean([c['edgeport_auto']['bytes'] / c['raw']['bytes'] for c in cells]):.2f}"
