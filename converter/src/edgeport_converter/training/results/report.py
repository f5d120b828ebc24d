"""What a training found: a plain record, as the caller and the command line see it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeport.cli.printing import escaped
from edgeport_converter import provenance

if TYPE_CHECKING:
    from edgeport_converter.training.fitting.cross_validation import CrossValidationResult
    from edgeport_converter.training.fitting.evaluation import Evaluation
    from edgeport_converter.training.fitting.lr_range_test import RangeTestResult
    from edgeport_converter.training.search.trials import SearchResult

RECIPE_FILE = "recipe.toml"
RUN_FILES = (
    *(RECIPE_FILE, "recipe.json", "metrics.json", "learning_curve.png", "summary.md"),
    *("calibration.npz", "test.npz", "labels.txt", "model.keras"),
)
"""What ``summary`` writes into the run's folder."""

_MOST_CLASSES = 20


@dataclass(frozen=True)
class TrainingReport:
    """Everything that a training measured.

    Attributes:
        output: the model's path.
        run_folder: recipe, metrics, picture, summary, and data ready for `edgeport convert`.
        name: the model's name.
        samples: how many are in train, validation and test.
        weights: how many numbers the model has learned.
        seed: of all chance.
        data: names and shapes of the inputs, classes, columns, digest, notes on what was left out.
        recipe_sha256: of the recipe as it was given.
        history: an entry an epoch: loss, metrics, the same with "val_", learning_rate.
        best_epoch: the one with the best validation value, from 1.
        kept_epoch: the one whose weights the model has; 0: untrained, interrupted before.
        stopped_early: whether it ended before the planned epochs.
        interrupted: whether the user ended it; the same call resumes it.
        resumed_after: the epoch it resumed after; 0: it began with the first.
        evaluation: on the test set.
        cross_validation, range_test, search: None where the recipe asks for none.
        learning_rate: the rate of the final fit, before any schedule.
        versions: of the tools.
    """

    output: Path
    run_folder: Path
    name: str
    samples: Mapping[str, int]
    weights: int
    seed: int
    data: Mapping[str, Any]
    recipe_sha256: str
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    kept_epoch: int
    stopped_early: bool
    interrupted: bool
    resumed_after: int
    evaluation: Evaluation
    cross_validation: CrossValidationResult | None
    range_test: RangeTestResult | None
    search: SearchResult | None
    learning_rate: float
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready data."""
        return asdict(self) | {
            "output": str(self.output),
            "run_folder": str(self.run_folder),
            "evaluation": self.evaluation.to_dict(),
        }

    def facts(self) -> dict[str, str]:
        """Return what travels in the model's file and into the artifact's card."""
        found = self.evaluation
        figures = ", ".join(f"{name} {value:.6g}" for name, value in found.figures.items())
        facts = {
            "training_data_sha256": str(self.data["sha256"]),
            "training_recipe_sha256": self.recipe_sha256,
            "training_samples": str(self.samples["train"]),
            "training_test": f"{figures} on {found.samples} samples",
            "training_seed": str(self.seed),
            "training_epochs": f"{self.kept_epoch} of {len(self.history)}",
        }
        if self.data.get("frames"):
            facts[provenance.FRAMES] = self.data["frames"]
        if self.cross_validation is not None:
            folds = self.cross_validation
            facts["training_cross_validation"] = (
                f"{folds.metric} {folds.mean:.6g} ± {folds.spread:.6g} in {len(folds.values)} folds"
            )
        return facts

    def to_text(self) -> str:
        """Return the report in lines for a screen, with control characters in names escaped."""
        parts = ", ".join(f"{count:,} {name}" for name, count in self.samples.items())
        end = "interrupted" if self.interrupted else "stopped early" if self.stopped_early else ""
        lines = [
            f"model      {self.output}: {self.weights:,} weights",
            f"data       {parts}; sha256 {str(self.data['sha256'])[:16]}…",
            f"epochs     {len(self.history)}{f', {end}' if end else ''}; weights of epoch "
            f"{self.kept_epoch}; learning rate {self.learning_rate:.4g}",
        ]
        lines += [f"note       {note}" for note in self.data["notes"]]
        if self.resumed_after:
            lines.append(f"resumed    after epoch {self.resumed_after}")
        if self.range_test is not None:
            lines.append(f"range test suggests a rate of {self.range_test.suggested:.3g}")
        if self.search is not None:
            found = self.search
            best = ", ".join(f"{name} = {value}" for name, value in found.best.items())
            own = found.own_value
            than = "" if own is None else f"; the recipe's own values {own:.4f}"
            lines.append(
                f"search     {len(found.trials)} trials by {found.sampler}: {found.metric} "
                f"{found.value:.4f} with {best}{than}"
            )
        if self.cross_validation is not None:
            folds = self.cross_validation
            lines.append(
                f"folds      {folds.metric} {folds.mean:.4f} ± {folds.spread:.4f} in "
                f"{len(folds.values)}; a further one with 95 % in {folds.low:.4f} to "
                f"{folds.high:.4f}"
            )
        figures = ", ".join(
            f"{name} {value:.4f}" for name, value in self.evaluation.figures.items()
        )
        lines.append(f"test       {figures} on {self.evaluation.samples:,} samples")
        lines += self._class_lines()
        lines.append(f"run        {self.run_folder}: summary.md, metrics.json, learning_curve.png")
        if self.run_folder.resolve() == self.output.with_suffix(".run").resolve():
            lines.append(f"next       edgeport convert {shlex.quote(str(self.output))}")
        return "\n".join(map(escaped, lines))

    def _class_lines(self) -> list[str]:
        classes = self.evaluation.classes
        if not classes:
            return []
        shown = sorted(classes, key=lambda c: c.recall if c.recall is not None else 2.0)
        shown = list(classes) if len(classes) <= _MOST_CLASSES else shown[:_MOST_CLASSES]
        width = max(len("class"), *(len(item.name) for item in shown))
        lines = ["", f"{'class':<{width}}  precision  recall  samples"]
        for item in shown:
            lines.append(
                f"{item.name:<{width}}  {_share(item.precision):>9}  {_share(item.recall):>6}  "
                f"{item.samples:>7,}"
            )
        if len(shown) < len(classes):
            lines.append(f"the {len(shown)} of {len(classes)} classes with the least recall")
        return [*lines, ""]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
