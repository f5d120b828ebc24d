"""The search: trials of a recipe with other values, until the study's budget is spent."""

from __future__ import annotations

import gc
import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import keras
import optuna
from optuna.trial import FrozenTrial, TrialState

from edgeport import EdgeportError
from edgeport_converter.errors import TrainingError
from edgeport_converter.progress import Watcher
from edgeport_converter.training.data.samples import ReadData
from edgeport_converter.training.data.splitting import Split
from edgeport_converter.training.fitting.callbacks import monitored
from edgeport_converter.training.fitting.fit import fit
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.recipe.tables import SearchTable
from edgeport_converter.training.search import studies
from edgeport_converter.training.search.space import read_parameters
from edgeport_converter.training.search.studies import FINISHED

_POLL_S = 1.0


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: in the study.
        values: of the searched keys.
        state: "complete", "pruned" or "failed".
        value: the best of the metric in its epochs; None where it failed or never got that far.
        seconds: how long it took.
        note: why it failed.
    """

    number: int
    values: dict[str, Any]
    state: str
    value: float | None
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        study: its name.
        storage: where it is kept.
        sampler: grid, random or tpe.
        metric: what was compared, on the validation set.
        best: the best trial's values by key.
        value: its metric.
        own_value: the metric of the recipe's own values, None where they were not tried.
        trials: all that were finished, by this process or others, in their order.
        resumed: how many of them were finished before this process began.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON-ready data."""
        return asdict(self)


def search(
    recipe: TrainingRecipe, read: ReadData, parts: Split, *, storage: str, watcher: Watcher
) -> SearchResult:
    """Work on the recipe's study until its trials are done, and return the best.

    Every trial is stored as it ends, so an interrupted search goes on where it was.

    Args:
        recipe: with [search].
        read: says what is learned.
        parts: trials are trained on ``train`` and compared on ``validation``.
        storage: a journal file or a database URL.
        watcher: is told of each trial.

    Raises:
        OptionError: the search or its storage cannot be used.
        TrainingError: no trial could be trained.
    """
    plan = recipe.search
    parameters = read_parameters(recipe)
    assert plan is not None  # noqa: S101  # read_parameters has refused it
    metric, more = _metric(recipe, read)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = studies.open_study(recipe, read.sha256, parameters, plan, storage, more=more)
        resumed = len(study.get_trials(deepcopy=False, states=FINISHED))
        while True:
            if given_back := studies.give_back_abandoned(study):
                watcher.stage(f"search: {given_back} trials of a dead process are done again")
            chosen = studies.next_trial(study, parameters, plan)
            if chosen is not None:
                _work(study, *chosen, recipe, read, parts, plan, metric, watcher)
            elif studies.is_anyone_working(study):
                time.sleep(_POLL_S)  # another process has the last trials
            else:
                break
        return _result(recipe, study, plan, storage, metric, more, resumed)
    finally:
        optuna.logging.set_verbosity(before)


def _metric(recipe: TrainingRecipe, read: ReadData) -> tuple[str, bool]:
    """Return what trials are compared by, and whether more of it is better."""
    if recipe.training.early_stopping is not None:
        return monitored(recipe)
    return ("val_loss", False) if read.is_regression else ("val_accuracy", True)


def _work(
    study: optuna.Study,
    trial: optuna.Trial,
    point: dict[str, Any],
    recipe: TrainingRecipe,
    read: ReadData,
    parts: Split,
    plan: SearchTable,
    metric: str,
    watcher: Watcher,
) -> None:
    more = study.direction == optuna.study.StudyDirection.MAXIMIZE
    progress = _Reporting(trial, metric, max if more else min, prunes=plan.pruning)
    gc.collect()  # models lie in cycles, and hold the samples of their last trial
    begun = time.monotonic()
    state, value, note = TrialState.COMPLETE, None, ""
    try:
        fit(
            recipe.with_values(point),
            read,
            parts.train,
            parts.validation,
            epochs=plan.epochs,
            watcher=Watcher(),
            callbacks=[progress],
        )
        state = TrialState.PRUNED if progress.is_pruned else state
    except TrainingError as cause:  # a rate under which the loss diverges is a finding, too
        state, note = TrialState.FAIL, str(cause)
    except EdgeportError as cause:
        study.tell(trial, state=TrialState.FAIL)
        raise type(cause)(f"the search stopped at {point}: {cause}") from cause
    value = progress.best
    trial.set_user_attr("seconds", time.monotonic() - begun)
    trial.set_user_attr("note", note)
    if state == TrialState.FAIL:
        # Told as the worst there is, so that samplers keep away and nobody tries it again.
        study.tell(trial, -math.inf if more else math.inf)
    else:
        study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
    shown = ", ".join(f"{name} {_short(chosen)}" for name, chosen in point.items())
    result = "failed" if note else f"{metric} {value:.4f}"
    end = " (pruned)" if state == TrialState.PRUNED else ""
    watcher.stage(f"search: trial {trial.number}: {shown}: {result}{end}")


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
        studies.mark_alive(self._trial)
        self.is_pruned = self._prunes and self._trial.should_prune()
        self.model.stop_training = self.model.stop_training or self.is_pruned


def _result(
    recipe: TrainingRecipe,
    study: optuna.Study,
    plan: SearchTable,
    storage: str,
    metric: str,
    more: bool,
    resumed: int,
) -> SearchResult:
    finished = study.get_trials(deepcopy=False, states=FINISHED)
    records = tuple(_record(trial, more) for trial in finished)
    complete = [record for record in records if record.state == "complete"]
    if not complete:
        note = next((record.note for record in records if record.note), "none was finished")
        raise TrainingError(
            f"no trial of the search could be trained ({note}), expected one at least: search "
            "lower learning rates"
        )
    best = (max if more else min)(complete, key=lambda record: record.value or 0.0)
    own = {key: recipe.value(key) for key in best.values}
    own = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
    own_value = next((record.value for record in records if record.values == own), None)
    assert best.value is not None  # noqa: S101  # it is complete
    return SearchResult(
        study.study_name, storage, plan.sampler, metric, best.values, best.value, own_value,
        records, resumed,
    )  # fmt: skip


def _record(trial: FrozenTrial, more: bool) -> TrialRecord:
    note = str(trial.user_attrs.get("note", ""))
    value = trial.value
    if value is None and trial.intermediate_values:
        value = (max if more else min)(trial.intermediate_values.values())
    state = "failed" if note else trial.state.name.lower()
    return TrialRecord(
        trial.number,
        studies.point_of(trial),
        state,
        value if value is not None and math.isfinite(value) else None,
        float(trial.user_attrs.get("seconds", 0.0)),
        note,
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
