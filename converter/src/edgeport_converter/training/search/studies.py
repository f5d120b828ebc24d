"""Optuna studies that several processes or machines share: storage, planned trials, claims.

A study must not spend its budget twice on one point, and a killed process must not take its trial
along. Optuna leaves both to its users; how they are kept here stands at ``next_trial`` and
``give_back_abandoned``.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from edgeport import OptionError
from edgeport_converter.loading.model import shorten
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.recipe.tables import SearchTable
from edgeport_converter.training.search.space import (
    Parameter,
    combinations,
    count_combinations,
    list_points,
)

_POINT = "point"
_OWNER = "owner"
_SEEN = "seen_at"
_PLANNED = "planned"
_SPACE = "space"
_ABANDONED_AFTER_S = 3600.0  # on another machine, whose processes cannot be asked
_PATIENCE_S = 30.0
_OPENINGS = 3

_process_token = uuid.uuid4().hex


def open_study(
    recipe: TrainingRecipe,
    data_sha256: str,
    parameters: Sequence[Parameter],
    search: SearchTable,
    storage: str,
    *,
    more: bool,
) -> optuna.Study:
    """Return the study, made and planned by whoever comes first.

    Args:
        recipe: its own values are the first trial, so that a search never ends below them.
        data_sha256: of the data.
        parameters: what is searched.
        search: how.
        storage: a journal file or a database URL.
        more: whether more of the metric is better.

    Raises:
        OptionError: the storage cannot be opened, or holds a study of something else.
    """
    name = search.study or f"{recipe.name}-{search.sampler}"
    space = _describe(recipe, data_sha256, parameters)
    study, is_first = _make_or_load(recipe, search, storage, name, more=more)
    if is_first:
        study.set_user_attr(_SPACE, space)
        _plan(study, recipe, parameters, search)
    else:
        _wait_for_plan(study)
        if study.user_attrs.get(_SPACE) != space:
            raise OptionError(
                f"the study '{name}' in '{storage}' searches another recipe, data or space, "
                "expected the same: give this one a name of its own with search.study"
            )
    return study


def next_trial(
    study: optuna.Study, parameters: Sequence[Parameter], search: SearchTable
) -> tuple[optuna.Trial, dict[str, Any]] | None:
    """Return a trial of this process' own and its point, or None where nothing is left.

    Planned points (all of a grid and of a random search) wait in the study; Optuna hands each to
    one process only. Drawn points (TPE) are written down before those of the others are read, so
    that of two processes with the same point at least one sees the other; whoever does draws
    again. That both do costs a draw, not a training.
    """
    for repeats in range(MOST_REPEATS):
        trials = study.get_trials(deepcopy=False)
        waits = any(trial.state == TrialState.WAITING for trial in trials)
        if search.sampler != "tpe" and not waits:
            return None
        taken = [trial for trial in trials if trial.state in TAKEN]
        if not waits and len(taken) >= min(search.trials, count_combinations(tuple(parameters))):
            return None
        trial = study.ask() if not repeats else ask_for_new(study, parameters, trials)
        planned = planned_point(_find(study, trial.number))
        if search.sampler != "tpe" and planned is None:  # another process was faster
            study.tell(trial, state=TrialState.FAIL)
            return None
        point = {item.key: suggest(trial, item) for item in parameters}
        trial.set_user_attr(_OWNER, f"{socket.gethostname()}:{os.getpid()}:{_process_token}")
        trial.set_user_attr(_SEEN, time.time())
        trial.set_user_attr(_POINT, write_point(point))
        if planned is not None:
            return trial, point
        others = [other for other in study.get_trials(deepcopy=False) if other.state in HELD]
        if sum(other.number < trial.number for other in others) >= search.trials:
            study.tell(trial, state=TrialState.FAIL)
            return None
        mine = {item.key: as_stored(item, point[item.key]) for item in parameters}
        if any(is_same(other, mine) for other in others if other.number != trial.number):
            study.tell(trial, state=TrialState.FAIL)
            continue
        return trial, point
    return None  # a small space, and nothing new drawn


def mark_alive(trial: optuna.Trial) -> None:
    """Say that this trial is being worked on."""
    trial.set_user_attr(_SEEN, time.time())


def give_back_abandoned(study: optuna.Study) -> int:
    """Let trials of dead processes be done by others; return how many.

    A process of this machine is asked for by its number; one of another counts as dead when it
    has said nothing for an hour.
    """
    count = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not _is_abandoned(trial):
            continue
        try:
            study.tell(trial.number, state=TrialState.FAIL)
        except ValueError:  # another process has just done the same
            continue
        again = planned_point(trial) or (trial.params if _POINT in trial.user_attrs else None)
        if again:
            study.enqueue_trial(dict(again))
        count += 1
    return count


def is_anyone_working(study: optuna.Study) -> bool:
    """Whether a trial is under way, in any process."""
    return bool(study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)))


def point_of(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's values by key."""
    return dict(json.loads(trial.user_attrs.get(_POINT, "{}")))


def _make_or_load(
    recipe: TrainingRecipe, search: SearchTable, storage: str, name: str, *, more: bool
) -> tuple[optuna.Study, bool]:
    """Return the study and whether this process has made it."""
    options: dict[str, Any] = {
        "study_name": name,
        "sampler": _sampler(recipe, search),
        "pruner": _pruner(search),
    }
    direction = StudyDirection.MAXIMIZE if more else StudyDirection.MINIMIZE
    for attempt in range(_OPENINGS):
        try:
            options["storage"] = _open_storage(storage)
            return optuna.create_study(direction=direction, **options), True
        except optuna.exceptions.DuplicatedStudyError:
            return optuna.load_study(**options), False
        except Exception as cause:
            # Of two processes that make the tables of a new database, one fails.
            if attempt + 1 < _OPENINGS:
                time.sleep(0.2 + random.random())  # noqa: S311  # no secret
                continue
            raise OptionError(
                f"the storage '{storage}' of the search cannot be opened ({type(cause).__name__}: "
                f"{shorten(cause)}), expected a journal file or a database URL such as "
                "sqlite:///search.db: choose another with search.storage"
            ) from cause
    raise AssertionError  # the last attempt has returned or raised


def _open_storage(storage: str) -> optuna.storages.BaseStorage:
    if "://" in storage:
        database = optuna.storages.RDBStorage(storage)
        if database.engine.dialect.name == "sqlite":
            _lock_before_reading(database.engine)
        return database
    return optuna.storages.JournalStorage(JournalFileBackend(str(Path(storage))))


def _lock_before_reading(engine: sqlalchemy.Engine) -> None:
    """Let SQLite hand a waiting trial to one process only.

    Optuna reads a trial's state with FOR UPDATE before it changes it, and SQLite ignores that: two
    processes then both get the trial. Source: SQLAlchemy's manual on pysqlite, "Serializable
    isolation"; to be removed once Optuna begins its transactions so itself.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def leave_begin_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def lock(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections from before


def _sampler(recipe: TrainingRecipe, search: SearchTable) -> optuna.samplers.BaseSampler:
    # Each process draws its own points; the first one's follow from the recipe's seed.
    if search.sampler == "tpe":
        return optuna.samplers.TPESampler(
            seed=recipe.seed, n_startup_trials=max(2, min(10, search.trials // 3))
        )
    return optuna.samplers.RandomSampler(seed=recipe.seed)


def _pruner(search: SearchTable) -> optuna.pruners.BasePruner:
    if not search.pruning:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)


def _plan(
    study: optuna.Study,
    recipe: TrainingRecipe,
    parameters: Sequence[Parameter],
    search: SearchTable,
) -> None:
    """Queue the recipe's own values, and all points of a grid or a random search."""
    points = []
    own = {item.key: recipe.value(item.key) for item in parameters}
    own = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
    if all(item.holds(own[item.key]) for item in parameters):
        points.append(own)
    if search.sampler == "grid":
        points += [point for point in combinations(tuple(parameters)) if point not in points]
    elif search.sampler == "random":
        points += draw(recipe, parameters, search.trials - len(points), points)
    for point in points:
        study.enqueue_trial({item.key: as_stored(item, point[item.key]) for item in parameters})
    study.set_user_attr(_PLANNED, len(points))


def _wait_for_plan(study: optuna.Study) -> None:
    """Wait until the process that made the study has planned it."""
    until = time.monotonic() + _PATIENCE_S
    while _PLANNED not in study.user_attrs:
        if time.monotonic() > until:
            raise OptionError(
                f"the study '{study.study_name}' was begun and never planned, since the process "
                "that made it was killed: choose another name with search.study"
            )
        time.sleep(0.2)


def _is_abandoned(trial: FrozenTrial) -> bool:
    host, number, token = trial.user_attrs.get(_OWNER, "::").split(":")
    if not token:
        begun = trial.datetime_start
        return begun is not None and time.time() - begun.timestamp() > _PATIENCE_S
    if host == socket.gethostname():
        return token != _process_token and (
            int(number) == os.getpid() or not _is_running(int(number))
        )
    return bool(time.time() - float(trial.user_attrs[_SEEN]) > _ABANDONED_AFTER_S)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _find(study: optuna.Study, number: int) -> FrozenTrial:
    return study.get_trials(deepcopy=False)[number]


def _describe(recipe: TrainingRecipe, data_sha256: str, parameters: Sequence[Parameter]) -> str:
    """Return what two processes must agree on to share a study."""
    search = recipe.search
    raw = {name: table for name, table in recipe.raw.items() if name != "search"}
    how = None if search is None else [search.sampler, search.epochs]
    if how and search and search.sampler == "random":
        how.append(search.trials)  # all of them were drawn when the study was made
    agreed = [raw, data_sha256, [repr(item) for item in parameters], how]
    return hashlib.sha256(json.dumps(agreed, sort_keys=True, default=str).encode()).hexdigest()


FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
TAKEN = (*FINISHED, TrialState.RUNNING)
HELD = (*TAKEN, TrialState.WAITING)
MOST_REPEATS = 50
_MOST_LISTED = 10_000


def draw(
    recipe: TrainingRecipe,
    parameters: Sequence[Parameter],
    count: int,
    known: Sequence[dict[str, Any]],
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
