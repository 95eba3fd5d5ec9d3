import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joblib import effective_n_jobs, parallel_config

from fedpriv.cores import SHARE, available_cores
from fedpriv.sweeps.threads import jobs_at_once, share_of_cores

JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
SUBMITIT = "hydra_plugins.hydra_submitit_launcher.submitit_launcher."


@pytest.mark.parametrize(
    ("launcher", "jobs", "cores", "at_once"),
    [
        ({"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}, 12, 8, 1),
        ({"_target_": JOBLIB, "n_jobs": 3}, 12, 8, 3),
        ({"_target_": JOBLIB, "n_jobs": 3}, 2, 8, 2),
        ({"_target_": JOBLIB, "n_jobs": -1}, 12, 8, 8),
        ({"_target_": JOBLIB, "n_jobs": -3}, 12, 8, 6),
        ({"_target_": JOBLIB, "n_jobs": -9}, 12, 8, 1),
        ({"_target_": JOBLIB, "n_jobs": -1}, None, 8, 8),
        ({"_target_": f"{SUBMITIT}LocalLauncher"}, 5, 8, 5),
        ({"_target_": f"{SUBMITIT}LocalLauncher"}, None, 8, 8),
        ({"_target_": f"{SUBMITIT}SlurmLauncher"}, 5, 8, 1),
    ],
)
def test_launchers_run_so_many_jobs_on_a_machine(launcher, jobs, cores, at_once):
    assert jobs_at_once(launcher, jobs, cores) == at_once


@pytest.mark.parametrize("asked", [-1, -2, 1, 2, 5])
def test_jobs_of_joblib_are_counted_as_joblib_counts_them(asked):
    with parallel_config("loky"):
        expected = effective_n_jobs(asked)
    cores = len(os.sched_getaffinity(0))
    assert jobs_at_once({"_target_": JOBLIB, "n_jobs": asked}, 100, cores) == expected


@given(st.integers(1, 64), st.integers(1, 200))
def test_all_jobs_together_have_no_more_cores_than_there_are_unless_each_has_one(cores, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        with share_of_cores(at_once) as share:
            assert available_cores() == share >= 1
            assert share * at_once <= cores or share == 1
        assert available_cores() == cores


def test_a_share_ends_with_its_block_and_is_part_of_a_larger_one(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
    monkeypatch.setenv(SHARE, "8")
    with share_of_cores(2) as share:
        assert share == 4
    assert available_cores() == 8


def test_a_share_that_is_no_number_is_none(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)))
    for text in ("", "many", "-3", "²"):
        monkeypatch.setenv(SHARE, text)
        assert available_cores() == 12
    monkeypatch.setenv(SHARE, "0")
    assert available_cores() == 1


def test_processes_that_a_job_starts_have_its_share_too():
    code = "from fedpriv.cores import available_cores; print(available_cores())"
    with share_of_cores(10**6):
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "1\n"
