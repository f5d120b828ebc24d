"""`edgeport train --search-only`: four workers on one study in a real PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from postgresql import PASSWORD, QUOTED, find_programs, run_server

psycopg2 = pytest.importorskip("psycopg2")
optuna = pytest.importorskip("optuna")
pytest.importorskip("tensorflow")
PROGRAMS = find_programs()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(PROGRAMS is None, reason="needs Debian's postgresql"),
]

RECIPE = """
name = "shared"
seed = 3
[data]
source = "rows.npz"
[model]
layers = [8]
[training]
epochs = 6
[search]
sampler = "grid"
trials = 40
pruning = false
[search.parameters]
training.learning_rate = [0.001, 0.003, 0.01, 0.03, 0.1]
model.layers = [[4], [8]]
"""


@pytest.fixture(scope="module")
def server():
    with run_server(PROGRAMS) as started:
        yield started


@pytest.fixture
def folder(tmp_path):
    chance = np.random.default_rng(0)
    x = chance.normal(size=(6000, 6)).astype("f4")
    np.savez(tmp_path / "rows.npz", x=x, y=(x @ chance.normal(size=(6, 3))).argmax(axis=1))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def edgeport(folder, *arguments, recipe="recipe.toml"):
    return subprocess.Popen(
        [sys.executable, "-m", "edgeport", "train", recipe, *arguments],
        cwd=folder,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def freeze_a_worker_at_a_trial(server, workers):
    """Stop one of the processes while a trial of its is running; return it and the trial."""
    found = """
        select number, value_json from trials join trial_user_attributes using (trial_id)
        where state = 'RUNNING' and key = 'worker'
    """
    until = time.monotonic() + 600
    while time.monotonic() < until:
        time.sleep(0.02)
        assert all(worker.poll() is None for worker in workers)
        for number, name in ask(server, found):
            pid = int(json.loads(name).rpartition(":")[2])
            os.kill(pid, signal.SIGSTOP)
            if (number, name) in ask(server, found):
                return next(worker for worker in workers if worker.pid == pid), number
            os.kill(pid, signal.SIGCONT)
    raise AssertionError("no worker began a trial")


def ask(server, query):
    connection = psycopg2.connect(server.url().replace("+psycopg2", ""))
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()
    except psycopg2.errors.UndefinedTable:  # nobody has made the tables yet
        return []
    finally:
        connection.close()


def test_four_workers_do_each_trial_once_though_one_is_killed(server, folder):
    shared = ("--storage", server.url(), "--study-name", "shared")
    workers = [edgeport(folder, "--search-only", "--json", *shared) for _ in range(4)]
    killed, trial = freeze_a_worker_at_a_trial(server, workers)
    killed.kill()
    killed.communicate()
    said = [worker.communicate(timeout=600) for worker in workers if worker is not killed]
    assert [worker.returncode for worker in workers if worker is not killed] == [0] * 3, said
    results = [json.loads(out) for out, _ in said]
    for found in results:
        points = [json.dumps(each["values"], sort_keys=True) for each in found["trials"]]
        assert len(points) == len(set(points)) == 10
        assert {each["state"] for each in found["trials"]} == {"complete"}
        assert found["best"] == results[0]["best"]
        assert found["value"] == max(each["value"] for each in found["trials"])
        assert "***" in found["storage"]
    study = optuna.load_study(study_name="shared", storage=server.url())
    states = [one.state.name for one in study.trials]
    assert states.count("COMPLETE") == 10
    assert states[trial] == "FAIL"
    assert any(one.system_attrs.get("failed_trial") == trial for one in study.trials)
    assert len({one.user_attrs["worker"] for one in study.trials if one.state == 1}) >= 2

    alone = edgeport(folder, "--search-only", "--json", "--storage", "alone.db")
    place = f'storage = "{server.url()}"\nstudy = "shared"'
    named = RECIPE.replace("[search]", f"[search]\n{place}")
    (folder / "named.toml").write_text(named)  # the same as the options say
    trained = edgeport(folder, "-o", "model.keras", recipe="named.toml")
    out, error = trained.communicate(timeout=600)
    assert trained.returncode == 0, error
    assert json.loads(alone.communicate(timeout=600)[0])["best"] == results[0]["best"]
    metrics = json.loads((folder / "model.run" / "metrics.json").read_text())
    assert metrics["search"]["best"] == results[0]["best"]
    assert metrics["search"]["resumed"] == 10  # nothing was left to do
    rate = results[0]["best"]["training.learning_rate"]
    assert metrics["learning_rate"] == pytest.approx(rate, rel=1e-6)  # float32
    texts = [out, error, *(text for pair in said for text in pair)]
    run = [folder / "model.keras", *(folder / "model.run").iterdir()]
    texts += [path.read_bytes().decode("latin-1") for path in run]
    assert "***" in (folder / "model.run" / "recipe.toml").read_text()
    assert not [text for text in texts if PASSWORD in text or QUOTED in text]


def test_a_database_that_cannot_be_opened_is_one_sentence(server, folder):
    wrong = edgeport(folder, "--search-only", "--storage", server.url("wrong-and-secret"))
    away = server.url().replace(str(server.port), "9")
    nobody = edgeport(folder, "--search-only", "--storage", away)
    for worker, reason in ((wrong, "password authentication failed"), (nobody, "refused")):
        out, error = worker.communicate(timeout=600)
        sentence = error.strip().splitlines()[-1]
        assert worker.returncode == 2, error
        assert out == ""
        assert re.search(rf"the storage '.*:\*\*\*@.*cannot be opened.*{reason}", sentence)
        assert "secret" not in error
        assert QUOTED not in error
        assert "Traceback" not in error


def test_a_restart_of_the_database_loses_no_trial(server, folder):
    from edgeport_converter.training.recipe.recipe import read_recipe
    from edgeport_converter.training.search.space import read_parameters
    from edgeport_converter.training.search.study import SharedStudy

    recipe = read_recipe(folder / "recipe.toml")
    said = []
    study = SharedStudy(
        recipe,
        "data",
        read_parameters(recipe),
        server.url(),
        more=True,
        name="restarted",
        say=said.append,
        dead_after_s=2,
    )
    begun = []

    def objective(trial):
        point = study.claim(trial)
        begun.append(point)
        if len(begun) == 3:
            server.restart(away_s=1.5)
        return -abs(np.log(point["training.learning_rate"] / 0.01))

    study.optimize(objective)
    points = [json.dumps(study.point_of(trial), sort_keys=True) for trial in study.finished()]
    assert len(points) == len(set(points)) == 10
