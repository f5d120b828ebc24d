"""What recipes and searches reach: the tables of a stored run of `make training`."""

from __future__ import annotations

import statistics
from typing import Any

from tables.sections import table

_EXAMPLES = {
    "mnist": "784-64-64-10, five epochs, cosine schedule",
    "cnn": "two convolutions, augmentation, early stopping",
}


def render(run: dict[str, Any]) -> str:
    """Return the tables of one stored run in Markdown."""
    folds = next(iter(run["folds"].values()))
    size = next(iter(run["folds"]))
    parts = [
        "The printed recipes on the whole MNIST set, tested on its 10,000 test digits:",
        table(
            ("Recipe", "Keras", "int8 artifact"),
            [
                (
                    f"`{name}`: {_EXAMPLES[name]}",
                    _percent(row["test_accuracy"], 2),
                    f"{_percent(row['int8_accuracy'], 2)}, {row['int8_bytes']:,} bytes",
                )
                for name, row in run["examples"].items()
            ],
        ),
        "On 500 digits (400 to train, 100 to validate), the network 784-64-64-10, five seeds, "
        "tested on 10,000.\nThe calibration error says by how much the network's certainty is off, "
        "which over-fitting spoils first.",
        table(
            ("", "accuracy, mean ± spread", "seeds", "calibration error", "epochs"),
            [
                (
                    name,
                    f"{_percent(row['mean'])} ± {row['spread'] * 100:.1f}",
                    _between(row["test_accuracy"]),
                    _percent(row["calibration_error"]),
                    f"{statistics.fmean(row['epochs']):.0f}",
                )
                for name, row in run["small_set"].items()
            ],
        ),
        f"On {size}, ten folds expect {_percent(folds['mean'])} ± {folds['spread'] * 100:.1f} and "
        f"a further fold in {folds['low'] * 100:.1f} to {_percent(folds['high'])}; the test\nset "
        f"then says {_percent(folds['test_accuracy'])}.",
        "The learning rate of the same network on 3,000 digits, a third of them for validation; 12 "
        "trials of\nfive epochs, the first of them adam's own 0.001; grid and random without "
        "pruning, TPE with:",
        table(
            ("search", "best rate", "validation", "validation at 0.001", "test"),
            [
                (
                    name + (f", {row['pruned']} trials pruned" if row["pruned"] else ""),
                    f"{row['best_rate']:.4f}",
                    _percent(row["best_validation"]),
                    _percent(row["default_validation"]),
                    _percent(row["test_accuracy"]),
                )
                for name, row in run["search"].items()
            ],
        ),
    ]
    return "\n\n".join(parts)


def _between(shares: list[float]) -> str:
    return f"{min(shares) * 100:.1f} to {_percent(max(shares))}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"
