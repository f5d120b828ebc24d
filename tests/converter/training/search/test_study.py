"""Processes share a study without doing a point twice, and a killed one takes none along."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import time

import numpy as np
import optuna
import pytest

from edgeport import OptionError
from edgeport_converter.training.recipe.recipe import read_recipe
from edgeport_converter.training.search.space import read_parameters
from edgeport_converter.training.search.storage import require_url_or_file, without_password
from edgeport_converter.training.search.study import SharedStudy

pytestmark = pytest.mark.slow

optuna.logging.set_verbosity(optuna.logging.ERROR)
GRID = {
    "training.learning_rate": [0.001, 0.003, 0.01, 0.03],
    "model.layers": [[8], [16], [8, 8]],
    "model.activation": ["relu", "tanh"],
}
LOG = {"training.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}}
fork_free = multiprocessing.get_context("spawn")


def recipe_of(sampler, trials, parameters=None, **more):
    chosen = {"sampler": sampler, "trials": trials, "parameters": parameters or GRID}
    return read_recipe({"data": {"source": "-"}, "search": chosen, **more})


def open_in(folder, recipe, storage="search.db", data="d", **options):
    where = storage if "://" in storage else str(folder / storage)
    return SharedStudy(recipe, data, read_parameters(recipe), where, more=True, **options)


def work(folder, raw, hangs=False):
    """Do trials until none is left; the value stands for a training's."""
    study = open_in(folder, read_recipe(raw))

    def objective(trial):
        point = study.claim(trial)
        trial.set_user_attr("process", os.getpid())
        if hangs:
            (folder / "begun").touch()
            time.sleep(600)
        # Until both are at work, so that one does not do everything.
        (folder / str(os.getpid())).touch()
        while os.environ.get("WORKERS") and len(list(folder.glob("[0-9]*"))) < 2:
            time.sleep(0.01)
        return -abs(np.log(point["training.learning_rate"] / 0.01))

    study.optimize(objective)


def points_of(study):
    return [json.dumps(study.point_of(trial), sort_keys=True) for trial in study.finished()]


@pytest.mark.parametrize(
    ("sampler", "trials", "parameters", "expected"),
    [
        ("grid", 24, GRID, 24),
        ("random", 20, LOG, 20),
        ("tpe", 20, GRID, 20),
        ("tpe", 200, GRID, 24),  # no more points than there are
    ],
)
def test_two_processes_share_a_study_and_repeat_no_point(
    tmp_path, monkeypatch, sampler, trials, parameters, expected
):
    monkeypatch.setenv("WORKERS", "2")
    recipe = recipe_of(sampler, trials, parameters)
    workers = [fork_free.Process(target=work, args=(tmp_path, dict(recipe.raw))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    study = open_in(tmp_path, recipe)
    points = points_of(study)
    assert len(points) == len(set(points)) == expected
    assert len({trial.user_attrs["process"] for trial in study.finished()}) == 2


def test_a_killed_process_s_trial_is_done_by_another(tmp_path):
    recipe = recipe_of("grid", 24)
    worker = fork_free.Process(target=work, args=(tmp_path, dict(recipe.raw), True))
    worker.start()
    until = time.monotonic() + 120
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    said = []
    study = open_in(tmp_path, recipe, dead_after_s=1, say=said.append)
    study.optimize(lambda trial: study.claim(trial)["training.learning_rate"])
    assert len(set(points_of(study))) == 24
    assert any("was not finished and is tried again" in line for line in said)


def test_a_trial_that_is_given_up_is_done_later(tmp_path):
    for sampler, parameters in (("grid", GRID), ("random", LOG)):
        recipe = recipe_of(sampler, 24, parameters, name=sampler)
        study = open_in(tmp_path, recipe)
        given_up = []

        def stop(trial, study=study, given_up=given_up):
            given_up.append(study.claim(trial))
            study.give_back(trial)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            study.optimize(stop)
        again = open_in(tmp_path, recipe)
        again.optimize(lambda trial, study=again: study.claim(trial)["training.learning_rate"])
        assert given_up[0] in [again.point_of(trial) for trial in again.finished()]
        assert len(set(points_of(again))) == 24


def test_a_larger_budget_goes_on_with_the_same_study(tmp_path):
    for trials in (3, 5, 5):
        study = open_in(tmp_path, recipe_of("random", trials, LOG))
        study.optimize(lambda trial, study=study: study.claim(trial)["training.learning_rate"])
        assert len(study.finished()) == len(set(points_of(study))) == trials


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_the_recipe_s_own_values_come_first(tmp_path, sampler):
    own = {"model": {"layers": [16]}, "training": {"learning_rate": 0.02}}
    parameters = {**GRID, "training.learning_rate": {"low": 0.001, "high": 0.03, "steps": 2}}
    recipe = recipe_of(sampler, 14, parameters, **own)
    study = open_in(tmp_path, recipe)
    study.optimize(lambda trial: study.claim(trial)["training.learning_rate"])
    points = [study.point_of(trial) for trial in study.finished()]
    assert points[0] == {
        "training.learning_rate": 0.02,
        "model.layers": [16],
        "model.activation": "relu",
    }
    assert len(points) == (13 if sampler == "grid" else 14)  # a grid of 12, and the own values


def test_a_random_search_draws_evenly_in_the_logarithm(tmp_path):
    recipe = recipe_of("random", 80, {**LOG, "training.batch_size": {"low": 8, "high": 64}})
    study = open_in(tmp_path, recipe)
    study.optimize(lambda trial: float(study.claim(trial)["training.batch_size"]))
    points = [study.point_of(trial) for trial in study.finished()]
    rates = [np.log10(point["training.learning_rate"]) for point in points]
    assert len(points) == 80
    np.testing.assert_allclose(np.quantile(rates, [0.25, 0.5, 0.75]), [-4, -3, -2], atol=0.5)
    sizes = [point["training.batch_size"] for point in points]
    assert all(isinstance(size, int) and 8 <= size <= 64 for size in sizes)


def test_another_recipe_data_or_space_has_a_study_of_its_own(tmp_path):
    names = {
        open_in(tmp_path, recipe, data=data).study.study_name
        for recipe, data in (
            (recipe_of("grid", 24, name="n"), "d"),
            (recipe_of("grid", 24, name="n", seed=5), "d"),
            (recipe_of("grid", 24, name="n"), "other data"),
            (recipe_of("grid", 24, {"model.dropout": [0.1, 0.2]}, name="n"), "d"),
        )
    }
    assert len(names) == 4
    assert all(name.startswith("n-grid-") for name in names)


def test_a_study_of_a_given_name_is_of_one_recipe_data_and_search(tmp_path):
    """Each worker with a study of its own would spend the whole budget again."""
    recipe = recipe_of("grid", 24)
    assert open_in(tmp_path, recipe, name="mine").study.study_name == "mine"
    assert open_in(tmp_path, recipe_of("grid", 30), name="mine").study.study_name == "mine"
    for other, data, what in (
        (recipe_of("grid", 24, seed=5), "d", "another recipe"),
        (recipe, "other data", "another data"),
        (recipe_of("grid", 24, {"model.dropout": [0.1, 0.2]}), "d", "another search"),
        (recipe_of("random", 24, seed=5), "e", "another recipe and another search and another da"),
    ):
        with pytest.raises(OptionError, match=f"'mine' in '.*search.db' was begun with {what}"):
            open_in(tmp_path, other, data=data, name="mine")


def test_a_study_that_another_program_began_is_refused(tmp_path):
    theirs = optuna.create_study(study_name="theirs", storage=f"sqlite:///{tmp_path}/search.db")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(OptionError, match=r"'theirs' in .* was not begun by edgeport train"):
        open_in(tmp_path, recipe_of("grid", 24), name="theirs")


@pytest.mark.parametrize(
    ("storage", "shown"),
    [
        ("postgresql://u:s3cret@h/d", "postgresql://u:***@h/d"),
        ("postgresql+psycopg2://u:p%40ss%2Fword@h:5432/d", "postgresql+psycopg2://u:***@h:5432/d"),
        ("postgresql://u:p@s@s@h/d", "postgresql://u:***@h/d"),
        ("mysql://u@h/d?password=s3cret&charset=utf8", "mysql://u@h/d?password=***&charset=utf8"),
        ("nonsense://u:s3cret@h:port/d", "nonsense://u:***@h:port/d"),
        ("sqlite:///d.db?passphrase=s3cret&uri=1", "sqlite:///d.db?passphrase=***&uri=1"),
        ("mssql://?odbc_connect=PWD%3Ds3cret&a=b", "mssql://?odbc_connect=***&a=b"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("folder/a@b/search.db", "folder/a@b/search.db"),
    ],
)
def test_a_password_is_not_shown(storage, shown):
    assert without_password(storage) == shown
    assert without_password(storage, f"cannot connect to {storage}: no") == (
        f"cannot connect to {shown}: no"
    )


def test_a_password_with_an_at_sign_is_not_shown_as_a_host():
    said = without_password("postgresql://u:s3c/ret@pw@h/d", 'no address of host "pw@h"')
    assert said == 'no address of host "***@h"'


@pytest.mark.parametrize(
    "storage",
    [
        "host=h user=u password=s3cret dbname=d",
        "user=u dbname=d",
        "postgresql:u:s3cret@h",
        "postgresql//u:s3cret@h/d",
        "mysql+pymysql:/u:s3cret@h/d",
    ],
)
def test_what_is_no_url_becomes_no_file_and_is_not_shown(storage):
    with pytest.raises(OptionError, match="but no '://', expected a URL such as") as e:
        require_url_or_file(storage)
    assert "s3cret" not in str(e.value)


@pytest.mark.parametrize("storage", ["postgresql.db", "user=bob/s.db", "C:/s.db", "a@b/s.db"])
def test_a_name_of_a_file_may_look_a_bit_like_a_url(storage):
    require_url_or_file(storage)


def test_a_driver_that_is_not_installed_is_named_with_its_extra(tmp_path):
    with pytest.raises(OptionError, match=r"driver .* is not installed here.*postgresql") as e:
        open_in(tmp_path, recipe_of("grid", 24), "postgresql+pg8000://u:s3cret@localhost/d")
    assert "s3cret" not in str(e.value)


@pytest.mark.parametrize("storage", ["nosuch://x", "sqlite:////nowhere/at/all/s.db", "no/folder/s"])
def test_a_storage_that_cannot_be_opened_is_one_sentence(tmp_path, storage):
    with pytest.raises(
        OptionError, match=r"of the search cannot be opened .* search\.storage"
    ) as e:
        open_in(tmp_path, recipe_of("grid", 24), storage)
    assert "\n" not in str(e.value)


def test_a_damaged_database_is_one_sentence(tmp_path):
    (tmp_path / "search.db").write_text("this is no database\n" * 300)
    with pytest.raises(OptionError, match=r"search\.db' of the search cannot be opened"):
        open_in(tmp_path, recipe_of("grid", 24))


@pytest.fixture(scope="module")
def one_trial(tmp_path_factory):
    """Return a database with a study "s" of one trial."""
    folder = tmp_path_factory.mktemp("one_trial")
    study = open_in(folder, recipe_of("grid", 24), name="s")

    def objective(trial):
        study.study.stop()
        return study.claim(trial)["training.learning_rate"]

    study._try_points(objective, lambda trial: None)
    study._database.engine.dispose()
    return folder / "search.db"


def change(place, *statements):
    with contextlib.closing(sqlite3.connect(place)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("delete from study_directions", "it is to nothing, not to maximize"),
        ("insert into study_directions values (9, 'MINIMIZE', 1, 1)", "maximize, minimize"),
        ("update study_user_attributes set value_json = '[1]'", "cannot be read .*'list' object"),
        ("update study_user_attributes set value_json = 'half'", "JSONDecodeError"),
        ("delete from trial_params where param_id = 1", "trial 0 has values of model"),
        ("update trial_params set param_name = 'other' where param_id = 1", "values of .*other"),
        ("update trial_params set param_value = 77", "IndexError"),
        ("update trial_params set distribution_json = '{'", "JSONDecodeError"),
        ("delete from trial_values", "trial 0 is complete and has no result"),
        ("update trial_values set value = null", "AssertionError"),
        ("alter table trials rename column state to s", "no such column: trials.state"),
        ("drop table trial_params", "trial 0 has values of nothing"),
        ("update alembic_version set version_num = 'v2.4.0.a'", "optuna storage upgrade"),
        ("update alembic_version set version_num = 'v99.0.0'", "pip install -U optuna"),
    ],
)
def test_a_study_that_is_damaged_or_of_another_schema_is_one_sentence(
    tmp_path, one_trial, statement, found
):
    shutil.copy(one_trial, tmp_path)
    change(tmp_path / "search.db", statement)
    with pytest.raises(OptionError, match=found) as e:
        open_in(tmp_path, recipe_of("grid", 24), name="s")
    assert "choose another" in str(e.value)
    assert "\n" not in str(e.value)


def test_tables_of_another_program_are_named_as_the_reason(tmp_path):
    change(tmp_path / "search.db", "create table studies (x text)")
    with pytest.raises(OptionError, match=r"cannot be opened .*no column named study_name"):
        open_in(tmp_path, recipe_of("grid", 24))
