"""Processes share a study without doing a point twice, and a killed one takes none along."""

import json
import multiprocessing
import os
import signal
import time

import numpy as np
import optuna
import pytest

from edgeport import OptionError
from edgeport_converter.training.recipe.recipe import read_recipe
from edgeport_converter.training.search import studies
from edgeport_converter.training.search.space import read_parameters
from edgeport_converter.training.search.studies import FINISHED

optuna.logging.set_verbosity(optuna.logging.WARNING)
GRID = {
    "training.learning_rate": [0.001, 0.003, 0.01, 0.03],
    "model.layers": [[8], [16], [8, 8]],
    "model.activation": ["relu", "tanh"],
}
STORAGES = ("search.journal", "sqlite:///{folder}/search.db")
fork_free = multiprocessing.get_context("spawn")


def recipe_of(sampler, trials, parameters=None, **more):
    chosen = {"sampler": sampler, "trials": trials, "parameters": parameters or GRID}
    return read_recipe({"data": {"source": "-"}, "search": chosen, **more})


def open_in(folder, recipe, storage=STORAGES[0], data="d"):
    where = storage.format(folder=folder) if "://" in storage else str(folder / storage)
    parameters = read_parameters(recipe)
    return studies.open_study(recipe, data, parameters, recipe.search, where, more=True), parameters


def work(folder, raw, storage, pause, limit=None):
    """Do trials until none is left; the result stands for a training's."""
    recipe = read_recipe(raw)
    study, parameters = open_in(folder, recipe, storage)
    while True:
        studies.give_back_abandoned(study)
        chosen = studies.next_trial(study, parameters, recipe.search)
        if chosen is None:
            return
        if limit is not None:
            (folder / "begun").touch()
            time.sleep(limit)
        time.sleep(pause)
        trial, point = chosen
        study.tell(trial, -abs(np.log(point["training.learning_rate"] / 0.01)))


def points_of(study):
    trials = study.get_trials(states=FINISHED)
    return [json.dumps(studies.point_of(trial), sort_keys=True) for trial in trials]


@pytest.mark.parametrize(
    ("sampler", "storage", "trials", "expected"),
    [
        ("grid", STORAGES[0], 24, 24),
        ("random", STORAGES[1], 20, 20),
        ("tpe", STORAGES[0], 22, 22),
        ("tpe", STORAGES[1], 200, 24),  # no more points than there are
    ],
)
def test_two_processes_share_a_study_and_repeat_no_point(
    tmp_path, sampler, storage, trials, expected
):
    recipe = recipe_of(sampler, trials)
    workers = [
        fork_free.Process(target=work, args=(tmp_path, recipe.raw, storage, 0.01)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    study, parameters = open_in(tmp_path, recipe, storage)
    points = points_of(study)
    assert len(points) == len(set(points)) == expected
    owners = {trial.user_attrs["owner"] for trial in study.get_trials(states=FINISHED)}
    assert len(owners) == 2
    assert studies.next_trial(study, parameters, recipe.search) is None


def test_a_killed_process_s_trial_is_done_by_another(tmp_path):
    recipe = recipe_of("grid", 24)
    worker = fork_free.Process(target=work, args=(tmp_path, recipe.raw, STORAGES[0], 0, 60))
    worker.start()
    until = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    work(tmp_path, recipe.raw, STORAGES[0], 0)
    study, _ = open_in(tmp_path, recipe)
    assert len(set(points_of(study))) == 24
    assert not studies.is_anyone_working(study)


def test_a_living_process_keeps_its_trial(tmp_path):
    recipe = recipe_of("random", 5)
    study, parameters = open_in(tmp_path, recipe)
    assert studies.next_trial(study, parameters, recipe.search) is not None
    assert studies.give_back_abandoned(study) == 0


def test_the_recipe_s_own_values_come_first(tmp_path):
    own = {"model": {"layers": [16]}, "training": {"learning_rate": 0.03}}
    for sampler in ("grid", "random", "tpe"):
        (tmp_path / sampler).mkdir()
        recipe = recipe_of(sampler, 24, **own)
        study, parameters = open_in(tmp_path / sampler, recipe)
        _, point = studies.next_trial(study, parameters, recipe.search)
        assert point == {
            "training.learning_rate": 0.03, "model.layers": [16], "model.activation": "relu",
        }  # fmt: skip


def test_a_random_search_draws_evenly_in_the_logarithm(tmp_path):
    spec = {"training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
            "training.batch_size": {"low": 8, "high": 64}}  # fmt: skip
    recipe = recipe_of("random", 80, spec)
    study, parameters = open_in(tmp_path, recipe)
    rates, sizes = [], []
    while (chosen := studies.next_trial(study, parameters, recipe.search)) is not None:
        trial, point = chosen
        rates.append(np.log10(point["training.learning_rate"]))
        sizes.append(point["training.batch_size"])
        study.tell(trial, 0.0)
    assert len(rates) == 80
    np.testing.assert_allclose(np.quantile(rates, [0.25, 0.5, 0.75]), [-4, -3, -2], atol=0.5)
    assert all(isinstance(size, int) and 8 <= size <= 64 for size in sizes)


def test_a_study_of_something_else_is_refused(tmp_path):
    open_in(tmp_path, recipe_of("grid", 24, name="n"))
    for recipe, data in (
        (recipe_of("grid", 24, name="n", seed=5), "d"),
        (recipe_of("grid", 24, name="n"), "other data"),
        (recipe_of("grid", 24, {"model.dropout": [0.1, 0.2]}, name="n"), "d"),
    ):
        with pytest.raises(
            OptionError, match=r"study 'n-grid' in .* searches another recipe, data"
        ):
            open_in(tmp_path, recipe, data=data)


@pytest.mark.parametrize("storage", ["nosuch://x", "sqlite:////nowhere/at/all/s.db", "no/folder/j"])
def test_a_storage_that_cannot_be_opened_is_one_sentence(tmp_path, storage):
    with pytest.raises(
        OptionError, match=r"of the search cannot be opened .* search\.storage"
    ) as e:
        open_in(tmp_path, recipe_of("grid", 24), storage)
    assert "\n" not in str(e.value)


def test_a_damaged_journal_is_one_sentence(tmp_path):
    (tmp_path / STORAGES[0]).write_text("this is no journal\n" * 3)
    with pytest.raises(OptionError, match=r"search\.journal' of the search cannot be opened"):
        open_in(tmp_path, recipe_of("grid", 24))
