"""The search: trials of a recipe with other values, until the study's budget is spent."""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass
from typing import Any

import keras
import optuna
from optuna.trial import FrozenTrial

from edgeport import EdgeportError
from edgeport_converter.errors import TrainingError
from edgeport_converter.progress import Progress, begin, telling
from edgeport_converter.training.data.samples import TrainingData
from edgeport_converter.training.data.splitting import Split
from edgeport_converter.training.fitting.callbacks import monitored
from edgeport_converter.training.fitting.fit import fit
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.search.space import read_parameters
from edgeport_converter.training.search.storage import without_password
from edgeport_converter.training.search.study import SharedStudy


@dataclass(frozen=True)
class TrialRecord:
    """One trial: "complete", "pruned" or "failed".

    ``value`` is the best of the metric in its epochs, None where it failed; ``note`` says why.
    """

    number: int
    values: dict[str, Any]
    state: str
    value: float | None
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class SearchResult:
    """What a search found: the best trial's values by key, its metric, and all finished trials.

    ``storage`` has ``***`` for a password; ``metric`` is what was compared on the validation set,
    ``own_value`` that of the recipe's own values, None where they were not tried; ``resumed``
    counts the trials from before this process.
    """

    study: str
    storage: str
    sampler: str
    metric: str
    best: dict[str, Any]
    value: float
    own_value: float | None
    trials: tuple[TrialRecord, ...]
    resumed: int


def search(
    recipe: TrainingRecipe,
    read: TrainingData,
    parts: Split,
    *,
    storage: str,
    study_name: str | None,
    progress: Progress,
) -> SearchResult:
    """Work on the recipe's study until its trials are done, and return the best.

    Every trial is stored as it ends, so a search that was interrupted resumes where it was.

    Trials are trained on ``parts.train`` and compared on ``parts.validation``.

    Raises:
        OptionError: the search or its storage cannot be used.
        TrainingError: no trial could be trained, or the storage went away.
    """
    parameters = read_parameters(recipe)
    if recipe.training.early_stopping is not None:
        metric, more = monitored(recipe)
    else:
        metric, more = ("val_loss", False) if read.is_regression else ("val_accuracy", True)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = SharedStudy(
            recipe,
            read.sha256,
            parameters,
            storage,
            more=more,
            name=study_name,
            say=progress.say,
        )
        resumed = len(study.finished())
        with telling(progress), begin("trials", study.limit - resumed) as task:

            def tell(trial: FrozenTrial) -> None:
                progress.say(_tell(_record(study, trial), metric))
                task.note(_best_so_far(study, metric))
                task.advance()

            study.optimize(lambda trial: _try(study, trial, recipe, read, parts, metric), tell)
    finally:
        optuna.logging.set_verbosity(before)
    return _result(recipe, study, storage, metric, resumed)


def _try(
    study: SharedStudy,
    trial: optuna.Trial,
    recipe: TrainingRecipe,
    read: TrainingData,
    parts: Split,
    metric: str,
) -> float:
    """Train at a trial's point and return the best value of the metric."""
    point = study.claim(trial)
    gc.collect()  # models lie in cycles, and hold the samples of their trial
    plan = recipe.search
    prunes = plan is not None and plan.pruning
    reporting = _Reporting(trial, metric, max if study.more else min, prunes=prunes)
    try:
        fit(
            recipe.with_values(point),
            read,
            parts.train,
            parts.validation,
            progress=Progress(),
            epochs=plan.epochs if plan else None,
            callbacks=[reporting],
        )
    except TrainingError as cause:  # a rate under which the loss diverges is a finding, too
        trial.set_user_attr("note", str(cause))
        # The worst there is, so that samplers keep away and nobody tries it again.
        return -math.inf if study.more else math.inf
    except BaseException as cause:
        study.give_back(trial)
        if isinstance(cause, EdgeportError):
            raise type(cause)(f"the search stopped at {point}: {cause}") from cause
        raise
    if reporting.is_pruned or reporting.best is None:
        raise optuna.TrialPruned
    return reporting.best


class _Reporting(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports a trial's best value so far after each epoch, and ends trials without prospects."""

    def __init__(self, trial: optuna.Trial, metric: str, pick: Any, *, prunes: bool) -> None:
        super().__init__()
        self._trial, self._metric, self._pick, self._prunes = trial, metric, pick, prunes
        self.best: float | None = None
        self.is_pruned = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        value = float(logs[self._metric])
        self.best = value if self.best is None else self._pick(self.best, value)
        self._trial.report(self.best, epoch + 1)
        self.is_pruned = self._prunes and self._trial.should_prune()
        self.model.stop_training = self.model.stop_training or self.is_pruned


def _result(
    recipe: TrainingRecipe, study: SharedStudy, storage: str, metric: str, resumed: int
) -> SearchResult:
    records = tuple(_record(study, trial) for trial in study.finished())
    complete = [record for record in records if record.state == "complete"]
    if not complete:
        note = next((record.note for record in records if record.note), "none was finished")
        raise TrainingError(
            f"no trial of the search could be trained ({note}), expected one at least: search "
            "lower learning rates"
        )
    best = (max if study.more else min)(complete, key=lambda record: record.value or 0.0)
    assert best.value is not None  # noqa: S101  # it is complete
    own = {key: recipe.value(key) for key in best.values}
    return SearchResult(
        study=study.study.study_name,
        storage=without_password(storage),
        sampler=recipe.search.sampler if recipe.search else "",
        metric=metric,
        best=best.values,
        value=best.value,
        own_value=next((record.value for record in records if record.values == own), None),
        trials=records,
        resumed=resumed,
    )


def _record(study: SharedStudy, trial: FrozenTrial) -> TrialRecord:
    note, value = str(trial.user_attrs.get("note", "")), trial.value
    state = "failed" if note else trial.state.name.lower()
    found = value if value is not None and math.isfinite(value) else None
    seconds = trial.duration.total_seconds() if trial.duration else 0.0
    return TrialRecord(trial.number, study.point_of(trial), state, found, seconds, note)


def _best_so_far(study: SharedStudy, metric: str) -> str:
    values = [record.value for record in (_record(study, trial) for trial in study.finished())]
    known = [value for value in values if value is not None]
    return f"best so far: {metric} {(max if study.more else min)(known):.4f}" if known else ""


def _tell(record: TrialRecord, metric: str) -> str:
    point = ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in record.values.items()
    )
    found = "failed" if record.value is None else f"{metric} {record.value:.4f}"
    end = " (pruned)" if record.state == "pruned" else ""
    return f"search: trial {record.number}: {point}: {found}{end}"
