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
import os
import platform
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import MaxTrialsCallback, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from edgeport import OptionError
from edgeport_converter.errors import TrainingError
from edgeport_converter.loading.user_code import find_code_files
from edgeport_converter.training.recipe.recipe import TrainingRecipe
from edgeport_converter.training.search import storage as databases
from edgeport_converter.training.search.space import Parameter, combinations

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_HELD = (*FINISHED, TrialState.RUNNING, TrialState.WAITING)
_HEARTBEAT_S, _DEAD_AFTER_S = 10, 30
_POLL_S = 1.0
_OPENINGS = 3
_MOST_REPEATS = 50
_MOST_LISTED = 10_000
_CLAIMED = "claimed"
_IDENTITY = "edgeport"
_IDENTITY_S = 10.0  # what the process that makes a study is given to say what it is of
_MOST_FAILURES = 3


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
        name: str | None = None,
        say: Callable[[str], None] = lambda _: None,
        dead_after_s: int = _DEAD_AFTER_S,
    ) -> None:
        """Open the study, made by whoever comes first.

        The recipe's own values are the first trial. A trial without a heartbeat for
        ``dead_after_s`` seconds belongs to a dead process.

        Args:
            recipe: with [search].
            data_sha256: the digest of its data.
            parameters: what is searched.
            storage: a database URL, or the path of an SQLite file.
            more: whether more of the metric is better.
            name: of the study; None for a name that tells recipe, data and search by a digest.
            say: is told what happens.
            dead_after_s: see above.

        Raises:
            OptionError: the storage cannot be opened, or the study there is another one or damaged.
        """
        search = recipe.search
        assert search is not None  # noqa: S101  # read_parameters has refused it
        self.more, self._parameters, self._say = more, tuple(parameters), say
        self._direction = StudyDirection.MAXIMIZE if more else StudyDirection.MINIMIZE
        self._dead_after_s, self._repeats, self._told = dead_after_s, 0, 0
        own = {item.key: recipe.value(item.key) for item in parameters}
        has_own = all(item.holds(own[item.key]) for item in parameters)
        self._points = self._list_points(search.sampler)
        self.limit = search.trials
        if self._points:
            is_apart = has_own and own not in self._points
            most = len(self._points) + is_apart
            self.limit = most if search.sampler == "grid" else min(search.trials, most)
        self._storage, self._first_seen = storage, dict[int, float]()
        identity = _identify(recipe, data_sha256)
        self.study, is_first = self._open(name or _name(recipe, identity), storage)
        with self._refusing_damage():
            if name is not None:
                self._require(identity, is_first=is_first)
            self._read_all()
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

        Raises:
            TrainingError: the database went away; every trial that was finished is in it.
        """
        failures = 0
        while True:
            before = self._told
            try:
                self._optimize(objective, stored)
                return
            except databases.DATABASE_ERRORS as cause:
                # A server that is restarted breaks the transaction that it is at; connections wait.
                failures = 1 if self._told > before else failures + 1
                shown = databases.without_password(self._storage)
                reason = databases.explain(cause, self._storage)
                if failures >= _MOST_FAILURES:
                    raise TrainingError(
                        f"the storage '{shown}' of the search does not answer any more ({reason}), "
                        "expected its database: start that, and run the same command again, which "
                        "goes on with the trials that are stored"
                    ) from cause
                self._say(f"search: the database failed ({reason}) and is tried again")

    def _optimize(
        self, objective: Callable[[optuna.Trial], float], stored: Callable[[FrozenTrial], None]
    ) -> None:
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
        trial.set_user_attr("worker", f"{platform.node()}:{os.getpid()}")  # for people who look
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
        with databases.no_warnings():
            fail_stale_trials(self.study)
        now = time.monotonic()
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # By this machine's clock: those of several machines differ, and so do their time zones.
            waited = now - self._first_seen.setdefault(trial.number, now)
            is_claimed = trial.user_attrs.get(_CLAIMED) == trial.number
            if waited > self._dead_after_s and not is_claimed:
                with contextlib.suppress(ValueError):  # another process was faster
                    self.study.tell(trial.number, state=TrialState.FAIL)
                    self._retry(self.study, trial)

    def _try_points(
        self, objective: Callable[[optuna.Trial], float], stored: Callable[[FrozenTrial], None]
    ) -> None:
        def tell(_: optuna.Study, trial: FrozenTrial) -> None:
            if trial.state in FINISHED:
                self._told += 1
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
        with databases.no_warnings():
            RetryHeartbeatStaleTrialCallback()(study, trial)
        self._say(f"search: trial {trial.number} was not finished and is tried again")

    def _open(self, name: str, storage: str) -> tuple[optuna.Study, bool]:
        """Return the study, and whether this process has made it."""
        for attempt in range(_OPENINGS):
            try:
                self._database = databases.open_database(
                    storage,
                    heartbeat_s=_HEARTBEAT_S,
                    dead_after_s=self._dead_after_s,
                    retry=self._retry,
                )
                options: dict[str, Any] = {"study_name": name, "storage": self._database}
                return optuna.create_study(direction=self._direction, **options), True
            except optuna.exceptions.DuplicatedStudyError:
                return optuna.load_study(**options), False
            except Exception as cause:
                # If two processes make the tables of a new database, one of them fails.
                if attempt + 1 < _OPENINGS and not isinstance(cause, ImportError):
                    time.sleep(0.2 + random.random())  # noqa: S311  # no secret
                    continue
                raise OptionError(
                    f"the storage '{databases.without_password(storage)}' of the search cannot be "
                    f"opened ({databases.explain(cause, storage)}), expected an SQLite file or a "
                    "database URL such as postgresql://host/name: "
                    + (
                        "pip install 'edgeport-converter[postgresql]', or the driver of another "
                        "database"
                        if isinstance(cause, ImportError)
                        else "choose another with search.storage"
                    )
                ) from cause
        raise AssertionError  # the last attempt has returned or raised

    def _require(self, identity: Mapping[str, str], *, is_first: bool) -> None:
        """Note in a new study what it is of, and refuse a study of something else.

        Raises:
            OptionError: the study is another one.
        """
        if is_first:
            self.study.set_user_attr(_IDENTITY, dict(identity))
            return
        until = time.monotonic() + _IDENTITY_S
        while (known := self.study.user_attrs.get(_IDENTITY)) is None and not self.study.trials:
            if time.monotonic() > until:  # whoever made it died at once, and left it empty
                self.study.set_user_attr(_IDENTITY, dict(identity))
            time.sleep(0.1)
        other = [what for what, digest in identity.items() if (known or {}).get(what) != digest]
        if other:
            found = " and ".join(f"another {what}" for what in other)
            raise OptionError(
                self._subject()
                + (f" was begun with {found}" if known else " was not begun by edgeport train")
                + ", expected one of this recipe, data and search: choose another name with "
                "search.study, or leave it out"
            )

    def _subject(self) -> str:
        where = databases.without_password(self._storage)
        return f"the study '{self.study.study_name}' in '{where}'"

    @contextlib.contextmanager
    def _refusing_damage(self) -> Iterator[None]:
        """Refuse what Optuna and this module raise about rows that were lost or changed."""
        try:
            yield
        except OptionError:
            raise
        except Exception as cause:  # Optuna decodes rows as it finds them
            raise OptionError(
                f"{self._subject()} cannot be read ({databases.explain(cause, self._storage)}), "
                "expected what edgeport train writes: bring the database back from a copy, or "
                "choose another name with search.study, or another place with search.storage"
            ) from cause

    def _read_all(self) -> None:
        """Read what a search will need; raises whatever is wrong with it."""
        if self.study.directions != [self._direction]:
            found = ", ".join(each.name.lower() for each in self.study.directions) or "nothing"
            raise ValueError(f"it is to {found}, not to {self._direction.name.lower()}")
        self.study.get_trials(deepcopy=False)
        for trial in self.finished():
            if trial.params.keys() != {item.key for item in self._parameters}:
                found = ", ".join(trial.params) or "nothing"
                raise ValueError(f"trial {trial.number} has values of {found}")
            self.point_of(trial)
            if trial.state == TrialState.COMPLETE and trial.value is None:
                raise ValueError(f"trial {trial.number} is complete and has no result")

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


def _identify(recipe: TrainingRecipe, data_sha256: str) -> dict[str, str]:
    """Return digests of what all processes of a study must share, by what a message calls it."""
    found = {
        "recipe": _digest({**recipe.raw, "search": None}),
        "search": _digest(_agreed_search(recipe)),
        "data": data_sha256,
    }
    if code := find_code_files(recipe.model.function, in_folder=recipe.folder):
        found["model function"] = _digest([path.read_text(encoding="utf-8") for path in code])
    return found


def _name(recipe: TrainingRecipe, identity: Mapping[str, str]) -> str:
    """Return a name that only processes of one identity share."""
    agreed: list[Any] = [{**recipe.raw, "search": _agreed_search(recipe)}, identity["data"]]
    agreed += [identity[what] for what in ("model function",) if what in identity]
    sampler = recipe.search.sampler if recipe.search else ""
    return f"{recipe.name}-{sampler}-{_digest(agreed)[:8]}"


def _agreed_search(recipe: TrainingRecipe) -> dict[str, Any]:
    """Return what [search] says, but for what may differ: the budget, the place, the pruning."""
    others = ("trials", "storage", "study", "pruning")
    return {name: value for name, value in recipe.raw["search"].items() if name not in others}


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()
