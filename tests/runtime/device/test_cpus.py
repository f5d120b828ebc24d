"""Thread counts: the request, the variable, the model's size, the CPUs, the quota."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from examples import mlp

from edgeport import OptionError, Predictor
from edgeport.device import cpus as device_cpus

SMALL, LARGE = 1_000_000, 300_000_000


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPORT_THREADS", raising=False)


def test_the_request_wins_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPORT_THREADS", "3")
    assert device_cpus.choose_threads(5, SMALL) == 5
    assert device_cpus.choose_threads(None, SMALL) == 3
    with Predictor.load(mlp().artifact(), threads=2) as predictor:
        assert predictor.threads == 2
    with Predictor.load(mlp().artifact()) as predictor:
        assert predictor.threads == 3


def test_only_a_large_model_gets_several_threads() -> None:
    assert device_cpus.choose_threads(None, None) == 1
    assert device_cpus.choose_threads(None, SMALL) == 1
    assert device_cpus.choose_threads(None, LARGE) == device_cpus.usable_cpus()


@pytest.mark.parametrize("work", [SMALL, 2**26 - 1, 2**26, LARGE])
def test_several_threads_are_chosen_where_one_sample_uses_them(
    work: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_cpus, "usable_cpus", lambda: 2)
    data = mlp().artifact(multiply_accumulates=work)
    with Predictor.load(data) as predictor:
        assert predictor._model is not None
        assert predictor.threads == predictor._model.session.threads == (1 if work < 2**26 else 2)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "x", ""])
def test_an_impossible_request_is_refused(value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        device_cpus.choose_threads(value, None)
    assert str(caught.value) == (
        f"threads is {value!r}, expected a whole number from 1 to 1024: "
        "leave it out to let edgeport choose"
    )


def test_an_impossible_variable_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("many", "2.5", "9" * 5000):
        monkeypatch.setenv("EDGEPORT_THREADS", value)
        with pytest.raises(OptionError, match=rf"^EDGEPORT_THREADS is '{value}'"):
            Predictor.load(mlp().artifact())


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "garbage"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_either_cgroup_version(
    files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert device_cpus._cgroup_quota(str(tmp_path), str(tmp_path / "none")) == quota


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        ("0::/user.slice/me\n", {"user.slice/me/cpu.max": "150000 100000"}, 1.5),
        ("0::/user.slice/me\n", {"user.slice/cpu.max": "50000 100000"}, 0.5),
        (
            "0::/a/b\n",
            {"cpu.max": "400000 100000", "a/cpu.max": "max 100000", "a/b/cpu.max": "200000 100000"},
            2.0,
        ),
        ("0::/\n", {"cpu.max": "max 100000", "other/cpu.max": "50000 100000"}, None),
        ("0::/docker/1f\n", {"cpu.max": "300000 100000"}, 3.0),  # the mount shows its own group
        ("0::/../sibling\n", {"sibling/cpu.max": "100000 100000"}, 1.0),
        (
            "3:cpu,cpuacct:/jobs/7\n2:memory:/else\n",
            {
                "cpu,cpuacct/jobs/7/cpu.cfs_quota_us": "50000",
                "cpu,cpuacct/jobs/7/cpu.cfs_period_us": "100000",
                "memory/else/cpu.max": "1 100000",
            },
            0.5,
        ),
        (
            "3:cpu:/jobs\n",
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "cpu/jobs/cpu.cfs_quota_us": "250000",
                "cpu/jobs/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
        ("garbage\n\n::\n", {"cpu.max": "100000 100000"}, 1.0),
    ],
)
def test_the_quota_is_that_of_the_process_own_group(
    membership: str, files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    (tmp_path / "self").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert device_cpus._cgroup_quota(str(tmp_path / "fs"), str(tmp_path / "self")) == quota


@pytest.mark.parametrize(
    ("cpus", "quota", "usable"), [(8, None, 8), (8, 1.5, 2), (8, 0.2, 1), (2, 6.0, 2), (1, None, 1)]
)
def test_the_quota_caps_the_affinity(
    cpus: int, quota: float | None, usable: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)), raising=False)
    monkeypatch.setattr(device_cpus, "_cgroup_quota", lambda: quota)
    assert device_cpus.usable_cpus() == usable


def test_a_system_without_affinity_counts_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(device_cpus, "_cgroup_quota", lambda: None)
    assert device_cpus.usable_cpus() == 6
