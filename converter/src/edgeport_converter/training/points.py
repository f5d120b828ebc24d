"""Points of a search space as Optuna's trials hold them: drawn, planned, compared."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from edgeport_converter.training.parameters import Parameter, count_combinations, list_points
from edgeport_converter.training.recipes import Recipe

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
TAKEN = (*FINISHED, TrialState.RUNNING)
HELD = (*TAKEN, TrialState.WAITING)
MOST_REPEATS = 50
_MOST_LISTED = 10_000


def draw(
    recipe: Recipe, parameters: Sequence[Parameter], count: int, known: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return different points, drawn by Optuna's own sampler in a study in memory."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=recipe.seed))
    found: list[dict[str, Any]] = []
    for _ in range(count * MOST_REPEATS):
        if len(found) >= count:
            break
        trial = study.ask()
        point = {item.key: suggest(trial, item) for item in parameters}
        if point not in found and point not in known:
            found.append(point)
    return found


def suggest(trial: optuna.Trial, item: Parameter) -> Any:
    """Return a trial's value of one key."""
    if item.values:
        index = trial.suggest_categorical(item.key, [write_point(value) for value in item.values])
        return next(value for value in item.values if write_point(value) == index)
    if item.is_whole:
        return trial.suggest_int(item.key, int(item.low), int(item.high), log=item.log)
    return trial.suggest_float(item.key, float(item.low), float(item.high), log=item.log)


def as_stored(item: Parameter, value: Any) -> Any:
    """Return a value as Optuna keeps it: lists as text, since its categories are plain."""
    return write_point(value) if item.values else value


def write_point(value: Any) -> str:
    """Return a value, or a point, as text."""
    return json.dumps(value, sort_keys=True)


class _Given(optuna.samplers.BaseSampler):
    """Draws one point only."""

    def __init__(self, point: dict[str, Any]) -> None:
        self._point = point

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
        """Return nothing: no value depends on another."""
        return {}

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Return nothing, as there is nothing to it."""
        return {}

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        """Return the point's value."""
        return self._point[name]


def ask_for_new(
    study: optuna.Study, parameters: Sequence[Parameter], trials: Sequence[FrozenTrial]
) -> optuna.Trial:
    """Return a trial with a point that nobody has tried, where the points can be listed.

    TPE does not mind drawing its favourite again, and a small space is soon full of those.
    """
    if count_combinations(tuple(parameters)) > _MOST_LISTED:
        return study.ask()
    held = [trial for trial in trials if trial.state in HELD]
    new = []
    for point in list_points(tuple(parameters)):
        stored = {item.key: as_stored(item, point[item.key]) for item in parameters}
        if not any(is_same(trial, stored) for trial in held):
            new.append(stored)
    if not new:
        return study.ask()
    usual, study.sampler = study.sampler, _Given(random.choice(new))  # noqa: S311  # no secret
    try:
        trial = study.ask()
        for item in parameters:
            suggest(trial, item)
    finally:
        study.sampler = usual
    return trial


def planned_point(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return what was queued for a trial, None where it was drawn."""
    planned: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    return planned


def is_same(trial: FrozenTrial, point: dict[str, Any]) -> bool:
    """Whether a trial has this point, or is to have it."""
    return point in (trial.params, planned_point(trial))
