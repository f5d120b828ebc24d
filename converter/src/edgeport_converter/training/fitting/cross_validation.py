"""k-fold cross-validation: what accuracy to expect of a recipe before the final fit."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import t as student_t

from edgeport.atomic_files import replacing
from edgeport_converter.progress import Progress
from edgeport_converter.training.data.samples import TrainingData, TrainingSamples
from edgeport_converter.training.data.splitting import folds, split_validation
from edgeport_converter.training.fitting.evaluation import evaluate
from edgeport_converter.training.fitting.fit import fit
from edgeport_converter.training.recipe.recipe import TrainingRecipe

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class CrossValidationResult:
    """The metric, "accuracy" or "r2", on each fold held out, with mean and standard deviation.

    One more fold would fall between ``low`` and ``high`` with 95 %, by Student's t; for a test set
    of another size this is a guide.
    """

    metric: str
    values: tuple[float, ...]
    mean: float
    spread: float
    low: float
    high: float


def cross_validate(
    recipe: TrainingRecipe,
    read: TrainingData,
    samples: TrainingSamples,
    *,
    progress: Progress,
    store: Path | None = None,
) -> CrossValidationResult:
    """Return the metric of each fold held out, trained on the others.

    Where validation steers the training (early stopping, a plateau's rate), it is a part of the
    other folds, never the one held out; elsewhere all the other folds are trained on.

    Finished folds are kept in the file ``store``, so that a killed run need not repeat them.

    Raises:
        OptionError: there are too few samples for the folds.
    """
    count = recipe.cross_validation.folds if recipe.cross_validation else 5
    training = recipe.training
    is_steered = training.early_stopping is not None or (
        training.schedule is not None and training.schedule.kind == "plateau"
    )
    known = _read_store(store, recipe, read)
    values: list[float] = []
    metric = "r2" if read.is_regression else "accuracy"
    for number, (inside, outside) in enumerate(folds(recipe, read, samples, count), start=1):
        if number <= len(known):
            values.append(known[number - 1])
            continue
        progress.say(f"cross-validation: fold {number} of {count}")
        train, validation = samples.take(inside), samples.take(outside)
        if is_steered:
            train, validation = split_validation(recipe, read, train)
        fitted = fit(recipe, read, train, validation, progress=progress)
        values.append(evaluate(fitted.model, read, samples.take(outside)).value)
        _write_store(store, recipe, read, values)
    return summarize(metric, values)


def summarize(metric: str, values: list[float]) -> CrossValidationResult:
    """Return mean, spread and interval of the folds' values.

    The interval ends where the metric does, which leaves nothing out that a fold can have.
    """
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    quantile = float(student_t.ppf(0.5 + _CONFIDENCE / 2, len(values) - 1))
    reach = quantile * spread * math.sqrt(1 + 1 / len(values))
    lowest = 0.0 if metric == "accuracy" else -math.inf  # r2 has no lower end
    low, high = max(lowest, mean - reach), min(1.0, mean + reach)
    return CrossValidationResult(metric, tuple(values), mean, spread, low, high)


def _read_store(store: Path | None, recipe: TrainingRecipe, read: TrainingData) -> list[float]:
    if store is None or not store.exists():
        return []
    facts = json.loads(store.read_text(encoding="utf-8"))
    same = facts["recipe_sha256"] == recipe.sha256 and facts["data_sha256"] == read.sha256
    return list(facts["values"]) if same else []


def _write_store(
    store: Path | None, recipe: TrainingRecipe, read: TrainingData, values: list[float]
) -> None:
    if store is not None:
        facts = {"recipe_sha256": recipe.sha256, "data_sha256": read.sha256, "values": values}
        with replacing(str(store)) as file:
            file.write(json.dumps(facts).encode())
