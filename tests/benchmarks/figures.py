"""The stored runs as tables in the READMEs and as a picture: `make figures`.

Times depend on the CPU, so `runs/KIND/` holds the runs of each kind of CPU side by side;
`peers.machine.kind` names the kinds. Training's figures are no times and lie in `runs/` itself.
Every table and picture is written from these files and never typed.

    python tests/benchmarks/figures.py [ROOT]
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import table as bench_table
from tables import (
    bundles,
    calls,
    finetune,
    headline,
    layer_times,
    passes,
    quantization,
    training,
)
from tables.sections import put, title_of

ROOT = Path(__file__).resolve().parents[2]
RUNS = Path(__file__).resolve().parent / "runs"
PICTURE = Path("tests/benchmarks/bench.svg")

Render = Callable[[Any], str]
BY_KIND: dict[str, Render] = {
    "bench": bench_table.render_short,
    "quantization": quantization.render,
    "passes": passes.render,
    "calls": calls.render,
    "layer_times": layer_times.render,
    "finetune": finetune.render,
    "bundles": bundles.render,
}
BENCHMARKS_README = Path("tests/benchmarks/README.md")
TRAINING_README = Path("converter/README.md")
ROOT_README = Path("README.md")


def main() -> None:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    for name, render in BY_KIND.items():
        put(root / BENCHMARKS_README, name, by_kind(name, render))
    put(root / TRAINING_README, "training", training.render(stored("training")))
    put(root / ROOT_README, "headline", five_figures())
    draw(root / PICTURE)


def stored(name: str, kind: str = ".") -> Any:
    return json.loads((RUNS / kind / f"{name}.json").read_text(encoding="utf-8"))


def kinds(name: str) -> list[str]:
    """Return the kinds of CPU that this benchmark has run on."""
    return sorted(path.parent.name for path in RUNS.glob(f"*/{name}.json"))


def by_kind(name: str, render: Render) -> str:
    """Return the tables of every kind of CPU, each under its title."""
    parts = [f"#### {title_of(kind)}\n\n{render(stored(name, kind))}" for kind in kinds(name)]
    return "\n\n".join(parts)


def five_figures() -> str:
    """Return the root README's table, a column for each kind of CPU."""
    runs = {kind: stored("bench", kind) for kind in kinds("bench")}
    return headline.render(runs, stored("training"))


def digest() -> str:
    """Return what tells whether the picture was drawn from the stored runs."""
    text = "".join((RUNS / kind / "bench.json").read_text("utf-8") for kind in kinds("bench"))
    return hashlib.sha256(text.encode()).hexdigest()


def draw(path: Path) -> None:
    """Draw the time of one sample on one thread, edgeport auto's beside the fastest peer's.

    Both are divided by that of onnxruntime's float file; shorter bars are faster.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.use("svg")

    shown = kinds("bench")
    style = {"svg.hashsalt": "edgeport", "svg.fonttype": "none", "font.family": "sans-serif"}
    with mpl.rc_context(style):
        figure, panels = plt.subplots(
            1, len(shown), figsize=(5 * len(shown), 4), sharey=True, squeeze=False
        )
        for kind, panel in zip(shown, panels[0], strict=True):
            _bars(panel, title_of(kind), bench_table.bars(stored("bench", kind)))
        panels[0][0].invert_yaxis()  # of all panels, which share it
        panels[0][-1].legend(loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, frameon=False)
        figure.savefig(
            path,
            bbox_inches="tight",
            facecolor="white",
            metadata={"Date": None, "Description": digest()},
        )
        plt.close(figure)


def _bars(panel: Any, title: str, bars: dict[str, tuple[float, float]]) -> None:
    places = range(len(bars))
    ours, peers = zip(*bars.values(), strict=True)
    for offset, times, label, color in (
        (-0.2, ours, "edgeport", "#1b6ca8"),
        (0.2, peers, "fastest peer, whatever its answers", "#c9c9c9"),
    ):
        panel.barh([place + offset for place in places], times, 0.38, label=label, color=color)
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set(title=title, xlabel="time / onnxruntime float", yticks=places, yticklabels=bars)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
