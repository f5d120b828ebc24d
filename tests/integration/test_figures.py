"""The documents' figures are those of the stored runs, each kind of CPU by itself."""

import re
import subprocess
import sys

import pytest
from figures import (
    BENCHMARKS_README,
    BY_KIND,
    PICTURE,
    ROOT,
    ROOT_README,
    TRAINING_README,
    by_kind,
    digest,
    five_figures,
    kinds,
    stored,
)
from peers.machine import kind
from tables.finetune import NOTHING_LOST, failures, lost_nothing, recovered
from tables.passes import is_told
from tables.sections import put, shown
from tables.training import render as render_training


@pytest.mark.parametrize("name", BY_KIND)
def test_the_readme_shows_every_stored_run(name):
    assert shown(ROOT / BENCHMARKS_README, name) == by_kind(name, BY_KIND[name])


def test_the_converter_readme_shows_the_stored_training():
    assert shown(ROOT / TRAINING_README, "training") == render_training(stored("training"))


def test_the_root_readme_opens_with_five_figures_of_the_stored_runs():
    assert shown(ROOT / ROOT_README, "headline") == five_figures()
    assert five_figures().count("\n") == 6


def test_the_picture_was_drawn_from_the_stored_runs():
    assert digest() in (ROOT / PICTURE).read_text(encoding="utf-8")


def test_the_command_writes_what_stands_there(tmp_path):
    for path in (BENCHMARKS_README, TRAINING_README, ROOT_README):
        copy = tmp_path / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / path).read_text(encoding="utf-8")
        copy.write_text(re.sub(r"\d\.\d\d", "stale", text), encoding="utf-8")
    script = ROOT / "tests/benchmarks/figures.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    for name, render in BY_KIND.items():
        assert shown(tmp_path / BENCHMARKS_README, name) == by_kind(name, render)
    assert shown(tmp_path / ROOT_README, "headline") == five_figures()
    assert digest() in (tmp_path / PICTURE).read_text(encoding="utf-8")


def test_a_run_lies_in_the_folder_of_its_kind_of_cpu():
    for folder in kinds("bench"):
        machine = stored("bench", folder)["machine"]
        assert kind(machine["instructions"], machine["architecture"]) == folder


def test_a_readme_without_markers_is_refused(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Nothing\n")
    with pytest.raises(SystemExit, match="has no '<!-- bench figures -->'"):
        put(readme, "bench", "table")


def test_a_rewriting_is_told_where_time_or_bytes_change():
    same = {"latency_without_over_with": 1.01, "bytes": 1000, "bytes_without": 1001}
    assert not is_told(same)
    assert is_told(same | {"latency_without_over_with": 1.06})
    assert is_told(same | {"latency_without_over_with": 0.94})
    assert is_told(same | {"bytes_without": 1011})


def test_what_fine_tuning_brings_back_is_a_share_of_a_loss_beyond_its_noise():
    run = {"samples": 400, "changed": 0.09, "float32": 0.9, "int8": 0.8, "labels": 0.85}
    assert recovered([run, run | {"labels": 0.9}], "labels") == pytest.approx([0.5, 1.0])
    # The standard error is the root of 0.09 / 400, 1.5 points.
    assert not lost_nothing([run, run | {"int8": 0.86}])
    assert lost_nothing([run | {"int8": 0.875}, run | {"int8": 0.866}])


def test_a_seed_that_lost_nothing_is_no_seed_that_could_not_be_trained():
    run = {"float32": 0.9, "int8": 0.8, "labels": 0.85}
    kept = run | {"int8": 0.9, "labels": 0.9, "untrained": {"labels": NOTHING_LOST}}
    failed = run | {"labels": 0.8, "untrained": {"labels": "training knows no form of If"}}
    assert recovered([run, kept, failed], "labels") == pytest.approx([0.5, 0.0])
    assert failures([run, kept], "labels") == ""
    told = "; 1 of 3 not trained: training knows no form of If"
    assert failures([run, kept, failed], "labels") == told
