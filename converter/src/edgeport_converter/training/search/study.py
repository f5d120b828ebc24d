"""The Optuna study of a search: where it is kept, who draws its points, how processes share it.

Optuna's database storage notes a heartbeat of each running trial; the trial of a process that died
is queued again. Two promises are kept here beside it: the budget of a study is spent once by all
its processes, and no point is trained twice (``claim``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import MaxTrialsCallback, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from edgeport import OptionError
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.search.space import Parameter, combinations

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_HELD = (*FINISHED, TrialState.RUNNING, TrialState.WAITING)
_HEARTBEAT_S, _DEAD_AFTER_S = 10, 30
_POLL_S = 1.0
_OPENINGS = 3
_MOST_REPEATS = 50
_MOST_LISTED = 10_000
_CLAIMED = "claimed"


class SkippedTrialError(Exception):
    """A trial that need not be trained: its point is taken, or the budget spent."""


class SharedStudy:
    """A study that several processes may work on at once.

    Attributes:
        study: Optuna's.
        limit: how many points are tried by all processes.
        more: whether more of the metric is better.
    """

    def __init__(
        self,
        recipe: TrainingRecipe,
        data_sha256: str,
        parameters: Sequence[Parameter],
        storage: str,
        *,
        more: bool,
        say: Callable[[str], None] = lambda _: None,
        dead_after_s: int = _DEAD_AFTER_S,
    ) -> None:
        """Open the study, made by whoever comes first.

        The recipe's own values are the first trial. A trial without a heartbeat for
        ``dead_after_s`` seconds belongs to a dead process.

        Raises:
            OptionError: the storage cannot be opened.
        """
        search = recipe.search
        assert search is not None  # noqa: S101  # read_parameters has refused it
        self.more, self._parameters, self._say = more, tuple(parameters), say
        self._dead_after_s, self._repeats = dead_after_s, 0
        own = {item.key: recipe.value(item.key) for item in parameters}
        has_own = all(item.holds(own[item.key]) for item in parameters)
        self._points = self._list_points(search.sampler)
        self.limit = search.trials
        if self._points:
            is_apart = has_own and own not in self._points
            most = len(self._points) + is_apart
            self.limit = most if search.sampler == "grid" else min(search.trials, most)
        self.study, is_first = self._open(recipe, data_sha256, storage)
        self.study.sampler = self._sampler(recipe, is_first=is_first)
        median = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1)
        self.study.pruner = median if search.pruning else optuna.pruners.NopPruner()
        if has_own:
            self.study.enqueue_trial(self._as_stored(own), skip_if_exists=True)

    def optimize(
        self,
        objective: Callable[[optuna.Trial], float],
        stored: Callable[[FrozenTrial], None] = lambda _: None,
    ) -> None:
        """Try points until the budget is spent and no process is at work on one any more.

        ``objective`` claims a trial's point and returns the metric there; ``stored`` is told each
        finished trial of this process once it is in the storage.
        """
        waited = False
        while True:
            self._give_back_dead()
            held = self.study.get_trials(deepcopy=False, states=_HELD)
            states = [trial.state for trial in held]
            has_room = len(held) < self.limit and self._repeats < _MOST_REPEATS
            if has_room or TrialState.WAITING in states:
                self._try_points(objective, stored)
            elif TrialState.RUNNING in states:
                if not waited:
                    self._say("search: wait for the last trials of other processes")
                waited = True
                time.sleep(_POLL_S)
            else:
                return

    def claim(self, trial: optuna.Trial) -> dict[str, Any]:
        """Return the point of a trial, which no other trial has.

        The point is stored before those of the others are read, so of two processes with the same
        point one at least sees the other; whoever does draws again.

        Raises:
            SkippedTrialError: another trial has the point, or the budget is spent.
        """
        # At once, not in Optuna's thread: a trial without any heartbeat never counts as dead.
        self._database.record_heartbeat(trial._trial_id)
        trial.set_user_attr(_CLAIMED, trial.number)
        for item in self._parameters:
            item.suggest(trial)
        held = self.study.get_trials(deepcopy=False, states=_HELD)
        others = [other for other in held if other.number != trial.number]
        if sum(other.number < trial.number for other in others) >= self.limit:
            raise SkippedTrialError
        if any(other.params == trial.params for other in others):
            self._draw_another(others)
            raise SkippedTrialError
        self._repeats = 0
        return self.point_of(trial)

    def point_of(self, trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
        """Return a trial's values by key."""
        return {item.key: item.from_stored(trial.params[item.key]) for item in self._parameters}

    def give_back(self, trial: optuna.Trial) -> None:
        """Queue the point of a trial that this process gives up."""
        self._retry(self.study, self.study.get_trials()[trial.number])

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that are done, by this process or others."""
        return self.study.get_trials(deepcopy=False, states=FINISHED)

    def _list_points(self, sampler: str) -> list[dict[str, Any]]:
        """Return the points of a grid or of a small space; [] where they cannot be listed."""
        if sampler != "grid" and math.prod(item.count for item in self._parameters) > _MOST_LISTED:
            return []
        return list(combinations(self._parameters, as_grid=sampler == "grid"))

    def _draw_another(self, others: Sequence[FrozenTrial]) -> None:
        """Queue a point that nobody has, where the points can be listed.

        TPE does not mind drawing its favourite again, and a small space is soon full of those.
        """
        self._repeats += 1
        taken = [other.params or other.system_attrs.get("fixed_params") for other in others]
        stored = [self._as_stored(point) for point in self._points]
        if new := [point for point in stored if point not in taken]:
            self.study.enqueue_trial(random.choice(new))  # noqa: S311  # no secret
        elif self._repeats >= _MOST_REPEATS:
            self.study.stop()

    def _as_stored(self, point: dict[str, Any]) -> dict[str, Any]:
        return {item.key: item.as_stored(point[item.key]) for item in self._parameters}

    def _give_back_dead(self) -> None:
        """Queue the trials of dead processes again, those without a first heartbeat, too."""
        with _no_warnings():
            fail_stale_trials(self.study)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            begun = trial.datetime_start
            is_claimed = trial.user_attrs.get(_CLAIMED) == trial.number
            is_late = begun and (datetime.now() - begun).total_seconds() > self._dead_after_s
            if is_late and not is_claimed:
                with contextlib.suppress(ValueError):  # another process was faster
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    self._retry(self.study, trial)

    def _try_points(
        self, objective: Callable[[optuna.Trial], float], stored: Callable[[FrozenTrial], None]
    ) -> None:
        def tell(_: optuna.Study, trial: FrozenTrial) -> None:
            if trial.state in FINISHED:
                stored(trial)

        try:
            self.study.optimize(
                objective,
                callbacks=[MaxTrialsCallback(self.limit, states=_HELD), tell],
                catch=(SkippedTrialError,),
            )
        except ValueError as cause:
            # This process was held up, and another one has taken its trial for dead.
            if "Cannot tell" not in str(cause):
                raise

    def _retry(self, study: optuna.Study, trial: FrozenTrial) -> None:
        with _no_warnings():
            RetryHeartbeatStaleTrialCallback()(study, trial)
        self._say(f"search: trial {trial.number} was not finished and is tried again")

    def _open(
        self, recipe: TrainingRecipe, data_sha256: str, storage: str
    ) -> tuple[optuna.Study, bool]:
        """Return the study, and whether this process has made it."""
        url = storage if "://" in storage else f"sqlite:///{Path(storage).absolute()}"
        name = _name(recipe, data_sha256)
        direction = StudyDirection.MAXIMIZE if self.more else StudyDirection.MINIMIZE
        for attempt in range(_OPENINGS):
            try:
                self._database = self._open_database(url)
                options: dict[str, Any] = {"study_name": name, "storage": self._database}
                return optuna.create_study(direction=direction, **options), True
            except optuna.exceptions.DuplicatedStudyError:
                return optuna.load_study(**options), False
            except Exception as cause:
                # If two processes make the tables of a new database, one of them fails.
                if attempt + 1 < _OPENINGS:
                    time.sleep(0.2 + random.random())  # noqa: S311  # no secret
                    continue
                reason = (str(cause).strip().splitlines() or [""])[0][:200].rstrip(" .:")
                raise OptionError(
                    f"the storage '{storage}' of the search cannot be opened "
                    f"({type(cause).__name__}: {reason}), expected an SQLite file or a "
                    "database URL such as postgresql://host/name: choose another with "
                    "search.storage"
                ) from cause
        raise AssertionError  # the last attempt has returned or raised

    def _open_database(self, url: str) -> RDBStorage:
        is_sqlite = url.startswith("sqlite")
        with _no_warnings():
            database = RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if is_sqlite else None,
                heartbeat_interval=_HEARTBEAT_S,
                grace_period=self._dead_after_s,
                heartbeat_stale_trial_callback=self._retry,
            )
        if is_sqlite:
            _lock_before_reading(database.engine)
        return database

    def _sampler(self, recipe: TrainingRecipe, *, is_first: bool) -> optuna.samplers.BaseSampler:
        sampler = recipe.search.sampler if recipe.search else ""
        if sampler == "grid":
            grid = {
                item.key: [item.as_stored(value) for value in item.grid()]
                for item in self._parameters
            }
            return _GridWithQueue(grid, seed=recipe.seed)
        # Another process with the same seed would draw the same points.
        seed = recipe.seed if is_first else None
        if sampler == "tpe":
            startup = max(2, min(10, self.limit // 3))
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        return optuna.samplers.RandomSampler(seed=seed)


class _GridWithQueue(optuna.samplers.GridSampler):
    """Optuna's GridSampler for studies with queued trials (Optuna 5.0).

    Where a single point of the grid is left, Optuna's own looks for the grid's number of a trial
    that ends, and a queued trial has none.
    """

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Stop the study where the grid is done."""
        if "fixed_params" not in trial.system_attrs:
            super().after_trial(study, trial, state, values)


def _name(recipe: TrainingRecipe, data_sha256: str) -> str:
    """Return a name that only processes with the same recipe and data share.

    The budget, the place and the pruning may differ.
    """
    others = ("trials", "storage", "study", "pruning")
    search = {name: value for name, value in recipe.raw["search"].items() if name not in others}
    agreed = [{**recipe.raw, "search": search}, data_sha256]
    digest = hashlib.sha256(json.dumps(agreed, sort_keys=True, default=str).encode()).hexdigest()
    plan = recipe.search
    assert plan is not None  # noqa: S101  # the study is one of a search
    return f"{plan.study or f'{recipe.name}-{plan.sampler}'}-{digest[:8]}"


def _lock_before_reading(engine: sqlalchemy.Engine) -> None:
    """Let SQLite hand a waiting trial to one process only.

    Optuna 5 reads a trial's state with FOR UPDATE before it changes it, and SQLite ignores that:
    two processes then both get the trial. Source: SQLAlchemy's manual on pysqlite, "Serializable
    isolation"; to be removed once Optuna begins its transactions so itself.
    """

    @sqlalchemy.event.listens_for(engine, "connect")
    def leave_begin_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @sqlalchemy.event.listens_for(engine, "begin")
    def lock(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections from before


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """Drop Optuna's warning that heartbeats are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
